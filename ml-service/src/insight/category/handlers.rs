//! What the holder's money went to and came from, by category, and the holder's own rules about that.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, delete, get, put, web};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shared::clients::transactions::Direction;
use shared::id::{CategoryRuleId, TransferId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Currency, Json, Principal, TimeZone};
use utoipa::{IntoParams, ToSchema};

use super::{Category, CategoryRule, CategorySource, Subject};
use crate::insight::movement::{History, Movement};
use crate::insight::reading::{self, Asked, compute};
use crate::insight::statistics::total;
use crate::insight::wording::basis_points;
use crate::insight::{Period, queries};
use crate::state::State;

/// Of a category at most so many payments are named: the newest.
const MAX_PAYMENTS: usize = 100;
/// As many days as a request without days looks back.
const USUAL_DAYS: u64 = 30;

#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListCategories {
    /// Only of this currency.
    currency: Option<Currency>,
    /// Whose days they are, such as `Europe/Berlin`; UTC unless told.
    #[param(value_type = Option<String>)]
    time_zone: Option<TimeZone>,
    /// The first day; 30 days ago unless told, and at most 400.
    from: Option<NaiveDate>,
    /// The last day; today unless told.
    to: Option<NaiveDate>,
    /// Only this one, such as `unknown`.
    category: Option<Category>,
}

/// A payment, and who said what it is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct CategorisedPayment {
    transfer_id: TransferId,
    on: NaiveDate,
    /// What was not given back, in minor units.
    amount: i64,
    description: String,
    source: CategorySource,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryTotal {
    category: Category,
    direction: Direction,
    /// Minor units.
    amount: i64,
    /// In ten-thousandths of all that went in this direction.
    share_basis_points: i64,
    count: usize,
    /// The newest first, at most 100.
    payments: Vec<CategorisedPayment>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryTotals {
    currency: Currency,
    period: Period,
    /// The largest first; what went out before what came in.
    categories: Vec<CategoryTotal>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryTotalsList {
    data: Vec<CategoryTotals>,
}

/// What your money went to and came from.
///
/// The words of a description decide, and your own rules before them. What neither knows is `unknown`: tell us with
/// `PUT /api/v1/insights/categories/rules`.
#[utoipa::path(
    tag = "insights",
    params(ListCategories),
    responses((status = 200, description = "Totals by currency", body = CategoryTotalsList), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/categories")]
pub async fn list_categories(
    principal: Principal,
    query: web::Query<ListCategories>,
    state: web::Data<State>,
) -> Result<web::Json<CategoryTotalsList>, ApiError> {
    let asked = Asked {
        currency: query.currency,
        time_zone: query.time_zone,
    };
    let histories = reading::histories(&state, principal.user_id, asked).await?;
    let of = move |history: &History| totals(history, &query);
    let data = compute(&state, move || histories.iter().map(of).collect()).await?;
    Ok(web::Json(CategoryTotalsList { data }))
}

fn totals(history: &History, query: &ListCategories) -> CategoryTotals {
    let to = query.to.unwrap_or(history.today);
    let from = query.from.unwrap_or_else(|| {
        let first = to.checked_sub_days(chrono::Days::new(USUAL_DAYS - 1));
        first.unwrap_or(to)
    });
    let within: Vec<&Movement> = history
        .movements
        .iter()
        .filter(|it| (from..=to).contains(&it.on))
        .collect();
    let sum = |is_spending: bool| {
        let of = within.iter().filter(|it| it.is_spending() == is_spending);
        total(of.map(|movement| movement.amount))
    };
    let (spent, received) = (sum(true), sum(false));
    let mut groups: BTreeMap<(bool, Category), Vec<&Movement>> = BTreeMap::new();
    for movement in &within {
        let group = (!movement.is_spending(), movement.category);
        groups.entry(group).or_default().push(movement);
    }
    let asked = groups
        .into_iter()
        .filter(|((_, category), _)| query.category.is_none_or(|asked| asked == *category));
    let mut categories: Vec<CategoryTotal> = asked
        .map(|((is_income, category), movements)| {
            let of = if is_income { received } else { spent };
            category_total(category, of, &movements)
        })
        .collect();
    categories.sort_by_key(|it| (it.direction == Direction::Credit, std::cmp::Reverse(it.amount)));
    CategoryTotals {
        currency: history.currency,
        period: Period { from, to },
        categories,
    }
}

fn category_total(category: Category, of: i64, movements: &[&Movement]) -> CategoryTotal {
    let amount = total(movements.iter().map(|movement| movement.amount));
    let payment = |movement: &&Movement| CategorisedPayment {
        transfer_id: movement.transfer_id,
        on: movement.on,
        amount: movement.amount,
        description: movement.description.clone(),
        source: movement.source,
    };
    CategoryTotal {
        category,
        direction: movements
            .first()
            .map_or(Direction::Debit, |movement| movement.direction),
        amount,
        share_basis_points: basis_points(amount, of),
        count: movements.len(),
        payments: movements.iter().rev().take(MAX_PAYMENTS).map(payment).collect(),
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryRules {
    data: Vec<CategoryRule>,
}

/// Your rules about categories, newest first.
#[utoipa::path(
    tag = "insights",
    responses((status = 200, description = "At most 500", body = CategoryRules), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/categories/rules")]
pub async fn list_category_rules(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<CategoryRules>, ApiError> {
    let mut conn = state.db.connection().await?;
    let data = queries::rules(&mut conn, principal.user_id).await?;
    Ok(web::Json(CategoryRules { data }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutCategoryRule {
    subject: Subject,
    category: Category,
}

/// Say what a payment is for: this transfer, those of an account, or those with these words.
///
/// It wins over what we think. Of several rules the nearest wins: the transfer's own, then the longest words, then the
/// account's. A second rule about the same replaces the first.
#[utoipa::path(
    tag = "insights",
    responses(
        (status = 200, description = "The rule", body = CategoryRule),
        (status = 422, description = "`too_many_category_rules`: delete one first", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[put("/api/v1/insights/categories/rules")]
pub async fn put_category_rule(
    principal: Principal,
    body: Json<PutCategoryRule>,
    state: web::Data<State>,
) -> Result<web::Json<CategoryRule>, ApiError> {
    let PutCategoryRule { subject, category } = body.into_inner();
    let holder = principal.user_id;
    let id = state
        .db
        .transaction("put_category_rule", async |conn| {
            queries::put_rule(conn, holder, &subject, category).await
        })
        .await?;
    Ok(web::Json(CategoryRule {
        id,
        subject,
        category,
    }))
}

/// Forget a rule.
#[utoipa::path(
    tag = "insights",
    params(("category_rule_id" = String, Path)),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[delete("/api/v1/insights/categories/rules/{category_rule_id}")]
pub async fn delete_category_rule(
    principal: Principal,
    category_rule_id: web::Path<CategoryRuleId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut conn = state.db.connection().await?;
    if !queries::delete_rule(&mut conn, principal.user_id, *category_rule_id).await? {
        return Err(ApiError::not_found("There is no such rule, or it is not yours."));
    }
    Ok(HttpResponse::NoContent().finish())
}
