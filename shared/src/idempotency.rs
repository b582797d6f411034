//! Idempotency keys: the client names its request, so that it can send it again when the answer was lost.
//!
//! What a key is worth is the service's business: it stores the key and the fingerprint in the transaction of the effect.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::{FromRequest, HttpRequest};
use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ApiError, Outcome};

pub const HEADER: &str = "idempotency-key";
/// On an answer that an earlier request with the same key got first.
pub const REPLAYED_HEADER: &str = "idempotent-replayed";

/// The `Idempotency-Key` header: 1 to 255 letters, digits or `._~:@+=,-`, so that it can also stand in a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn parse(text: &str) -> Option<Self> {
        let safe = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~:@+=,-".contains(&byte));
        let is_dots = text == "." || text == "..";
        ((1..=255).contains(&text.len()) && safe && !is_dots).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_header(value: &HeaderValue) -> Result<Self, ApiError> {
        value.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            let detail = "expected 1 to 255 letters, digits or ._~:@+=,-";
            ApiError::invalid("invalid_idempotency_key", "Idempotency-Key", detail).outcome(Outcome::None)
        })
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let detail = "expected 1 to 255 letters, digits or ._~:@+=,-";
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(detail))
    }
}

impl FromRequest for IdempotencyKey {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let detail = "Send an `Idempotency-Key` header, such as a UUID of your own, so that this request can be repeated safely.";
        ready(match request.headers().get(HEADER) {
            Some(value) => Self::from_header(value),
            None => Err(ApiError::bad_request("missing_idempotency_key", detail).outcome(Outcome::None)),
        })
    }
}

/// The key of a request that may go without one. Unlike `Option<IdempotencyKey>` it does not take a bad key for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalIdempotencyKey(pub Option<IdempotencyKey>);

impl FromRequest for OptionalIdempotencyKey {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            request
                .headers()
                .get(HEADER)
                .map(IdempotencyKey::from_header)
                .transpose()
                .map(Self),
        )
    }
}

/// SHA-256 of an operation and its parsed body: spacing and the order of fields do not matter.
pub fn fingerprint(operation: &str, body: &impl Serialize) -> Result<[u8; 32], ApiError> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(operation.as_bytes());
    context.update(&[0]);
    context.update(&serde_json::to_vec(body).map_err(ApiError::internal)?);
    context.finish().as_ref().try_into().map_err(ApiError::internal)
}

/// The key was used before, for something else.
pub fn key_reused() -> ApiError {
    ApiError::unprocessable(
        "idempotency_key_reused",
        "This Idempotency-Key was used for another request. Use a new one for each new request.",
    )
    .outcome(Outcome::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_safe_in_a_path() {
        for (key, valid) in [
            ("a", true),
            ("0190-ab:c", true),
            ("", false),
            ("a b", false),
            ("ä", false),
            ("a\n", false),
            ("a/b", false),
            ("..", false),
        ] {
            assert_eq!(IdempotencyKey::parse(key).is_some(), valid, "{key:?}");
        }
        assert!(IdempotencyKey::parse(&"k".repeat(256)).is_none());
    }

    #[test]
    fn a_fingerprint_tells_operations_and_bodies_apart() {
        assert_eq!(
            fingerprint("transfers", &"a").unwrap(),
            fingerprint("transfers", &"a").unwrap()
        );
        assert_ne!(
            fingerprint("transfers", &"a").unwrap(),
            fingerprint("transfers", &"b").unwrap()
        );
        assert_ne!(
            fingerprint("transfers", &"a").unwrap(),
            fingerprint("deposits", &"a").unwrap()
        );
    }
}
