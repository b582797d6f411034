//! `accounts-service`: the accounts that customers have ([`account`]), each with a ledger account of the same id in
//! `transactions-service`.
//!
//! Deliberately absent: money. A balance is read from the ledger, and what may move is decided there.

pub mod account;
pub mod config;
pub mod routes;
pub mod schema;
pub mod state;
mod telemetry;

use std::net::TcpListener;

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use shared::access_token::AccessTokenVerifier;
use shared::clients::transactions::{self, TransactionsClient};
use shared::config::Env;
use shared::server::{Readiness, Server};
use shared::{Db, HttpClient, ServiceTokens};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use state::AppState;

const SERVICE: &str = "accounts-service";

/// The schema that this service owns.
pub const SCHEMA: &str = "accounts";

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
    telemetry::start();
    let db = Db::new(SCHEMA, &config.db)?;
    let tokens = ServiceTokens::new(SERVICE, &config.service_secrets, config.clock.clone())?;
    let ledger = HttpClient::new(
        SERVICE,
        transactions::SERVICE,
        &config.transactions_url,
        Some(tokens),
    )?;
    let keys = HttpClient::new(SERVICE, "auth-service", &config.auth_url, None)?;
    let verifier = AccessTokenVerifier::from_auth_service(SERVICE, keys, config.clock.clone());
    let verifier = web::Data::new(verifier);
    let state = web::Data::new(AppState {
        db: db.clone(),
        clock: config.clock,
        ledger: TransactionsClient::new(ledger),
    });
    let readiness = Readiness::default().database(&db, &MIGRATIONS);
    let repair = tokio::spawn(account::ledger::repair(state.clone(), shutdown.clone()));
    let server = Server {
        service: SERVICE,
        public: false,
        listener,
        workers: config.workers,
        shutdown_delay: config.shutdown_delay,
        readiness,
        document: routes::document(),
        shutdown,
    };
    server
        .serve(move |service| {
            service.app_data(state.clone()).app_data(verifier.clone());
            routes::configure(service);
        })
        .await?;
    repair.await?;
    Ok(())
}
