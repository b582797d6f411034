//! The outbox: facts in the order they became facts, and their way to `ml-service`.
//!
//! A sequence is handed out before its transaction commits, so a reader that follows it alone would skip what commits
//! late. A row carries its transaction's id instead, and is read only once every older transaction has ended.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Double, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Deserialize;
use shared::clients::ml::{Fact, FactBatch, MlClient, Position};
use shared::id::{AccountId, TransferId};
use shared::{ApiError, Currency, Db};
use tokio_util::sync::CancellationToken;

use crate::ledger_account;
use crate::leg::{LegOrder, Legs};
use crate::schema::outbox;
use crate::transfer::{self, TransferKind, TransferStatus};

/// What `ml-service` is told of. Holds are no transfers yet, and a flag is what it said itself.
const TOLD: [&str; 3] = ["transfer.posted", "transfer.in_review", "transfer.rejected"];
const BATCH: u16 = 1000;
const IDLE_PAUSE: Duration = Duration::from_millis(200);
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Tells `ml-service` what becomes of every transfer until `shutdown`. The receiver keeps the position, in the transaction that
/// applies the facts, so each counts exactly once however many relays run and whatever crashes.
pub async fn relay(db: Db, ml: MlClient, shutdown: CancellationToken) {
    let mut position = None;
    let mut backlog = Backlog::default();
    while !shutdown.is_cancelled() {
        let pause = match relay_once(&db, &ml, position).await {
            Ok(Step {
                position: now,
                caught_up,
            }) => {
                position = Some(now);
                backlog.position = position;
                if caught_up { IDLE_PAUSE } else { Duration::ZERO }
            }
            Err(error) => {
                tracing::warn!(error = %error, "facts are not reaching ml-service; they wait in the outbox");
                metrics::counter!("outbox_relay_failures_total").increment(1);
                position = None;
                TROUBLE_PAUSE
            }
        };
        backlog.measure_now_and_then(&db).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// What has not reached the receiver, as far as this process knows.
struct Backlog {
    /// Where the receiver was last known to stand.
    position: Option<Position>,
    started: Instant,
    measured: Option<Instant>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            position: None,
            started: Instant::now(),
            measured: None,
        }
    }
}

impl Backlog {
    async fn measure_now_and_then(&mut self, db: &Db) {
        if self.measured.is_some_and(|at| at.elapsed() < MEASURE_EVERY) {
            return;
        }
        self.measured = Some(Instant::now());
        let Some(position) = self.position else {
            // Where the receiver stands is not known; it has been out of reach since we started.
            metrics::gauge!("outbox_lag_seconds").set(self.started.elapsed());
            return;
        };
        match measure(db, position).await {
            Ok(measured) => {
                metrics::gauge!("outbox_lag_seconds").set(measured.lag_s);
                let pending = u32::try_from(measured.pending).unwrap_or(u32::MAX);
                metrics::gauge!("outbox_pending_events").set(pending);
            }
            Err(error) => tracing::debug!(%error, "the outbox cannot be measured"),
        }
    }
}

#[derive(QueryableByName)]
struct Measured {
    #[diesel(sql_type = BigInt)]
    pending: i64,
    #[diesel(sql_type = Double)]
    lag_s: f64,
}

async fn measure(db: &Db, position: Position) -> Result<Measured, ApiError> {
    let mut conn = db.connection().await?;
    let query = sql_query(
        "SELECT count(*) AS pending, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS lag_s FROM (
            SELECT created_at FROM outbox WHERE (xid, sequence) > ($1, $2) ORDER BY xid, sequence LIMIT 100000
        ) AS waiting",
    );
    let query = query
        .bind::<BigInt, _>(position.xid)
        .bind::<BigInt, _>(position.sequence);
    Ok(query.get_result(&mut conn).await?)
}

struct Step {
    position: Position,
    caught_up: bool,
}

async fn relay_once(db: &Db, ml: &MlClient, position: Option<Position>) -> Result<Step, ApiError> {
    let after = match position {
        Some(position) => position,
        None => ml.told_up_to().await?.position,
    };
    let mut conn = db.connection().await?;
    let rows = read_after(&mut conn, after, i64::from(BATCH)).await?;
    let Some(last) = rows.last() else {
        return Ok(Step {
            position: after,
            caught_up: true,
        });
    };
    let next = Position {
        xid: last.xid,
        sequence: last.sequence,
    };
    let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let facts = facts_of(&mut conn, &rows).await?;
    drop(conn);
    let told = ml.tell(&FactBatch { after, next, facts }).await?;
    metrics::counter!("outbox_relayed_total").increment(count);
    Ok(Step {
        position: told.position,
        caught_up: count < u64::from(BATCH),
    })
}

/// A fact, with its payload as the text it is stored as.
#[derive(Debug, Queryable)]
pub struct OutboxRow {
    pub xid: i64,
    pub sequence: i64,
    pub kind: String,
    pub payload: String,
}

/// The facts after `position`, none of which can still be preceded by another.
pub async fn read_after(
    conn: &mut AsyncPgConnection,
    position: Position,
    limit: i64,
) -> QueryResult<Vec<OutboxRow>> {
    let oldest_running = sql::<BigInt>("pg_snapshot_xmin(pg_current_snapshot())::text::bigint");
    outbox::table
        .select((
            outbox::xid,
            outbox::sequence,
            outbox::kind,
            sql::<Text>("payload::text"),
        ))
        .filter(
            sql::<Bool>("(xid, sequence) > (")
                .bind::<BigInt, _>(position.xid)
                .sql(", ")
                .bind::<BigInt, _>(position.sequence)
                .sql(")"),
        )
        .filter(outbox::xid.lt(oldest_running))
        .order((outbox::xid, outbox::sequence))
        .limit(limit)
        .load(conn)
        .await
}

/// What ml-service is told of; the rest of the payload is skipped without being built.
#[derive(Deserialize)]
struct LedgerTransfer {
    id: TransferId,
    kind: TransferKind,
    status: TransferStatus,
    debit_account_id: Option<AccountId>,
    credit_account_id: Option<AccountId>,
    amount: Option<i64>,
    currency: Option<Currency>,
    #[serde(default)]
    legs: Vec<LegOrder>,
    description: Option<String>,
    rejection_code: Option<String>,
    review_reason: Option<String>,
    original_transfer_id: Option<TransferId>,
    created_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
}

/// Without what it does not say itself: whose accounts these are, and who decided. Of several legs the largest on either side
/// count.
fn fact_of(row: &OutboxRow) -> Option<Fact> {
    if !TOLD.contains(&row.kind.as_str()) {
        return None;
    }
    let transfer: LedgerTransfer = serde_json::from_str(&row.payload)
        .inspect_err(|error| {
            let error = shared::json::place_of(error);
            tracing::error!(
                error,
                xid = row.xid,
                sequence = row.sequence,
                "an unreadable fact"
            );
        })
        .ok()?;
    let legs = Legs::parse(transfer.legs).ok();
    let (debit, credit) = match &legs {
        Some(legs) => (legs.largest_debit(), legs.largest_credit()),
        None => (None, None),
    };
    Some(Fact {
        transfer_id: transfer.id,
        status: transfer.status,
        kind: transfer.kind,
        original_transfer_id: transfer.original_transfer_id,
        debit_account_id: transfer.debit_account_id.or(debit.map(|leg| leg.account_id))?,
        credit_account_id: transfer.credit_account_id.or(credit.map(|leg| leg.account_id))?,
        debit_holder_id: None,
        credit_holder_id: None,
        amount: transfer.amount.or(legs.as_ref().map(Legs::total))?,
        currency: transfer.currency.or(debit.map(|leg| leg.currency))?,
        description: transfer.description,
        code: transfer.rejection_code.or(transfer.review_reason),
        decided_by: None,
        at: transfer.completed_at.unwrap_or(transfer.created_at),
    })
}

/// The facts of these rows, with what the ledger knows of them.
async fn facts_of(conn: &mut AsyncPgConnection, rows: &[OutboxRow]) -> QueryResult<Vec<Fact>> {
    let mut facts: Vec<Fact> = rows.iter().filter_map(fact_of).collect();
    let accounts: BTreeSet<AccountId> = facts
        .iter()
        .flat_map(|fact| [fact.debit_account_id, fact.credit_account_id])
        .collect();
    let holders = ledger_account::queries::holders_of(conn, accounts).await?;
    let reviewed: Vec<TransferId> = facts
        .iter()
        .filter(|fact| fact.code.is_some() && fact.status != TransferStatus::InReview)
        .map(|fact| fact.transfer_id)
        .collect();
    let deciders = match reviewed.is_empty() {
        true => HashMap::new(),
        false => transfer::queries::deciders_of(conn, &reviewed).await?,
    };
    for fact in &mut facts {
        fact.debit_holder_id = holders.get(&fact.debit_account_id).copied();
        fact.credit_holder_id = holders.get(&fact.credit_account_id).copied();
        fact.decided_by = deciders.get(&fact.transfer_id).copied();
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use chrono::SubsecRound;
    use shared::Amount;
    use shared::id::UserId;

    use super::*;
    use crate::transfer::{BLOCKED_BY_RISK, Note, TransferOrder, TransferRecord, TransferStatus};

    #[test]
    fn what_the_lane_writes_the_relay_reads() {
        let legs = Legs::pair(
            AccountId::new(),
            AccountId::new(),
            Amount::try_from(5).unwrap(),
            "USD".parse().unwrap(),
        );
        let order = TransferOrder::new(TransferKind::Transfer, legs, Note::default(), UserId::new());
        let now = shared::Clock::system().now().trunc_subsecs(6);
        let record = TransferRecord::new(&order, TransferStatus::Posted, now, Some(now));
        let row = |kind: &str, record: &TransferRecord| OutboxRow {
            xid: 1,
            sequence: 1,
            kind: kind.to_owned(),
            payload: serde_json::to_string(record).unwrap(),
        };
        let posted = fact_of(&row("transfer.posted", &record)).unwrap();
        assert_eq!((posted.amount, posted.at, posted.code), (5, now, None));
        let rejected = TransferRecord::new(&order, TransferStatus::Rejected, now, Some(now));
        let rejected = rejected.rejected_for(BLOCKED_BY_RISK);
        let rejected = fact_of(&row("transfer.rejected", &rejected)).unwrap();
        assert_eq!(rejected.code.as_deref(), Some(BLOCKED_BY_RISK));
        assert!(fact_of(&row("transfer.flagged", &record)).is_none());
        assert!(fact_of(&row("hold.placed", &record)).is_none());
    }
}
