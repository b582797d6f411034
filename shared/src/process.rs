//! The process around a service: `serve` until told to stop, or `migrate` and end.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::config::Env;
use crate::telemetry;

/// Requests are many small allocations on several threads, which this does with less of the processor than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The `main` of a service. `BIND_ADDRESS` is where it listens, `127.0.0.1:<default_port>` unless told.
pub fn main(
    service: &'static str,
    default_port: u16,
    serve: impl AsyncFnOnce(Env, TcpListener, CancellationToken) -> anyhow::Result<()>,
    migrate: impl AsyncFnOnce(Env) -> anyhow::Result<()>,
) -> ExitCode {
    let mut env = Env::from_process();
    telemetry::init_logging(&mut env);
    let command = std::env::args().nth(1);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{service}: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match command.as_deref() {
            Some("serve") => {
                let address = env.or("BIND_ADDRESS", SocketAddr::from(([127, 0, 0, 1], default_port)));
                let listener = bind(address)?;
                tracing::info!(service, address = %listener.local_addr()?, "listening");
                serve(env, listener, stop_signal()?).await
            }
            Some("migrate") => migrate(env).await,
            _ => anyhow::bail!(
                "usage: {service} serve | migrate\nThe configuration is the environment; src/config.rs lists it."
            ),
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
