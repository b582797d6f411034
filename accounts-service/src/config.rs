//! The configuration of `accounts-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://accounts_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `accounts_owner`; for `migrate` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8
//! - `AUTH_URL`, `TRANSACTIONS_URL`: base URLs of the services it calls
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `WORKERS`: threads that serve requests, default 2
//! - `BIND_ADDRESS`: default 127.0.0.1:8082; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`

use secrecy::SecretString;
use shared::Clock;
use shared::config::Env;
use shared::db::DbConfig;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub auth_url: String,
    pub transactions_url: String,
    pub service_secrets: Vec<SecretString>,
    pub workers: usize,
    pub clock: Clock,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            auth_url: env.required("AUTH_URL"),
            transactions_url: env.required("TRANSACTIONS_URL"),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            workers: env.or("WORKERS", 2),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}
