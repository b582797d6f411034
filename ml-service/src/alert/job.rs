//! Opens and closes alerts as the log of facts tells: a transfer in review opens one, its decision closes it wherever that was
//! made, and a posted transfer of somebody who is watched opens one too. One replica at a time does this; the position that it
//! has reached commits with the alerts, so no fact is missed and none counts twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::Score;
use shared::clients::transactions::TransferStatus;
use shared::id::TransferId;
use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::decisions::done_at_the_ledger;
use super::queries::{self, AlertRow, NewAlert};
use super::{AlertKind, AlertStatus, ReviewOutcome, Severity};
use crate::list::{self, List, Match, Subject, SubjectKind};
use crate::schema::{alerts, job_positions};
use crate::score;
use crate::transfer_log::{self, LoggedTransfer};

const PAUSE: Duration = Duration::from_millis(500);
const COUNT_EVERY: Duration = Duration::from_secs(5);
const FACTS: i64 = 500;
/// Of an alert, in characters.
const MAX_SENTENCE: usize = 1000;

/// Follows the log until `shutdown`.
pub async fn follow(db: Db, shutdown: CancellationToken) {
    let mut failed_before = false;
    let mut counted: Option<Instant> = None;
    loop {
        let result = step(&db).await;
        if let (Err(error), false) = (&result, failed_before) {
            tracing::error!(%error, "alerts do not follow the facts");
        }
        failed_before = result.is_err();
        let more = result.is_ok_and(|read| read == FACTS);
        if !more
            && shutdown
                .run_until_cancelled(tokio::time::sleep(PAUSE))
                .await
                .is_none()
        {
            return;
        }
        if shutdown.is_cancelled() {
            return;
        }
        if counted.is_none_or(|at| at.elapsed() > COUNT_EVERY) {
            count(&db).await;
            counted = Some(Instant::now());
        }
    }
}

/// One transaction; tells how many facts it took in.
async fn step(db: &Db) -> Result<i64, ApiError> {
    db.transaction("open_and_close_alerts", async |conn| {
        let Some(position) = lock_position(conn, "alerts").await? else {
            return Ok(0);
        };
        let facts = transfer_log::queries::after_position(conn, position, FACTS).await?;
        let Some(last) = facts.last() else {
            return Ok(0);
        };
        react(conn, &facts).await?;
        advance(conn, "alerts", last.position).await?;
        Ok(i64::try_from(facts.len()).unwrap_or(FACTS))
    })
    .await
}

/// The position of a job, unless another replica is at it.
pub async fn lock_position(conn: &mut AsyncPgConnection, job: &str) -> QueryResult<Option<i64>> {
    job_positions::table
        .find(job)
        .select(job_positions::position)
        .for_update()
        .skip_locked()
        .first(conn)
        .await
        .optional()
}

pub async fn advance(conn: &mut AsyncPgConnection, job: &str, position: i64) -> QueryResult<usize> {
    diesel::update(job_positions::table.find(job))
        .set(job_positions::position.eq(position))
        .execute(conn)
        .await
}

async fn react(conn: &mut AsyncPgConnection, facts: &[LoggedTransfer]) -> Result<(), ApiError> {
    let (waiting, done): (Vec<_>, Vec<_>) = facts
        .iter()
        .partition(|fact| fact.status == TransferStatus::InReview);
    let mut new: Vec<NewAlert> = Vec::new();
    if !waiting.is_empty() {
        let ids: Vec<TransferId> = waiting.iter().map(|fact| fact.transfer_id).collect();
        let scores = score::queries::find(conn, &ids).await?;
        new.extend(
            waiting
                .iter()
                .map(|fact| review_of(fact, scores.get(&fact.transfer_id))),
        );
    }
    close_decided(conn, &done).await?;
    let posted: Vec<&LoggedTransfer> = done
        .into_iter()
        .filter(|fact| fact.status == TransferStatus::Posted)
        .collect();
    let matches = list::queries::matching(conn, posted.iter().copied().flat_map(subjects)).await?;
    new.extend(posted.iter().filter_map(|fact| watch_of(fact, &matches)));
    // In one order everywhere, since each locks the case of its holder.
    new.sort_by_key(|alert| (alert.holder_id.map(|it| it.uuid()), alert.account_id));
    for alert in &new {
        queries::open(conn, alert).await?;
    }
    Ok(())
}

fn review_of(fact: &LoggedTransfer, score: Option<&Score>) -> NewAlert {
    let reasons = score.map_or(&[][..], |score| &score.reasons);
    let details = reasons.iter().map(|reason| reason.detail.as_str());
    let details: Vec<&str> = details.filter(|detail| !detail.trim().is_empty()).collect();
    let sentence = match fact.code.as_deref() {
        Some("reversal") => "undoes another transfer, which two people decide".to_owned(),
        _ if !details.is_empty() => details.join("; "),
        Some("amount") => "an amount that two people decide".to_owned(),
        _ => "no score came in time for an amount like this".to_owned(),
    };
    NewAlert {
        kind: AlertKind::Review,
        severity: Severity::of_review(score.and_then(|score| i16::try_from(score.score).ok())),
        account_id: fact.debit_account_id,
        holder_id: fact.debit_holder_id,
        transfer_id: Some(fact.transfer_id),
        pattern_window: None,
        sentence: sentence.chars().take(MAX_SENTENCE).collect(),
        transfer_ids: vec![fact.transfer_id],
    }
}

/// What a transfer is looked up by.
pub fn subjects(fact: &LoggedTransfer) -> Vec<Subject> {
    let known = |kind: SubjectKind, id: Option<Uuid>| id.map(|id| (kind, id));
    let holders = [fact.debit_holder_id, fact.credit_holder_id];
    let holders = holders.map(|it| known(SubjectKind::Holder, it.map(|it| it.uuid())));
    let others = [
        known(SubjectKind::Account, Some(fact.debit_account_id.uuid())),
        known(SubjectKind::Counterparty, Some(fact.credit_account_id.uuid())),
        known(SubjectKind::Device, fact.device),
        known(SubjectKind::Address, fact.address),
    ];
    holders.into_iter().chain(others).flatten().collect()
}

fn watch_of(fact: &LoggedTransfer, matches: &HashMap<Subject, Vec<Match>>) -> Option<NewAlert> {
    let found: Vec<&Match> = subjects(fact)
        .iter()
        .filter_map(|subject| matches.get(subject))
        .flatten()
        .filter(|it| it.list == List::Watch)
        .collect();
    let [first, ..] = found.as_slice() else {
        return None;
    };
    let is_payee = first.subject.0 == SubjectKind::Counterparty
        || fact.credit_holder_id.map(|it| it.uuid()) == Some(first.subject.1);
    let (account_id, holder_id) = match is_payee {
        true => (fact.credit_account_id, fact.credit_holder_id),
        false => (fact.debit_account_id, fact.debit_holder_id),
    };
    let sentences: Vec<String> = found
        .iter()
        .map(|it| format!("the {} is watched: {}", it.subject.0.name(), it.reason))
        .collect();
    Some(NewAlert {
        kind: AlertKind::Watch,
        severity: Severity::Low,
        account_id,
        holder_id,
        transfer_id: Some(fact.transfer_id),
        pattern_window: None,
        sentence: sentences.join("; ").chars().take(MAX_SENTENCE).collect(),
        transfer_ids: vec![fact.transfer_id],
    })
}

/// Closes the reviews of transfers that are in review no longer.
async fn close_decided(conn: &mut AsyncPgConnection, done: &[&LoggedTransfer]) -> Result<(), ApiError> {
    let outcomes: HashMap<TransferId, ReviewOutcome> = done
        .iter()
        .map(|fact| {
            let outcome = match fact.status {
                TransferStatus::Posted => ReviewOutcome::Release,
                _ => ReviewOutcome::Refuse,
            };
            (fact.transfer_id, outcome)
        })
        .collect();
    let rows: Vec<AlertRow> = AlertRow::query()
        .filter(alerts::transfer_id.eq_any(outcomes.keys().copied().collect::<Vec<_>>()))
        .filter(alerts::kind.eq(AlertKind::Review.name()))
        .filter(alerts::status.ne(AlertStatus::Closed.name()))
        .order(alerts::id)
        .for_update()
        .load(conn)
        .await?;
    for alert in &rows {
        if let Some(outcome) = alert.transfer_id.and_then(|id| outcomes.get(&id)) {
            done_at_the_ledger(conn, alert, *outcome).await?;
        }
    }
    Ok(())
}

/// Tells how many wait, and how many for too long.
async fn count(db: &Db) {
    let counts = match db.connection().await {
        Ok(mut conn) => queries::counts(&mut conn).await,
        Err(_) => return,
    };
    let counts = counts.unwrap_or_default();
    for severity in Severity::ALL {
        let found = counts.iter().find(|(name, ..)| name == severity.name());
        let (open, overdue) = found.map_or((0, 0), |(_, open, overdue)| (*open, *overdue));
        let bounded = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        crate::telemetry::set_alerts(severity, bounded(open), bounded(overdue));
    }
}
