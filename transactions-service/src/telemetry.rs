//! What this service counts. The names are a promise to whoever wrote an alert.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::clients::transactions::SERVICE;
use shared::telemetry::{self, histogram};

use crate::schedule::RunOutcome;
use crate::transfer::{TransferKind, TransferStatus};

/// Begins to count, before anything happens that counts.
pub fn start(lanes: usize) {
    telemetry::start_metrics(SERVICE);
    describe_lanes(lanes);
    describe_outbox();
    describe_webhooks();
    describe_gauge!(
        "ledger_integrity_ok",
        "Whether all checks of the books held when they were last run"
    );
    describe_gauge!(
        "ledger_integrity_check_ok",
        "Whether this check held when it was last run"
    );
    describe_gauge!(
        "ledger_integrity_last_run_timestamp_seconds",
        "The moment whose books were last checked, since the epoch"
    );
    describe_gauge!(
        "schedules_lag_seconds",
        "For how long the schedule that is due longest has waited for its run"
    );
    gauge!("schedules_lag_seconds").set(0);
    describe_counter!("schedule_runs_total", "Runs of schedules, by what became of them");
    for outcome in [RunOutcome::Posted, RunOutcome::InReview, RunOutcome::Failed] {
        counter!("schedule_runs_total", "outcome" => outcome.word()).increment(0);
    }
    describe_gauge!(
        "ledger_checkpoint_lag_seconds",
        "Age of the oldest block that no checkpoint has yet"
    );
    gauge!("ledger_checkpoint_lag_seconds").set(0);
    telemetry::counter(
        "idempotent_replays_total",
        "Answers repeated for an Idempotency-Key seen before",
    );
    telemetry::counter(
        "fraud_late_scores_total",
        "Scores of transfers that had posted without one",
    );
}

fn describe_lanes(lanes: usize) {
    describe_gauge!("lane_queue_depth", "Requests that wait in a lane");
    for lane in 0..lanes.max(1) {
        gauge!("lane_queue_depth", "lane" => lane.to_string()).set(0);
    }
    histogram(
        "lane_batch_size",
        "Requests that were decided in one database transaction",
    );
    histogram("lane_commit_duration_seconds", "Writing and committing a batch");
    histogram(
        "lane_score_duration_seconds",
        "Asking for the fraud scores of a batch",
    );
    telemetry::counter(
        "lane_scores_missed_total",
        "Batches whose fraud scores did not come in time",
    );
    telemetry::counter("lane_batch_retries_total", "Batches that were tried again");
    telemetry::counter(
        "lane_outcomes_unknown_total",
        "Requests that were told that it is not known whether they were done",
    );
    telemetry::counter(
        "lane_rejected_total",
        "Requests refused because the queue of their lane was full",
    );
    describe_counter!(
        "transfers_total",
        "Transfers that were committed, by what became of them"
    );
    for kind in [
        TransferKind::Transfer,
        TransferKind::Deposit,
        TransferKind::Withdrawal,
        TransferKind::Capture,
        TransferKind::Refund,
        TransferKind::Reversal,
    ] {
        for status in [
            TransferStatus::Posted,
            TransferStatus::InReview,
            TransferStatus::Rejected,
        ] {
            counter!("transfers_total", "kind" => kind.word(), "status" => status.word()).increment(0);
        }
    }
}

fn describe_outbox() {
    describe_gauge!(
        "outbox_lag_seconds",
        "Age of the oldest fact that has not reached its receiver"
    );
    describe_gauge!(
        "outbox_pending_events",
        "Facts that have not reached their receiver; more than 100,000 are not counted"
    );
    gauge!("outbox_lag_seconds").set(0);
    gauge!("outbox_pending_events").set(0);
    describe_gauge!(
        "events_lag_seconds",
        "Age of the oldest fact that is not yet among the events"
    );
    gauge!("events_lag_seconds").set(0);
    telemetry::counter("outbox_relayed_total", "Facts that reached their receiver");
    telemetry::counter(
        "outbox_relay_failures_total",
        "Attempts to relay facts that failed",
    );
}

fn describe_webhooks() {
    describe_counter!(
        "webhook_deliveries_total",
        "Attempts to deliver a webhook, by what became of the delivery"
    );
    for outcome in ["delivered", "retried", "failed"] {
        counter!("webhook_deliveries_total", "outcome" => outcome).increment(0);
    }
    histogram(
        "webhook_delivery_duration_seconds",
        "From the request to the end of the receiver's answer",
    );
    describe_gauge!(
        "webhook_pending_deliveries",
        "Webhooks that are not delivered yet; more than 100,000 are not counted"
    );
    describe_gauge!(
        "webhook_lag_seconds",
        "How long an endpoint for which something is due has waited for its turn"
    );
    gauge!("webhook_pending_deliveries").set(0);
    gauge!("webhook_lag_seconds").set(0);
}
