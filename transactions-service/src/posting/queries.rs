//! An account's postings and its balance at a moment. They are written by the lane.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz, Uuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::Currency;
use shared::clients::transactions::{Direction, ListPostings, Posting};
use shared::id::{AccountId, TransferId};

use crate::schema::{ledger_accounts, postings};

/// How many postings a page looks through for those in one direction.
const LOOKED_THROUGH: i64 = 2000;

#[derive(Debug, HasQuery)]
#[diesel(table_name = postings)]
pub struct PostingRow {
    transfer_id: TransferId,
    account_id: AccountId,
    pub sequence: i64,
    direction: String,
    amount: i64,
    currency: Currency,
    balance_after: i64,
    posted_at: DateTime<Utc>,
}

impl From<PostingRow> for Posting {
    fn from(row: PostingRow) -> Self {
        // A CHECK keeps the column to these two words.
        let direction = if row.direction == "debit" {
            Direction::Debit
        } else {
            Direction::Credit
        };
        Self {
            account_id: row.account_id,
            transfer_id: row.transfer_id,
            sequence: row.sequence,
            direction,
            amount: row.amount,
            currency: row.currency,
            balance_after: row.balance_after,
            posted_at: row.posted_at,
        }
    }
}

pub struct Found {
    /// One more than the page has, if there is another.
    pub rows: Vec<PostingRow>,
    /// The sequence at which the search was given up; `None` when it came to the end.
    pub given_up_at: Option<i64>,
}

/// Newest first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    asked: &ListPostings,
) -> QueryResult<Found> {
    let version = ledger_accounts::table
        .find(account)
        .select(ledger_accounts::version)
        .first(conn)
        .await
        .optional()?;
    let version: i64 = version.unwrap_or(0);
    let (mut last, mut first) = (version, 1);
    if let Some(after) = &asked.after {
        last = last.min(after.0.saturating_sub(1));
    }
    if let Some(moment) = asked.posted_before {
        last = last.min(last_before(conn, account, version, moment).await?);
    }
    if let Some(moment) = asked.posted_from {
        first = last_before(conn, account, version, moment)
            .await?
            .saturating_add(1);
    }
    let mut query = PostingRow::query()
        .filter(postings::account_id.eq(account))
        .filter(postings::sequence.le(last))
        .order(postings::sequence.desc())
        .limit(asked.limit.rows_to_load())
        .into_boxed();
    let mut lowest = first;
    if let Some(direction) = asked.direction {
        lowest = first.max(last.saturating_sub(LOOKED_THROUGH));
        query = query.filter(postings::direction.eq(direction.word()));
    }
    Ok(Found {
        rows: query.filter(postings::sequence.ge(lowest)).load(conn).await?,
        given_up_at: (lowest > first).then_some(lowest),
    })
}

/// The sequence of the last posting that is dated before `moment`, among the first `version` ones; 0 if there is none.
async fn last_before(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    version: i64,
    moment: DateTime<Utc>,
) -> QueryResult<i64> {
    // Each round halves the range that the answer is in, at the cost of one look into the primary key.
    let search = sql_query(
        "WITH RECURSIVE search (low, high) AS (
             SELECT 0::bigint, $2
             UNION ALL
             SELECT CASE WHEN posted_at < $3 THEN sequence ELSE low END,
                 CASE WHEN posted_at < $3 THEN high ELSE sequence - 1 END
             FROM search CROSS JOIN LATERAL (
                 SELECT sequence, posted_at FROM postings
                 WHERE account_id = $1 AND sequence = (low + high + 1) / 2 LIMIT 1
             ) AS middle
             WHERE low < high
         )
         SELECT low AS sequence FROM search WHERE low = high",
    );
    let found: Sequence = search
        .bind::<Uuid, _>(account)
        .bind::<BigInt, _>(version)
        .bind::<Timestamptz, _>(moment)
        .get_result(conn)
        .await?;
    Ok(found.sequence)
}

#[derive(QueryableByName)]
struct Sequence {
    #[diesel(sql_type = BigInt)]
    sequence: i64,
}

/// The past of an account, up to a moment that nothing can be added before.
pub struct Past {
    /// The number of postings in it.
    version: i64,
    pub currency: Currency,
    pub until: DateTime<Utc>,
}

/// Waits until no transaction is about to post to the account, which takes as long as a batch does. What is posted after
/// that is dated after this statement began.
pub async fn past_of(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<Past> {
    let (version, currency, until) = ledger_accounts::table
        .find(account)
        .select((
            ledger_accounts::version,
            ledger_accounts::currency,
            sql::<Timestamptz>("statement_timestamp()"),
        ))
        .for_share()
        .first(conn)
        .await?;
    Ok(Past {
        version,
        currency,
        until,
    })
}

/// What was posted up to `moment`, in minor units.
pub async fn balance_at(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    past: &Past,
    moment: DateTime<Utc>,
) -> QueryResult<i64> {
    // The database's times are in microseconds.
    let next = moment
        .checked_add_signed(TimeDelta::microseconds(1))
        .unwrap_or(moment);
    let sequence = last_before(conn, account, past.version, next).await?;
    let balance = postings::table
        .filter(postings::account_id.eq(account))
        .filter(postings::sequence.eq(sequence))
        .select(postings::balance_after)
        .first(conn)
        .await
        .optional()?;
    Ok(balance.unwrap_or(0))
}
