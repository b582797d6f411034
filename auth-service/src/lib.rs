//! Who you are: users, passwords, sessions, and the access tokens that every other service trusts.
//!
//! `users` registers, `passwords` proves, `sessions` keeps the proof, `access_tokens` carries it to the other services.

mod access_tokens;
mod cleanup;
pub mod config;
mod login_attempts;
mod passwords;
pub mod routes;
mod schema;
mod sessions;
pub mod signing_key;
mod state;
pub mod users;

use std::net::TcpListener;

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use shared::access_token::AccessTokenVerifier;
use shared::config::Env;
use shared::server::{Readiness, Server};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use state::AppState;

pub use config::Config;

/// The schema that this service owns.
pub const SCHEMA: &str = "auth";

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

pub async fn serve(env: Env, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run(Config::from_env(env)?, listener, shutdown).await
}

/// Brings the schema up to date, as its owner: `MIGRATION_DATABASE_URL`.
pub async fn migrate(env: Env) -> anyhow::Result<()> {
    shared::db::migrate::migrate_from_env(env, SCHEMA, MIGRATIONS).await
}

/// Runs the service on `listener` until `shutdown` is cancelled.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let state = AppState::new(&config, tasks.clone())?;
    let (db, clock) = (state.db.clone(), state.clock.clone());
    let verifier = web::Data::new(AccessTokenVerifier::from_keys(
        state.signing_keys.published(),
        clock.clone(),
    ));
    let state = web::Data::new(state);
    tasks.spawn(cleanup::run(db.clone(), clock, shutdown.clone()));
    let server = Server {
        service: "auth-service",
        listener,
        workers: config.workers,
        readiness: Readiness::default().check("database", move || {
            let db = db.clone();
            Box::pin(async move { db.ping().await })
        }),
        document: routes::document(),
        shutdown: shutdown.clone(),
    };
    let served = server
        .serve(move |config| {
            config.app_data(state.clone()).app_data(verifier.clone());
            routes::configure(config);
        })
        .await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    served
}
