//! The optional `Idempotency-Key` of a request: with one, a request whose answer was lost can be repeated safely.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use shared::ApiError;

const HEADER: &str = "idempotency-key";
pub const REPLAYED_HEADER: &str = "idempotent-replayed";

/// The key, if the request has one: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalKey(pub Option<String>);

impl FromRequest for OptionalKey {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let parse = |value: &actix_web::http::header::HeaderValue| {
            let key = value.to_str().ok()?;
            let valid = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
            valid.then(|| key.to_owned())
        };
        ready(match request.headers().get(HEADER) {
            None => Ok(Self(None)),
            Some(value) => parse(value).map(|key| Self(Some(key))).ok_or_else(|| {
                ApiError::invalid(
                    "invalid_idempotency_key",
                    "Idempotency-Key",
                    "expected 1 to 255 visible ASCII characters",
                )
            }),
        })
    }
}

/// A request's name, and what it asked for.
#[derive(Clone, Debug)]
pub struct Claim {
    pub key: String,
    /// SHA-256 of the parsed body: spacing and the order of fields do not matter.
    pub fingerprint: Vec<u8>,
}

impl OptionalKey {
    pub fn claim(self, body: &impl Serialize) -> Result<Option<Claim>, ApiError> {
        let Some(key) = self.0 else { return Ok(None) };
        let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
        let fingerprint = digest(&SHA256, &body).as_ref().to_vec();
        Ok(Some(Claim { key, fingerprint }))
    }
}
