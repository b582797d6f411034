//! `cargo dev`: the test harness with a prompt. A private PostgreSQL whose data stay, all services in this process on fixed
//! ports, demo data, and what to try first.
//!
//! `dev serve <service>`, `dev migrate <service>` and so on are the programs of the services themselves, for tests that need
//! each as a process of its own, and for tours.

#[path = "dev/demo.rs"]
mod demo;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use platform::database::Server;
use platform::postgres;
use platform::{Platform, Service};
use shared::config::Env;
use shared::{process, telemetry};
use tokio_util::sync::CancellationToken;

const POSTGRES_PORT: u16 = 15432;
const DATABASE: &str = "flowlet";

const USAGE: &str = "\
Runs the whole platform on this machine: PostgreSQL, the five services, demo data.

usage: cargo dev [-- --reset]

  --reset   removes the data of earlier runs first
  --help    prints this

RUST_LOG=info (or debug, or transactions_service=debug) shows what the services do; they say little unless told.
FLOWLET_PG_BINDIR names the directory of PostgreSQL's programs where they are not found.
";

fn main() -> ExitCode {
    // The alias in .cargo/config.toml ends with `--`, so `cargo dev -- --reset` brings one more.
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--");
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => run(false),
        ["--reset"] => run(true),
        ["--help" | "-h" | "help"] => {
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

fn run(reset: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("no runtime: {error}")),
    };
    match runtime.block_on(Box::pin(start_and_stop(reset))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{}: {error:#}", Style::of_stderr().red("error"));
            ExitCode::FAILURE
        }
    }
}

async fn start_and_stop(reset: bool) -> anyhow::Result<()> {
    init_logging()?;
    let started = Instant::now();
    let stop = process::stop_signal()?;
    let listeners = bind_all().await?;
    let directory = postgres::data_directory("dev");
    if reset {
        remove(&directory)?;
    }
    let server = tokio::select! {
        server = Server::persistent(&directory, POSTGRES_PORT, progress) => Arc::new(server?),
        () = stop.cancelled() => return Ok(()),
    };
    let outcome = Box::pin(serve(&server, listeners, started, &stop)).await;
    // Also when something above went wrong: the database ends last, and cleanly.
    if let Some(server) = Arc::into_inner(server) {
        progress("stopping PostgreSQL");
        server.cluster.stop().await?;
    }
    outcome?;
    println!("Stopped. The data stay in {}", directory.display());
    Ok(())
}

async fn serve(
    server: &Arc<Server>,
    listeners: BTreeMap<Service, TcpListener>,
    started: Instant,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        prepared = server.prepare(DATABASE, progress) => prepared?,
        () = stop.cancelled() => return Ok(()),
    }
    progress("starting the services");
    let platform = Platform::builder()
        .production_settings()
        .on(Arc::clone(server), DATABASE)
        .listeners(listeners)
        .start();
    let platform = tokio::select! {
        platform = platform => platform?,
        () = stop.cancelled() => return Ok(()),
    };
    progress("looking after the demo data");
    let outcome = tokio::select! {
        seeded = demo::seed(&platform) => seeded.map(|demo| demo.print(&platform, started.elapsed())),
        () = stop.cancelled() => Ok(()),
    };
    if outcome.is_ok() {
        stop.cancelled().await;
        println!();
    }
    progress("stopping the services");
    platform.stop().await?;
    outcome.context("the demo data")
}

/// Every port is checked before anything starts, and those of the services are kept.
async fn bind_all() -> anyhow::Result<BTreeMap<Service, TcpListener>> {
    let mut listeners = BTreeMap::new();
    for service in Service::ALL {
        listeners.insert(service, bind(service.name(), service.port()).await?);
    }
    drop(bind("PostgreSQL", POSTGRES_PORT).await?);
    Ok(listeners)
}

/// Waits a little: a `cargo dev` that was killed may still be stopping its PostgreSQL.
async fn bind(what: &str, port: u16) -> anyhow::Result<TcpListener> {
    let started = Instant::now();
    loop {
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(listener) => return Ok(listener),
            Err(error) if started.elapsed() > Duration::from_secs(3) => bail!(
                "port {port} on 127.0.0.1, which {what} needs, is taken ({error}).\n\
                 Stop the program that listens there (another `cargo dev`?) and try again."
            ),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn remove(directory: &Path) -> anyhow::Result<()> {
    progress("removing the data of earlier runs");
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Warnings and errors only, unless `RUST_LOG` asks for more: the screen is for the person at it.
fn init_logging() -> anyhow::Result<()> {
    let mut process = Env::from_process();
    let mut env = Env::from_pairs([
        ("RUST_LOG", process.or("RUST_LOG", "warn".to_owned())),
        ("LOG_FORMAT", process.or("LOG_FORMAT", "pretty".to_owned())),
    ]);
    telemetry::init_logging(&mut env, "flowlet");
    env.finish(())
}

fn progress(line: &str) {
    println!("{} {line}", Style::of_stdout().dim("·"));
}

/// A little colour, where somebody looks.
#[derive(Clone, Copy)]
struct Style {
    colour: bool,
}

impl Style {
    fn of_stdout() -> Self {
        let colour = std::io::stdout().is_terminal();
        Self { colour }
    }

    fn of_stderr() -> Self {
        let colour = std::io::stderr().is_terminal();
        Self { colour }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
