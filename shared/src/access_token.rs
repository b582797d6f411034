//! Verifying access tokens: EdDSA JWTs of `auth-service`, checked against its JWKS by every service itself.
//!
//! Keys are fetched once and again only for an unknown `kid` (at most every few seconds, one fetch at a time) or when they
//! are old; a fetch that fails leaves the old ones in use. Verified tokens are remembered until they expire, because
//! checking a signature costs more than everything else a request does before its handler.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use metrics::Counter;
use quick_cache::sync::Cache;

use crate::principal::{AccessTokenClaims, Principal};
use crate::{ApiError, Clock, Denial, HttpClient, scope};

pub const ISSUER: &str = "flowlet";
pub const AUDIENCE: &str = "flowlet";
/// The JWT's `typ`, which keeps a token of another purpose from passing as this one.
pub const TOKEN_TYPE: &str = "at+jwt";

const CACHED_TOKENS: usize = 50_000;
const MAX_TOKEN_LENGTH: usize = 4096;
/// How soon after a fetch an unknown `kid` may cause another.
const FETCH_PAUSE: Duration = Duration::seconds(5);
/// The same after a fetch that failed.
const FETCH_RETRY_PAUSE: Duration = Duration::seconds(1);
/// After this long a retired key must no longer be accepted, so the set is fetched anew.
const KEYS_FRESH_FOR: Duration = Duration::minutes(10);

pub struct AccessTokenVerifier {
    clock: Clock,
    source: Option<HttpClient>,
    keys: RwLock<Keys>,
    fetching: tokio::sync::Mutex<()>,
    verified: Cache<Box<str>, Arc<Principal>>,
    hits: Counter,
    misses: Counter,
}

#[derive(Default)]
struct Keys {
    by_kid: HashMap<String, DecodingKey>,
    fetched_at: Option<DateTime<Utc>>,
    /// Of the last fetch, whatever came of it.
    tried_at: Option<DateTime<Utc>>,
    failed: bool,
}

impl AccessTokenVerifier {
    /// For `service`. Fetches the keys from `auth-service` when they are first needed.
    pub fn from_auth_service(service: &'static str, auth_service: HttpClient, clock: Clock) -> Self {
        for outcome in ["fetched", "failed"] {
            metrics::counter!("jwks_fetches_total", "outcome" => outcome).increment(0);
        }
        Self::new(service, Some(auth_service), Keys::default(), clock)
    }

    /// Knows all keys already: for `auth-service` itself.
    pub fn from_keys(set: &JwkSet, clock: Clock) -> Self {
        let keys = Keys {
            by_kid: decoding_keys(set),
            ..Keys::default()
        };
        Self::new("auth-service", None, keys, clock)
    }

    fn new(service: &'static str, source: Option<HttpClient>, keys: Keys, clock: Clock) -> Self {
        let verified = Cache::new(CACHED_TOKENS);
        let count = |result| metrics::counter!("token_cache_requests_total", "service" => service, "result" => result);
        Self {
            hits: count("hit"),
            misses: count("miss"),
            clock,
            source,
            keys: RwLock::new(keys),
            fetching: tokio::sync::Mutex::default(),
            verified,
        }
    }

    /// The principal of a token that was verified before and has not expired.
    pub fn cached(&self, token: &str) -> Option<Arc<Principal>> {
        let principal = self.verified.get(token)?;
        let fresh = self.clock.now() < principal.expires_at;
        if fresh {
            self.hits.increment(1);
        }
        fresh.then_some(principal)
    }

    /// Verifies a token. An `auth-service` that cannot be reached is a 503, never a 401.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, ApiError> {
        if let Some(principal) = self.cached(token) {
            return Ok(principal);
        }
        self.misses.increment(1);
        let key = self.key_of(token).await?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Expiry is checked against our own clock below.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<AccessTokenClaims>(token, &key, &validation)
            .map_err(|error| invalid_token().caused_by(error))?
            .claims;
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or_else(invalid_token)?;
        if self.clock.now() >= expires_at {
            let refusal =
                ApiError::unauthorized("token_expired", "The access token has expired. Refresh it.");
            return Err(refusal.denied(Denial::TokenExpired));
        }
        let principal = Arc::new(Principal {
            user_id: claims.sub,
            session_id: claims.sid,
            client_id: claims.client_id,
            roles: claims.roles,
            scopes: claims.scope.as_deref().map(scope::parse_claim),
            actor: claims.act.map(|actor| actor.sub),
            expires_at,
        });
        self.verified.insert(token.into(), Arc::clone(&principal));
        Ok(principal)
    }

    async fn key_of(&self, token: &str) -> Result<DecodingKey, ApiError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(invalid_token());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| invalid_token().caused_by(error))?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(TOKEN_TYPE) {
            return Err(invalid_token());
        }
        let kid = header.kid.ok_or_else(invalid_token)?;
        let fetch_failed = match self.known_key(&kid) {
            Some(key) if !self.keys_are_old() => return Ok(key),
            _ => self.fetch_keys().await.err(),
        };
        match (self.known_key(&kid), fetch_failed) {
            (Some(key), _) => Ok(key),
            (None, Some(error)) => Err(error),
            (None, None) => Err(invalid_token()),
        }
    }

    fn known_key(&self, kid: &str) -> Option<DecodingKey> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_kid
            .get(kid)
            .cloned()
    }

    fn keys_are_old(&self) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        self.source.is_some()
            && keys
                .fetched_at
                .is_none_or(|at| self.clock.now() - at > KEYS_FRESH_FOR)
    }

    async fn fetch_keys(&self) -> Result<(), ApiError> {
        let Some(source) = &self.source else { return Ok(()) };
        let _one_at_a_time = self.fetching.lock().await;
        let now = self.clock.now();
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            let pause = if keys.failed {
                FETCH_RETRY_PAUSE
            } else {
                FETCH_PAUSE
            };
            if keys.tried_at.is_some_and(|at| now - at < pause) {
                return if keys.failed { Err(unavailable()) } else { Ok(()) };
            }
        }
        let fetched = source.get::<JwkSet>("/.well-known/jwks.json").await;
        let outcome = if fetched.is_ok() { "fetched" } else { "failed" };
        metrics::counter!("jwks_fetches_total", "outcome" => outcome).increment(1);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited for this one does not try again.
        let now = self.clock.now();
        keys.tried_at = Some(now);
        keys.failed = fetched.is_err();
        match fetched {
            Ok(set) => {
                keys.by_kid = decoding_keys(&set);
                keys.fetched_at = Some(now);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = %error, "the access-token keys cannot be fetched");
                Err(unavailable().caused_by(anyhow::Error::new(error)))
            }
        }
    }
}

fn decoding_keys(set: &JwkSet) -> HashMap<String, DecodingKey> {
    let usable = |jwk: &Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
    set.keys.iter().filter_map(usable).collect()
}

/// 503: who is asking cannot be told right now.
pub fn unavailable() -> ApiError {
    ApiError::unavailable(
        "authentication_unavailable",
        "Tokens cannot be checked right now. Try again shortly.",
    )
}

/// 401: nobody says who they are.
pub fn missing_token() -> ApiError {
    let detail = "Send `Authorization: Bearer <access_token>`; POST /api/v1/auth/login gives one.";
    ApiError::unauthorized("missing_token", detail).denied(Denial::TokenMissing)
}

fn invalid_token() -> ApiError {
    ApiError::unauthorized("invalid_token", "This is not a valid access token. Log in again.")
        .denied(Denial::TokenInvalid)
}
