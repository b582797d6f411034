//! Reading what insights are computed from: a bounded part of the log of facts, by index, and the balances of the ledger.
//!
//! The balance is asked of the ledger and not added up from the log, which began when this service did and knows no holds.

use std::collections::HashMap;

use chrono::TimeDelta;
use serde::Deserialize;
use shared::id::UserId;
use shared::{ApiError, Currency, TimeZone};
use utoipa::IntoParams;

use super::category::Categories;
use super::movement::{History, logged};
use super::queries;
use super::statistics::total;
use crate::state::State;
use crate::transfer_log;

/// A year, so that what comes yearly comes twice.
pub const HISTORY_DAYS: i64 = 400;
/// The newest of a holder who has more.
pub const MAX_TRANSFERS: i64 = 20_000;
/// How many insights are computed at a time: scores go before them.
pub const SLOTS: usize = 2;
const MAX_ACCOUNTS: usize = 1_000;

/// What most of these requests ask for.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// Only of this currency.
    pub currency: Option<Currency>,
    /// Whose days they are, such as `Europe/Berlin`; UTC unless told.
    #[param(value_type = Option<String>)]
    pub time_zone: Option<TimeZone>,
}

/// What the holder did in the last 400 days, by currency.
pub async fn histories(state: &State, holder: UserId, asked: Asked) -> Result<Vec<History>, ApiError> {
    let now = state.clock.now();
    let zone = asked.time_zone.unwrap_or(TimeZone::UTC);
    let since = now - TimeDelta::days(HISTORY_DAYS);
    // Before the connection: whoever waits holds none.
    let slot = state.insight_slots.take().await?;
    let mut conn = state.db.connection().await?;
    let mut transfers = transfer_log::queries::of_holder(&mut conn, holder, since, MAX_TRANSFERS).await?;
    let rules = queries::rules(&mut conn, holder).await?;
    drop(conn);
    if let Some(currency) = asked.currency {
        transfers.retain(|transfer| transfer.currency == currency);
    }
    slot.compute(move || logged::histories(holder, zone, now, &transfers, &Categories::new(&rules)))
        .await
}

/// Computes apart from the threads that answer requests, and not too many at a time.
pub async fn compute<T: Send + 'static>(
    state: &State,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    state.insight_slots.take().await?.compute(work).await
}

/// What the holder can spend, by currency, as the ledger says.
pub async fn balances(state: &State, histories: &[History]) -> Result<HashMap<Currency, i64>, ApiError> {
    let accounts = histories
        .iter()
        .flat_map(|history| history.accounts.iter().copied());
    let accounts: Vec<_> = accounts.take(MAX_ACCOUNTS).collect();
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let known = state.balances.accounts(accounts).await?;
    let of = |history: &History| {
        let accounts = history.accounts.iter().filter_map(|id| known.get(id));
        (history.currency, total(accounts.map(|account| account.available)))
    };
    Ok(histories.iter().map(of).collect())
}
