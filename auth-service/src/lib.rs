//! Who you are: users, passwords, sessions, and the access tokens that every other service trusts.
//!
//! `users` registers, `passwords` proves, `sessions` keeps the proof, `access_tokens` carries it to the other services.

mod access_tokens;
mod administration;
mod api_keys;
mod cleanup;
pub mod config;
mod field_keys;
mod login_attempts;
mod passwords;
mod revocations;
pub mod routes;
mod schema;
mod sessions;
pub mod signing_key;
mod state;
mod telemetry;
mod token_exchange;
pub mod users;

use std::net::TcpListener;
use std::time::Duration;

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use shared::access_token::AccessTokenVerifier;
use shared::config::Env;
use shared::process::Command;
use shared::server::{Readiness, Server};
use shared::{Db, FieldKeys, ServiceTokens};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use state::AppState;

pub use config::Config;

const SERVICE: &str = "auth-service";

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

/// What an operator may tell the program to do besides.
pub const COMMANDS: &[Command] = &[
    ("encrypt-fields", |env| {
        Box::pin(field_keys::plaintext::encrypt_fields(env))
    }),
    ("rotate-field-keys", |env| {
        Box::pin(field_keys::rotation::rotate_field_keys(env))
    }),
];

/// Runs the service on `listener` until `shutdown` is cancelled.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    telemetry::start();
    let tasks = TaskTracker::new();
    let state = AppState::new(&config, tasks.clone())?;
    let (db, clock) = (state.db.clone(), state.clock.clone());
    let keys = config.field_keys.clone();
    let verifier = web::Data::new(AccessTokenVerifier::from_keys(
        state.signing_keys.published(),
        clock.clone(),
    ));
    let tokens = ServiceTokens::new(SERVICE, &config.service_secrets, clock.clone())?;
    let tokens = web::Data::new(tokens);
    let state = web::Data::new(state);
    tasks.spawn(revocations::listen(state.clone(), shutdown.clone()));
    tasks.spawn(cleanup::run(db.clone(), clock, shutdown.clone()));
    let (ready_db, ready_keys) = (db.clone(), keys.clone());
    let server = Server {
        service: SERVICE,
        public: false,
        listener,
        workers: config.workers,
        shutdown_delay: config.shutdown_delay,
        readiness: Readiness::default()
            .database(&db, &MIGRATIONS)
            .check("field_keys", move || {
                let (db, keys) = (ready_db.clone(), ready_keys.clone());
                Box::pin(async move { field_keys::queries::is_checked_in(&db, &keys).await })
            }),
        document: routes::document(),
        shutdown: shutdown.clone(),
    };
    let serve = async {
        let served = server.serve(move |config| {
            config
                .app_data(state.clone())
                .app_data(verifier.clone())
                .app_data(tokens.clone());
            routes::configure(config);
        });
        let served = served.await;
        shutdown.cancel();
        served
    };
    let (served, checked) = tokio::join!(serve, check_field_keys(&db, &keys, &shutdown));
    tasks.close();
    tasks.wait().await;
    checked.and(served)
}

/// Stops the service when its keys are not those of the database, as soon as that can be asked.
async fn check_field_keys(db: &Db, keys: &FieldKeys, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let check = async {
        loop {
            match field_keys::queries::check_in(db, keys).await {
                Ok(checked) => return checked,
                Err(error) => tracing::warn!(%error, "the field keys cannot be checked yet"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let outcome = shutdown.run_until_cancelled(check).await;
    if let Some(Err(_)) = &outcome {
        shutdown.cancel();
    }
    Ok(outcome.unwrap_or(Ok(()))?)
}
