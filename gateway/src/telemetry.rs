//! What the gateway counts. The names are a promise to whoever wrote an alert.

use metrics::{counter, describe_counter, describe_gauge};
use shared::telemetry;

/// Begins to count, before anything happens that counts.
pub fn start() {
    telemetry::start_metrics(crate::SERVICE);
    describe_counter!(
        "gateway_rate_limited_total",
        "Requests refused with 429, by the limit they met"
    );
    for limit in ["address", "login", "user"] {
        counter!("gateway_rate_limited_total", "limit" => limit).increment(0);
    }
    describe_counter!(
        "gateway_upstream_failures_total",
        "Requests that a service did not answer: no connection, a broken one, or no answer in time"
    );
    for upstream in ["auth-service", "accounts-service", "transactions-service"] {
        for kind in ["connect", "timeout", "broken"] {
            counter!("gateway_upstream_failures_total", "upstream" => upstream, "kind" => kind).increment(0);
        }
    }
    describe_gauge!(
        "gateway_circuit_open",
        "Whether requests to a service are refused at once because it keeps failing"
    );
}
