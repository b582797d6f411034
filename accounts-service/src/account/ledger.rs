//! Bringing the ledger to what an account's row says, and keeping it there.
//!
//! A command is written into the row first, with a time at which the job repeats it; then it is sent; then that time is
//! cleared, if the row still says the same. So a crash anywhere between is repaired, and of two commands that cross on
//! their way the one that was written last wins: whoever finds the row changed after sending sends what it says now.
//! Every command may be repeated, so several replicas may repair at once.

use std::time::Duration;

use actix_web::web;
use chrono::TimeDelta;
use futures_util::future::join_all;
use shared::ApiError;
use shared::clients::transactions::{Actor, LedgerAccount, LedgerStatus, OpenLedgerAccount, SetLedgerStatus};
use shared::http_client::CallError;
use shared::id::AccountId;
use tokio_util::sync::CancellationToken;

use super::{Account, AccountRow, AccountStatus, queries, visible_status};
use crate::state::AppState;

/// When the job takes an account that a request is working on: longer than the request's calls take, as a rule. If it is
/// not, a command is sent twice, which does no harm.
pub const RETRY_DELAY: TimeDelta = TimeDelta::seconds(5);

/// Longer than all tries of a call to the ledger.
const LEASE: TimeDelta = TimeDelta::seconds(15);
const JOB_PAUSE: Duration = Duration::from_secs(2);
const JOB_BATCH: i64 = 32;
const MAX_ROUNDS: u32 = 5;

/// Brings the ledger to what `account` says.
pub async fn settle(
    state: &AppState,
    mut account: AccountRow,
) -> Result<(AccountRow, LedgerAccount), ApiError> {
    for _ in 0..MAX_ROUNDS {
        let result = command(state, &account, account.actor()?).await;
        let mut conn = state.db.connection().await?;
        if result.as_ref().is_err_and(is_closed) {
            // A close whose end a crash cut off.
            let now = state.clock.now();
            queries::mark_closed(&mut conn, account.id, now).await?;
        }
        let ledger = result?;
        match queries::mark_settled(&mut conn, account.id, account.status).await? {
            Some(account) => return Ok((account, ledger)),
            None => account = queries::find(&mut conn, account.id).await?,
        }
    }
    Err(ApiError::unavailable(
        "busy",
        "Too much is changing this account at once. Try again shortly.",
    ))
}

async fn command(
    state: &AppState,
    account: &AccountRow,
    actor: Option<Actor>,
) -> Result<LedgerAccount, CallError> {
    let status = match account.status {
        AccountStatus::Pending => {
            let opening = OpenLedgerAccount {
                holder_id: account.owner_id,
                currency: account.currency,
            };
            return state.ledger.open(account.id, &opening).await;
        }
        AccountStatus::Active => LedgerStatus::Open,
        AccountStatus::Frozen => LedgerStatus::Frozen,
        AccountStatus::Closed => LedgerStatus::Closed,
    };
    let command = SetLedgerStatus { status, actor };
    state.ledger.set_status(account.id, &command).await
}

fn is_closed(error: &CallError) -> bool {
    matches!(error, CallError::Refused { problem, .. } if problem.code == "account_closed")
}

/// The accounts as clients see them, with one call to the ledger. Those on which the ledger does not agree are handed to
/// the job.
pub async fn present(state: &AppState, accounts: Vec<AccountRow>) -> Result<Vec<Account>, ApiError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let ids = accounts.iter().map(|account| account.id).collect();
    let ledger = state.ledger.accounts(ids).await?;
    let out_of_step = |account: &&AccountRow| {
        account.retry_at.is_none() && account.status != visible_status(ledger.get(&account.id))
    };
    let out_of_step: Vec<AccountId> = accounts.iter().filter(out_of_step).map(|it| it.id).collect();
    if !out_of_step.is_empty() {
        queries::retry(
            &mut *state.db.connection().await?,
            &out_of_step,
            state.clock.now(),
        )
        .await?;
    }
    let present = |account: AccountRow| {
        let ledger = ledger.get(&account.id);
        Account::new(account, ledger)
    };
    Ok(accounts.into_iter().map(present).collect())
}

/// Repairs what is due, again and again until `shutdown`.
pub async fn repair(state: web::Data<AppState>, shutdown: CancellationToken) {
    loop {
        if let Err(error) = repair_due(&state).await {
            tracing::warn!(%error, "accounts that need repair cannot be read");
        }
        tokio::select! {
            () = tokio::time::sleep(JOB_PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn repair_due(state: &AppState) -> Result<(), ApiError> {
    let now = state.clock.now();
    let mut conn = state.db.connection().await?;
    let due = queries::claim_due(&mut conn, now, LEASE, JOB_BATCH).await?;
    let pending = queries::count_pending(&mut conn).await?;
    drop(conn);
    metrics::gauge!("accounts_pending").set(u32::try_from(pending).unwrap_or(u32::MAX));
    join_all(due.into_iter().map(|account| repair_account(state, account))).await;
    Ok(())
}

async fn repair_account(state: &AppState, account: AccountRow) {
    let (id, status) = (account.id, account.status);
    let outcome = match settle(state, account).await {
        Ok(_) => "repaired",
        Err(error) => {
            tracing::warn!(account_id = %id, ?status, %error, "the ledger does not agree with an account yet");
            "failed"
        }
    };
    metrics::counter!("accounts_repairs_total", "outcome" => outcome).increment(1);
}
