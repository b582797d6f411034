//! What the gateway counts. The names are a promise to whoever wrote an alert.

use metrics::{counter, describe_counter, describe_gauge, gauge};
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
    for upstream in [
        "auth-service",
        "accounts-service",
        "transactions-service",
        "ml-service",
    ] {
        for kind in ["connect", "timeout", "broken"] {
            counter!("gateway_upstream_failures_total", "upstream" => upstream, "kind" => kind).increment(0);
        }
    }
    describe_counter!(
        "gateway_token_exchanges_total",
        "Requests with the credential of a session, by whether its access token was kept or asked for"
    );
    for result in ["kept", "asked"] {
        counter!("gateway_token_exchanges_total", "result" => result).increment(0);
    }
    telemetry::counter(
        "gateway_revocations_total",
        "Revocations that were taken over from auth-service",
    );
    describe_gauge!(
        "gateway_revocations_staleness_seconds",
        "How long ago it was last known what was revoked; beyond REVOCATION_MAX_STALENESS_S no money is moved"
    );
    gauge!("gateway_revocations_staleness_seconds").set(0);
    describe_gauge!(
        "gateway_circuit_open",
        "Whether requests to a service are refused at once because it keeps failing"
    );
}
