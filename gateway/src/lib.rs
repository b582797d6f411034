pub mod config;

use std::net::TcpListener;

use shared::config::Env;
use tokio_util::sync::CancellationToken;

pub use config::Config;

pub async fn serve(env: Env, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run(Config::from_env(env)?, listener, shutdown).await
}

pub async fn migrate(_: Env) -> anyhow::Result<()> {
    anyhow::bail!("the gateway has no database to migrate")
}

/// Runs the gateway on `listener` until `shutdown` is cancelled.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    drop((config, listener, shutdown));
    Ok(())
}
