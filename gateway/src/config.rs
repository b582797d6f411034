//! The configuration of the gateway, from the environment:
//!
//! - `AUTH_URL`, `ACCOUNTS_URL`, `TRANSACTIONS_URL`, `ML_URL`: base URLs of the services behind it, without a path
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `REVOCATION_MAX_STALENESS_S`: how long ago at most it must be known who was revoked while money is moved, default 10
//! - `ADDRESS_LIMIT_PER_MINUTE`: requests of one address, default 600
//! - `USER_LIMIT_PER_MINUTE`: requests of one user, default 1200
//! - `LOGIN_LIMIT_PER_MINUTE`: registrations, logins and refreshes of one address, default 30
//! - `TRUSTED_PROXIES`: comma-separated networks (CIDR) whose `X-Forwarded-For` is believed, default none
//! - `CORS_ORIGINS`: comma-separated origins of browser apps, default none
//! - `WORKERS`: threads that serve requests, default 2
//! - `SHUTDOWN_DELAY_S`: how long requests are still taken after SIGTERM, until balancers have noticed, default 0
//! - `FLOWLET_ENV`: `production` (default), which refuses what can be guessed or is unsafe, or `development`
//! - `BIND_ADDRESS`: default 127.0.0.1:8080; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`: an OTLP/HTTP collector that traces are sent to, default none; `OTEL_SERVICE_NAME`: the name
//!   they are sent under; `OTEL_TRACES_SAMPLER_ARG`: which part of those that begin here is kept, 0 to 1, default 1

use std::time::Duration;

use secrecy::SecretString;
use shared::Clock;
use shared::config::Env;

use crate::client_address::TrustedProxies;
use crate::cors::Cors;

#[derive(Clone, Debug)]
pub struct Config {
    pub auth_url: String,
    pub accounts_url: String,
    pub transactions_url: String,
    pub ml_url: String,
    pub service_secrets: Vec<SecretString>,
    pub revocation_max_staleness: Duration,
    pub limits: LimitsConfig,
    pub trusted_proxies: Vec<String>,
    pub cors_origins: Vec<String>,
    pub workers: usize,
    pub shutdown_delay: Duration,
    pub clock: Clock,
}

/// Requests per minute; each may be spent in one burst.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    pub address_per_minute: u32,
    pub user_per_minute: u32,
    pub login_per_minute: u32,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            auth_url: env.base_url("AUTH_URL"),
            accounts_url: env.base_url("ACCOUNTS_URL"),
            transactions_url: env.base_url("TRANSACTIONS_URL"),
            ml_url: env.base_url("ML_URL"),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            revocation_max_staleness: Duration::from_secs(env.or("REVOCATION_MAX_STALENESS_S", 10)),
            limits: LimitsConfig {
                address_per_minute: env.or("ADDRESS_LIMIT_PER_MINUTE", 600),
                user_per_minute: env.or("USER_LIMIT_PER_MINUTE", 1200),
                login_per_minute: env.or("LOGIN_LIMIT_PER_MINUTE", 30),
            },
            trusted_proxies: list(&mut env, "TRUSTED_PROXIES"),
            cors_origins: list(&mut env, "CORS_ORIGINS"),
            workers: env.or("WORKERS", 2),
            shutdown_delay: Duration::from_secs(env.or("SHUTDOWN_DELAY_S", 0)),
            clock: Clock::system(),
        };
        for (name, why) in config.problems() {
            env.refuse(name, why);
        }
        env.finish(config)
    }

    /// The variables whose values cannot be used, with the reason of each.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let numbers = [
            ("ADDRESS_LIMIT_PER_MINUTE", self.limits.address_per_minute == 0),
            ("USER_LIMIT_PER_MINUTE", self.limits.user_per_minute == 0),
            ("LOGIN_LIMIT_PER_MINUTE", self.limits.login_per_minute == 0),
            ("WORKERS", self.workers == 0),
            (
                "REVOCATION_MAX_STALENESS_S",
                self.revocation_max_staleness.is_zero(),
            ),
        ];
        let proxies = TrustedProxies::parse(&self.trusted_proxies).err();
        let origins = Cors::parse(&self.cors_origins).err();
        numbers
            .into_iter()
            .filter(|(_, zero)| *zero)
            .map(|(name, _)| (name, "is zero".to_owned()))
            .chain(proxies.map(|why| ("TRUSTED_PROXIES", why)))
            .chain(origins.map(|why| ("CORS_ORIGINS", why)))
            .collect()
    }
}

fn list(env: &mut Env, name: &'static str) -> Vec<String> {
    let text: String = env.or(name, String::new());
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unusable_value_is_named() {
        let env = Env::from_pairs([
            ("AUTH_URL", "localhost:8081"),
            ("ACCOUNTS_URL", "http://localhost:8082/api"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, 10.0.0.0/33"),
            ("CORS_ORIGINS", "https://app.example.com, *"),
            ("USER_LIMIT_PER_MINUTE", "0"),
            ("WORKERS", "0"),
        ]);
        let text = Config::from_env(env).unwrap_err().to_string();
        for problem in [
            "AUTH_URL is not",
            "ACCOUNTS_URL is not",
            "TRANSACTIONS_URL is not set",
            "ML_URL is not set",
            "TRUSTED_PROXIES holds `10.0.0.0/33`",
            "CORS_ORIGINS holds `*`",
            "USER_LIMIT_PER_MINUTE is zero",
            "WORKERS is zero",
        ] {
            assert!(text.contains(problem), "{problem} in {text}");
        }
    }

    #[test]
    fn the_defaults_are_usable() {
        let env = Env::from_pairs([
            ("AUTH_URL", "http://localhost:8081"),
            ("ACCOUNTS_URL", "http://localhost:8082/"),
            ("TRANSACTIONS_URL", "https://transactions.internal"),
            ("ML_URL", "http://ml-service:8084"),
            ("SERVICE_SECRETS", "71c5e9a20d8b46f3b9c04d7e62a8f153"),
        ]);
        assert_eq!(Config::from_env(env).unwrap().limits.address_per_minute, 600);
    }
}
