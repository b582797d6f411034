//! The job that checks the books now and then, and shows in the metrics what the last run found, whichever replica ran it.

use std::time::Duration;

use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

use super::CHECKS;
use super::queries::{self, LastRun};

/// How soon a replica shows what another one found.
const PAUSE: Duration = Duration::from_secs(60);

pub async fn run(db: Db, interval: Duration, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = check_when_due(&db, interval).await {
            tracing::error!(error = %error, "the books could not be checked; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE.min(interval)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn check_when_due(db: &Db, interval: Duration) -> Result<(), ApiError> {
    let mut conn = db.connection().await?;
    let due = queries::is_due(&mut conn, interval.as_secs_f64()).await?;
    drop(conn);
    if due {
        // If another replica is at it already, its result is shown next time.
        queries::run_checks(db).await?;
    }
    let mut conn = db.connection().await?;
    if let Some(last) = queries::last_run(&mut conn).await? {
        show(&last);
    }
    Ok(())
}

fn show(last: &LastRun) {
    for check in &CHECKS {
        metrics::gauge!("ledger_integrity_check_ok", "check" => check.code).set(u8::from(last.holds(check)));
    }
    metrics::gauge!("ledger_integrity_ok").set(u8::from(last.failed.is_empty()));
    let checked_at = u32::try_from(last.checked_at.timestamp()).unwrap_or(u32::MAX);
    metrics::gauge!("ledger_integrity_last_run_timestamp_seconds").set(checked_at);
}
