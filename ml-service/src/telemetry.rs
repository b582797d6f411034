//! What this service counts. The names are a promise to whoever wrote an alert.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::clients::ml::SERVICE;
use shared::telemetry;

use crate::alert::Severity;
use crate::insight::InsightKind;
use crate::insight::feedback::Rating;
use crate::risk::Band;

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
        "Transfers that got no score because they cannot be understood, or their amount is none",
    );
    telemetry::counter(
        "fraud_shadow_dropped_total",
        "Transfers that no shadow scored because too many waited",
    );
    telemetry::counter(
        "fraud_cycle_searches_cut_total",
        "Searches for circles that could not follow everybody",
    );
    describe_gauge!(
        "fraud_models_unreadable",
        "Models of the registry that are to be used and cannot be read"
    );
    gauge!("fraud_models_unreadable").set(0);
    for (name, what) in [
        (
            "fraud_amount_psi",
            "How far the amounts of the last 7 days are from those of the 28 before: population stability index",
        ),
        ("fraud_score_psi", "The same of the model's probabilities"),
        (
            "fraud_tail_share",
            "The share of the last 7 days' scores above what 99 % of those before were under",
        ),
        (
            "fraud_alert_rate",
            "The share of the last 7 days' transfers that were reviewed or blocked",
        ),
        (
            "fraud_missing_rate",
            "The share of the last 7 days' transfers that were decided without a score",
        ),
        (
            "fraud_average_precision",
            "Of the model's scores, on the 28 days up to the newest label",
        ),
    ] {
        describe_gauge!(name, what);
        gauge!(name).set(f64::NAN);
    }
    for decision in ["allow", "review", "block"] {
        counter!("fraud_decisions_total", "decision" => decision).increment(0);
    }
    describe_counter!(
        "fraud_shadow_rule_hits_total",
        "Transfers to which a rule in the shadow would apply, by its code"
    );
    counter!("fraud_shadow_rule_hits_total").increment(0);
    describe_gauge!("fraud_alerts_open", "Alerts that are not closed, by severity");
    describe_gauge!(
        "fraud_alerts_overdue",
        "Alerts that are not closed and were due, by severity"
    );
    for severity in Severity::ALL {
        set_alerts(severity, 0, 0);
    }
    describe_counter!(
        "insight_feedback_total",
        "Insights that holders rated or dismissed, by kind"
    );
    for kind in InsightKind::ALL {
        for said in Rating::ALL.map(Rating::name).into_iter().chain(["dismissed"]) {
            counter!("insight_feedback_total", "kind" => kind.name(), "said" => said).increment(0);
        }
    }
    describe_counter!("risk_assessments_total", "Risk assessments, by band");
    for band in Band::ALL {
        counter!("risk_assessments_total", "band" => band.name()).increment(0);
    }
}

pub fn set_alerts(severity: Severity, open: u32, overdue: u32) {
    gauge!("fraud_alerts_open", "severity" => severity.name()).set(open);
    gauge!("fraud_alerts_overdue", "severity" => severity.name()).set(overdue);
}
