//! Sending finished spans to a collector, by OTLP over HTTP.
//!
//! Whoever ends a span never waits for it: spans pass through a bounded queue to one task, and what finds the queue full is
//! dropped and counted. A collector that is down costs its spans and nothing else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use opentelemetry::{KeyValue, TraceId};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Env;
use crate::http_client;

const QUEUE_LENGTH: usize = 8192;
const MAX_BATCH: usize = 512;
/// How long spans wait for others to travel with.
const GATHER: Duration = Duration::from_millis(500);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process that stops waits for its last spans to be taken.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The bits of a trace id that W3C Trace Context wants random.
const RANDOM_BITS: u128 = (1 << 56) - 1;

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    queue: mpsc::Sender<SpanData>,
    /// Traces whose random bits are below this are kept.
    sample_below: u128,
    dropped: AtomicU64,
}

/// Where this process sends its spans.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportConfig {
    /// Without `/v1/traces`.
    endpoint: String,
    service_name: String,
    /// Which part of the traces that begin here is kept, from 0 to 1.
    ratio: f64,
}

impl ExportConfig {
    /// Reads `OTEL_EXPORTER_OTLP_ENDPOINT` (unset: nothing is exported), `OTEL_SERVICE_NAME` (default `service`) and
    /// `OTEL_TRACES_SAMPLER_ARG` (default 1).
    pub fn from_env(env: &mut Env, service: &str) -> Option<Self> {
        let endpoint: Option<String> = env.optional("OTEL_EXPORTER_OTLP_ENDPOINT");
        let service_name = env.or("OTEL_SERVICE_NAME", service.to_owned());
        let ratio = env.or("OTEL_TRACES_SAMPLER_ARG", 1.0);
        if !(0.0..=1.0).contains(&ratio) {
            env.refuse("OTEL_TRACES_SAMPLER_ARG", "is not between 0 and 1");
        }
        let endpoint = endpoint?;
        let is_http = |url: reqwest::Url| matches!(url.scheme(), "http" | "https");
        if !reqwest::Url::parse(&endpoint).is_ok_and(is_http) {
            env.refuse(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "is not a URL such as http://collector:4318",
            );
        }
        Some(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            service_name,
            ratio,
        })
    }
}

/// Whether spans are worth being made.
pub(super) fn is_on() -> bool {
    EXPORTER.get().is_some()
}

/// Whether a trace that begins here is kept. The same for the same id, so that replicas agree.
pub(crate) fn samples(trace_id: TraceId) -> bool {
    let random = u128::from_be_bytes(trace_id.to_bytes()) & RANDOM_BITS;
    EXPORTER
        .get()
        .is_some_and(|exporter| random < exporter.sample_below)
}

pub(super) fn send(span: SpanData) {
    if let Some(exporter) = EXPORTER.get()
        && exporter.queue.try_send(span).is_err()
    {
        exporter.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn sample_below(ratio: f64) -> u128 {
    #[expect(
        clippy::as_conversions,
        clippy::float_arithmetic,
        reason = "a share of 2^56, nowhere near money; `as` stays within bounds"
    )]
    let bound = (ratio * (1_u64 << 56) as f64) as u128;
    bound
}

/// The task that exports, while the process runs.
pub struct Exporting {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Begins to export, on the current runtime. Once per process.
pub fn start(config: ExportConfig) -> anyhow::Result<Exporting> {
    let client = http_client::connection_pool(EXPORT_TIMEOUT)?;
    let mut destination = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", config.endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", config.service_name),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ]);
    destination.set_resource(&resource.build());
    let (queue, finished) = mpsc::channel(QUEUE_LENGTH);
    let exporter = Exporter {
        queue,
        sample_below: sample_below(config.ratio),
        dropped: AtomicU64::new(0),
    };
    anyhow::ensure!(EXPORTER.set(exporter).is_ok(), "spans are exported already");
    let stop = CancellationToken::new();
    Ok(Exporting {
        task: tokio::spawn(export(destination, finished, stop.clone())),
        stop,
    })
}

impl Exporting {
    /// Sends what has ended, and ends.
    pub async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH_TIMEOUT, self.task).await.is_err() {
            tracing::warn!("the last spans did not reach the collector");
        }
    }
}

async fn export(destination: SpanExporter, mut finished: mpsc::Receiver<SpanData>, stop: CancellationToken) {
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        let received = tokio::select! {
            biased;
            received = finished.recv_many(&mut batch, MAX_BATCH) => received,
            () = stop.cancelled(), if !finished.is_closed() => {
                finished.close();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        if received < MAX_BATCH {
            let _ = stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            while batch.len() < MAX_BATCH
                && let Ok(span) = finished.try_recv()
            {
                batch.push(span);
            }
        }
        let result = destination.export(std::mem::take(&mut batch)).await;
        match &result {
            Err(error) if !failing => tracing::warn!(%error, "spans do not reach the collector"),
            Ok(()) if failing => tracing::info!("spans reach the collector again"),
            _ => {}
        }
        failing = result.is_err();
        report_dropped();
    }
}

fn report_dropped() {
    let dropped = EXPORTER
        .get()
        .map_or(0, |exporter| exporter.dropped.swap(0, Ordering::Relaxed));
    if dropped > 0 {
        tracing::warn!(dropped, "more spans ended than the collector takes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_variables_are_read_and_checked() {
        let mut env = Env::from_pairs([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let config = ExportConfig::from_env(&mut env, "gateway").unwrap();
        assert_eq!(config.endpoint, "http://collector:4318");
        assert_eq!((config.service_name.as_str(), config.ratio), ("gateway", 0.25));
        env.finish(()).unwrap();

        assert_eq!(
            ExportConfig::from_env(&mut Env::from_pairs([("A", "b")]), "gateway"),
            None
        );

        let mut env = Env::from_pairs([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ]);
        ExportConfig::from_env(&mut env, "gateway");
        let text = env.finish(()).unwrap_err().to_string();
        assert!(text.contains("OTEL_EXPORTER_OTLP_ENDPOINT is not"), "{text}");
        assert!(text.contains("OTEL_TRACES_SAMPLER_ARG is not"), "{text}");
    }

    #[test]
    fn a_ratio_is_a_share_of_the_random_bits() {
        assert_eq!(sample_below(0.0), 0);
        assert_eq!(sample_below(0.5), 1 << 55);
        assert_eq!(sample_below(1.0), RANDOM_BITS + 1);
    }
}
