//! Appending to the log, and reading it by holder, account, time and position.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Int8, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::Fact;
use shared::id::{AccountId, TransferId, UserId};

use super::LoggedTransfer;
use crate::schema::transfers;

/// Appends facts in their order, and moves what was in review and is decided to the end. Of several facts of one transfer the
/// last counts. Tells what is new, in the order of its positions.
///
/// The commit does not wait for the disk. Whatever a crash takes away, it takes the receiver's position with it, and the
/// sender goes on from there.
pub async fn append(conn: &mut AsyncPgConnection, facts: &[Fact]) -> QueryResult<Vec<LoggedTransfer>> {
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    let last: HashMap<TransferId, usize> = facts
        .iter()
        .enumerate()
        .map(|(place, fact)| (fact.transfer_id, place))
        .collect();
    let is_last = |(place, fact): &(usize, &Fact)| last.get(&fact.transfer_id) == Some(place);
    let facts: Vec<&Fact> = facts
        .iter()
        .enumerate()
        .filter(is_last)
        .map(|(_, fact)| fact)
        .collect();
    let each = || facts.iter().copied();
    let append = Append {
        transfer_ids: each().map(|fact| fact.transfer_id).collect(),
        kinds: each().map(|fact| fact.kind.word()).collect(),
        statuses: each().map(|fact| fact.status.word()).collect(),
        originals: each().map(|fact| fact.original_transfer_id).collect(),
        debit_accounts: each().map(|fact| fact.debit_account_id).collect(),
        credit_accounts: each().map(|fact| fact.credit_account_id).collect(),
        debit_holders: each().map(|fact| fact.debit_holder_id).collect(),
        credit_holders: each().map(|fact| fact.credit_holder_id).collect(),
        amounts: each().map(|fact| fact.amount).collect(),
        currencies: each().map(|fact| fact.currency.code()).collect(),
        descriptions: each().map(|fact| fact.description.clone()).collect(),
        codes: each().map(|fact| fact.code.clone()).collect(),
        deciders: each().map(|fact| fact.decided_by).collect(),
        times: each().map(|fact| fact.at).collect(),
    };
    let mut new: Vec<LoggedTransfer> = append.load(conn).await?;
    new.sort_by_key(|transfer| transfer.position);
    Ok(new)
}

/// One statement whatever the number of rows, so that it is prepared once.
#[derive(QueryId)]
struct Append {
    transfer_ids: Vec<TransferId>,
    kinds: Vec<&'static str>,
    statuses: Vec<&'static str>,
    originals: Vec<Option<TransferId>>,
    debit_accounts: Vec<AccountId>,
    credit_accounts: Vec<AccountId>,
    debit_holders: Vec<Option<UserId>>,
    credit_holders: Vec<Option<UserId>>,
    amounts: Vec<i64>,
    currencies: Vec<&'static str>,
    descriptions: Vec<Option<String>>,
    codes: Vec<Option<String>>,
    deciders: Vec<Option<UserId>>,
    times: Vec<DateTime<Utc>>,
}

impl QueryFragment<Pg> for Append {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH unflushed AS (SELECT set_config('synchronous_commit', 'off', true)) \
             INSERT INTO transfers (transfer_id, kind, status, original_transfer_id, debit_account_id, credit_account_id, \
             debit_holder_id, credit_holder_id, amount, currency, description, code, decided_by, occurred_at, device, \
             address) \
             SELECT told.transfer_id, told.kind, told.status, told.original, told.debit_account, told.credit_account, \
             told.debit_holder, told.credit_holder, told.amount, told.currency, told.description, told.code, \
             told.decided_by, told.at, scores.device, scores.address FROM unflushed, unnest(",
        );
        out.push_bind_param::<Array<Uuid>, _>(&self.transfer_ids)?;
        for column in [&self.kinds, &self.statuses] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(column)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Uuid>>, _>(&self.originals)?;
        for column in [&self.debit_accounts, &self.credit_accounts] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Uuid>, _>(column)?;
        }
        for column in [&self.debit_holders, &self.credit_holders] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Uuid>>, _>(column)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Int8>, _>(&self.amounts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.currencies)?;
        for column in [&self.descriptions, &self.codes] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Text>>, _>(column)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Uuid>>, _>(&self.deciders)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.times)?;
        out.push_sql(
            ") WITH ORDINALITY AS told (transfer_id, kind, status, original, debit_account, credit_account, debit_holder, \
             credit_holder, amount, currency, description, code, decided_by, at, place) \
             LEFT JOIN scores ON scores.transfer_id = told.transfer_id ORDER BY told.place \
             ON CONFLICT (transfer_id) DO UPDATE SET position = DEFAULT, status = excluded.status, code = excluded.code, \
             decided_by = excluded.decided_by, occurred_at = excluded.occurred_at \
             WHERE transfers.status = 'in_review' \
             RETURNING position, transfers.transfer_id, kind, status, original_transfer_id, debit_account_id, \
             credit_account_id, debit_holder_id, credit_holder_id, amount, currency, description, code, decided_by, device, \
             address, occurred_at",
        );
        Ok(())
    }
}

impl Query for Append {
    type SqlType = transfers::SqlType;
}

/// Those of these transfers that were told of.
pub async fn find(conn: &mut AsyncPgConnection, ids: &[TransferId]) -> QueryResult<Vec<LoggedTransfer>> {
    LoggedTransfer::query()
        .filter(transfers::transfer_id.eq_any(ids))
        .load(conn)
        .await
}

/// Whether an account of this user paid or was paid in one of these transfers.
pub async fn is_party(conn: &mut AsyncPgConnection, user: UserId, ids: &[TransferId]) -> QueryResult<bool> {
    let own = transfers::debit_holder_id
        .eq(user)
        .or(transfers::credit_holder_id.eq(user));
    let found = transfers::table
        .filter(transfers::transfer_id.eq_any(ids))
        .filter(own);
    diesel::select(diesel::dsl::exists(found)).get_result(conn).await
}

/// What was taken in after `position`, in that order.
pub async fn after_position(
    conn: &mut AsyncPgConnection,
    position: i64,
    limit: i64,
) -> QueryResult<Vec<LoggedTransfer>> {
    LoggedTransfer::query()
        .filter(transfers::position.gt(position))
        .order(transfers::position)
        .limit(limit)
        .load(conn)
        .await
}

/// The position before the first transfer that happened at `at` or later: where to begin with [`after_position`].
pub async fn position_before(conn: &mut AsyncPgConnection, at: DateTime<Utc>) -> QueryResult<i64> {
    // Positions follow the commits, so the first in time may be a little after the first in order.
    let first: Vec<i64> = transfers::table
        .filter(transfers::occurred_at.ge(at))
        .order(transfers::occurred_at)
        .select(transfers::position)
        .limit(100)
        .load(conn)
        .await?;
    let first = first.into_iter().min();
    Ok(first.map_or(i64::MAX, |first| first.saturating_sub(1)))
}

/// The position of the transfer that is `count` transfers before this position, 0 if there are fewer.
pub async fn position_back(conn: &mut AsyncPgConnection, position: i64, count: usize) -> QueryResult<i64> {
    let back = transfers::table
        .filter(transfers::position.le(position))
        .order(transfers::position.desc())
        .offset(i64::try_from(count).unwrap_or(i64::MAX))
        .select(transfers::position)
        .first(conn)
        .await
        .optional()?;
    Ok(back.unwrap_or(0))
}

/// What a holder paid or was paid since then, newest first.
pub async fn of_holder(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    since: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<LoggedTransfer>> {
    let paid: Vec<LoggedTransfer> = LoggedTransfer::query()
        .filter(transfers::debit_holder_id.eq(holder))
        .filter(transfers::occurred_at.ge(since))
        .order(transfers::occurred_at.desc())
        .limit(limit)
        .load(conn)
        .await?;
    let received: Vec<LoggedTransfer> = LoggedTransfer::query()
        .filter(transfers::credit_holder_id.eq(holder))
        .filter(transfers::occurred_at.ge(since))
        .order(transfers::occurred_at.desc())
        .limit(limit)
        .load(conn)
        .await?;
    Ok(newest_first(paid, received, limit))
}

/// The same of an account.
pub async fn of_account(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    since: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<LoggedTransfer>> {
    let paid: Vec<LoggedTransfer> = LoggedTransfer::query()
        .filter(transfers::debit_account_id.eq(account))
        .filter(transfers::occurred_at.ge(since))
        .order(transfers::occurred_at.desc())
        .limit(limit)
        .load(conn)
        .await?;
    let received: Vec<LoggedTransfer> = LoggedTransfer::query()
        .filter(transfers::credit_account_id.eq(account))
        .filter(transfers::occurred_at.ge(since))
        .order(transfers::occurred_at.desc())
        .limit(limit)
        .load(conn)
        .await?;
    Ok(newest_first(paid, received, limit))
}

/// Both together. What somebody paid to themselves is in both.
fn newest_first(paid: Vec<LoggedTransfer>, received: Vec<LoggedTransfer>, limit: i64) -> Vec<LoggedTransfer> {
    let mut all: Vec<LoggedTransfer> = paid.into_iter().chain(received).collect();
    all.sort_by_key(|it| std::cmp::Reverse((it.occurred_at, it.position)));
    all.dedup_by_key(|it| it.position);
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    all
}
