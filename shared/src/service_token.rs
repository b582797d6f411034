//! How services know each other: a 60-second HS256 token with the caller as issuer and the callee as audience.
//!
//! Two secrets are accepted at a time and the first signs, so the secret can be replaced without an interruption.
//! `/internal/*` routes accept nothing else, and the gateway never routes to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::future::{Ready, ready};

use crate::{ApiError, Clock, Denial};

const LIFETIME_S: i64 = 60;
const TOKEN_TYPE: &str = "service+jwt";

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
}

/// Issues and checks the tokens of calls between services. Cheap to clone.
#[derive(Clone)]
pub struct ServiceTokens(Arc<Inner>);

struct Inner {
    service: &'static str,
    signing_key: EncodingKey,
    accepted_keys: Vec<DecodingKey>,
    clock: Clock,
    issued: Mutex<HashMap<&'static str, (String, i64)>>,
}

impl ServiceTokens {
    pub fn new(service: &'static str, secrets: &[SecretString], clock: Clock) -> anyhow::Result<Self> {
        let first = secrets
            .first()
            .ok_or_else(|| anyhow::anyhow!("a service secret is needed"))?;
        Ok(Self(Arc::new(Inner {
            service,
            signing_key: EncodingKey::from_secret(first.expose_secret().as_bytes()),
            accepted_keys: secrets
                .iter()
                .map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes()))
                .collect(),
            clock,
            issued: Mutex::default(),
        })))
    }

    /// A token for calling `callee`, reused for the first half of its life.
    pub fn issue(&self, callee: &'static str) -> anyhow::Result<String> {
        let now = self.0.clock.now().timestamp();
        let mut issued = self.0.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, issued_at)) = issued.get(callee)
            && now < issued_at + LIFETIME_S / 2
        {
            return Ok(token.clone());
        }
        let claims = Claims {
            iss: self.0.service.to_owned(),
            aud: callee.to_owned(),
            iat: now,
            exp: now + LIFETIME_S,
        };
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TOKEN_TYPE.to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &self.0.signing_key)?;
        issued.insert(callee, (token.clone(), now));
        Ok(token)
    }

    fn verify(&self, token: &str) -> Option<ServiceCaller> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TOKEN_TYPE) {
            return None;
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[self.0.service]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        // Expiry is checked against our own clock below.
        validation.validate_exp = false;
        let now = self.0.clock.now().timestamp();
        self.0
            .accepted_keys
            .iter()
            .find_map(|key| jsonwebtoken::decode::<Claims>(token, key, &validation).ok())
            .filter(|token| now < token.claims.exp && token.claims.exp <= now + 2 * LIFETIME_S)
            .map(|token| ServiceCaller {
                service: token.claims.iss,
            })
    }
}

/// The service that is calling. As a handler's argument it makes the route internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCaller {
    pub service: String,
}

impl ServiceCaller {
    /// Only the services whose job needs it may call.
    pub fn require(&self, allowed: &[&str]) -> Result<(), ApiError> {
        if allowed.contains(&self.service.as_str()) {
            return Ok(());
        }
        let refusal = ApiError::forbidden("caller_not_allowed", "This service may not call this route.");
        Err(refusal.denied(Denial::Forbidden))
    }
}

impl FromRequest for ServiceCaller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request
            .app_data::<web::Data<ServiceTokens>>()
            .zip(bearer_token(request))
            .and_then(|(tokens, token)| tokens.verify(token));
        ready(caller.ok_or_else(|| {
            let detail = "This route needs a service token made for it.";
            ApiError::unauthorized("invalid_service_token", detail).denied(Denial::ServiceTokenInvalid)
        }))
    }
}

/// The token of `Authorization: Bearer …`.
pub fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(service: &'static str, secrets: &[&str], clock: &Clock) -> ServiceTokens {
        let secrets: Vec<_> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        ServiceTokens::new(service, &secrets, clock.clone()).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_callee_and_for_a_minute() {
        let clock = Clock::system();
        let token = tokens("caller", &["a"], &clock).issue("callee").unwrap();
        let callee = tokens("callee", &["a"], &clock);
        assert_eq!(
            callee.verify(&token).map(|caller| caller.service),
            Some("caller".to_owned())
        );
        assert_eq!(tokens("another", &["a"], &clock).verify(&token), None);
        clock.advance(chrono::Duration::seconds(LIFETIME_S + 1));
        assert_eq!(callee.verify(&token), None);
    }

    #[test]
    fn a_secret_can_be_replaced_while_both_are_accepted() {
        let clock = Clock::system();
        let old = tokens("caller", &["old"], &clock).issue("callee").unwrap();
        let new = tokens("caller", &["new", "old"], &clock).issue("callee").unwrap();
        let both = tokens("callee", &["new", "old"], &clock);
        assert!(both.verify(&old).is_some() && both.verify(&new).is_some());
        assert!(tokens("callee", &["new"], &clock).verify(&old).is_none());
    }
}
