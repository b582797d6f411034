//! Reading and writing the habits of many accounts in one statement each.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Int8, Text, Timestamptz, Uuid};
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

/// Inserts or replaces `states`, each account once.
pub async fn save(conn: &mut AsyncPgConnection, states: &[AccountState]) -> QueryResult<usize> {
    let column = |value: fn(&AccountState) -> i64| states.iter().map(value).collect();
    SaveStates {
        account_ids: states.iter().map(|state| state.account_id).collect(),
        transfer_counts: column(|state| state.transfer_count),
        amount_sums: column(|state| state.amount_sum),
        amount_maxima: column(|state| state.amount_max),
        last_at: states.iter().map(|state| state.last_at).collect(),
        velocity_buckets: column(|state| state.velocity_bucket),
        velocity_counts: states
            .iter()
            .map(|state| state.velocity_counts.to_string())
            .collect(),
        counterparty_ids: states
            .iter()
            .map(|state| state.counterparty_ids.to_string())
            .collect(),
    }
    .execute(conn)
    .await
}

/// One statement whatever the number of rows, so that it is prepared once. `unnest` would flatten arrays of arrays, so
/// those columns travel as the text of an array.
#[derive(QueryId)]
struct SaveStates {
    account_ids: Vec<AccountId>,
    transfer_counts: Vec<i64>,
    amount_sums: Vec<i64>,
    amount_maxima: Vec<i64>,
    last_at: Vec<DateTime<Utc>>,
    velocity_buckets: Vec<i64>,
    velocity_counts: Vec<String>,
    counterparty_ids: Vec<String>,
}

impl QueryFragment<Pg> for SaveStates {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO account_states (account_id, transfer_count, amount_sum, amount_max, last_at, velocity_bucket, \
             velocity_counts, counterparty_ids) \
             SELECT account_id, transfer_count, amount_sum, amount_max, last_at, velocity_bucket, \
             velocity_counts::int[], counterparty_ids::uuid[] FROM unnest(",
        );
        out.push_bind_param::<Array<Uuid>, _>(&self.account_ids)?;
        for column in [&self.transfer_counts, &self.amount_sums, &self.amount_maxima] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Int8>, _>(column)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.last_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Int8>, _>(&self.velocity_buckets)?;
        for column in [&self.velocity_counts, &self.counterparty_ids] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(column)?;
        }
        out.push_sql(
            ") AS new (account_id, transfer_count, amount_sum, amount_max, last_at, velocity_bucket, velocity_counts, \
             counterparty_ids) ORDER BY account_id \
             ON CONFLICT (account_id) DO UPDATE SET transfer_count = excluded.transfer_count, \
             amount_sum = excluded.amount_sum, amount_max = excluded.amount_max, last_at = excluded.last_at, \
             velocity_bucket = excluded.velocity_bucket, velocity_counts = excluded.velocity_counts, \
             counterparty_ids = excluded.counterparty_ids",
        );
        Ok(())
    }
}
