//! Many connections that transfer one after another, each with a bare HTTP/1.1 client, so that little of the machine goes
//! to the load itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Workload;

#[derive(Clone, Copy)]
pub struct Measured {
    pub count: u64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

pub struct Load {
    address: String,
    token: Arc<str>,
    accounts: Arc<[String]>,
}

impl Load {
    pub fn new(base_url: &str, token: &str, accounts: &[String]) -> anyhow::Result<Self> {
        let address = base_url
            .strip_prefix("http://")
            .context("an http URL")?
            .to_owned();
        Ok(Self {
            address,
            token: token.into(),
            accounts: accounts.into(),
        })
    }

    /// Each connection sends as fast as it is answered, or all together `per_second`.
    pub async fn run(
        &self,
        workload: Workload,
        connections: usize,
        per_second: Option<f64>,
        duration: Duration,
    ) -> anyhow::Result<Measured> {
        let started = Instant::now();
        let interval = per_second.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
        let clients: Vec<_> = (0..connections)
            .map(|number| {
                let pace = interval.map(|interval| Pace {
                    next: started + interval.mul_f64(number as f64 / connections as f64),
                    interval,
                });
                let client = Client {
                    pace,
                    address: self.address.clone(),
                    token: Arc::clone(&self.token),
                    accounts: Arc::clone(&self.accounts),
                    random: Random::new(number as u64),
                    workload,
                };
                tokio::spawn(client.run(started + duration))
            })
            .collect();
        let mut latencies_us: Vec<u32> = Vec::new();
        for client in clients {
            latencies_us.extend(client.await??);
        }
        let elapsed = started.elapsed().as_secs_f64();
        latencies_us.sort_unstable();
        let quantile = |share: f64| {
            let index = (latencies_us.len() as f64 * share) as usize;
            latencies_us
                .get(index.min(latencies_us.len().saturating_sub(1)))
                .map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        Ok(Measured {
            count: latencies_us.len() as u64,
            per_second: latencies_us.len() as f64 / elapsed,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        })
    }
}

/// When a connection sends, whether or not it was answered in time.
struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    /// Waits for the next time to send, and tells it: who is late has made the client wait since then.
    async fn wait(&mut self) -> Instant {
        let due = self.next;
        self.next += self.interval;
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}

struct Client {
    pace: Option<Pace>,
    address: String,
    token: Arc<str>,
    accounts: Arc<[String]>,
    random: Random,
    workload: Workload,
}

impl Client {
    /// The latencies, in microseconds, of the transfers that were posted until `end`.
    async fn run(mut self, end: Instant) -> anyhow::Result<Vec<u32>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut latencies = Vec::with_capacity(4096);
        let mut answer = vec![0; 16 * 1024];
        while Instant::now() < end {
            let request = self.request();
            let sent = match &mut self.pace {
                Some(pace) => pace.wait().await,
                None => Instant::now(),
            };
            stream.write_all(request.as_bytes()).await?;
            let length = read_answer(&mut stream, &mut answer).await?;
            let text = String::from_utf8_lossy(&answer[..length]);
            if !(text.starts_with("HTTP/1.1 201") && text.contains("\"status\":\"posted\"")) {
                bail!("a transfer was not posted: {text}");
            }
            latencies.push(sent.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
        }
        Ok(latencies)
    }

    fn request(&mut self) -> String {
        let count = self.accounts.len() as u64;
        let debit = match self.workload {
            Workload::Uniform => self.random.below(count),
            Workload::Hot => 0,
        };
        let credit = (debit + 1 + self.random.below(count - 1)) % count;
        let (debit, credit) = (&self.accounts[debit as usize], &self.accounts[credit as usize]);
        let body = format!(
            "{{\"debit_account_id\":\"{debit}\",\"credit_account_id\":\"{credit}\",\"amount\":{},\"currency\":\"USD\"}}",
            1 + self.random.below(100)
        );
        format!(
            "POST /api/v1/transfers HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {:016x}{:016x}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            self.random.next(),
            self.random.next(),
            body.len()
        )
    }
}

/// Reads one answer with a `Content-Length`, or in chunks, and returns its length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(read > 0, "the connection was closed");
        filled += read;
        let text = &buffer[..filled];
        let Some(head_end) = text.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&text[..head_end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let complete = match length {
            Some(length) => filled >= head_end + 4 + length.trim().parse::<usize>()?,
            None => text.ends_with(b"\r\n0\r\n\r\n"),
        };
        if complete {
            return Ok(filled);
        }
    }
}

/// xorshift64*: good enough to draw accounts, and seeded from the clock so that no two runs share an idempotency key.
struct Random(u64);

impl Random {
    fn new(stream: u64) -> Self {
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |elapsed| elapsed.as_nanos() as u64);
        let mut random = Self((now ^ (stream + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
