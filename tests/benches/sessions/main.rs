//! `cargo bench -p platform --bench sessions`: checks of a session per second, from memory, from Redis and from PostgreSQL, beside
//! an endpoint of the same service that does nothing.
//!
//! Each check from Redis or PostgreSQL is of a session that the replica asked has never seen. Everything runs on this
//! machine, so read the ratios of one run. Each cell is the median of several interleaved rounds.

#![expect(
    clippy::as_conversions,
    clippy::float_arithmetic,
    reason = "statistics of a measurement, on figures of its own"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use platform::platform::Replica;
use platform::postgres::Durability;
use platform::redis::Redis;
use platform::{Platform, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SESSIONS: u64 = 400_000;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const SECRET: &str = "brs_b7c1e2f3a4958677605142332415069f8e7d6c5b4";

/// What is asked in a row of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Bare,
    Memory,
    Redis,
    PostgreSql,
}

impl What {
    /// PostgreSQL comes before Redis: it fills it.
    const ALL: [Self; 4] = [Self::Bare, Self::Memory, Self::PostgreSql, Self::Redis];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare endpoint",
            Self::Memory => "session check, memory",
            Self::Redis => "session check, Redis",
            Self::PostgreSql => "session check, PostgreSQL",
        }
    }

    /// What the answer has to say about where the session was found.
    fn expected(self) -> &'static str {
        match self {
            Self::Bare => "ok",
            Self::Memory => "\"cacheSource\":\"unified\"",
            Self::Redis => "\"cacheSource\":\"ultra\"",
            Self::PostgreSql => "\"cacheSource\":\"db\"",
        }
    }
}

fn main() -> anyhow::Result<()> {
    // `cargo test --benches` builds this and runs it with `--test`: measuring is not testing.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> anyhow::Result<()> {
    eprintln!("starting PostgreSQL, Redis and the services …");
    let redis = Redis::start().await?;
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .own_server(Durability::Durable)
        .replicas(2)
        .set(Service::Auth, "BRIDGE_SECRETS", SECRET)
        .set(Service::Auth, "REDIS_URL", redis.url())
        .start()
        .await?;
    let ada = platform.register("ada").await;
    insert_sessions(&platform, &ada.user_id).await?;
    // The first session is the one in memory; the others are taken in their order by the one replica and then by the other.
    let (mut database, mut shared) = (1, 1);
    let mut cells: Vec<(What, Vec<f64>)> = What::ALL.map(|what| (what, Vec::new())).into();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (what, rates) in &mut cells {
            let number = usize::from(*what == What::Redis);
            let url = platform.url_of(Replica {
                service: Service::Auth,
                number,
            });
            let first = match what {
                What::Redis => shared,
                What::PostgreSql => database,
                _ => 0,
            };
            let limit = if *what == What::Redis { database } else { SESSIONS };
            let (rate, last) = measure(&url, *what, first, limit).await?;
            match what {
                What::Redis => shared = last,
                What::PostgreSql => database = last,
                _ => {}
            }
            rates.push(rate);
        }
    }
    println!("\n{:<28}{:>12}{:>10}", "what", "per second", "ratio");
    let mut bare = None;
    for (what, rates) in &mut cells {
        rates.sort_by(f64::total_cmp);
        let median = rates.get(ROUNDS / 2).copied().context("no round")?;
        let reference = *bare.get_or_insert(median);
        println!("{:<28}{median:>12.0}{:>10.2}", what.name(), median / reference);
    }
    platform.stop().await
}

async fn insert_sessions(platform: &Platform, user_id: &str) -> anyhow::Result<()> {
    let user: shared::id::UserId = user_id.parse()?;
    platform
        .sql()
        .await
        .execute(
            "INSERT INTO auth.sessions (id, secret_hash, user_id, created_at, last_used_at, expires_at, idle_expires_at)
             SELECT gen_random_uuid(), sha256(('ses_' || number)::bytea), $1, now(), now(), now() + interval '30 days',
                 now() + interval '7 days'
             FROM generate_series(0, $2::bigint) AS number",
            &[&user.uuid(), &i64::try_from(SESSIONS)?],
        )
        .await?;
    platform
        .sql()
        .await
        .batch_execute("VACUUM ANALYZE auth.sessions")
        .await?;
    Ok(())
}

/// Asks over many connections; how many answers came in a second, and the first session that was not asked about.
async fn measure(url: &str, what: What, first: u64, limit: u64) -> anyhow::Result<(f64, u64)> {
    let address = url.strip_prefix("http://").context("an http URL")?.to_owned();
    let next = Arc::new(AtomicU64::new(first));
    if what == What::Memory {
        // The first answer is from PostgreSQL, and is kept from the second reading of changes on.
        warm_up(&address).await?;
    }
    let started = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (address, next) = (address.clone(), Arc::clone(&next));
            tokio::spawn(async move { ask(&address, what, &next, limit, ROUND).await })
        })
        .collect();
    let mut count = 0;
    for client in clients {
        count += client.await??;
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    Ok((rate, next.load(Ordering::Relaxed).min(limit)))
}

async fn warm_up(address: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !exchange(&mut stream, &request(address, What::Memory, 0))
        .await?
        .contains(What::Memory.expected())
    {
        ensure!(Instant::now() < deadline, "no session is cached");
    }
    Ok(())
}

async fn ask(
    address: &str,
    what: What,
    next: &AtomicU64,
    limit: u64,
    duration: Duration,
) -> anyhow::Result<u64> {
    let end = Instant::now() + duration;
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut count = 0;
    while Instant::now() < end {
        let session = match what {
            What::Bare | What::Memory => 0,
            What::Redis | What::PostgreSql => next.fetch_add(1, Ordering::Relaxed),
        };
        if session >= limit {
            break;
        }
        let answer = exchange(&mut stream, &request(address, what, session)).await?;
        ensure!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(what.expected()),
            "{} expected {}: {answer}",
            what.name(),
            what.expected()
        );
        count += 1;
    }
    Ok(count)
}

fn request(address: &str, what: What, session: u64) -> String {
    if what == What::Bare {
        return format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
    }
    format!(
        "POST /auth/bridge/validate HTTP/1.1\r\nHost: {address}\r\nX-Bridge-Secret: {SECRET}\r\n\
         X-Session-ID: ses_{session}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Sends a request and reads its answer, which has a `Content-Length`.
async fn exchange(stream: &mut TcpStream, request: &str) -> anyhow::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        ensure!(
            stream.read_buf(&mut answer).await? > 0,
            "the connection was closed"
        );
        let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(answer.get(..head_end).unwrap_or_default()).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no content-length")?.trim().parse()?;
        if answer.len() >= head_end + 4 + length {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
    }
}
