//! The holder's budgets, and how this month keeps to them.

use actix_web::{HttpResponse, delete, get, put, web};
use serde::{Deserialize, Serialize};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{Amount, ApiError, Currency, Json, Principal, TimeZone};
use utoipa::ToSchema;

use super::{Budget, BudgetPace, pace};
use crate::insight::category::Category;
use crate::insight::movement::History;
use crate::insight::reading::{self, Asked, compute};
use crate::insight::{queries, recurring};
use crate::state::State;

#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetPaces {
    data: Vec<BudgetPace>,
}

/// Your budgets, what of each is spent this month, and what it will probably be in the end.
#[utoipa::path(
    tag = "insights",
    params(Asked),
    responses((status = 200, description = "The budgets", body = BudgetPaces), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/insights/budgets")]
pub async fn list_budgets(
    principal: Principal,
    query: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<web::Json<BudgetPaces>, ApiError> {
    let mut conn = state.db.connection().await?;
    let mut budgets = queries::budgets(&mut conn, principal.user_id).await?;
    drop(conn);
    budgets.retain(|budget| query.currency.is_none_or(|currency| budget.currency == currency));
    let histories = reading::histories(&state, principal.user_id, *query).await?;
    let zone = query.time_zone.unwrap_or(TimeZone::UTC);
    let today = zone.day_of(state.clock.now());
    let holder = principal.user_id;
    let data = compute(&state, move || {
        let of = |budget: &Budget| {
            let history = histories.iter().find(|it| it.currency == budget.currency);
            match history {
                Some(history) => pace(history, budget, &recurring::series(history)),
                None => pace(&History::empty(holder, budget.currency, today), budget, &[]),
            }
        };
        budgets.iter().map(of).collect()
    })
    .await?;
    Ok(web::Json(BudgetPaces { data }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutBudget {
    amount: Amount,
}

/// Say what you want to spend on a category in a calendar month.
#[utoipa::path(
    tag = "insights",
    params(("currency" = Currency, Path), ("category" = Category, Path)),
    responses(
        (status = 204, description = "Remembered"),
        (status = 422, description = "`too_many_budgets`: delete one first", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[put("/api/v1/insights/budgets/{currency}/{category}")]
pub async fn put_budget(
    principal: Principal,
    path: web::Path<(Currency, Category)>,
    body: Json<PutBudget>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (currency, category) = *path;
    let budget = Budget {
        category,
        currency,
        amount: body.amount.minor(),
    };
    let holder = principal.user_id;
    state
        .db
        .transaction("put_budget", async |conn| {
            queries::put_budget(conn, holder, &budget).await
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Give up a budget.
#[utoipa::path(
    tag = "insights",
    params(("currency" = Currency, Path), ("category" = Category, Path)),
    responses(
        (status = 204, description = "Given up"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[delete("/api/v1/insights/budgets/{currency}/{category}")]
pub async fn delete_budget(
    principal: Principal,
    path: web::Path<(Currency, Category)>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (currency, category) = *path;
    let mut conn = state.db.connection().await?;
    if !queries::delete_budget(&mut conn, principal.user_id, category, currency).await? {
        return Err(ApiError::not_found("You have no such budget."));
    }
    Ok(HttpResponse::NoContent().finish())
}
