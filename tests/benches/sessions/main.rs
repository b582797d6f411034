//! `cargo bench -p platform --bench sessions`: checks of sessions per second, from memory, from Redis and from PostgreSQL, beside an
//! endpoint of the same service that does nothing; logins beside Argon2 alone, and what other requests keep meanwhile;
//! refreshes; how soon a revoked session is refused; and whether the time of a refusal tells who is a user.
//!
//! Everything runs on this machine: PostgreSQL with `fsync=on`, Redis, two replicas of each service as processes of their own, and
//! the load. So read the ratios of one run. Passwords cost what they cost in production. Each cell is the median of several
//! interleaved rounds.

#![expect(
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    reason = "statistics of a measurement, on figures of its own"
)]

mod checks;
mod logins;
mod refreshes;
mod requests;
mod revocations;

use std::time::Duration;

use platform::postgres::Durability;
use platform::redis::Redis;
use platform::{Platform, Service};

use requests::Measured;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const SECRET: &str = "brs_b7c1e2f3a4958677605142332415069f8e7d6c5b4";

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
    let mut builder = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .own_server(Durability::Durable)
        .replicas(2)
        .production_settings()
        .set(Service::Auth, "BRIDGE_SECRETS", SECRET)
        .set(Service::Auth, "REDIS_URL", redis.url());
    // All of this comes from one address.
    for limit in [
        "ADDRESS_LIMIT_PER_MINUTE",
        "USER_LIMIT_PER_MINUTE",
        "LOGIN_LIMIT_PER_MINUTE",
    ] {
        builder = builder.set(Service::Gateway, limit, 10_000_000);
    }
    let platform = builder.start().await?;
    let ada = platform.register("ada").await;
    checks::compare(&platform, &ada.user_id).await?;
    logins::compare(&platform).await?;
    logins::flood(&platform).await?;
    logins::refusals(&platform).await?;
    refreshes::run(&platform).await?;
    revocations::run(&platform).await?;
    platform.stop().await
}

fn median(mut cells: Vec<Measured>) -> Measured {
    cells.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    cells[cells.len() / 2]
}

fn print_head(what: &str) {
    println!(
        "\n{what:<36}{:>12}{:>8}{:>9}{:>9}{:>9}{:>8}",
        "per second", "ratio", "p50 ms", "p99 ms", "µs auth", "µs PG"
    );
}

fn print_row(what: &str, cell: &Measured, ratio: Option<f64>) {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!(
        "{what:<36}{:>12.0}{ratio:>8}{:>9.1}{:>9.1}{:>9.0}{:>8.0}",
        cell.per_second, cell.p50_ms, cell.p99_ms, cell.auth_us, cell.postgresql_us
    );
}
