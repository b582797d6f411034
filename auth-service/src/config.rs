//! The configuration of `auth-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://auth_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `auth_owner`; for `migrate` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8
//! - `SIGNING_KEY`: Ed25519 private key, PKCS#8 PEM, that signs access tokens
//! - `PREVIOUS_SIGNING_KEY`: optional; still published, so that tokens it signed stay valid while keys are replaced
//! - `PASSWORD_HASH_MEMORY_KIB`, `PASSWORD_HASH_ITERATIONS`: Argon2id's cost, default 19456 and 2 (OWASP)
//! - `PASSWORD_HASH_THREADS`: threads that hash, default 1
//! - `PASSWORD_HASH_QUEUE`: how many passwords may be waiting or worked on before logins are shed, default 32
//! - `WORKERS`: threads that serve requests, default 2
//! - `BIND_ADDRESS`: default 127.0.0.1:8081; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`

use secrecy::SecretString;
use shared::Clock;
use shared::config::Env;
use shared::db::DbConfig;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub signing_key: SecretString,
    pub previous_signing_key: Option<SecretString>,
    pub hashing: HashingConfig,
    pub workers: usize,
    pub clock: Clock,
}

#[derive(Clone, Copy, Debug)]
pub struct HashingConfig {
    pub memory_kib: u32,
    pub iterations: u32,
    pub threads: usize,
    pub queue: usize,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            signing_key: env.secret("SIGNING_KEY"),
            previous_signing_key: env
                .optional::<String>("PREVIOUS_SIGNING_KEY")
                .map(SecretString::from),
            hashing: HashingConfig {
                memory_kib: env.or("PASSWORD_HASH_MEMORY_KIB", 19_456),
                iterations: env.or("PASSWORD_HASH_ITERATIONS", 2),
                threads: env.or("PASSWORD_HASH_THREADS", 1),
                queue: env.or("PASSWORD_HASH_QUEUE", 32),
            },
            workers: env.or("WORKERS", 2),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}
