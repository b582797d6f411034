//! Requests over many connections, each with a bare HTTP/1.1 client, so that little of the machine goes to the load itself.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use platform::processor_time::ProcessorTime;
use platform::{Platform, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What one connection does: it is shown the last answer and gives the next request, or nothing when it is done.
pub type Caller = Box<dyn FnMut(Option<&str>) -> anyhow::Result<Option<String>> + Send>;

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

/// How long each request took, in microseconds; of one that was due at a time, since then.
pub async fn run(
    url: &str,
    callers: Vec<Caller>,
    per_second: Option<f64>,
    duration: Duration,
) -> anyhow::Result<Vec<u32>> {
    let (started, count) = (Instant::now(), callers.len() as f64);
    let interval = per_second.map(|rate| Duration::from_secs_f64(count / rate));
    let address = url.strip_prefix("http://").context("an http URL")?;
    let mut connections = Vec::new();
    for (number, mut caller) in callers.into_iter().enumerate() {
        let mut connection = Connection::open(address).await?;
        let first = interval.map(|interval| started + interval.mul_f64(number as f64 / count));
        connections.push(tokio::spawn(async move {
            let (mut due, mut latencies_us) = (first, Vec::new());
            let mut answer: Option<String> = None;
            while started.elapsed() < duration {
                let Some(request) = caller(answer.as_deref())? else {
                    break;
                };
                let asked_at = due.unwrap_or_else(Instant::now);
                tokio::time::sleep_until(asked_at.into()).await;
                answer = Some(connection.ask(&request).await?);
                latencies_us.push(asked_at.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
                due = due.zip(interval).map(|(due, interval)| due + interval);
            }
            // So that the last answer is looked at too.
            caller(answer.as_deref())?;
            anyhow::Ok(latencies_us)
        }));
    }
    let mut latencies_us = Vec::new();
    for connection in connections {
        latencies_us.extend(connection.await??);
    }
    Ok(latencies_us)
}

/// Of sorted latencies in microseconds.
pub fn quantile_ms(sorted_us: &[u32], share: f64) -> f64 {
    let index = (sorted_us.len() as f64 * share) as usize;
    let last = sorted_us.len().saturating_sub(1);
    sorted_us
        .get(index.min(last))
        .map_or(0.0, |us| f64::from(*us) / 1000.0)
}

/// A caller that always asks the same, and must always be answered the same.
pub fn repeat(request: String, expected: &'static str) -> Caller {
    Box::new(move |answer| {
        answer.map_or(Ok(()), |answer| expect(answer, expected))?;
        Ok(Some(request.clone()))
    })
}

/// Checks that an answer is a success and has a text in it.
pub fn expect(answer: &str, expected: &str) -> anyhow::Result<()> {
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(expected),
        "expected {expected}: {answer}"
    );
    Ok(())
}

/// A POST of JSON.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A connection that stays open.
pub struct Connection(TcpStream);

impl Connection {
    pub async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends a request and reads its answer, which has a `Content-Length`.
    pub async fn ask(&mut self, request: &str) -> anyhow::Result<String> {
        self.0.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(4096);
        loop {
            ensure!(
                self.0.read_buf(&mut answer).await? > 0,
                "the connection was closed"
            );
            let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&answer[..head_end]).to_ascii_lowercase();
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no content-length")?.trim().parse()?;
            if answer.len() >= head_end + 4 + length {
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
        }
    }
}
