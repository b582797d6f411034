//! The configuration of `transactions-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://transactions_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `transactions_owner`; for `migrate` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8; each lane has one more of its own
//! - `AUTH_URL`, `ML_URL`: base URLs of the services it calls
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `LANES`: lanes of this process, default 1
//! - `SCORE_DEADLINE_MS`: how long a batch waits for its fraud scores, default 250
//! - `UNSCORED_POST_LIMIT`: minor units; when no score comes in time, a transfer up to this posts and a larger one waits
//!   for a person, default 10000
//! - `SANDBOX_RAIL`: `true` lets anybody deposit play money; default false
//! - `WORKERS`: threads that serve requests, default 2
//! - `BIND_ADDRESS`: default 127.0.0.1:8083; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`

use std::time::Duration;

use secrecy::SecretString;
use shared::Clock;
use shared::config::Env;
use shared::db::DbConfig;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub auth_url: String,
    pub ml_url: String,
    pub service_secrets: Vec<SecretString>,
    pub lanes: usize,
    pub score_deadline: Duration,
    /// Minor units.
    pub unscored_post_limit: i64,
    pub sandbox_rail: bool,
    pub workers: usize,
    pub clock: Clock,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            auth_url: env.required("AUTH_URL"),
            ml_url: env.required("ML_URL"),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            lanes: env.or("LANES", 1),
            score_deadline: Duration::from_millis(env.or("SCORE_DEADLINE_MS", 250)),
            unscored_post_limit: env.or("UNSCORED_POST_LIMIT", 10_000),
            sandbox_rail: env.or("SANDBOX_RAIL", false),
            workers: env.or("WORKERS", 2),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}
