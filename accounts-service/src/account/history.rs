//! The history of an account: its postings with the running balance, and its balance at a moment. All of it is the ledger's;
//! here it is only asked whose account it is.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shared::clients::transactions::{AskBalance, BalanceAt, Direction, ListPostings, Posting};
use shared::error::Problem;
use shared::export::{self, Format};
use shared::id::AccountId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Page, Principal};
use utoipa::IntoParams;

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

#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportPostings {
    #[param(inline)]
    format: Format,
    direction: Option<Direction>,
    /// Only those booked at this moment (RFC 3339) or later.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    posted_from: Option<DateTime<Utc>>,
    /// Only those booked before this moment.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    posted_before: Option<DateTime<Utc>>,
}

/// Download what was booked on one of your accounts, newest first, as a file of any length.
///
/// It has what was there when it began. If it breaks off, the answer ends without its last chunk, which an HTTP client reports
/// as an error; then ask again.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path), ExportPostings),
    responses(
        (status = 200, description = "The file", content((String = "text/csv"), (Posting = "application/x-ndjson"))),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/accounts/{account_id}/postings/export")]
pub async fn export_account_postings(
    principal: Principal,
    account_id: web::Path<AccountId>,
    query: web::Query<ExportPostings>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let id = find_own(&state, &principal, *account_id).await?.id;
    let export = query.into_inner();
    let page_after = move |cursor: Option<String>| {
        let state = state.clone();
        async move {
            let asked = ListPostings {
                limit: Limit::MAX,
                after: cursor
                    .map(|it| it.parse())
                    .transpose()
                    .map_err(ApiError::internal)?,
                direction: export.direction,
                posted_from: export.posted_from,
                posted_before: export.posted_before,
            };
            Ok(state.ledger.postings(id, &asked).await?)
        }
    };
    export::respond(&format!("{id}-postings"), export.format, page_after).await
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
