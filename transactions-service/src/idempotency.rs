//! Idempotency keys: the client names its request, and a repetition gets the first one's answer again.
//!
//! A key is claimed in the transaction of its effect, together with the answer, so there is never one without the other.
//! The keys of different users do not meet.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use aws_lc_rs::digest;
use serde::Serialize;
use shared::id::UserId;
use shared::{ApiError, Outcome};

pub const HEADER: &str = "idempotency-key";
pub const REPLAYED_HEADER: &str = "idempotent-replayed";

/// For how long a repetition is recognised.
pub const KEPT_DAYS: i32 = 30;

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
}

impl FromRequest for IdempotencyKey {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = match request.headers().get(HEADER) {
            None => Err(ApiError::bad_request(
                "missing_idempotency_key",
                "Send an `Idempotency-Key` header, such as a UUID of your own, so that this request can be repeated safely.",
            )
            .outcome(Outcome::None)),
            Some(value) => value.to_str().ok().and_then(Self::parse).ok_or_else(|| {
                ApiError::invalid("invalid_idempotency_key", "Idempotency-Key", "expected 1 to 255 letters, digits or ._~:@+=,-")
                    .outcome(Outcome::None)
            }),
        };
        ready(key)
    }
}

/// A request's name, and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub owner_id: UserId,
    pub key: IdempotencyKey,
    /// SHA-256 of the operation and its parsed body: spacing and the order of fields do not matter.
    pub fingerprint: [u8; 32],
}

impl Claim {
    pub fn new(
        owner_id: UserId,
        key: IdempotencyKey,
        operation: &str,
        body: &impl Serialize,
    ) -> Result<Self, ApiError> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(operation.as_bytes());
        context.update(&[0]);
        context.update(&serde_json::to_vec(body).map_err(ApiError::internal)?);
        let fingerprint = context.finish().as_ref().try_into().map_err(ApiError::internal)?;
        Ok(Self {
            owner_id,
            key,
            fingerprint,
        })
    }
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
        ] {
            assert_eq!(IdempotencyKey::parse(key).is_some(), valid, "{key:?}");
        }
        assert!(IdempotencyKey::parse(&"k".repeat(256)).is_none());
    }

    #[test]
    fn a_fingerprint_tells_operations_and_bodies_apart() {
        let claim = |operation: &str, body: &str| {
            let key = IdempotencyKey::parse("k").unwrap();
            Claim::new(UserId::from_uuid(uuid::Uuid::nil()), key, operation, &body)
                .unwrap()
                .fingerprint
        };
        assert_eq!(claim("transfers", "a"), claim("transfers", "a"));
        assert_ne!(claim("transfers", "a"), claim("transfers", "b"));
        assert_ne!(claim("transfers", "a"), claim("deposits", "a"));
    }
}
