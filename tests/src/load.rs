//! Requests over many connections, each with a bare HTTP/1.1 client, so that little of the machine goes to the load itself.

#![expect(
    clippy::as_conversions,
    clippy::float_arithmetic,
    reason = "statistics of a measurement"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What one connection does: it is shown the last answer and gives the next request, or nothing when it is done.
pub type Caller = Box<dyn FnMut(Option<&str>) -> anyhow::Result<Option<String>> + Send>;

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

/// Checks that an answer is a success and has a text in it.
pub fn expect(answer: &str, expected: &str) -> anyhow::Result<()> {
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(expected),
        "expected {expected}: {answer}"
    );
    Ok(())
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
            let head = answer.get(..head_end).unwrap_or_default();
            let head = String::from_utf8_lossy(head).to_ascii_lowercase();
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no content-length")?.trim().parse()?;
            if answer.len() >= head_end + 4 + length {
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
        }
    }
}
