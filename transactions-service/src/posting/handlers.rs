//! What `accounts-service` asks about the history of an account.

use actix_web::{get, web};
use shared::clients::transactions::{AskBalance, BalanceAt, ListPostings, Posting};
use shared::id::AccountId;
use shared::{ApiError, Page, ServiceCaller};

use super::queries;
use crate::ledger_account::handlers::CALLERS;
use crate::state::State;

#[get("/internal/ledger-accounts/{account_id}/postings")]
pub async fn list_postings(
    caller: ServiceCaller,
    account_id: web::Path<AccountId>,
    query: web::Query<ListPostings>,
    state: web::Data<State>,
) -> Result<web::Json<Page<Posting>>, ApiError> {
    caller.require(&CALLERS)?;
    let mut conn = state.db.connection().await?;
    let found = queries::list(&mut conn, *account_id, &query).await?;
    let page = Page::new(found.rows, query.limit, |row| row.sequence);
    Ok(web::Json(
        page.or_go_on_after(found.given_up_at).map(Posting::from),
    ))
}

#[get("/internal/ledger-accounts/{account_id}/balance")]
pub async fn get_balance(
    caller: ServiceCaller,
    account_id: web::Path<AccountId>,
    query: web::Query<AskBalance>,
    state: web::Data<State>,
) -> Result<web::Json<BalanceAt>, ApiError> {
    caller.require(&CALLERS)?;
    let mut conn = state.db.connection().await?;
    let past = queries::past_of(&mut conn, *account_id).await?;
    let as_of = query.as_of.unwrap_or(past.until);
    if as_of > past.until {
        return Err(ApiError::unprocessable(
            "as_of_in_future",
            "`as_of` must not be in the future.",
        ));
    }
    let posted = queries::balance_at(&mut conn, *account_id, &past, as_of).await?;
    Ok(web::Json(BalanceAt {
        account_id: *account_id,
        currency: past.currency,
        as_of,
        posted,
    }))
}
