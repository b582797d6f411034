//! `transactions-service`: the ledger. It owns every row that money depends on.
//!
//! - [`transfer`]: transfers, payments over a rail, and reviews, as clients meet them
//! - [`schedule`]: transfers that are made later, once or by a calendar
//! - [`sandbox`]: what partners make go wrong on purpose
//! - [`hold`]: money set aside in favour of another account
//! - [`threshold`]: the amounts that need a second person, or a second proof of who asks ([`step_up`])
//! - [`ledger_account`]: the accounts' balances, and [`posting`]: their histories, for `accounts-service`
//! - [`lane`]: the one way in which money moves; [`book`] holds the rules it decides by
//! - [`idempotency_key`]: requests that can be repeated safely
//! - [`integrity`]: proof that the books balance, on a schedule and on demand
//! - [`event`]: the facts that concern a user's accounts, to be read one after the other; [`webhook`]: the same, sent to URLs of
//!   the user's
//! - [`block`], [`checkpoint`]: what was committed, so that it cannot be changed unseen; [`proof`]: showing it to others
//! - [`audit`]: what was changed by hand, in a chain of hashes
//! - [`outbox`]: facts on their way to other services; [`late_scoring`], [`upkeep`]: work on a timer

pub mod audit;
pub mod block;
pub mod book;
pub mod checkpoint;
pub mod config;
pub mod event;
pub mod hold;
pub mod idempotency_key;
pub mod integrity;
pub mod lane;
pub mod late_scoring;
pub mod ledger_account;
pub mod leg;
pub mod outbox;
pub mod payment;
pub mod posting;
pub mod proof;
pub mod routes;
pub mod sandbox;
pub mod schedule;
pub mod schema;
pub mod state;
pub mod step_up;
mod telemetry;
pub mod threshold;
pub mod transfer;
pub mod upkeep;
pub mod webhook;

use std::net::TcpListener;

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use secrecy::ExposeSecret;
use shared::access_token::AccessTokenVerifier;
use shared::clients::transactions::SERVICE;
use shared::config::Env;
use shared::server::{Readiness, Server};
use shared::{Db, HttpClient, ServiceTokens, clients};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use checkpoint::SigningKey;
pub use config::Config;
use lane::{Lanes, Policy, Scorer};
use state::State;
use step_up::StepUp;

/// The schema that this service owns.
pub const SCHEMA: &str = "transactions";

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

pub async fn serve(env: Env, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run(Config::from_env(env)?, listener, shutdown).await
}

/// Brings the schema up to date, as its owner: `MIGRATION_DATABASE_URL`.
pub async fn migrate(env: Env) -> anyhow::Result<()> {
    shared::db::migrate::migrate_from_env(env, SCHEMA, MIGRATIONS).await
}

/// Runs the service on `listener` until `shutdown` is cancelled. Requests in flight are answered first, then the lanes
/// drain, then this returns.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    telemetry::start(config.lanes);
    let db = Db::new(SCHEMA, &config.db)?;
    let tokens = ServiceTokens::new(SERVICE, &config.service_secrets, config.clock.clone())?;
    let signing_key = SigningKey::from_pem(config.checkpoint_signing_key.expose_secret())?;
    let auth = HttpClient::new(SERVICE, "auth-service", &config.auth_url, None)?;
    let ml = clients::ml::MlClient::new(HttpClient::new(
        SERVICE,
        clients::ml::SERVICE,
        &config.ml_url,
        Some(tokens.clone()),
    )?);
    let scorer = Scorer {
        ml: ml.clone(),
        deadline: config.score_deadline,
        clock: config.clock.clone(),
    };
    let policy = Policy {
        unscored_post_limit: config.unscored_post_limit,
        approvals: config.approvals,
    };
    // The lanes outlive the server, so that what it accepted is decided.
    let served = CancellationToken::new();
    let background = TaskTracker::new();
    let lanes = Lanes::start(config.lanes, &db, &scorer, &policy, &background, &served)
        .with_sandbox_faults(config.webhooks.sandbox_faults);
    // In the sandbox it can be moved, and tokens must not expire by it.
    let calendar_clock = config.clock.separate();
    background.spawn(outbox::relay(db.clone(), ml.clone(), shutdown.clone()));
    background.spawn(event::feed::run(db.clone(), shutdown.clone()));
    background.spawn(webhook::delivery::run(
        db.clone(),
        config.clock.clone(),
        config.webhooks.clone(),
        shutdown.clone(),
    )?);
    background.spawn(late_scoring::run(db.clone(), scorer, shutdown.clone()));
    background.spawn(hold::expiry::run(db.clone(), lanes.clone(), shutdown.clone()));
    background.spawn(schedule::runner::run(
        db.clone(),
        lanes.clone(),
        calendar_clock.clone(),
        shutdown.clone(),
    ));
    background.spawn(checkpoint::run(db.clone(), signing_key, shutdown.clone()));
    background.spawn(upkeep::run(
        db.clone(),
        config.webhooks.keys.clone(),
        shutdown.clone(),
    ));
    background.spawn(integrity::schedule::run(
        db.clone(),
        config.integrity_interval,
        shutdown.clone(),
    ));
    background.close();

    let readiness = readiness(&db, &lanes);
    let state = web::Data::new(State::new(
        db,
        lanes,
        calendar_clock,
        config.sandbox_rail,
        config.webhooks.clone(),
        StepUp {
            clock: config.clock.clone(),
            ..config.step_up
        },
    ));
    let verifier = AccessTokenVerifier::from_auth_service(SERVICE, auth, config.clock.clone());
    let verifier = web::Data::new(verifier);
    let tokens = web::Data::new(tokens);
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
    let result = server
        .serve(move |config| {
            config
                .app_data(state.clone())
                .app_data(verifier.clone())
                .app_data(tokens.clone());
            routes::configure(config);
        })
        .await;
    served.cancel();
    background.wait().await;
    result
}

fn readiness(db: &Db, lanes: &Lanes) -> Readiness {
    let lanes = lanes.clone();
    Readiness::default()
        .database(db, &MIGRATIONS)
        .check("lanes", move || Box::pin(std::future::ready(lanes.are_running())))
}
