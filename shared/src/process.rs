//! The process around a service: `serve` until told to stop, or one of the commands that end: `migrate`, `healthcheck`, and
//! for an administrator of the database `provision` and `retire-logins`.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::LocalBoxFuture;
use tokio_util::sync::CancellationToken;

use crate::config::Env;
use crate::db::roles;
use crate::trace::export::{self, ExportConfig};
use crate::{http_client, telemetry};

/// Requests are many small allocations on several threads, which this does with less of the processor than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A service that needs longer than this to say that it is ready is not.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// A command of one service's own, which ends by itself.
pub type Command = (
    &'static str,
    fn(Env) -> LocalBoxFuture<'static, anyhow::Result<()>>,
);

/// The `main` of a service, and of its schema if it has one. `BIND_ADDRESS` is where it listens,
/// `127.0.0.1:<default_port>` unless told.
pub fn main(
    service: &'static str,
    default_port: u16,
    schema: Option<&'static str>,
    serve: impl AsyncFnOnce(Env, TcpListener, CancellationToken) -> anyhow::Result<()>,
    migrate: impl AsyncFnOnce(Env) -> anyhow::Result<()>,
    commands: &[Command],
) -> ExitCode {
    let mut env = Env::from_process();
    telemetry::init_logging(&mut env, service);
    let command = std::env::args().nth(1);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{service}: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match (command.as_deref(), schema) {
            (Some("serve"), _) => {
                let address = bind_address(&mut env, default_port);
                let exported = ExportConfig::from_env(&mut env, service);
                let listener = bind(address)?;
                let stop = stop_signal()?;
                let exporting = exported.map(export::start).transpose()?;
                tracing::info!(service, address = %listener.local_addr()?, "listening");
                let served = serve(env, listener, stop).await;
                if let Some(exporting) = exporting {
                    exporting.finish().await;
                }
                served
            }
            (Some("migrate"), _) => migrate(env).await,
            (Some("healthcheck"), _) => healthcheck(env, default_port).await,
            (Some("provision"), Some(schema)) => roles::provision_from_env(env, schema).await,
            (Some("retire-logins"), Some(schema)) => roles::retire_logins_from_env(env, schema).await,
            (name, _) => {
                if let Some((_, run)) = commands.iter().find(|(known, _)| Some(*known) == name) {
                    return run(env).await;
                }
                let own: String = commands.iter().map(|(name, _)| format!(" | {name}")).collect();
                anyhow::bail!(
                    "usage: {service} serve | migrate | healthcheck | provision | retire-logins{own}\n\
                     The configuration is the environment; src/config.rs lists it."
                )
            }
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bind_address(env: &mut Env, default_port: u16) -> SocketAddr {
    env.or("BIND_ADDRESS", SocketAddr::from(([127, 0, 0, 1], default_port)))
}

/// Asks the service that serves beside us whether it is ready: an image without a shell has nothing else to ask with.
async fn healthcheck(mut env: Env, default_port: u16) -> anyhow::Result<()> {
    let address = bind_address(&mut env, default_port);
    env.finish(())?;
    let client = http_client::connection_pool(HEALTHCHECK_TIMEOUT)?;
    let answer = client.get(format!("http://{address}/readyz")).send().await?;
    let status = answer.status();
    anyhow::ensure!(status.is_success(), "{status}: {}", answer.text().await?);
    Ok(())
}

/// A listener that is bound, so that a taken port is known before anything else starts.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("{address} cannot be listened on; is something else using it?"))
}

/// Cancelled by SIGTERM or Ctrl-C.
pub fn stop_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(token)
}
