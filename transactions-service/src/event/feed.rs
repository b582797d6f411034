//! Writes the events: one replica at a time copies the facts of the outbox to each account that they concern, numbers them,
//! and moves its place forward in the same transaction. So no event is skipped, none comes twice, and none appears before
//! one that is there already, whichever replica writes and whatever crashes.
//!
//! The order is that of the facts' sequence numbers. The lane takes them while it has the accounts locked, so of two facts
//! about one account the first has the smaller number. But a number is taken before its transaction commits: facts are read
//! up to a [`Horizon`] only, below which none can be missing. Nothing of this is on the way of a transfer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use diesel_async::AsyncPgConnection;
use shared::id::{AccountId, EventId};
use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

use super::queries::{self, AccountFeed, Fact, NewEvent};
use super::{EventType, accounts_of};
use crate::webhook;

const BATCH: u16 = 1000;
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Until those have ended who began before the horizon: a lane's transaction takes some milliseconds.
const HORIZON_PAUSE: Duration = Duration::from_millis(10);
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// The newest fact of some moment, and a transaction that began after it was seen. Whoever has a smaller number began before,
/// so once this and all older transactions have ended, all facts up to here are there.
#[derive(Clone, Copy)]
struct Horizon {
    fact: i64,
    xid: i64,
}

pub async fn run(db: Db, shutdown: CancellationToken) {
    let mut horizon = None;
    let mut measured: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        let pause = match go_on(&db, &mut horizon).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(error = %error, "events are not written; their facts wait in the outbox");
                TROUBLE_PAUSE
            }
        };
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            measure(&db).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Takes the next step and tells how long to wait before the one after it.
async fn go_on(db: &Db, horizon: &mut Option<Horizon>) -> Result<Duration, ApiError> {
    let mut conn = db.connection().await?;
    let Some(known) = *horizon else {
        *horizon = new_horizon(&mut conn).await?;
        let found = horizon.is_some();
        return Ok(if found { HORIZON_PAUSE } else { IDLE_PAUSE });
    };
    if !queries::have_ended(&mut conn, known.xid).await? {
        return Ok(HORIZON_PAUSE);
    }
    drop(conn);
    let fact = known.fact;
    let written = db
        .transaction("write_events", async move |conn| append(conn, fact).await)
        .await?;
    if written < usize::from(BATCH) {
        *horizon = None;
    }
    Ok(Duration::ZERO)
}

/// None while everything is among the events.
async fn new_horizon(conn: &mut AsyncPgConnection) -> Result<Option<Horizon>, ApiError> {
    let place = queries::place(conn).await?;
    match queries::newest_fact(conn).await? {
        Some(fact) if fact > place => {
            let xid = queries::new_xid(conn).await?;
            Ok(Some(Horizon { fact, xid }))
        }
        _ => Ok(None),
    }
}

async fn measure(db: &Db) {
    let lag = async { Ok::<f64, ApiError>(queries::lag_s(&mut *db.connection().await?).await?) };
    match lag.await {
        Ok(seconds) => metrics::gauge!("events_lag_seconds").set(seconds),
        Err(error) => tracing::debug!(%error, "the events cannot be measured"),
    }
}

/// How many facts became events; none when another replica is at it or was faster.
async fn append(conn: &mut AsyncPgConnection, up_to: i64) -> Result<usize, ApiError> {
    let Some(place) = queries::lock_place(conn).await? else {
        return Ok(0);
    };
    let facts = queries::facts_between(conn, place, up_to, i64::from(BATCH)).await?;
    let Some(last) = facts.last() else {
        return Ok(0);
    };
    let concerned: Vec<Concerned> = facts.iter().filter_map(Concerned::by).collect();
    let accounts: Vec<AccountId> = concerned.iter().flat_map(|it| it.accounts.clone()).collect();
    let accounts = queries::account_feeds(conn, accounts).await?;
    let events = number(&concerned, &accounts);
    queries::insert(conn, &events).await?;
    webhook::queries::deliver(conn, &events).await?;
    queries::move_place(conn, last.sequence).await?;
    Ok(facts.len())
}

/// A fact and the accounts that it concerns.
struct Concerned {
    fact: i64,
    kind: EventType,
    accounts: Vec<AccountId>,
}

impl Concerned {
    /// A fact that cannot be read must not stop all others; the integrity check I9b names what has no event.
    fn by(fact: &Fact) -> Option<Self> {
        let sequence = fact.sequence;
        let Some(kind) = EventType::of_word(&fact.kind) else {
            tracing::error!(
                kind = fact.kind,
                sequence,
                "a fact of an unknown kind is no event"
            );
            return None;
        };
        match accounts_of(kind, &fact.payload) {
            Ok(accounts) => Some(Self {
                fact: sequence,
                kind,
                accounts,
            }),
            Err(_) => {
                tracing::error!(sequence, "an unreadable fact is no event");
                None
            }
        }
    }
}

/// An event for each customer's account, numbered after those that are there.
fn number(concerned: &[Concerned], accounts: &[AccountFeed]) -> Vec<NewEvent> {
    let mut last_of_account: HashMap<AccountId, i64> = HashMap::new();
    let mut last_of_holder = HashMap::new();
    let mut holders = HashMap::new();
    for account in accounts {
        holders.insert(account.account_id, account.holder_id);
        last_of_account.insert(account.account_id, account.account_sequence);
        last_of_holder.insert(account.holder_id, account.position);
    }
    let mut events = Vec::new();
    for it in concerned {
        for account_id in &it.accounts {
            // The accounts of the rails are nobody's.
            let Some(holder_id) = holders.get(account_id).copied() else {
                continue;
            };
            events.push(NewEvent {
                id: EventId::new(),
                kind: it.kind,
                holder_id,
                position: next(&mut last_of_holder, holder_id),
                account_id: *account_id,
                account_sequence: next(&mut last_of_account, *account_id),
                fact: it.fact,
            });
        }
    }
    events
}

fn next<K: Eq + std::hash::Hash>(last: &mut HashMap<K, i64>, of: K) -> i64 {
    let last = last.entry(of).or_insert(0);
    *last = last.saturating_add(1);
    *last
}

#[cfg(test)]
mod tests {
    use shared::id::UserId;

    use super::*;

    #[test]
    fn events_are_numbered_for_each_account_and_each_holder() {
        let (ada, ben) = (UserId::new(), UserId::new());
        let [one, two, other, rail] = [(); 4].map(|()| AccountId::new());
        let feed = |account_id, holder_id, account_sequence, position| AccountFeed {
            account_id,
            holder_id,
            account_sequence,
            position,
        };
        let accounts = [feed(one, ada, 4, 7), feed(two, ada, 3, 7), feed(other, ben, 0, 0)];
        let concerned = [(1, vec![one, two]), (2, vec![rail, other]), (3, vec![two, other])];
        let concerned = concerned.map(|(fact, accounts)| Concerned {
            fact,
            kind: EventType::TransferPosted,
            accounts,
        });
        let numbered: Vec<_> = number(&concerned, &accounts)
            .iter()
            .map(|it| (it.fact, it.account_id, it.account_sequence, it.position))
            .collect();
        assert_eq!(
            numbered,
            [
                (1, one, 5, 8),
                (1, two, 4, 9),
                (2, other, 1, 1),
                (3, two, 5, 10),
                (3, other, 2, 2)
            ]
        );
    }
}
