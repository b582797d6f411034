//! Logs and metrics of a process.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::Env;

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Bucket bounds in seconds, from a cached answer to one that timed out.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Sizes of batches.
const SIZE_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Starts logging: `LOG_FORMAT` is `pretty` (default) or `json`, `RUST_LOG` filters (default `info`).
pub fn init_logging(env: &mut Env) {
    let format: String = env.or("LOG_FORMAT", "pretty".to_owned());
    let filter =
        EnvFilter::try_new(env.or("RUST_LOG", "info".to_owned())).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = match format.as_str() {
        "json" => subscriber.json().flatten_event(true).try_init(),
        "pretty" => subscriber.compact().try_init(),
        _ => {
            env.refuse("LOG_FORMAT", "is neither `pretty` nor `json`");
            return;
        }
    };
    // A second service of the same process finds the subscriber already there, which is as good.
    drop(outcome);
}

/// The metrics of this process in Prometheus's text format. The first call starts counting.
pub fn metrics() -> Option<&'static PrometheusHandle> {
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
