//! Access tokens for the credentials of sessions: auth-service is asked once, whoever comes with the same credential
//! meanwhile waits for that answer, and it is kept for as long as the token is good for services. Bounded, and keyed by a
//! hash, so that no credential stays in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use ipnet::IpNet;
use metrics::Counter;
use quick_cache::sync::Cache;
use shared::access_token::unavailable;
use shared::clients::auth::{AuthClient, Exchange};
use shared::http_client::CallError;
use shared::{ApiError, Clock, Denial};

const CAPACITY: usize = 50_000;
/// A token is replaced when it has less than this to live: a service must still accept it.
const MARGIN: chrono::Duration = chrono::Duration::seconds(30);
/// For whoever waits for somebody else's answer too.
const DEADLINE: Duration = Duration::from_secs(3);

type Key = [u8; 32];

#[derive(Clone)]
struct Kept {
    access_token: Arc<str>,
    expires_at: DateTime<Utc>,
    allowed_networks: Arc<[IpNet]>,
}

pub struct TokenExchange {
    auth: AuthClient,
    clock: Clock,
    kept: Cache<Key, Kept>,
    hits: Counter,
    misses: Counter,
}

impl TokenExchange {
    pub fn new(auth: AuthClient, clock: Clock) -> Self {
        let count = |result| metrics::counter!("gateway_token_exchanges_total", "result" => result);
        Self {
            auth,
            clock,
            kept: Cache::new(CAPACITY),
            hits: count("kept"),
            misses: count("asked"),
        }
    }

    /// The access token for `credential`, presented from `client`. An auth-service that does not answer is a 503, never a 401.
    pub async fn token_for(&self, credential: &str, client: IpAddr) -> Result<Arc<str>, ApiError> {
        let mut key = Key::default();
        key.copy_from_slice(digest(&SHA256, credential.as_bytes()).as_ref());
        let kept = match self.kept.get(&key).filter(|kept| self.is_good(kept)) {
            Some(kept) => {
                self.hits.increment(1);
                kept
            }
            None => {
                let asked = tokio::time::timeout(DEADLINE, self.ask_once(&key, credential)).await;
                asked.map_err(|_| unavailable())??
            }
        };
        if !kept.allowed_networks.is_empty()
            && !kept
                .allowed_networks
                .iter()
                .any(|network| network.contains(&client))
        {
            let detail = "This credential is not accepted from your address.";
            return Err(ApiError::forbidden("address_not_allowed", detail).denied(Denial::Forbidden));
        }
        Ok(kept.access_token)
    }

    fn is_good(&self, kept: &Kept) -> bool {
        self.clock.now() + MARGIN < kept.expires_at
    }

    async fn ask_once(&self, key: &Key, credential: &str) -> Result<Kept, ApiError> {
        self.kept.remove_if(key, |kept| !self.is_good(kept));
        let ask = async {
            self.misses.increment(1);
            let exchange = Exchange {
                credential: credential.to_owned(),
            };
            let exchanged = self.auth.exchange(&exchange).await.map_err(refusal)?;
            Ok(Kept {
                access_token: exchanged.access_token.into(),
                expires_at: exchanged.expires_at,
                allowed_networks: exchanged.allowed_networks.into(),
            })
        };
        self.kept.get_or_insert_async(key, ask).await
    }
}

/// 422 is about the credential. Anything else is our trouble, and says nothing about it.
fn refusal(error: CallError) -> ApiError {
    match error {
        CallError::Refused { problem, .. } if problem.status == 422 => {
            let status = actix_web::http::StatusCode::UNAUTHORIZED;
            ApiError::new(status, problem.code, problem.detail.unwrap_or(problem.title))
                .denied(Denial::TokenInvalid)
        }
        error => unavailable().caused_by(error),
    }
}
