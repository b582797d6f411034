//! The configuration of `ml-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://ml_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `ml_owner`; for `migrate` only
//! - `ADMIN_DATABASE_URL`: an administrator of the database; for `provision` and `retire-logins` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8
//! - `AUTH_URL`, `TRANSACTIONS_URL`: base URLs of the services it calls
//! - `ORIGIN_KEYS`: what devices and addresses are hashed with, `number:key` pairs separated by commas, each key 32 random bytes
//!   in base64. The first is used
//! - `FLOWLET_URL`, `FLOWLET_TOKEN`: where the gateway is, default http://127.0.0.1:8080, and an access token, for the commands of the
//!   registry only: `export`, `register`, `shadow`, `promote`, `rollback`, `drift`
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `WORKERS`: threads that serve requests, default 1
//! - `SHUTDOWN_DELAY_S`: how long requests are still taken after SIGTERM, until balancers have noticed, default 0
//! - `FLOWLET_ENV`: `production` (default), which refuses what can be guessed or is unsafe, or `development`
//! - `BIND_ADDRESS`: default 127.0.0.1:8084; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`: an OTLP/HTTP collector that traces are sent to, default none; `OTEL_SERVICE_NAME`: the name
//!   they are sent under; `OTEL_TRACES_SAMPLER_ARG`: which part of those that begin here is kept, 0 to 1, default 1

use std::time::Duration;

use secrecy::SecretString;
use shared::config::Env;
use shared::db::DbConfig;
use shared::{Clock, FieldKeys};

use crate::origin::OriginKey;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub auth_url: String,
    pub transactions_url: String,
    pub origin_key: OriginKey,
    pub service_secrets: Vec<SecretString>,
    pub workers: usize,
    pub shutdown_delay: Duration,
    pub clock: Clock,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            auth_url: env.base_url("AUTH_URL"),
            transactions_url: env.base_url("TRANSACTIONS_URL"),
            origin_key: OriginKey(FieldKeys::blind_index_from_env(&mut env, "ORIGIN_KEYS")),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            workers: env.or("WORKERS", 1),
            shutdown_delay: Duration::from_secs(env.or("SHUTDOWN_DELAY_S", 0)),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}
