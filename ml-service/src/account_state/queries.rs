use std::collections::HashMap;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::AccountId;

use super::AccountState;
use crate::schema::account_states;

/// The states of those accounts that have sent something.
pub async fn find(
    conn: &mut AsyncPgConnection,
    account_ids: &[AccountId],
) -> QueryResult<HashMap<AccountId, AccountState>> {
    let states: Vec<AccountState> = account_states::table
        .filter(account_states::account_id.eq_any(account_ids))
        .select(AccountState::as_select())
        .load(conn)
        .await?;
    Ok(states
        .into_iter()
        .map(|state| (state.account_id, state))
        .collect())
}

/// Eight parameters a row, and a statement has at most 65,535.
const ROWS_PER_STATEMENT: usize = 4096;

pub async fn save(conn: &mut AsyncPgConnection, states: &[AccountState]) -> QueryResult<()> {
    for rows in states.chunks(ROWS_PER_STATEMENT) {
        diesel::insert_into(account_states::table)
            .values(rows)
            .on_conflict(account_states::account_id)
            .do_update()
            .set((
                account_states::transfer_count.eq(excluded(account_states::transfer_count)),
                account_states::amount_sum.eq(excluded(account_states::amount_sum)),
                account_states::amount_max.eq(excluded(account_states::amount_max)),
                account_states::last_at.eq(excluded(account_states::last_at)),
                account_states::velocity_bucket.eq(excluded(account_states::velocity_bucket)),
                account_states::velocity_counts.eq(excluded(account_states::velocity_counts)),
                account_states::counterparty_ids.eq(excluded(account_states::counterparty_ids)),
            ))
            .execute(conn)
            .await?;
    }
    Ok(())
}
