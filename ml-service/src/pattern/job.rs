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
/// How many accounts are followed at each step in search of circles.
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
        crosses_edge: matches!(fact.kind, TransferKind::Deposit | TransferKind::Withdrawal)
            || fact.debit_holder_id.is_none()
            || fact.credit_holder_id.is_none(),
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
    // Through a clearing account goes everybody's money. Of a circle every account is a customer's, and the one that names it need
    // not be among those that moved now.
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
    let least = parameters.least_amount();
    let mut all: Vec<Movement> = movements.iter().map(|(_, movement)| movement.clone()).collect();
    for side in [Side::In, Side::Out] {
        all.extend(queries::of_accounts(conn, &accounts, side, since, least, MOVEMENTS_OF_EACH).await?);
    }
    let mut known = customers;
    let mut frontier = ways_on(&all, &mut known);
    for _ in 2..parameters.cycle.max_accounts {
        if frontier.is_empty() {
            break;
        }
        let of_each = i64::try_from(cycle::MAX_WAYS_OUT).unwrap_or(i64::MAX);
        let found = queries::of_accounts(conn, &frontier, Side::Out, since, least, of_each).await?;
        frontier = ways_on(&found, &mut known);
        all.extend(found);
    }
    Ok(History::of(all))
}

/// The accounts that a circle may go through next: customers who were paid and are not known yet, a bounded number.
fn ways_on(movements: &[Movement], known: &mut BTreeSet<Uuid>) -> Vec<Uuid> {
    let within = movements.iter().filter(|movement| !movement.crosses_edge);
    let paid: BTreeSet<Uuid> = within.map(|movement| movement.to).collect();
    let mut unknown: Vec<Uuid> = paid.difference(known).copied().collect();
    if unknown.len() > MAX_ACCOUNTS {
        metrics::counter!("fraud_cycle_searches_cut_total").increment(1);
        unknown.truncate(MAX_ACCOUNTS);
    }
    known.extend(&unknown);
    unknown
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

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(from: u128, to: u128) -> Movement {
        Movement {
            transfer_id: Uuid::from_u128((from << 64) | to),
            from: Uuid::from_u128(from),
            to: Uuid::from_u128(to),
            amount: 100_000,
            currency: "USD".parse().unwrap(),
            at: 0,
            crosses_edge: false,
        }
    }

    #[test]
    fn money_is_followed_however_many_customers_have_moved() {
        let page: Vec<Movement> = (0..600)
            .map(|customer| paid(customer, 10_000 + customer))
            .collect();
        let mut known = page.iter().map(|movement| movement.from).collect();
        let first = ways_on(&page, &mut known);
        assert_eq!(first.len(), MAX_ACCOUNTS);
        let next: Vec<Movement> = (0..9).map(|to| paid(10_000, 20_000 + to)).collect();
        assert_eq!(ways_on(&next, &mut known).len(), 9);
        assert_eq!(ways_on(&next, &mut known).len(), 0, "they are known now");
        let out = Movement {
            crosses_edge: true,
            ..paid(1, 30_000)
        };
        assert_eq!(ways_on(&[out], &mut known).len(), 0);
    }
}
