//! The history of an account: its postings with the running balance, and its balance at a moment. All of it is the ledger's;
//! here it is only asked whose account it is.

use actix_web::{get, web};
use shared::clients::transactions::{AskBalance, BalanceAt, ListPostings, Posting};
use shared::error::Problem;
use shared::id::AccountId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Page, Principal};

use super::handlers::find_own;
use crate::state::AppState;

/// List what was booked on one of your accounts, newest first, each with the balance that it left.
///
/// What a page looks through is bounded: with a `direction` that is rare, it can have fewer than `limit`, or none, and still a
/// `next_cursor`. Only a page without one is the last.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path), ListPostings),
    responses(
        (status = 200, description = "A page", body = Page<Posting>),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/accounts/{account_id}/postings")]
pub async fn list_account_postings(
    principal: Principal,
    account_id: web::Path<AccountId>,
    query: web::Query<ListPostings>,
    state: web::Data<AppState>,
) -> Result<web::Json<Page<Posting>>, ApiError> {
    let row = find_own(&state, &principal, *account_id).await?;
    Ok(web::Json(state.ledger.postings(row.id, &query).await?))
}

/// Get what was booked on one of your accounts up to a moment.
///
/// The same question has the same answer for ever: what could still be booked before `as_of` is waited for.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path), AskBalance),
    responses(
        (status = 200, description = "The balance", body = BalanceAt),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`as_of_in_future`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/accounts/{account_id}/balance")]
pub async fn get_account_balance(
    principal: Principal,
    account_id: web::Path<AccountId>,
    query: web::Query<AskBalance>,
    state: web::Data<AppState>,
) -> Result<web::Json<BalanceAt>, ApiError> {
    let row = find_own(&state, &principal, *account_id).await?;
    Ok(web::Json(state.ledger.balance(row.id, query.as_of).await?))
}
