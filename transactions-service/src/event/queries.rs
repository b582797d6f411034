//! The events of the database, and the place up to which the outbox has become events.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, max, sql};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Double, Json, Text, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{AccountId, EventId, UserId};
use shared::page::Limit;

use super::{Event, EventType};
use crate::schema::{event_feed, events, ledger_accounts, outbox};

/// A fact of the outbox, as the feed reads it: with its payload as the text it is stored as.
#[derive(Debug, Queryable)]
pub struct Fact {
    pub sequence: i64,
    pub kind: String,
    pub payload: String,
}

/// The last fact that is among the events.
pub async fn place(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    event_feed::table.select(event_feed::fact).first(conn).await
}

/// The same, and nobody else writes events until the transaction ends; `None` while somebody else does.
pub async fn lock_place(conn: &mut AsyncPgConnection) -> QueryResult<Option<i64>> {
    let place = event_feed::table
        .select(event_feed::fact)
        .for_update()
        .skip_locked();
    place.first(conn).await.optional()
}

pub async fn move_place(conn: &mut AsyncPgConnection, fact: i64) -> QueryResult<()> {
    diesel::update(event_feed::table)
        .set(event_feed::fact.eq(fact))
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest fact that can be seen.
pub async fn newest_fact(conn: &mut AsyncPgConnection) -> QueryResult<Option<i64>> {
    outbox::table.select(max(outbox::sequence)).first(conn).await
}

/// The id of a transaction that begins now.
pub async fn new_xid(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    let xid = sql::<BigInt>("pg_current_xact_id()::text::bigint");
    diesel::select(xid).get_result(conn).await
}

/// Whether this transaction and all older ones have ended. After a crash PostgreSQL may count on from before an id that it gave
/// out; then all that was running has ended with it.
pub async fn have_ended(conn: &mut AsyncPgConnection, xid: i64) -> QueryResult<bool> {
    let oldest_running = sql::<BigInt>("pg_snapshot_xmin(pg_current_snapshot())::text::bigint");
    let next = sql::<BigInt>("pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
    let ended = oldest_running.gt(xid).or(next.le(xid));
    diesel::select(ended).get_result(conn).await
}

/// Facts after one and up to another, oldest first.
pub async fn facts_between(
    conn: &mut AsyncPgConnection,
    after: i64,
    up_to: i64,
    limit: i64,
) -> QueryResult<Vec<Fact>> {
    outbox::table
        .filter(outbox::sequence.gt(after))
        .filter(outbox::sequence.le(up_to))
        .order(outbox::sequence)
        .limit(limit)
        .select((outbox::sequence, outbox::kind, sql::<Text>("payload::text")))
        .load(conn)
        .await
}

/// Age in seconds of the oldest fact that is not yet among the events.
pub async fn lag_s(conn: &mut AsyncPgConnection) -> QueryResult<f64> {
    #[derive(QueryableByName)]
    struct Lag {
        #[diesel(sql_type = Double)]
        seconds: f64,
    }
    let query = sql_query(
        "SELECT coalesce(extract(epoch FROM now() - (
            SELECT outbox.created_at FROM outbox, event_feed
            WHERE outbox.sequence > event_feed.fact ORDER BY outbox.sequence LIMIT 1
        )), 0)::float8 AS seconds",
    );
    Ok(query.get_result::<Lag>(conn).await?.seconds)
}

/// A customer's account, and the numbers of the last events of it and of its holder; 0 before the first.
#[derive(QueryableByName)]
pub struct AccountFeed {
    #[diesel(sql_type = Uuid)]
    pub account_id: AccountId,
    #[diesel(sql_type = Uuid)]
    pub holder_id: UserId,
    #[diesel(sql_type = BigInt)]
    pub account_sequence: i64,
    #[diesel(sql_type = BigInt)]
    pub position: i64,
}

pub async fn account_feeds(
    conn: &mut AsyncPgConnection,
    accounts: Vec<AccountId>,
) -> QueryResult<Vec<AccountFeed>> {
    let query = sql_query(
        "WITH accounts AS MATERIALIZED (
            SELECT id, holder_id FROM ledger_accounts WHERE id = ANY ($1) AND holder_id IS NOT NULL
         ), holders AS MATERIALIZED (
            SELECT holder_id, coalesce((SELECT events.position FROM events WHERE events.holder_id = holder.holder_id
                ORDER BY events.position DESC LIMIT 1), 0) AS position
            FROM (SELECT DISTINCT holder_id FROM accounts) AS holder
         )
         SELECT id AS account_id, holder_id, position,
            coalesce((SELECT account_sequence FROM events WHERE account_id = accounts.id
                ORDER BY events.position DESC LIMIT 1), 0) AS account_sequence
         FROM accounts JOIN holders USING (holder_id)",
    );
    query.bind::<Array<Uuid>, _>(accounts).load(conn).await
}

pub struct NewEvent {
    pub id: EventId,
    pub kind: EventType,
    pub holder_id: UserId,
    pub position: i64,
    pub account_id: AccountId,
    pub account_sequence: i64,
    pub fact: i64,
}

pub async fn insert(conn: &mut AsyncPgConnection, new: &[NewEvent]) -> QueryResult<()> {
    fn column<T>(new: &[NewEvent], of: impl Fn(&NewEvent) -> T) -> Vec<T> {
        new.iter().map(of).collect()
    }
    let query = sql_query(
        "INSERT INTO events (id, kind, holder_id, position, account_id, account_sequence, fact)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)",
    );
    query
        .bind::<Array<Uuid>, _>(column(new, |it| it.id))
        .bind::<Array<Text>, _>(column(new, |it| it.kind.word().to_owned()))
        .bind::<Array<Uuid>, _>(column(new, |it| it.holder_id))
        .bind::<Array<BigInt>, _>(column(new, |it| it.position))
        .bind::<Array<Uuid>, _>(column(new, |it| it.account_id))
        .bind::<Array<BigInt>, _>(column(new, |it| it.account_sequence))
        .bind::<Array<BigInt>, _>(column(new, |it| it.fact))
        .execute(conn)
        .await?;
    Ok(())
}

#[derive(Debug, Queryable)]
pub struct EventRow {
    pub position: i64,
    id: EventId,
    kind: String,
    account_id: AccountId,
    account_sequence: i64,
    created_at: DateTime<Utc>,
    payload: serde_json::Value,
}

impl EventRow {
    pub fn into_event(self) -> Result<Event, ApiError> {
        let kind = EventType::of_word(&self.kind);
        Ok(Event {
            id: self.id,
            kind: kind
                .ok_or_else(|| ApiError::internal(anyhow::anyhow!("there is no type {}", self.kind)))?,
            created_at: self.created_at,
            account_id: self.account_id,
            account_sequence: self.account_sequence,
            data: self.payload,
        })
    }
}

/// Which of a holder's events.
#[derive(Debug, Default)]
pub struct Selection {
    pub kind: Option<EventType>,
    pub account_id: Option<AccountId>,
}

/// A page of events.
pub struct Found {
    pub rows: Vec<EventRow>,
    /// Everything up to here was looked at; the next page goes on after it.
    pub position: i64,
    pub has_more: bool,
}

/// How many events a page looks through for those of one type.
const LOOKED_THROUGH: i64 = 2000;

/// A holder's events after `position`, oldest first. No index is by type: a page of one type ends after a stretch of events,
/// however few of them it has.
pub async fn list_of_holder(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    selection: &Selection,
    position: i64,
    limit: Limit,
) -> QueryResult<Found> {
    // Positions have no gap and are written in their order, so what is not seen up to this one never comes.
    let newest: Option<i64> = events::table
        .filter(events::holder_id.eq(holder))
        .select(max(events::position))
        .first(conn)
        .await?;
    let newest = newest.unwrap_or_default();
    let upto = match selection.kind {
        Some(_) => position.saturating_add(LOOKED_THROUGH).min(newest),
        None => newest,
    };
    let mut rows = events::table
        .inner_join(outbox::table.on(outbox::sequence.eq(events::fact)))
        .filter(events::holder_id.eq(holder))
        .filter(events::position.gt(position))
        .filter(events::position.le(upto))
        .order(events::position)
        .limit(limit.rows_to_load())
        .select((
            events::position,
            events::id,
            events::kind,
            events::account_id,
            events::account_sequence,
            outbox::created_at,
            sql::<Json>("outbox.payload"),
        ))
        .into_boxed();
    if let Some(kind) = selection.kind {
        rows = rows.filter(events::kind.eq(kind.word()));
    }
    if let Some(account) = selection.account_id {
        // Of somebody else's there is nothing to look for.
        let own = ledger_accounts::table
            .find(account)
            .filter(ledger_accounts::holder_id.eq(holder));
        rows = rows.filter(events::account_id.eq(account)).filter(exists(own));
    }
    let mut rows: Vec<EventRow> = rows.load(conn).await?;
    if rows.len() <= limit.get() {
        return Ok(Found {
            rows,
            position: upto.max(position),
            has_more: upto < newest,
        });
    }
    rows.truncate(limit.get());
    Ok(Found {
        position: rows.last().map_or(position, |row| row.position),
        rows,
        has_more: true,
    })
}
