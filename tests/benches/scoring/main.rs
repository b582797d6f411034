//! `cargo bench -p platform --bench scoring`: what a fraud score takes, in process and over HTTP, alone and in batches, at a steady
//! rate and at full load; beside a Python server with an XGBoost model of the same size, learnt from the same rows.
//!
//! Both run on this machine together with the load, so read the ratios of one run. They do not do the same: ml-service reads the states of
//! the accounts, computes the features, applies rules, lists and the model, explains what it stops, and stores the decision in
//! PostgreSQL; the Python server is sent the features and answers, once without and once with contributions. Each
//! cell is the median of several interleaved rounds.

#![expect(
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    reason = "statistics of a measurement, on figures of its own"
)]

mod in_process;
mod payments;
mod python;
mod service;

use std::time::{Duration, Instant};

use platform::load::{self, Caller};

use payments::Payments;
use python::Python;
use service::MlService;

const BATCHES: [usize; 3] = [1, 16, 64];
const CONNECTIONS: usize = 16;
/// Scores a second.
const STEADY: f64 = 1_000.0;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);

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
    eprintln!("making payments …");
    let payments = Payments::generate();
    eprintln!("starting the Python server …");
    let python = match Python::start(&payments).await {
        Ok(python) => Some(python),
        Err(error) => {
            println!("WITHOUT PYTHON, whose rows are missing: {error:#}\n");
            None
        }
    };
    in_process::compare(&payments, python.as_ref())?;
    eprintln!("starting PostgreSQL and ml-service …");
    let service = MlService::start(&payments).await?;
    compare(&payments, &service, python.as_ref()).await?;
    service.stop().await
}

/// Somebody who can be asked for scores, and whose processor time can be read.
#[derive(Clone, Copy)]
enum Server<'a> {
    MlService(&'a MlService),
    Python(&'a Python),
    PythonWithContributions(&'a Python),
}

impl Server<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::MlService(_) => "ml-service",
            Self::Python(_) => "XGBoost in Python",
            Self::PythonWithContributions(_) => "with contributions",
        }
    }

    fn url(self) -> &'static str {
        match self {
            Self::MlService(service) => service.url,
            Self::Python(python) | Self::PythonWithContributions(python) => python.url,
        }
    }

    fn callers(self, payments: &Payments, batch: usize) -> anyhow::Result<Vec<Caller>> {
        (0..CONNECTIONS)
            .map(|number| match self {
                Self::MlService(service) => service.caller(payments.clone(), number, batch),
                Self::Python(_) => Ok(python::caller(payments, number, batch, "/scores")),
                Self::PythonWithContributions(_) => {
                    Ok(python::caller(payments, number, batch, "/contributions"))
                }
            })
            .collect()
    }

    /// Its own, and that of its database.
    fn processor_s(self) -> anyhow::Result<(f64, f64)> {
        match self {
            Self::MlService(service) => service.processor_s(),
            Self::Python(python) | Self::PythonWithContributions(python) => Ok((python.processor_s()?, 0.0)),
        }
    }
}

#[derive(Clone, Copy)]
struct Cell {
    scores_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time per score.
    server_us: f64,
    postgresql_us: f64,
}

/// As fast as it answers, or so many scores a second.
async fn measure(
    server: Server<'_>,
    payments: &Payments,
    batch: usize,
    scores_per_second: Option<f64>,
) -> anyhow::Result<Cell> {
    let callers = server.callers(payments, batch)?;
    let requests_per_second = scores_per_second.map(|scores| scores / batch as f64);
    let (before, started) = (server.processor_s()?, Instant::now());
    let mut latencies_us = load::run(server.url(), callers, requests_per_second, ROUND).await?;
    let (elapsed, after) = (started.elapsed(), server.processor_s()?);
    latencies_us.sort_unstable();
    let scores = (latencies_us.len() * batch).max(1) as f64;
    Ok(Cell {
        scores_per_second: scores / elapsed.as_secs_f64(),
        p50_ms: load::quantile_ms(&latencies_us, 0.5),
        p99_ms: load::quantile_ms(&latencies_us, 0.99),
        server_us: (after.0 - before.0) * 1e6 / scores,
        postgresql_us: (after.1 - before.1) * 1e6 / scores,
    })
}

fn median(mut cells: Vec<Cell>, by: fn(&Cell) -> f64) -> Cell {
    cells.sort_by(|one, other| by(one).total_cmp(&by(other)));
    cells[cells.len() / 2]
}

async fn compare(payments: &Payments, service: &MlService, python: Option<&Python>) -> anyhow::Result<()> {
    println!(
        "\n{:<28}{:>10}{:>10}{:>12}{:>8}{:>10}{:>11}{:>7}",
        "over HTTP", "p50 ms", "p99 ms", "scores/s", "ratio", "p99 ms", "µs server", "µs PG"
    );
    println!(
        "{:<28}{:>20}{:>60}",
        "", "at 1,000 scores/s", "at full load; processor time is per score"
    );
    let mut servers = vec![Server::MlService(service)];
    if let Some(python) = python {
        servers.extend([Server::Python(python), Server::PythonWithContributions(python)]);
    }
    for batch in BATCHES {
        let mut cells = vec![(Vec::new(), Vec::new()); servers.len()];
        for round in 1..=ROUNDS {
            eprintln!("batches of {batch}: round {round} of {ROUNDS}");
            for (server, (steady, full)) in servers.iter().zip(&mut cells) {
                steady.push(measure(*server, payments, batch, Some(STEADY)).await?);
                full.push(measure(*server, payments, batch, None).await?);
            }
        }
        let mut reference = None;
        for (server, (steady, full)) in servers.iter().zip(cells) {
            let steady = median(steady, |cell| cell.p99_ms);
            let full = median(full, |cell| cell.scores_per_second);
            let of_service = *reference.get_or_insert(full.scores_per_second);
            println!(
                "{:<28}{:>10.2}{:>10.2}{:>12.0}{:>8.2}{:>10.2}{:>11.0}{:>7.0}",
                format!("{}, batches of {batch}", server.name()),
                steady.p50_ms,
                steady.p99_ms,
                full.scores_per_second,
                full.scores_per_second / of_service,
                full.p99_ms,
                full.server_us,
                full.postgresql_us,
            );
        }
    }
    Ok(())
}
