//! Looks for patterns in what was posted, behind the log of facts: its own position, one replica at a time. It keeps no state of its
//! own: of each account that moved it reads the newest movements again, so it can be killed anywhere, and what it does is bounded.
//! A finding is an alert, once for each account, pattern and window.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use shared::clients::transactions::{TransferKind, TransferStatus};
use shared::id::{AccountId, TransferId};
use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queries::{self, Side};
use super::{Finding, History, Movement, Parameters, cycle, each_once, find};
use crate::alert::job::{advance, lock_position};
use crate::alert::queries::{NewAlert, open};
use crate::alert::{AlertKind, Severity};
use crate::transfer_log::{self, LoggedTransfer};

const PAUSE: Duration = Duration::from_secs(1);
const FACTS: i64 = 500;
/// Of one account and side. Who moves more in a window than this is looked at by the newest.
const MOVEMENTS_OF_EACH: i64 = 200;
/// How many accounts are followed in search of circles.
const MAX_ACCOUNTS: usize = 500;

/// Follows the log until `shutdown`.
pub async fn follow(db: Db, shutdown: CancellationToken) {
    let mut failed_before = false;
    loop {
        let result = step(&db).await;
        if let (Err(error), false) = (&result, failed_before) {
            tracing::error!(%error, "patterns are not looked for");
        }
        failed_before = result.is_err();
        let pause = match result {
            Ok(FACTS) => Duration::from_millis(20),
            _ => PAUSE,
        };
        if shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// One transaction; tells how many facts it has read.
async fn step(db: &Db) -> Result<i64, ApiError> {
    db.transaction("find_patterns", async |conn| {
        let Some(position) = lock_position(conn, "patterns").await? else {
            return Ok(0);
        };
        let facts = transfer_log::queries::after_position(conn, position, FACTS).await?;
        let Some(last) = facts.last() else {
            return Ok(0);
        };
        let parameters = queries::parameters(conn).await.map_err(ApiError::internal)?;
        let moved: Vec<&LoggedTransfer> = facts.iter().filter(|fact| is_movement(fact)).collect();
        look(conn, &moved, &parameters).await?;
        advance(conn, "patterns", last.position).await?;
        Ok(i64::try_from(facts.len()).unwrap_or(FACTS))
    })
    .await
}

/// What goes back, or was never paid, is no movement of its own.
fn is_movement(fact: &LoggedTransfer) -> bool {
    fact.status == TransferStatus::Posted
        && !matches!(fact.kind, TransferKind::Refund | TransferKind::Reversal)
}

fn movement_of(fact: &LoggedTransfer) -> Movement {
    Movement {
        transfer_id: fact.transfer_id.uuid(),
        from: fact.debit_account_id.uuid(),
        to: fact.credit_account_id.uuid(),
        amount: fact.amount,
        currency: fact.currency,
        at: fact.occurred_at.timestamp(),
    }
}

async fn look(
    conn: &mut AsyncPgConnection,
    moved: &[&LoggedTransfer],
    parameters: &Parameters,
) -> Result<(), ApiError> {
    let movements = moved.iter().map(|fact| (*fact, movement_of(fact)));
    let movements: Vec<(&LoggedTransfer, Movement)> = movements
        .filter(|(_, movement)| parameters.is_looked_at(movement))
        .collect();
    let Some(oldest) = movements.iter().map(|(fact, _)| fact.occurred_at).min() else {
        return Ok(());
    };
    let since = oldest - chrono::Duration::seconds(parameters.window_s());
    let history = history_of(conn, &movements, since, parameters).await?;
    let findings = movements
        .iter()
        .flat_map(|(_, movement)| find(movement, &history, parameters));
    // Through a clearing account goes everybody's money.
    let customers: BTreeSet<Uuid> = movements
        .iter()
        .flat_map(|(fact, _)| customers_of(fact))
        .collect();
    for finding in each_once(findings) {
        if finding.pattern == super::Pattern::Cycle || customers.contains(&finding.account) {
            raise(conn, &finding).await?;
        }
    }
    Ok(())
}

fn customers_of(fact: &LoggedTransfer) -> impl Iterator<Item = Uuid> {
    let sides = [
        (fact.debit_holder_id, fact.debit_account_id),
        (fact.credit_holder_id, fact.credit_account_id),
    ];
    let customers = sides.into_iter().filter(|(holder, _)| holder.is_some());
    customers.map(|(_, account)| account.uuid())
}

/// Everything about the accounts that moved, and where the money went that they sent, as far as a circle may go.
async fn history_of(
    conn: &mut AsyncPgConnection,
    movements: &[(&LoggedTransfer, Movement)],
    since: DateTime<Utc>,
    parameters: &Parameters,
) -> Result<History, ApiError> {
    let customers: BTreeSet<Uuid> = movements
        .iter()
        .flat_map(|(fact, _)| customers_of(fact))
        .collect();
    let accounts: Vec<Uuid> = customers.iter().copied().collect();
    let mut all: Vec<Movement> = movements.iter().map(|(_, movement)| movement.clone()).collect();
    for side in [Side::In, Side::Out] {
        all.extend(queries::of_accounts(conn, &accounts, side, since, MOVEMENTS_OF_EACH).await?);
    }
    let mut known = customers;
    let mut frontier = ways_on(&all, &known);
    for _ in 2..parameters.cycle.max_accounts {
        if frontier.is_empty() || known.len() >= MAX_ACCOUNTS {
            break;
        }
        let of_each = i64::try_from(cycle::MAX_WAYS_OUT).unwrap_or(i64::MAX);
        let found = queries::of_accounts(conn, &frontier, Side::Out, since, of_each).await?;
        known.extend(frontier);
        frontier = ways_on(&found, &known);
        all.extend(found);
    }
    Ok(History::of(all))
}

/// The accounts that were paid and are not known yet, a bounded number.
fn ways_on(movements: &[Movement], known: &BTreeSet<Uuid>) -> Vec<Uuid> {
    let paid: BTreeSet<Uuid> = movements.iter().map(|movement| movement.to).collect();
    paid.difference(known).copied().take(MAX_ACCOUNTS).collect()
}

async fn raise(conn: &mut AsyncPgConnection, finding: &Finding) -> Result<(), ApiError> {
    let alert = NewAlert {
        kind: AlertKind::from(finding.pattern),
        severity: Severity::of_pattern(finding.pattern),
        account_id: AccountId::from_uuid(finding.account),
        holder_id: queries::holder_of(conn, finding.account).await?,
        transfer_id: None,
        pattern_window: Some(finding.window),
        sentence: finding.sentence.clone(),
        transfer_ids: finding
            .transfers
            .iter()
            .copied()
            .map(TransferId::from_uuid)
            .collect(),
    };
    open(conn, &alert).await?;
    Ok(())
}
