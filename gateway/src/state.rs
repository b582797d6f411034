//! What all workers share: the services behind the gateway, the limits, and whom to believe.

use std::time::Instant;

use shared::config::parse_base_url;

use crate::authentication::Authentication;
use crate::breaker::Breaker;
use crate::client_address::TrustedProxies;
use crate::config::Config;
use crate::cors::Cors;
use crate::limits::Limits;
use crate::routes::Service;

pub struct Gateway {
    pub authentication: Authentication,
    pub limits: Limits,
    pub trusted_proxies: TrustedProxies,
    pub cors: Cors,
    auth: Upstream,
    accounts: Upstream,
    transactions: Upstream,
    ml: Upstream,
}

/// A service behind the gateway.
pub struct Upstream {
    pub name: &'static str,
    /// Scheme, host and port, without a slash at the end.
    pub base_url: String,
    pub breaker: Breaker,
}

impl Gateway {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            authentication: Authentication::new(config)?,
            limits: Limits::new(&config.limits)?,
            trusted_proxies: TrustedProxies::parse(&config.trusted_proxies).map_err(anyhow::Error::msg)?,
            cors: Cors::parse(&config.cors_origins).map_err(anyhow::Error::msg)?,
            auth: Upstream::new("auth-service", &config.auth_url)?,
            accounts: Upstream::new("accounts-service", &config.accounts_url)?,
            transactions: Upstream::new("transactions-service", &config.transactions_url)?,
            ml: Upstream::new("ml-service", &config.ml_url)?,
        })
    }

    pub fn upstream(&self, service: Service) -> &Upstream {
        match service {
            Service::Auth => &self.auth,
            Service::Accounts => &self.accounts,
            Service::Transactions => &self.transactions,
            Service::Ml => &self.ml,
        }
    }
}

impl Upstream {
    fn new(name: &'static str, base_url: &str) -> anyhow::Result<Self> {
        let url = parse_base_url(base_url).map_err(|why| anyhow::anyhow!("the URL of {name} {why}"))?;
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            name,
            base_url,
            breaker: Breaker::new(name, Instant::now()),
        })
    }
}
