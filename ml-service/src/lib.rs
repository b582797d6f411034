//! `ml-service`: how suspicious is a transfer? `transactions-service` asks before it posts a batch ([`score`]) and tells
//! afterwards what became of it ([`fact`]), which is kept ([`transfer_log`]) and from which each account's habits are learnt
//! ([`account_state`]). Lists ([`list`]) decide first, then rules that people can change while it runs ([`rule`]) and a model with
//! what its actions cost ([`registered_model`]).
//!
//! What a model sees of a payment is computed in [`feature`]; models are made and looked at by the commands of [`offline`].
//!
//! Deliberately absent: any say over money. A score is advice; the ledger decides what to do with it, and how to do without.

pub mod account_state;
pub mod alert;
pub mod analyst;
pub mod arguments;
pub mod benchmark;
pub mod case;
pub mod config;
pub mod decision;
pub mod entity_state;
pub mod erasure;
pub mod evaluation;
pub mod expression;
pub mod fact;
pub mod feature;
pub mod generator;
pub mod insight;
pub mod label;
pub mod list;
pub mod model;
pub mod monitoring;
pub mod offline;
pub mod origin;
pub mod pattern;
pub mod progress;
pub mod registered_model;
pub mod replay;
pub mod risk;
pub mod routes;
pub mod rule;
pub mod rule_proposal;
pub mod schema;
pub mod score;
pub mod slot;
pub mod state;
pub mod tabular_file;
mod telemetry;
pub mod training;
pub mod training_payment;
pub mod transfer_log;

use std::net::TcpListener;

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use shared::access_token::AccessTokenVerifier;
use shared::clients::ml::SERVICE;
use shared::clients::transactions::{self, TransactionsClient};
use shared::config::Env;
use shared::process::Command;
use shared::server::{Readiness, Server};
use shared::{ApiError, Db, HttpClient, ServiceTokens};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use registered_model::book::ModelBook;
use registered_model::shadow::{self, ShadowQueue};
use risk::model::RiskModel;
use rule::book::RuleBook;
use score::latency::RecentLatency;
use slot::Slots;
use state::State;

/// The schema that this service owns.
pub const SCHEMA: &str = "ml";

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// A full batch has some 600 kB of scores to ask for, or 1 MB of facts.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// A model has a few hundred kilobytes to some megabytes.
const MAX_MODEL_BYTES: usize = 16 * 1024 * 1024;

pub async fn serve(env: Env, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run(Config::from_env(env)?, listener, shutdown).await
}

/// Brings the schema up to date, as its owner: `MIGRATION_DATABASE_URL`.
pub async fn migrate(env: Env) -> anyhow::Result<()> {
    shared::db::migrate::migrate_from_env(env, SCHEMA, MIGRATIONS).await
}

/// Beside `serve`, `migrate` and the others.
pub const COMMANDS: &[Command] = &[
    ("export", registered_model::commands::export),
    ("register", registered_model::commands::register),
    ("shadow", registered_model::commands::shadow),
    ("promote", registered_model::commands::promote),
    ("rollback", registered_model::commands::rollback),
    ("drift", registered_model::commands::drift),
    ("generate", |_| Box::pin(async { offline::run("generate") })),
    ("features", |_| Box::pin(async { offline::run("features") })),
    ("train", |_| Box::pin(async { offline::run("train") })),
    ("evaluate", |_| Box::pin(async { offline::run("evaluate") })),
    ("explain", |_| Box::pin(async { offline::run("explain") })),
    ("aml-benchmark", |_| {
        Box::pin(async { pattern::benchmark::main() })
    }),
    ("benchmark", |_| Box::pin(async { offline::run("benchmark") })),
    ("insights-benchmark", |_| {
        Box::pin(async { insight::benchmark::main() })
    }),
    ("risk-train", |_| {
        Box::pin(async { risk::training::main_of_training() })
    }),
    ("risk-benchmark", |_| {
        Box::pin(async { risk::training::main_of_benchmark() })
    }),
];

/// Runs the service on `listener` until `shutdown` is cancelled.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    telemetry::start();
    let db = Db::new(SCHEMA, &config.db)?;
    let tokens = web::Data::new(ServiceTokens::new(
        SERVICE,
        &config.service_secrets,
        config.clock.clone(),
    )?);
    let keys = HttpClient::new(SERVICE, "auth-service", &config.auth_url, None)?;
    let verifier = AccessTokenVerifier::from_auth_service(SERVICE, keys, config.clock.clone());
    let verifier = web::Data::new(verifier);
    let ledger = HttpClient::new(SERVICE, transactions::SERVICE, &config.transactions_url, None)?;
    let own_tokens = ServiceTokens::new(SERVICE, &config.service_secrets, config.clock.clone())?;
    let balances = HttpClient::new(
        SERVICE,
        transactions::SERVICE,
        &config.transactions_url,
        Some(own_tokens),
    )?;
    let risk = RiskModel::shipped()?;
    let rules = RuleBook::default();
    let models = ModelBook::new(model::shipped()?);
    let (shadows, waiting) = ShadowQueue::new();
    let state = web::Data::new(State {
        db: db.clone(),
        clock: config.clock.clone(),
        rules: rules.clone(),
        models: models.clone(),
        shadows,
        latency: RecentLatency::default(),
        origin_key: config.origin_key,
        ledger: TransactionsClient::new(ledger),
        balances: TransactionsClient::new(balances),
        insight_slots: Slots::new(insight::reading::SLOTS),
        staff_slots: Slots::new(1),
        risk,
    });
    let clock = config.clock;
    let loaded = rules.clone();
    let readiness = Readiness::default()
        .database(&db, &MIGRATIONS)
        .check("rules", move || {
            let loaded = loaded.is_loaded();
            Box::pin(async move { loaded })
        });
    let follow_alerts = tokio::spawn(alert::job::follow(db.clone(), shutdown.clone()));
    let follow_patterns = tokio::spawn(pattern::job::follow(db.clone(), shutdown.clone()));
    let follow_rules = tokio::spawn(rules.follow(db.clone(), shutdown.clone()));
    let follow_models = tokio::spawn(models.clone().follow(db.clone(), shutdown.clone()));
    let shadowing = tokio::spawn(shadow::run(waiting, db.clone(), models.clone(), shutdown.clone()));
    let watching = tokio::spawn(monitoring::watch(db, models, clock, shutdown.clone()));
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
            service
                .app_data(state.clone())
                .app_data(tokens.clone())
                .app_data(verifier.clone())
                .app_data(json_config())
                .app_data(web::PayloadConfig::new(MAX_MODEL_BYTES));
            routes::configure(service);
        })
        .await?;
    follow_alerts.await?;
    follow_patterns.await?;
    follow_rules.await?;
    follow_models.await?;
    shadowing.await?;
    watching.await?;
    Ok(())
}

/// Batches from other services outgrow the bodies that the public may send.
fn json_config() -> web::JsonConfig {
    web::JsonConfig::default()
        .limit(MAX_BODY_BYTES)
        .error_handler(|error, _| ApiError::bad_request("invalid_body", error.to_string()).into())
}
