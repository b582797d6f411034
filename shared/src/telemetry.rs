//! Logs and metrics of a process; traces are in [`crate::trace`].
//!
//! A metric's name is a promise to whoever wrote an alert. Each is described where its service starts, counters begin at
//! zero, and labels have few values: never an id.

mod json_lines;
mod process_metrics;

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::Denial;
use crate::config::Env;
use json_lines::JsonLines;

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Bucket bounds in seconds, from a cached answer to one that timed out.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Sizes of batches.
const SIZE_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Starts logging for `service`: `LOG_FORMAT` is `pretty` (default) or `json`, `RUST_LOG` filters (default `info`).
pub fn init_logging(env: &mut Env, service: &'static str) {
    let format: String = env.or("LOG_FORMAT", "pretty".to_owned());
    let asked_for =
        EnvFilter::try_new(env.or("RUST_LOG", "info".to_owned())).unwrap_or_else(|_| EnvFilter::new("info"));
    let harmless = filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE);
    let filter = asked_for.and(harmless);
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    let outcome = match format.as_str() {
        "json" => {
            let lines = lines
                .fmt_fields(JsonFields::new())
                .event_format(JsonLines { service });
            registry.with(lines.with_filter(filter)).try_init()
        }
        "pretty" => {
            let lines = lines.with_target(false).compact();
            registry.with(lines.with_filter(filter)).try_init()
        }
        _ => {
            env.refuse("LOG_FORMAT", "is neither `pretty` nor `json`");
            return;
        }
    };
    // A second service of the same process finds the subscriber already there, which is as good.
    drop(outcome);
}

/// Below `info`, libraries tell what passes through them: the database driver the parameters of every statement, the HTTP
/// server paths. Whatever `RUST_LOG` says, only these crates are heard there, none of which tells such a thing.
const HEARD_BELOW_INFO: [&str; 8] = [
    "accounts_service",
    "auth_service",
    "gateway",
    "hyper_util",
    "ml_service",
    "platform",
    "shared",
    "transactions_service",
];

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let name = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= tracing::Level::INFO || HEARD_BELOW_INFO.contains(&name)
}

/// Starts counting for `service`, before anything counts. Safe to call for several services of one process.
pub fn start_metrics(service: &'static str) {
    if metrics().is_none() {
        tracing::error!("metrics cannot be recorded");
    }
    describe_gauge!("build_info", "The version that runs, as a label; always 1");
    gauge!("build_info", "service" => service, "version" => env!("CARGO_PKG_VERSION")).set(1);
    describe_requests();
    describe_database();
    describe_counter!(
        "security_access_denied_total",
        "Requests refused for who asked, by reason"
    );
    for denial in Denial::ALL {
        counter!("security_access_denied_total", "service" => service, "reason" => denial.reason())
            .increment(0);
    }
    describe_counter!(
        "token_cache_requests_total",
        "Look-ups of an access token among those verified before"
    );
    describe_counter!(
        "jwks_fetches_total",
        "Fetches of the keys that verify access tokens"
    );
    describe_counter!(
        "idempotent_replays_total",
        "Answers repeated for an Idempotency-Key seen before"
    );
}

fn describe_requests() {
    describe_counter!("http_requests_total", "Requests answered");
    describe_histogram!(
        "http_request_duration_seconds",
        "From a request's head to its answer's"
    );
    describe_gauge!("http_requests_in_flight", "Requests that are being worked on");
    describe_counter!(
        "http_client_requests_total",
        "Calls to other services by the status that was answered; `error` without an answer"
    );
    describe_histogram!(
        "http_client_request_duration_seconds",
        "Duration of calls to other services"
    );
}

fn describe_database() {
    describe_gauge!(
        "db_pool_connections_in_use",
        "Database connections that are lent out"
    );
    describe_gauge!(
        "db_pool_connections_max",
        "Database connections that the pool may have"
    );
    describe_histogram!(
        "db_pool_wait_duration_seconds",
        "How long work waited for a database connection"
    );
    describe_counter!(
        "db_connection_failures_total",
        "Database connections that could not be had"
    );
    describe_counter!(
        "db_transactions_total",
        "Database transactions by name, and how they ended"
    );
}

/// Describes a counter without labels, which then starts at zero: an alert on what has never happened must see that.
pub fn counter(name: &'static str, help: &'static str) {
    describe_counter!(name, help);
    counter!(name).increment(0);
}

/// Describes a histogram without labels, which then starts empty.
pub fn histogram(name: &'static str, help: &'static str) {
    describe_histogram!(name, help);
    drop(histogram!(name));
}

fn metrics() -> Option<&'static PrometheusHandle> {
    if METRICS.get().is_none() {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZE_BUCKETS)
            })
            .ok()?
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_ok() {
            drop(METRICS.set(handle));
        }
    }
    METRICS.get()
}

/// The metrics of this process in Prometheus's text format.
pub fn metrics_page() -> Option<String> {
    let mut page = metrics()?.render();
    process_metrics::write(&mut page);
    Some(page)
}

/// Folds the samples of histograms together from time to time: until then each takes memory of its own, and nobody may
/// be scraping.
pub async fn upkeep() {
    let mut interval = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        interval.tick().await;
        if let Some(metrics) = metrics() {
            metrics.run_upkeep();
        }
    }
}

/// One provider of cryptography for every TLS connection of the process.
pub fn install_crypto_provider() {
    // An error means that it is installed already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_on_the_page_from_the_start() {
        start_metrics("telemetry-test");
        counter("telemetry_test_total", "A counter");
        histogram("telemetry_test_seconds", "A histogram");
        let page = metrics_page().unwrap();
        for line in [
            "# HELP telemetry_test_total A counter",
            "# TYPE telemetry_test_total counter",
            "telemetry_test_total 0",
            "# TYPE telemetry_test_seconds histogram",
            "telemetry_test_seconds_count 0",
            r#"security_access_denied_total{service="telemetry-test",reason="token_expired"} 0"#,
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} in:\n{page}");
        }
    }
}
