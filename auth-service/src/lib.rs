//! Who you are: users, passwords, sessions, and the access tokens that every other service trusts.
//!
//! `users` registers, `passwords` proves, `sessions` keeps the proof, `access_tokens` carries it to the other services.

mod access_tokens;
mod administration;
mod api_keys;
pub mod cleanup;
pub mod config;
mod email_verification;
mod erasures;
mod field_keys;
mod flowless;
mod instance;
mod login_attempts;
mod mail_requests;
mod messages;
mod modules;
mod one_time_tokens;
mod passkeys;
mod passwordless;
mod passwords;
mod pictures;
mod revocations;
pub mod routes;
mod schema;
mod sessions;
pub mod signing_key;
mod social;
mod state;
mod step_up;
mod telemetry;
mod throttles;
mod token_exchange;
mod trust_tokens;
mod two_factor;
pub mod users;

use std::net::TcpListener;
use std::time::Duration;

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use shared::access_token::AccessTokenVerifier;
use shared::clients::ml::{self, MlClient};
use shared::config::Env;
use shared::process::Command;
use shared::server::{Readiness, Server};
use shared::{Db, FieldKeys, HttpClient, ServiceTokens};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use erasures::Erasures;
use messages::Channel;
use messages::delivery::Delivery;
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
    ("build-breached-list", |env| {
        Box::pin(passwords::breached::build(env))
    }),
    ("import-users", |env| Box::pin(users::import::import_users(env))),
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
    let to_ml = HttpClient::new(SERVICE, ml::SERVICE, &config.ml_url, Some(tokens.clone()))?;
    let tokens = web::Data::new(tokens);
    let delivery = Delivery {
        db: db.clone(),
        clock: clock.clone(),
        field_keys: keys.clone(),
        carriers: state.carriers.clone(),
        links: state.links.clone(),
        brand: config.messages.brand.clone(),
    };
    if !state.carriers.have(Channel::Sms) {
        tracing::info!("text messages are not offered: SMS_GATEWAY_URL is not set");
    }
    tasks.spawn(messages::delivery::run(delivery, shutdown.clone()));
    let state = web::Data::new(state);
    tasks.spawn(revocations::listen(state.clone(), shutdown.clone()));
    let (cache_state, cache_shutdown) = (state.clone(), shutdown.clone());
    tasks.spawn(async move {
        let state = cache_state;
        state.session_cache.run(&state.db, cache_shutdown).await;
    });
    let erasures = Erasures {
        db: db.clone(),
        clock: clock.clone(),
        ml: MlClient::new(to_ml),
    };
    tasks.spawn(erasures::run(erasures, shutdown.clone()));
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
