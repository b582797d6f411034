//! The configuration of the gateway, from the environment:
//!
//! - `AUTH_URL`, `ACCOUNTS_URL`, `TRANSACTIONS_URL`: base URLs of the services behind it
//! - `ADDRESS_LIMIT_PER_MINUTE`: requests of one address, default 600
//! - `USER_LIMIT_PER_MINUTE`: requests of one user, default 1200
//! - `LOGIN_LIMIT_PER_MINUTE`: registrations, logins and refreshes of one address, default 30
//! - `TRUSTED_PROXIES`: comma-separated networks (CIDR) whose `X-Forwarded-For` is believed, default none
//! - `CORS_ORIGINS`: comma-separated origins of browser apps, default none
//! - `WORKERS`: threads that serve requests, default 2
//! - `BIND_ADDRESS`: default 127.0.0.1:8080; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`

use shared::Clock;
use shared::config::Env;

#[derive(Clone, Debug)]
pub struct Config {
    pub auth_url: String,
    pub accounts_url: String,
    pub transactions_url: String,
    pub limits: LimitsConfig,
    pub trusted_proxies: Vec<String>,
    pub cors_origins: Vec<String>,
    pub workers: usize,
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
            auth_url: env.required("AUTH_URL"),
            accounts_url: env.required("ACCOUNTS_URL"),
            transactions_url: env.required("TRANSACTIONS_URL"),
            limits: LimitsConfig {
                address_per_minute: env.or("ADDRESS_LIMIT_PER_MINUTE", 600),
                user_per_minute: env.or("USER_LIMIT_PER_MINUTE", 1200),
                login_per_minute: env.or("LOGIN_LIMIT_PER_MINUTE", 30),
            },
            trusted_proxies: list(&mut env, "TRUSTED_PROXIES"),
            cors_origins: list(&mut env, "CORS_ORIGINS"),
            workers: env.or("WORKERS", 2),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}

fn list(env: &mut Env, name: &'static str) -> Vec<String> {
    let text: String = env.or(name, String::new());
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
