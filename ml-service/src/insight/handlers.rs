//! The insights of whoever asks, and what they say about them. Nobody sees anybody else's, whatever their roles.

use actix_web::{HttpResponse, get, post, web};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shared::clients::transactions::Direction;
use shared::id::{AccountId, InsightId, TransferId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Currency, Json, Principal, TimeZone};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::cash_flow::{self, Forecast};
use super::category::Category;
use super::feedback::Rating;
use super::movement::History;
use super::reading::{self, Asked, compute};
use super::recurring::{self, Cadence, Series, SeriesStatus};
use super::saving::{self, SavingsMonth};
use super::statistics::total;
use super::subscription::{self, Subscription};
use super::{Insight, InsightKind, queries};
use crate::state::State;

#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListInsights {
    /// Only of this currency.
    currency: Option<Currency>,
    /// Whose days they are, such as `Europe/Berlin`; UTC unless told.
    #[param(value_type = Option<String>)]
    time_zone: Option<TimeZone>,
    /// Only of this kind.
    kind: Option<InsightKind>,
    /// 1 to 100: the most pressing.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
}

/// An insight, and how the holder rated it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RatedInsight {
    #[serde(flatten)]
    insight: Insight,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<Rating>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InsightList {
    data: Vec<RatedInsight>,
}

/// What your transfers tell, the most pressing first, without what you dismissed.
///
/// They are computed from the last 400 days when you ask. While the ledger cannot be asked for balances, nothing is said about
/// overdrafts.
#[utoipa::path(
    tag = "insights",
    params(ListInsights),
    responses((status = 200, description = "The insights", body = InsightList), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights")]
pub async fn list_insights(
    principal: Principal,
    query: web::Query<ListInsights>,
    state: web::Data<State>,
) -> Result<web::Json<InsightList>, ApiError> {
    let asked = Asked {
        currency: query.currency,
        time_zone: query.time_zone,
    };
    let insights = insights_of(&state, &principal, asked).await?;
    let of_kind = |insight: &Insight| query.kind.is_none_or(|kind| insight.kind == kind);
    list(&state, &principal, insights, of_kind, query.limit).await
}

/// Payments that are unlike the rest: made twice, far too large, or a month with far more than usual in a category.
#[utoipa::path(
    tag = "insights",
    params(Asked),
    responses((status = 200, description = "The anomalies", body = InsightList), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/anomalies")]
pub async fn list_anomalies(
    principal: Principal,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<web::Json<InsightList>, ApiError> {
    use InsightKind::{CategorySpike, DuplicatePayment, UnusualPayment};
    let insights = insights_of(&state, &principal, *query).await?;
    let is_anomaly = |it: &Insight| matches!(it.kind, CategorySpike | DuplicatePayment | UnusualPayment);
    list(&state, &principal, insights, is_anomaly, Limit::MAX).await
}

async fn list(
    state: &State,
    principal: &Principal,
    insights: Vec<Insight>,
    is_asked_for: impl Fn(&Insight) -> bool,
    limit: Limit,
) -> Result<web::Json<InsightList>, ApiError> {
    let mut conn = state.db.connection().await?;
    let feedback = queries::feedback(&mut conn, principal.user_id).await?;
    let shown = insights.into_iter().filter(is_asked_for).filter_map(|insight| {
        let said = feedback.get(&insight.id).copied().unwrap_or_default();
        (!said.is_dismissed).then_some(RatedInsight {
            insight,
            rating: said.rating,
        })
    });
    Ok(web::Json(InsightList {
        data: shown.take(limit.get()).collect(),
    }))
}

/// All of them, also those that were dismissed.
async fn insights_of(state: &State, principal: &Principal, asked: Asked) -> Result<Vec<Insight>, ApiError> {
    let histories = reading::histories(state, principal.user_id, asked).await?;
    let mut conn = state.db.connection().await?;
    let budgets = queries::budgets(&mut conn, principal.user_id).await?;
    drop(conn);
    let balances = reading::balances(state, &histories)
        .await
        .unwrap_or_else(|error| {
            tracing::debug!(%error, "no balances, hence nothing about overdrafts");
            std::collections::HashMap::new()
        });
    compute(state, move || {
        let of = |history: &History| {
            let series = recurring::series(history);
            let balance = balances.get(&history.currency);
            let forecast = balance.and_then(|balance| cash_flow::forecast(history, &series, *balance));
            super::find(history, &budgets, forecast.as_ref())
        };
        let mut insights: Vec<Insight> = histories.iter().flat_map(of).collect();
        insights.sort_by_key(|it| (it.kind, std::cmp::Reverse(it.period.to), it.id));
        insights
    })
    .await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateInsight {
    rating: Rating,
}

/// Tell how good an insight is. You can change your mind.
#[utoipa::path(
    tag = "insights",
    params(("insight_id" = String, Path), Asked),
    responses(
        (status = 204, description = "Remembered"),
        (status = 404, description = "`not_found`: your transfers tell nothing like this (any more)", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/insights/{insight_id}/feedback")]
pub async fn rate_insight(
    principal: Principal,
    insight_id: web::Path<InsightId>,
    query: web::Query<Asked>,
    body: Json<RateInsight>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    say(&state, &principal, *insight_id, *query, Some(body.rating), false).await
}

/// Have an insight stay away.
///
/// The same finding keeps its id, so it is not shown again, however often it is found.
#[utoipa::path(
    tag = "insights",
    params(("insight_id" = String, Path), Asked),
    responses(
        (status = 204, description = "It stays away"),
        (status = 404, description = "`not_found`: your transfers tell nothing like this (any more)", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/insights/{insight_id}/dismiss")]
pub async fn dismiss_insight(
    principal: Principal,
    insight_id: web::Path<InsightId>,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    say(&state, &principal, *insight_id, *query, None, true).await
}

async fn say(
    state: &State,
    principal: &Principal,
    id: InsightId,
    asked: Asked,
    rating: Option<Rating>,
    dismiss: bool,
) -> Result<HttpResponse, ApiError> {
    let insights = insights_of(state, principal, asked).await?;
    let Some(insight) = insights.into_iter().find(|insight| insight.id == id) else {
        return Err(ApiError::not_found("Your transfers tell nothing like this."));
    };
    let holder = principal.user_id;
    state
        .db
        .transaction("say_about_insight", async |conn| {
            queries::say(conn, holder, &insight, rating, dismiss).await
        })
        .await?;
    let (kind, said) = (insight.kind.name(), rating.map_or("dismissed", Rating::name));
    metrics::counter!("insight_feedback_total", "kind" => kind, "said" => said).increment(1);
    Ok(HttpResponse::NoContent().finish())
}

/// What comes again and again, in or out.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecurringPayment {
    /// The same as long as counterparty, description and cadence are.
    id: Uuid,
    currency: Currency,
    direction: Direction,
    counterparty_account_id: AccountId,
    /// The words of the last payment.
    description: String,
    category: Category,
    cadence: Cadence,
    status: SeriesStatus,
    /// One amount that changes now and then, or another each time.
    is_fixed: bool,
    /// What the next one will probably be, in minor units.
    amount: i64,
    first_on: NaiveDate,
    last_on: NaiveDate,
    /// When the next one is due, or the one that is late was.
    next_on: NaiveDate,
    /// Days on which there should have been one.
    missed_on: Vec<NaiveDate>,
    evidence: Vec<TransferId>,
    confidence: u8,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RecurringPayments {
    data: Vec<RecurringPayment>,
}

fn recurring_payment(history: &History, series: &Series<'_>) -> Option<RecurringPayment> {
    let (first, last) = (series.links.first()?, series.last()?);
    Some(RecurringPayment {
        id: series.id,
        currency: history.currency,
        direction: last.direction,
        counterparty_account_id: last.counterparty_id,
        description: last.description.clone(),
        category: last.category,
        cadence: series.cadence,
        status: series.status,
        is_fixed: series.is_fixed,
        amount: series.next_amount,
        first_on: first.on,
        last_on: last.on,
        next_on: series.next_on,
        missed_on: series.missed.clone(),
        evidence: series.links.iter().map(|link| link.transfer_id).collect(),
        confidence: series.confidence,
    })
}

/// What you pay and get weekly, fortnightly, monthly, quarterly or yearly. What is due next comes first.
#[utoipa::path(
    tag = "insights",
    params(Asked),
    responses((status = 200, description = "Recurring payments", body = RecurringPayments), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/recurring")]
pub async fn list_recurring_payments(
    principal: Principal,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<web::Json<RecurringPayments>, ApiError> {
    let histories = reading::histories(&state, principal.user_id, *query).await?;
    let data = compute(&state, move || {
        let of = |history: &History| {
            let series = recurring::series(history);
            let payments = series
                .iter()
                .filter_map(|series| recurring_payment(history, series));
            payments.collect::<Vec<_>>()
        };
        let mut payments: Vec<RecurringPayment> = histories.iter().flat_map(of).collect();
        payments.sort_by_key(|it| (it.status == SeriesStatus::Ended, it.next_on, it.id));
        payments
    })
    .await?;
    Ok(web::Json(RecurringPayments { data }))
}

/// The subscriptions in one currency, the dearest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionAudit {
    currency: Currency,
    /// What they come to in a year, in minor units.
    yearly_total: i64,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionAudits {
    data: Vec<SubscriptionAudit>,
}

/// What you pay regularly and could cancel, and what it comes to in a year.
#[utoipa::path(
    tag = "insights",
    params(Asked),
    responses((status = 200, description = "Subscriptions", body = SubscriptionAudits), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/subscriptions")]
pub async fn list_subscriptions(
    principal: Principal,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<web::Json<SubscriptionAudits>, ApiError> {
    let histories = reading::histories(&state, principal.user_id, *query).await?;
    let data = compute(&state, move || {
        let of = |history: &History| {
            let subscriptions = subscription::audit(&recurring::series(history));
            SubscriptionAudit {
                currency: history.currency,
                yearly_total: total(subscriptions.iter().map(|it| it.yearly_amount)),
                subscriptions,
            }
        };
        histories.iter().map(of).collect()
    })
    .await?;
    Ok(web::Json(SubscriptionAudits { data }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Savings {
    currency: Currency,
    /// Oldest first.
    months: Vec<SavingsMonth>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SavingsList {
    data: Vec<Savings>,
}

/// What was left of your income, month by month. Transfers between your own accounts are neither income nor spending.
#[utoipa::path(
    tag = "insights",
    params(Asked),
    responses((status = 200, description = "Months by currency", body = SavingsList), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/savings")]
pub async fn list_savings(
    principal: Principal,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<web::Json<SavingsList>, ApiError> {
    let histories = reading::histories(&state, principal.user_id, *query).await?;
    let of = |history: &History| Savings {
        currency: history.currency,
        months: saving::months(history),
    };
    let data = compute(&state, move || histories.iter().map(of).collect()).await?;
    Ok(web::Json(SavingsList { data }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CashFlow {
    currency: Currency,
    /// Absent while less than four weeks are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CashFlows {
    data: Vec<CashFlow>,
}

/// How your balance may go on for 90 days: a band of nine in ten courses, and how probable an overdraft is within 30, 60 and
/// 90 days.
///
/// A thousand courses are drawn from your own last half year, with what comes regularly on the days when it is due. The balance
/// is what the ledger says is available now, over all of your accounts in the currency.
#[utoipa::path(
    tag = "insights",
    params(Asked),
    responses((status = 200, description = "Forecasts by currency", body = CashFlows), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/cash-flow")]
pub async fn get_cash_flow(
    principal: Principal,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<web::Json<CashFlows>, ApiError> {
    let histories = reading::histories(&state, principal.user_id, *query).await?;
    let balances = reading::balances(&state, &histories).await?;
    let data = compute(&state, move || {
        let of = |history: &History| {
            let balance = balances.get(&history.currency).copied().unwrap_or(0);
            CashFlow {
                currency: history.currency,
                forecast: cash_flow::forecast(history, &recurring::series(history), balance),
            }
        };
        histories.iter().map(of).collect()
    })
    .await?;
    Ok(web::Json(CashFlows { data }))
}
