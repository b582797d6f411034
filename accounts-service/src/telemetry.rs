//! What this service counts. The names are a promise to whoever wrote an alert.

use metrics::{counter, describe_counter, describe_gauge};
use shared::telemetry;

/// Begins to count, before anything happens that counts.
pub fn start() {
    telemetry::start_metrics(crate::SERVICE);
    telemetry::counter(
        "idempotent_replays_total",
        "Answers repeated for an Idempotency-Key seen before",
    );
    describe_counter!(
        "accounts_repairs_total",
        "Accounts that the job brought the ledger to agree on, or could not"
    );
    for outcome in ["repaired", "failed"] {
        counter!("accounts_repairs_total", "outcome" => outcome).increment(0);
    }
    describe_gauge!(
        "accounts_pending",
        "Accounts whose opening has not reached the ledger"
    );
}
