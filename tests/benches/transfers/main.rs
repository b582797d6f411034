//! `cargo bench -p platform --bench transfers`: transfers per second, beside pgbench doing the same transfer with row locks
//! on the same PostgreSQL, in the same run. With `-- growth` at the end: whether ten million postings make it slower. With
//! `-- statements`: which statements the time inside PostgreSQL goes to.
//!
//! Everything runs on this machine: PostgreSQL with `fsync=on`, the services as processes of their own, and the load. So
//! read the ratios of one run, not the absolute figures. Each cell is the median of several interleaved rounds. The
//! service is measured with all it does for a transfer: token, fraud score and what ml-service learns, idempotency key,
//! postings, limits, outbox, block, events. One row shows what the scores cost: without ml-service the fallback policy posts
//! small amounts.

#![expect(
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    reason = "statistics of a measurement, on figures of its own"
)]

mod baseline;
mod batches;
mod growth;
mod load;
mod statements;

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use platform::client::new_key;
use platform::database::Server;
use platform::invariants::integrity_report;
use platform::postgres::Durability;
use platform::processor_time::ProcessorTime;
use platform::{Customer, Platform, Service};
use serde_json::json;

use baseline::{Baseline, Writing};
use batches::Batches;
use load::{Load, Measured};

const DATABASE: &str = "flowlet";
const ACCOUNTS: usize = 10_000;
const CONNECTIONS: usize = 256;
/// pgbench is measured with each, and its best counts.
const PGBENCH_CLIENTS: [usize; 3] = [8, 32, 64];
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
const INITIAL_BALANCE: i64 = 1_000_000_000;

enum Mode {
    Comparison,
    Growth,
    Statements,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    /// Between two of all accounts, drawn evenly.
    Uniform,
    /// From one account to any other.
    Hot,
}

impl Workload {
    const ALL: [Self; 2] = [Self::Uniform, Self::Hot];

    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform, 10,000 accounts",
            Self::Hot => "one hot account",
        }
    }
}

fn main() -> anyhow::Result<()> {
    // `cargo test --benches` builds this and runs it with `--test`: measuring is not testing.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let asked_for = |mode: &str| std::env::args().any(|argument| argument == mode);
    let mode = if asked_for("growth") {
        Mode::Growth
    } else if asked_for("statements") {
        Mode::Statements
    } else {
        Mode::Comparison
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(mode))
}

async fn run(mode: Mode) -> anyhow::Result<()> {
    eprintln!("starting PostgreSQL and the services …");
    let settings = match mode {
        Mode::Statements => statements::SETTINGS.map(str::to_owned).to_vec(),
        Mode::Comparison | Mode::Growth => Vec::new(),
    };
    let server = Server::throwaway_with(Durability::Durable, settings).await?;
    server.prepare(DATABASE, |_| ()).await?;
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .on(Arc::new(server), DATABASE)
        .start()
        .await?;
    let payer = platform.register("payer").await;
    let accounts = open_accounts(&platform, &payer).await?;
    match mode {
        Mode::Growth => growth::run(&platform, &payer, &accounts).await?,
        Mode::Statements => statements::run(&platform, &payer.access_token, &accounts).await?,
        Mode::Comparison => {
            compare(&platform, &payer, &accounts).await?;
            check_books(&platform, &payer).await?;
        }
    }
    platform.stop().await
}

async fn compare(platform: &Platform, payer: &Customer, accounts: &[String]) -> anyhow::Result<()> {
    let baseline = Baseline::prepare(platform, ACCOUNTS).await?;
    let token = &payer.access_token;
    let service = Load::new(&platform.url(Service::Transactions), token, accounts)?;
    let gateway = Load::new(&platform.url(Service::Gateway), token, accounts)?;
    println!(
        "\n{:<26}{:<30}{:>12}{:>8}{:>9}{:>9}{:>7}{:>8}{:>13}",
        "workload", "what", "transfers/s", "ratio", "p50 ms", "p99 ms", "batch", "µs PG", "µs services"
    );
    for workload in Workload::ALL {
        let mut clients = Vec::new();
        for writing in [Writing::Statements, Writing::OneCall] {
            let best = baseline.best_client_count(workload, writing, &PGBENCH_CLIENTS, ROUND / 2);
            clients.push(best.await?);
        }
        let (mut statements, mut one_call) = (Vec::new(), Vec::new());
        let (mut at_service, mut at_gateway) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            eprintln!("{}: round {round} of {ROUNDS}", workload.name());
            let pgbench = |writing, clients| baseline.run(workload, writing, clients, ROUND);
            statements.push(measured(platform, pgbench(Writing::Statements, clients[0])).await?);
            one_call.push(measured(platform, pgbench(Writing::OneCall, clients[1])).await?);
            at_service.push(measured(platform, service.run(workload, CONNECTIONS, None, ROUND)).await?);
            at_gateway.push(measured(platform, gateway.run(workload, CONNECTIONS, None, ROUND)).await?);
        }
        let (reference, at_service) = (median(statements), median(at_service));
        let half = Some(at_service.measured.per_second / 2.0);
        let at_half = measured(platform, service.run(workload, CONNECTIONS, half, ROUND)).await?;
        platform.stop_service(Service::Ml).await?;
        let mut unscored = Vec::new();
        for _ in 1..=ROUNDS {
            unscored.push(measured(platform, service.run(workload, CONNECTIONS, None, ROUND)).await?);
        }
        platform.start_service(Service::Ml).await?;
        let rows = [
            (format!("pgbench, {} clients", clients[0]), reference),
            (
                format!("pgbench, one call, {} clients", clients[1]),
                median(one_call),
            ),
            (format!("service, {CONNECTIONS} connections"), at_service),
            (format!("gateway, {CONNECTIONS} connections"), median(at_gateway)),
            ("service, ml-service down".to_owned(), median(unscored)),
            ("service, at half of its load".to_owned(), at_half),
        ];
        for (what, cell) in rows {
            print_row(workload, &what, &cell, reference.measured.per_second);
        }
    }
    Ok(())
}

/// Accounts of one holder with money in each, brought in over the sandbox rail like anybody's.
async fn open_accounts(platform: &Platform, payer: &Customer) -> anyhow::Result<Vec<String>> {
    let holder: shared::id::UserId = payer.user_id.parse()?;
    // One of them is opened like anybody's, so that accounts-service knows it too.
    let first: shared::id::AccountId = payer.open_account("USD").await.parse()?;
    let ids: Vec<shared::id::AccountId> = (1..ACCOUNTS).map(|_| shared::id::AccountId::new()).collect();
    let uuids: Vec<uuid::Uuid> = ids.iter().map(|id| id.uuid()).collect();
    platform
        .sql()
        .await
        .execute(
            "INSERT INTO transactions.ledger_accounts (id, kind, holder_id, currency, floor)
             SELECT unnest($1::uuid[]), 'customer', $2, 'USD', 0",
            &[&uuids, &holder.uuid()],
        )
        .await?;
    let accounts: Vec<String> = iter::once(first).chain(ids).map(|id| id.to_string()).collect();
    eprintln!("funding {ACCOUNTS} accounts …");
    for chunk in accounts.chunks(CONNECTIONS) {
        let deposits = chunk.iter().map(|account| async move {
            let body = json!({ "account_id": account, "amount": INITIAL_BALANCE, "currency": "USD" });
            let client = platform
                .client_of(Service::Transactions)
                .with_token(&payer.access_token);
            client
                .post_with_key("/api/v1/payments/deposits", &new_key(), body)
                .await
                .success()
        });
        futures_util::future::try_join_all(deposits)
            .await
            .context("funding the accounts")?;
    }
    platform.sql().await.batch_execute("VACUUM ANALYZE").await?;
    Ok(accounts)
}

#[derive(Clone, Copy)]
struct Cell {
    measured: Measured,
    /// Requests that shared a commit, on average; none while nothing went through the lane.
    batch: f64,
    postgresql_us: f64,
    services_us: f64,
}

async fn measured(
    platform: &Platform,
    run: impl Future<Output = anyhow::Result<Measured>>,
) -> anyhow::Result<Cell> {
    let (batches, before) = (Batches::now(platform).await?, ProcessorTime::now(platform)?);
    let measured = run.await?;
    let spent = ProcessorTime::now(platform)?.since(&before);
    let per_transfer = |seconds: f64| seconds * 1e6 / measured.count.max(1) as f64;
    Ok(Cell {
        measured,
        batch: Batches::now(platform).await?.mean_size_since(&batches),
        postgresql_us: per_transfer(spent.postgresql_s),
        services_us: per_transfer(spent.all_services_s()),
    })
}

fn median(mut cells: Vec<Cell>) -> Cell {
    cells.sort_by(|one, other| one.measured.per_second.total_cmp(&other.measured.per_second));
    cells[cells.len() / 2]
}

fn print_row(workload: Workload, what: &str, cell: &Cell, reference: f64) {
    println!(
        "{:<26}{:<30}{:>12.0}{:>7.1}×{:>9.1}{:>9.1}{:>7.0}{:>8.0}{:>13.0}",
        workload.name(),
        what,
        cell.measured.per_second,
        cell.measured.per_second / reference,
        cell.measured.p50_ms,
        cell.measured.p99_ms,
        cell.batch,
        cell.postgresql_us,
        cell.services_us,
    );
}

/// A benchmark of a ledger that loses money would be worth nothing.
async fn check_books(platform: &Platform, payer: &Customer) -> anyhow::Result<()> {
    eprintln!("checking the books …");
    platform
        .grant_role(&payer.email, shared::Role::Compliance)
        .await?;
    let officer = payer.log_in_again().await;
    let client = platform
        .client_of(Service::Transactions)
        .with_token(&officer.access_token);
    let report = integrity_report(&client).await?;
    anyhow::ensure!(report["ok"] == json!(true), "the books do not balance: {report}");
    println!(
        "\nthe books balance after it: {} checks",
        report["checks"].as_array().map_or(0, Vec::len)
    );
    Ok(())
}
