//! Makes the transfers whose time has come, through the lane like any request.
//!
//! A run is submitted first and written down afterwards. Whoever crashes in between, or runs beside another replica, submits it
//! again under the same key and gets the same answer, so it happens once and is written down once. One that can be neither made
//! nor refused is tried again, later each time.

use std::time::Duration;

use chrono::TimeDelta;
use serde::Deserialize;
use shared::id::TransferId;
use shared::idempotency::IdempotencyKey;
use shared::{ApiError, Clock, Db};
use tokio_util::sync::CancellationToken;

use super::queries::{self, ScheduleRow, Standing};
use super::{Failure, MAX_FAILURES, RunOutcome, ScheduleStatus};
use crate::hold::expiry::PLATFORM;
use crate::idempotency_key::Claim;
use crate::lane::{Answer, Lanes, Work};
use crate::transfer::TransferStatus;

const PAUSE: Duration = Duration::from_secs(1);
/// Runs that are made at a time. The lane decides them together.
const BATCH: i64 = 64;

pub async fn run(db: Db, lanes: Lanes, clock: Clock, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let found = match make_due_runs(&db, &lanes, &clock).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %error, "schedules that are due wait for better times");
                0
            }
        };
        if found > 0 {
            // There may be more that are due, and a schedule that was missed runs again at once.
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Tells how many were made.
async fn make_due_runs(db: &Db, lanes: &Lanes, clock: &Clock) -> Result<usize, ApiError> {
    let mut conn = db.connection().await?;
    let due = queries::find_due(&mut conn, clock.now(), BATCH).await?;
    let first_due_at = queries::first_due_at(&mut conn).await?;
    drop(conn);
    let lag = first_due_at.map_or(0, |due_at| (clock.now() - due_at).num_seconds().max(0));
    metrics::gauge!("schedules_lag_seconds").set(u32::try_from(lag).unwrap_or(u32::MAX));
    let runs = due.into_iter().map(|row| make_run(db, lanes, clock, row));
    let runs = futures_util::future::join_all(runs).await;
    Ok(runs.into_iter().filter(|made| *made).count())
}

/// Tells whether it was made.
async fn make_run(db: &Db, lanes: &Lanes, clock: &Clock, row: ScheduleRow) -> bool {
    let Err(error) = submit(db, lanes, clock, &row).await else {
        return true;
    };
    let id = row.id;
    tracing::warn!(schedule = %id, error = %error, "a run of a schedule is tried again later");
    if let Err(error) = put_off(db, clock, &row).await {
        tracing::warn!(schedule = %id, error = %error, "and it could not be put off");
    }
    false
}

async fn put_off(db: &Db, clock: &Clock, row: &ScheduleRow) -> Result<(), ApiError> {
    let retry_at = clock.now() + pause_after(row.attempts);
    queries::put_off(&mut *db.connection().await?, row, retry_at).await?;
    Ok(())
}

/// Twice as long each time, from a second to some four minutes.
fn pause_after(attempts: i32) -> TimeDelta {
    let doublings = u32::try_from(attempts).unwrap_or(0).min(8);
    TimeDelta::seconds(2_i64.saturating_pow(doublings))
}

async fn submit(db: &Db, lanes: &Lanes, clock: &Clock, row: &ScheduleRow) -> Result<(), ApiError> {
    let name = format!("schedule:{}:{}", row.id, row.next_occurrence);
    let key = IdempotencyKey::parse(&name)
        .ok_or_else(|| ApiError::internal(anyhow::anyhow!("{name} is no idempotency key")))?;
    let claim = Claim::new(PLATFORM, key, "schedule", &row.transfer)?;
    let order = row
        .create_transfer()?
        .into_order(row.owner_id, clock.now().date_naive())?;
    let answer = lanes.submit(Work::Post(order), claim).await?;
    let run = Run::of(&answer)?;
    let standing = standing_after(row, &run)?;
    queries::write_down(&mut *db.connection().await?, row, &run, &standing).await?;
    metrics::counter!("schedule_runs_total", "outcome" => run.outcome.word()).increment(1);
    Ok(())
}

/// What became of a run.
pub struct Run {
    pub outcome: RunOutcome,
    pub transfer_id: Option<TransferId>,
    pub failure: Option<Failure>,
}

impl Run {
    /// A refusal is definite, and the run has failed. Anything else that is no success is tried again.
    fn of(answer: &Answer) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Made {
            id: TransferId,
            status: TransferStatus,
        }
        if answer.status == 422 {
            let failure = serde_json::from_str(&answer.body).map_err(ApiError::internal)?;
            return Ok(Self {
                outcome: RunOutcome::Failed,
                transfer_id: None,
                failure: Some(failure),
            });
        }
        let made: Made = serde_json::from_str(&answer.body).map_err(ApiError::internal)?;
        Ok(Self {
            outcome: match made.status {
                TransferStatus::InReview => RunOutcome::InReview,
                _ => RunOutcome::Posted,
            },
            transfer_id: Some(made.id),
            failure: None,
        })
    }
}

/// How the schedule goes on, unless its owner pauses or ends it meanwhile.
fn standing_after(row: &ScheduleRow, run: &Run) -> Result<Standing, ApiError> {
    let failures_in_a_row = match run.outcome {
        RunOutcome::Failed => row.failures_in_a_row.saturating_add(1),
        RunOutcome::Posted | RunOutcome::InReview => 0,
    };
    let number = row.next_number()?.saturating_add(1);
    let next = row.calendar()?.occurrence(number);
    let status = match (next, run.outcome) {
        (None, RunOutcome::Failed) => ScheduleStatus::Failed,
        (None, _) => ScheduleStatus::Completed,
        (Some(_), _) if failures_in_a_row >= MAX_FAILURES => ScheduleStatus::Failed,
        (Some(_), _) => ScheduleStatus::Active,
    };
    Ok(Standing {
        status,
        next_occurrence: i32::try_from(number).map_err(ApiError::internal)?,
        next_run_at: next
            .filter(|_| status == ScheduleStatus::Active)
            .map(|next| next.due_at),
        failures_in_a_row,
        failure: run.failure.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_is_tried_less_and_less_often_but_always_again() {
        let pauses = [0, 1, 4, 8, 9, i32::MAX].map(|attempts| pause_after(attempts).num_seconds());
        assert_eq!(pauses, [1, 2, 16, 256, 256, 256]);
    }
}
