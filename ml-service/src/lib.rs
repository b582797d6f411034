pub mod config;

use std::net::TcpListener;

use anyhow::Context;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use shared::config::Env;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// The schema that this service owns.
pub const SCHEMA: &str = "ml";

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

pub async fn serve(env: Env, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run(Config::from_env(env)?, listener, shutdown).await
}

/// Brings the schema up to date, as its owner: `MIGRATION_DATABASE_URL`.
pub async fn migrate(mut env: Env) -> anyhow::Result<()> {
    let url = env.secret_url("MIGRATION_DATABASE_URL");
    let url = env.finish(url)?;
    shared::db::migrate::migrate(SCHEMA, &url, MIGRATIONS).await.context("ml-service migrate")
}

/// Runs the service on `listener` until `shutdown` is cancelled.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    drop((config, listener, shutdown));
    Ok(())
}
