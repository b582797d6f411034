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
use quick_cache::sync::Cache;

use crate::principal::{AccessTokenClaims, Principal};
use crate::{ApiError, Clock, HttpClient};

pub const ISSUER: &str = "flowlet";
pub const AUDIENCE: &str = "flowlet";
/// The JWT's `typ`, which keeps a token of another purpose from passing as this one.
pub const TOKEN_TYPE: &str = "at+jwt";

const CACHED_TOKENS: usize = 50_000;
const MAX_TOKEN_LENGTH: usize = 4096;
/// How soon after a fetch an unknown `kid` may cause another.
const FETCH_PAUSE: Duration = Duration::seconds(5);
/// After this long a retired key must no longer be accepted, so the set is fetched anew.
const KEYS_FRESH_FOR: Duration = Duration::minutes(10);

pub struct AccessTokenVerifier {
    clock: Clock,
    source: Option<HttpClient>,
    keys: RwLock<Keys>,
    fetching: tokio::sync::Mutex<()>,
    verified: Cache<Box<str>, Arc<Principal>>,
}

#[derive(Default)]
struct Keys {
    by_kid: HashMap<String, DecodingKey>,
    tried_at: Option<DateTime<Utc>>,
    fetched_at: Option<DateTime<Utc>>,
}

impl AccessTokenVerifier {
    /// Fetches the keys from `auth-service` when they are first needed.
    pub fn from_auth_service(auth_service: HttpClient, clock: Clock) -> Self {
        Self::new(Some(auth_service), Keys::default(), clock)
    }

    /// Knows all keys already: for `auth-service` itself.
    pub fn from_keys(set: &JwkSet, clock: Clock) -> Self {
        let keys = Keys {
            by_kid: decoding_keys(set),
            ..Keys::default()
        };
        Self::new(None, keys, clock)
    }

    fn new(source: Option<HttpClient>, keys: Keys, clock: Clock) -> Self {
        let verified = Cache::new(CACHED_TOKENS);
        Self {
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
        (self.clock.now() < principal.expires_at).then_some(principal)
    }

    /// Verifies a token. An `auth-service` that cannot be reached is a 503, never a 401.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, ApiError> {
        if let Some(principal) = self.cached(token) {
            return Ok(principal);
        }
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
            return Err(ApiError::unauthorized(
                "token_expired",
                "The access token has expired. Refresh it.",
            ));
        }
        let principal = Arc::new(Principal {
            user_id: claims.sub,
            session_id: claims.sid,
            roles: claims.roles,
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
            let fetched_lately =
                keys.fetched_at.is_some() && keys.tried_at.is_some_and(|at| now - at < FETCH_PAUSE);
            if fetched_lately {
                return Ok(());
            }
        }
        let fetched = source.get::<JwkSet>("/.well-known/jwks.json").await;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.tried_at = Some(now);
        match fetched {
            Ok(set) => {
                keys.by_kid = decoding_keys(&set);
                keys.fetched_at = Some(now);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = %error, "the access-token keys cannot be fetched");
                Err(ApiError::unavailable(
                    "authentication_unavailable",
                    "Tokens cannot be checked right now. Try again shortly.",
                )
                .caused_by(anyhow::Error::new(error)))
            }
        }
    }
}

fn decoding_keys(set: &JwkSet) -> HashMap<String, DecodingKey> {
    let usable = |jwk: &Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
    set.keys.iter().filter_map(usable).collect()
}

fn invalid_token() -> ApiError {
    ApiError::unauthorized("invalid_token", "This is not a valid access token. Log in again.")
}
