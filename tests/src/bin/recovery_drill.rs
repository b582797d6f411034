//! The recovery drill: load, back up, go on, lose the machine with its disk, restore to the latest and to a moment, and
//! compare with what was acknowledged. It uses the scripts of infrastructure/backup as an operator does, and ends with a
//! table of what was lost and how long it took. Then it damages the backups and sees that this is noticed.
//!
//! Deliberately absent: an operator's own backups, which are restored by the same script on a machine of their own.

#[path = "recovery_drill/alarms.rs"]
mod alarms;
#[path = "recovery_drill/backups.rs"]
mod backups;
#[path = "recovery_drill/comparison.rs"]
mod comparison;
#[path = "recovery_drill/load.rs"]
mod load;
#[path = "recovery_drill/report.rs"]
mod report;
#[path = "recovery_drill/restore.rs"]
mod restore;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use platform::database::Server;
use platform::postgres::Durability;
use platform::secrets::random_text;
use platform::{Platform, Service};
use shared::{Clock, Role, process};
use tokio::time::sleep;

use backups::Backups;
use comparison::Target;
use load::Load;
use report::Report;

const DATABASE: &str = "flowlet";
const OFFICER: &str = "officer";

const USAGE: &str = "\
Loses a loaded platform with its disk, restores it from backups, and says what was lost and how long it took.

usage: cargo run -p platform --bin recovery-drill [-- --seconds COUNT]

  --seconds COUNT   how long the load goes on before the backup, after it, and after the moment; 15 unless told
  --help            prints this

Everything is private and is removed at the end. The exit code is 0 when nothing was wrong.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => run(15),
        ["--seconds", count] => match count.parse() {
            Ok(seconds @ 1..=60) => run(seconds),
            _ => refuse("--seconds is a number from 1 to 60"),
        },
        ["--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        arguments => {
            Service::main_if_told(arguments).unwrap_or_else(|| refuse("these arguments are not understood"))
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    eprint!("{why}\n\n{USAGE}");
    ExitCode::FAILURE
}

fn run(seconds: u64) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("no runtime: {error}")),
    };
    let outcome = runtime.block_on(async {
        let stop = process::stop_signal()?;
        tokio::select! {
            report = Box::pin(drill(seconds)) => report,
            () = stop.cancelled() => bail!("it was interrupted"),
        }
    });
    match outcome {
        Ok(report) => {
            report.print();
            if report.problems().next().is_none() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("\nthe drill failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn drill(seconds: u64) -> anyhow::Result<Report> {
    let (phase, archive_timeout) = (
        Duration::from_secs(seconds),
        Duration::from_secs(seconds.div_ceil(3)),
    );
    progress("preparing an empty repository, a key and a PostgreSQL that archives its log");
    let backups = Backups::prepare(&random_text()?).await?;
    let settings = backups.server_settings(archive_timeout);
    let server = Arc::new(Server::throwaway_with(Durability::Durable, settings).await?);
    backups.be_allowed_by(&server).await?;
    backups.run("create-repository.sh", &[]).await?;

    progress("starting the platform, each service as a process");
    server.prepare(DATABASE, |_| ()).await?;
    let platform = start_platform(Arc::clone(&server)).await?;
    platform.register_with_role(OFFICER, Role::Compliance).await;
    let load = Load::prepare(&platform, backups.directory().join("acknowledged")).await?;

    progress(&format!("{} clients transfer for {seconds} s", load::CLIENTS));
    let clients = load.start();
    sleep(phase).await;
    progress("taking a base backup under load");
    let started = Instant::now();
    backups.run("take-backup.sh", &[]).await?;
    let backup_took = started.elapsed();
    progress(&format!("going on for {seconds} s"));
    sleep(phase).await;
    let moment = Clock::system().now();
    progress(&format!("the moment is {moment}; going on for {seconds} s"));
    sleep(phase).await;
    archive_is_past_now(&server).await?;
    sleep(archive_timeout / 2).await;

    progress("killing PostgreSQL with SIGKILL and removing its data directory");
    server.cluster.lose().await?;
    // The services too: nobody waits for their answers.
    drop(platform);
    load.stop(clients).await?;
    let acknowledged = load.acknowledged()?;
    ensure!(!acknowledged.is_empty(), "no transfer was acknowledged");
    progress(&format!("{} transfers had been acknowledged", acknowledged.len()));

    let mut restores = Vec::new();
    for target in [Target::Latest, Target::Moment(moment)] {
        let restore = restore::restore(&target, &backups, &server, &load, &acknowledged).await;
        restores.push(restore.with_context(|| format!("restoring to {target}"))?);
    }
    progress("reading everything in the archive");
    let archive = backups.run("verify-archive.sh", &["--contents"]).await?;
    let sizes = backups.sizes()?;
    let metrics = backups.metrics()?;
    progress("damaging the backups");
    let alarms = alarms::ring(&backups, moment).await?;
    server_is_released(server).await?;
    Ok(Report {
        archive_timeout,
        backup_took,
        acknowledged: acknowledged.len(),
        sizes,
        metrics,
        archive,
        restores,
        alarms,
    })
}

async fn start_platform(server: Arc<Server>) -> anyhow::Result<Platform> {
    let program: PathBuf = std::env::current_exe()?;
    Box::pin(
        Platform::builder()
            .processes(program)
            .on(server, DATABASE)
            .start(),
    )
    .await
}

/// Waits until the archive has all that has been written by now, so that a moment in the past can be restored.
async fn archive_is_past_now(server: &Server) -> anyhow::Result<()> {
    let postgres = server.connect("postgres").await?;
    let segment = postgres
        .query_one("SELECT pg_walfile_name(pg_current_wal_lsn())", &[])
        .await?;
    let segment: String = segment.get(0);
    let started = Instant::now();
    loop {
        let archived = postgres
            .query_one(
                "SELECT last_archived_wal >= $1 FROM pg_stat_archiver",
                &[&segment],
            )
            .await?;
        if archived.get::<_, Option<bool>>(0) == Some(true) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "the archive does not get as far as {segment}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

async fn server_is_released(server: Arc<Server>) -> anyhow::Result<()> {
    let server = Arc::into_inner(server).context("somebody still uses the server")?;
    server.cluster.stop().await
}

fn progress(line: &str) {
    println!("· {line}");
}
