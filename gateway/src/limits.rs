//! Rate limits per client address and per user, and the `RateLimit` fields that tell clients about them
//! (draft-ietf-httpapi-ratelimit-headers-10). A request is charged to every limit that applies to it.
//!
//! Each process counts for itself: with several replicas a client may spend its quota at each of them.

use std::fmt::Write;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use shared::ApiError;
use shared::id::UserId;

use crate::config::LimitsConfig;

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const WINDOW_S: u32 = 60;

pub struct Limits {
    /// Every request, by the network of its address.
    pub address: Limit<IpAddr>,
    /// Attempts at a credential, by the network of its address.
    pub login: Limit<IpAddr>,
    /// Every authenticated request, by its user.
    pub user: Limit<UserId>,
}

impl Limits {
    /// Fails on a limit of zero.
    pub fn new(config: &LimitsConfig) -> anyhow::Result<Self> {
        Ok(Self {
            address: Limit::new("address", config.address_per_minute)?,
            login: Limit::new("login", config.login_per_minute)?,
            user: Limit::new("user", config.user_per_minute)?,
        })
    }

    /// Forgets whoever has their whole quota again, so that memory is bounded by a minute's traffic.
    pub fn forget_idle(&self) {
        self.address.limiter.retain_recent();
        self.login.limiter.retain_recent();
        self.user.limiter.retain_recent();
    }
}

/// A quota per minute and key, which may be spent in one burst and comes back evenly.
pub struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    quota: NonZeroU32,
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, per_minute: u32) -> anyhow::Result<Self> {
        let quota = NonZeroU32::new(per_minute)
            .ok_or_else(|| anyhow::anyhow!("the {name} limit is zero: nobody could ask for anything"))?;
        let limiter = RateLimiter::dashmap(Quota::per_minute(quota)).with_middleware();
        Ok(Self { name, quota, limiter })
    }

    /// Takes one request from `key`'s quota and notes in `charges` what is left; refuses it when nothing is.
    pub fn charge(&self, key: &K, charges: &mut Charges) -> Result<(), ApiError> {
        let outcome = self.limiter.check_key(key);
        let remaining = outcome
            .as_ref()
            .map_or(0, |state| state.remaining_burst_capacity());
        charges.0.push(Charge {
            name: self.name,
            quota: self.quota,
            remaining,
        });
        outcome.map(drop).map_err(|refusal| {
            metrics::counter!("gateway_rate_limited_total", "limit" => self.name).increment(1);
            let wait = refusal.wait_time_from(self.limiter.clock().now());
            let detail = "Too many requests. Wait as long as `Retry-After` says.";
            ApiError::too_many_requests(detail, whole_seconds(wait))
        })
    }
}

/// Rounded up and never zero, so that whoever waits that long is let in.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// What a request was charged, for the answer to tell.
#[derive(Default)]
pub struct Charges(Vec<Charge>);

struct Charge {
    name: &'static str,
    quota: NonZeroU32,
    remaining: u32,
}

impl Charge {
    /// Seconds until the quota is whole again if nothing more is asked.
    fn reset_s(&self) -> u64 {
        let used = u64::from(self.quota.get().saturating_sub(self.remaining));
        (used * u64::from(WINDOW_S)).div_ceil(u64::from(self.quota.get()))
    }
}

impl Charges {
    /// `RateLimit-Policy: "address";q=600;w=60` and `RateLimit: "address";r=599;t=1`.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let (mut policy, mut state) = (String::with_capacity(64), String::with_capacity(64));
        for charge in &self.0 {
            let (name, quota, remaining) = (charge.name, charge.quota, charge.remaining);
            let comma = if policy.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(policy, "{comma}\"{name}\";q={quota};w={WINDOW_S}");
            let _ = write!(state, "{comma}\"{name}\";r={remaining};t={}", charge.reset_s());
        }
        for (name, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let (false, Ok(value)) = (text.is_empty(), HeaderValue::try_from(text)) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(charges: &Charges) -> (String, String) {
        let mut headers = HeaderMap::new();
        charges.write_to(&mut headers);
        let text = |name| headers.get(name).unwrap().to_str().unwrap().to_owned();
        (text(RATE_LIMIT_POLICY), text(RATE_LIMIT))
    }

    #[test]
    fn a_spent_quota_is_refused_with_the_time_to_wait() {
        let limit = Limit::new("login", 2).unwrap();
        let mut charges = Charges::default();
        limit.charge(&1, &mut charges).unwrap();
        limit.charge(&1, &mut charges).unwrap();
        let refusal = limit.charge(&1, &mut charges).unwrap_err();
        assert_eq!((refusal.status().as_u16(), refusal.code()), (429, "rate_limited"));
        limit.charge(&2, &mut charges).unwrap();
        let remaining: Vec<u32> = charges.0.iter().map(|charge| charge.remaining).collect();
        assert_eq!(remaining, [1, 0, 0, 1]);
    }

    #[test]
    fn clients_are_told_every_limit_that_applies() {
        let quota = NonZeroU32::new(600).unwrap();
        let charges = Charges(vec![
            Charge {
                name: "address",
                quota,
                remaining: 599,
            },
            Charge {
                name: "user",
                quota,
                remaining: 0,
            },
        ]);
        let (policy, state) = written(&charges);
        assert_eq!(policy, r#""address";q=600;w=60, "user";q=600;w=60"#);
        assert_eq!(state, r#""address";r=599;t=1, "user";r=0;t=60"#);
    }

    #[test]
    fn an_answer_without_a_charge_has_no_fields() {
        let mut headers = HeaderMap::new();
        Charges::default().write_to(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_zero_limit_is_named() {
        let error = Limit::<u8>::new("user", 0).err().unwrap().to_string();
        assert!(error.contains("user"), "{error}");
    }
}
