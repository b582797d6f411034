//! The configuration of `transactions-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://transactions_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `transactions_owner`; for `migrate` only
//! - `ADMIN_DATABASE_URL`: an administrator of the database; for `provision` and `retire-logins` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8; each lane has one more of its own
//! - `AUTH_URL`, `ML_URL`: base URLs of the services it calls
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `CHECKPOINT_SIGNING_KEY`: Ed25519 private key, PKCS#8 PEM, that signs checkpoints of the ledger; of all replicas the same
//! - `LANES`: lanes of this process, default 1
//! - `SCORE_DEADLINE_MS`: how long a batch waits for its fraud scores, default 250
//! - `UNSCORED_POST_LIMIT`: minor units; when no score comes in time, a transfer up to this posts and a larger one waits
//!   for a person, default 10000
//! - `APPROVAL_ABOVE`: what leaves an account above these amounts waits for a second person, `USD=1000000,JPY=1500000` in minor
//!   units; default none, and none for currencies that are not named
//! - `STEP_UP_ABOVE`: who lets more than these amounts leave an account in one request has just proved who they are with two
//!   factors, written like `APPROVAL_ABOVE`; default none
//! - `STEP_UP_MAX_AGE_S`: how long ago that proof may be, default 300
//! - `STEP_UP_PER_TRANSFER`: `true` accepts a proof only for the one transfer that it was given for, default false
//! - `INTEGRITY_INTERVAL_S`: how often all books are checked, by one replica for all; default 3600
//! - `SANDBOX_RAIL`: `true` lets anybody deposit play money; default false, which production insists on
//! - `SANDBOX_FAULTS`: `true` lets partners make answers, holds, schedules and webhooks go wrong on purpose (`sandbox`); default false,
//!   which production insists on
//! - `WEBHOOK_KEYS`: what secrets of webhook endpoints are encrypted with in the database, `number:key` pairs separated by
//!   commas, each key 32 bytes in base64; the first encrypts, all decrypt
//! - `WEBHOOK_ALLOW_PRIVATE_TARGETS`: `true` lets webhooks be sent to private addresses, over HTTP and to any port; default
//!   false, which production insists on
//! - `WORKERS`: threads that serve requests, default 2
//! - `SHUTDOWN_DELAY_S`: how long requests are still taken after SIGTERM, until balancers have noticed, default 0
//! - `FLOWLET_ENV`: `production` (default), which refuses what can be guessed or is unsafe, or `development`
//! - `BIND_ADDRESS`: default 127.0.0.1:8083; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`: an OTLP/HTTP collector that traces are sent to, default none; `OTEL_SERVICE_NAME`: the name
//!   they are sent under; `OTEL_TRACES_SAMPLER_ARG`: which part of those that begin here is kept, 0 to 1, default 1

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared::config::Env;
use shared::db::DbConfig;
use shared::{Clock, FieldKeys};

use crate::checkpoint::SigningKey;
use crate::step_up::StepUp;
use crate::threshold::Thresholds;
use crate::webhook::delivery::Webhooks;
use crate::webhook::target::Reach;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub auth_url: String,
    pub ml_url: String,
    pub service_secrets: Vec<SecretString>,
    /// As PKCS#8 PEM.
    pub checkpoint_signing_key: SecretString,
    pub lanes: usize,
    pub score_deadline: Duration,
    /// Minor units.
    pub unscored_post_limit: i64,
    pub approvals: Thresholds,
    pub step_up: StepUp,
    pub integrity_interval: Duration,
    pub sandbox_rail: bool,
    pub webhooks: Webhooks,
    pub workers: usize,
    pub shutdown_delay: Duration,
    pub clock: Clock,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            auth_url: env.base_url("AUTH_URL"),
            ml_url: env.base_url("ML_URL"),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            checkpoint_signing_key: env.secret("CHECKPOINT_SIGNING_KEY"),
            lanes: env.or("LANES", 1),
            score_deadline: Duration::from_millis(env.or("SCORE_DEADLINE_MS", 250)),
            unscored_post_limit: env.or("UNSCORED_POST_LIMIT", 10_000),
            approvals: env.or("APPROVAL_ABOVE", Thresholds::default()),
            step_up: StepUp {
                above: env.or("STEP_UP_ABOVE", Thresholds::default()),
                max_age: chrono::Duration::seconds(env.or("STEP_UP_MAX_AGE_S", 300_u32).into()),
                per_transfer: env.or("STEP_UP_PER_TRANSFER", false),
                clock: Clock::system(),
            },
            integrity_interval: Duration::from_secs(env.or("INTEGRITY_INTERVAL_S", 3600)),
            sandbox_rail: env.or("SANDBOX_RAIL", false),
            webhooks: Webhooks {
                reach: match env.or("WEBHOOK_ALLOW_PRIVATE_TARGETS", false) {
                    true => Reach::Sandbox,
                    false => Reach::Public,
                },
                sandbox_faults: env.or("SANDBOX_FAULTS", false),
                keys: FieldKeys::encryption_from_env(&mut env, "WEBHOOK_KEYS"),
            },
            workers: env.or("WORKERS", 2),
            shutdown_delay: Duration::from_secs(env.or("SHUTDOWN_DELAY_S", 0)),
            clock: Clock::system(),
        };
        let pem = config.checkpoint_signing_key.expose_secret();
        match SigningKey::from_pem(pem) {
            // That it is missing was said already.
            Err(_) if pem.is_empty() => {}
            Err(error) => env.refuse("CHECKPOINT_SIGNING_KEY", error.to_string()),
            Ok(key) if key.is_example() => env.refuse_in_production(
                "CHECKPOINT_SIGNING_KEY",
                "is the example of RFC 8037, which everybody has",
            ),
            Ok(_) => {}
        }
        if config.integrity_interval.is_zero() {
            env.refuse("INTEGRITY_INTERVAL_S", "is zero");
        }
        if config.sandbox_rail {
            env.refuse_in_production(
                "SANDBOX_RAIL",
                "is on, which lets anybody make money out of nothing",
            );
        }
        if config.webhooks.sandbox_faults {
            env.refuse_in_production("SANDBOX_FAULTS", "is on, which makes things go wrong on purpose");
        }
        if config.webhooks.reach == Reach::Sandbox {
            env.refuse_in_production(
                "WEBHOOK_ALLOW_PRIVATE_TARGETS",
                "is on, which lets anybody send requests into the private network",
            );
        }
        env.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, &str); 6] = [
        (
            "DATABASE_URL",
            "postgres://x:b9e04f2d71c85a36904fd2e8163b7ca5@localhost/flowlet",
        ),
        ("SERVICE_SECRETS", "2fa86e91d04bc73518ce604a97bf3d02"),
        (
            "CHECKPOINT_SIGNING_KEY",
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIKz1lnzVVHYzC8IgXXy6gRTQ2Jd9ifvZ3vWm5sTtqgrR\n-----END PRIVATE KEY-----\n",
        ),
        ("WEBHOOK_KEYS", "1:ArpK/bJW8VILg7ANAUpnwxxeTC8hUw1W8n/kd8EZf7o="),
        ("AUTH_URL", "http://auth-service"),
        ("ML_URL", "http://ml-service"),
    ];

    #[test]
    fn the_key_of_checkpoints_must_be_one_and_a_new_one() {
        let problems = |key: &str| {
            let pairs = PAIRS
                .into_iter()
                .filter(|(name, _)| *name != "CHECKPOINT_SIGNING_KEY");
            let pairs = pairs.chain([("CHECKPOINT_SIGNING_KEY", key)]);
            Config::from_env(Env::from_pairs(pairs)).unwrap_err().to_string()
        };
        let example = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
        assert!(problems(example).contains("is the example of RFC 8037"));
        let other = problems("6b1f0c93e7d2485aa0f4b6d7e9c35182");
        assert!(other.contains("is not an Ed25519 private key"), "{other}");
    }

    #[test]
    fn what_is_for_the_sandbox_is_for_development() {
        Config::from_env(Env::from_pairs(PAIRS)).unwrap();
        for name in ["SANDBOX_RAIL", "SANDBOX_FAULTS", "WEBHOOK_ALLOW_PRIVATE_TARGETS"] {
            let sandbox = PAIRS.into_iter().chain([(name, "true")]);
            let problems = Config::from_env(Env::from_pairs(sandbox.clone()))
                .unwrap_err()
                .to_string();
            assert!(problems.contains(&format!("{name} is on")), "{problems}");
            let development = sandbox.chain([("FLOWLET_ENV", "development")]);
            Config::from_env(Env::from_pairs(development)).unwrap();
        }
    }
}
