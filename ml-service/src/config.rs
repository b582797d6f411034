//! The configuration of `ml-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://ml_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `ml_owner`; for `migrate` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `WORKERS`: threads that serve requests, default 1
//! - `BIND_ADDRESS`: default 127.0.0.1:8084; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`

use secrecy::SecretString;
use shared::Clock;
use shared::config::Env;
use shared::db::DbConfig;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub service_secrets: Vec<SecretString>,
    pub workers: usize,
    pub clock: Clock,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            workers: env.or("WORKERS", 1),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}
