//! What `accounts-service` asks of the ledger.

use actix_web::{post, put, web};
use serde_json::json;
use shared::clients::transactions::{
    LedgerAccount, LedgerAccounts, LedgerStatus, OpenLedgerAccount, QueryLedgerAccounts, SetLedgerStatus,
};
use shared::id::AccountId;
use shared::{ApiError, Json, ServiceCaller};

use super::{queries, status_word};
use crate::audit;
use crate::state::State;

pub const CALLERS: [&str; 1] = ["accounts-service"];
/// Who may look: ml-service forecasts from balances.
const READERS: [&str; 2] = ["accounts-service", "ml-service"];
const MAX_QUERIED: usize = 1000;

#[put("/internal/ledger-accounts/{account_id}")]
pub async fn open_ledger_account(
    caller: ServiceCaller,
    account_id: web::Path<AccountId>,
    request: Json<OpenLedgerAccount>,
    state: web::Data<State>,
) -> Result<web::Json<LedgerAccount>, ApiError> {
    caller.require(&CALLERS)?;
    let mut conn = state.db.connection().await?;
    queries::insert_customer_account(&mut conn, *account_id, request.holder_id, request.currency).await?;
    let row = queries::find(&mut conn, *account_id).await?;
    if row.holder_id != Some(request.holder_id) || row.currency != request.currency {
        return Err(ApiError::conflict(
            "account_exists",
            "An account with this id exists with another holder or currency.",
        ));
    }
    Ok(web::Json(row.try_into()?))
}

#[put("/internal/ledger-accounts/{account_id}/status")]
pub async fn set_ledger_account_status(
    caller: ServiceCaller,
    account_id: web::Path<AccountId>,
    request: Json<SetLedgerStatus>,
    state: web::Data<State>,
) -> Result<web::Json<LedgerAccount>, ApiError> {
    caller.require(&CALLERS)?;
    let (id, wanted) = (*account_id, request.status);
    let account = state
        .db
        .transaction("set_ledger_account_status", async |conn| {
            let row = queries::lock(conn, id).await?;
            check_status_change(row.status()?, wanted, row.posted == 0 && row.held == 0)?;
            queries::update_status(conn, id, status_word(wanted)).await?;
            if row.status()? != wanted {
                let action = "account.status_changed";
                let entry = match &request.actor {
                    Some(actor) => audit::Entry::by(actor.user_id, &actor.roles, action, id),
                    None => audit::Entry::by_service(&caller.service, action, id),
                };
                let entry = entry.change(&json!({ "status": row.status }), &json!({ "status": wanted }))?;
                audit::append(conn, &entry).await?;
            }
            LedgerAccount::try_from(queries::find(conn, id).await?)
        })
        .await?;
    Ok(web::Json(account))
}

/// Closing is final, and never strands a balance.
fn check_status_change(current: LedgerStatus, wanted: LedgerStatus, empty: bool) -> Result<(), ApiError> {
    match (current, wanted) {
        (LedgerStatus::Closed, LedgerStatus::Closed) => Ok(()),
        (LedgerStatus::Closed, _) => Err(ApiError::unprocessable(
            "account_closed",
            "The account is closed.",
        )),
        (LedgerStatus::Frozen, LedgerStatus::Closed) => Err(ApiError::unprocessable(
            "account_frozen",
            "A frozen account cannot be closed. Unfreeze it first.",
        )),
        (_, LedgerStatus::Closed) if !empty => Err(ApiError::unprocessable(
            "account_not_empty",
            "An account with a balance or a hold cannot be closed. Move the money out first.",
        )),
        _ => Ok(()),
    }
}

#[post("/internal/ledger-accounts/query")]
pub async fn query_ledger_accounts(
    caller: ServiceCaller,
    request: Json<QueryLedgerAccounts>,
    state: web::Data<State>,
) -> Result<web::Json<LedgerAccounts>, ApiError> {
    caller.require(&READERS)?;
    if request.account_ids.len() > MAX_QUERIED {
        return Err(ApiError::bad_request(
            "too_many_accounts",
            "At most 1,000 accounts can be asked for at once.",
        ));
    }
    let mut conn = state.db.connection().await?;
    let rows = queries::find_many(&mut conn, &request.account_ids).await?;
    let accounts = rows
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<_, _>>()?;
    Ok(web::Json(LedgerAccounts { accounts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_is_final_and_strands_nothing() {
        use LedgerStatus::{Closed, Frozen, Open};
        let code = |current, wanted, empty| {
            check_status_change(current, wanted, empty)
                .err()
                .map(|it| it.code().to_owned())
        };
        assert_eq!(code(Open, Closed, true), None);
        assert_eq!(code(Open, Closed, false).as_deref(), Some("account_not_empty"));
        assert_eq!(code(Closed, Closed, true), None);
        assert_eq!(code(Closed, Open, true).as_deref(), Some("account_closed"));
        assert_eq!(code(Frozen, Closed, true).as_deref(), Some("account_frozen"));
        assert_eq!(code(Open, Frozen, false), None);
        assert_eq!(code(Frozen, Open, false), None);
        assert_eq!(code(Frozen, Frozen, false), None);
    }
}
