//! What auth-service is asked, and what an answer costs it.

use std::time::{Duration, Instant};

pub use platform::load::{Caller, Connection, expect, quantile_ms, run};
use platform::processor_time::ProcessorTime;
use platform::{Platform, Service};

/// What came of it.
#[derive(Clone, Copy)]
pub struct Measured {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time per request.
    pub auth_us: f64,
    pub postgresql_us: f64,
}

/// Has each caller ask auth-service as fast as it is answered, or all together `per_second`.
pub async fn measure(
    platform: &Platform,
    url: &str,
    callers: Vec<Caller>,
    per_second: Option<f64>,
    duration: Duration,
) -> anyhow::Result<Measured> {
    let (before, started) = (ProcessorTime::now(platform)?, Instant::now());
    let mut latencies_us = run(url, callers, per_second, duration).await?;
    let (elapsed, spent) = (started.elapsed(), ProcessorTime::now(platform)?.since(&before));
    latencies_us.sort_unstable();
    let per_request = |seconds: f64| seconds * 1e6 / latencies_us.len().max(1) as f64;
    let auth_s = spent.services_s.get(&Service::Auth).copied();
    Ok(Measured {
        per_second: latencies_us.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: quantile_ms(&latencies_us, 0.5),
        p99_ms: quantile_ms(&latencies_us, 0.99),
        auth_us: per_request(auth_s.unwrap_or_default()),
        postgresql_us: per_request(spent.postgresql_s),
    })
}

/// A caller that always asks the same, and must always be answered the same.
pub fn repeat(request: String, expected: &'static str) -> Caller {
    Box::new(move |answer| {
        answer.map_or(Ok(()), |answer| expect(answer, expected))?;
        Ok(Some(request.clone()))
    })
}

/// A POST of JSON.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
