//! What this service counts. The names are a promise to whoever wrote an alert.

use metrics::{counter, describe_counter};
use shared::clients::ml::SERVICE;
use shared::telemetry;

/// Begins to count, before anything happens that counts.
pub fn start() {
    telemetry::start_metrics(SERVICE);
    telemetry::histogram(
        "fraud_scoring_duration_seconds",
        "Scoring a batch, from the request to the answer",
    );
    describe_counter!(
        "fraud_decisions_total",
        "Transfers scored, by what the score says to do with them"
    );
    telemetry::counter(
        "fraud_unscorable_total",
        "Transfers that got no score because their amount is none",
    );
    for decision in ["allow", "review", "block"] {
        counter!("fraud_decisions_total", "decision" => decision).increment(0);
    }
}
