//! The secret that an endpoint shares with us, and the signatures made with it: Standard Webhooks, symmetric, `v1`.
//!
//! It is shown once, when it is made. The database has it encrypted, because whoever reads it could sign as us.

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use shared::field_key::{Column, Encrypted};
use shared::id::WebhookEndpointId;
use shared::{ApiError, FieldKeys};

/// Of the previous secret too, so that a rotation moves it as it is.
const PLACE: Column = Column("transactions.webhook_endpoints.secret");
const PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;

#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    pub fn generate() -> Result<Self, ApiError> {
        let mut bytes = [0; SECRET_BYTES];
        rand::fill(&mut bytes).map_err(ApiError::internal)?;
        Ok(Self(format!("{PREFIX}{}", STANDARD.encode(bytes)).into()))
    }

    pub fn decrypt(keys: &FieldKeys, id: WebhookEndpointId, encrypted: &Encrypted) -> Result<Self, ApiError> {
        let text = keys.decrypt(PLACE, id.uuid(), encrypted)?;
        Ok(Self(text.into()))
    }

    pub fn encrypt(&self, keys: &FieldKeys, id: WebhookEndpointId) -> Result<Encrypted, ApiError> {
        let number = keys.first_encryption_key()?;
        Ok(keys.encrypt(number, PLACE, id.uuid(), self.0.expose_secret())?)
    }

    /// For its owner, once.
    pub fn reveal(&self) -> String {
        self.0.expose_secret().to_owned()
    }

    /// `v1,` and the base64 of the HMAC-SHA-256 of `id.timestamp.body`.
    fn sign(&self, id: &str, timestamp: i64, body: &str) -> Result<String, ApiError> {
        let encoded = self.0.expose_secret().strip_prefix(PREFIX).unwrap_or_default();
        let key = STANDARD.decode(encoded).map_err(ApiError::internal)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        Ok(format!("v1,{}", STANDARD.encode(tag)))
    }
}

/// The value of `webhook-signature`: one signature for each secret, so that a receiver can change from one to the other.
pub fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &str) -> Result<String, ApiError> {
    let signatures = secrets.iter().map(|secret| secret.sign(id, timestamp, body));
    Ok(signatures.collect::<Result<Vec<_>, _>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_what_standard_webhooks_says() {
        let secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = r#"{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(secret.sign(id, 1_614_265_330, body).unwrap(), expected);
        let both = signatures(&[secret.clone(), secret], id, 1_614_265_330, body).unwrap();
        assert_eq!(both, format!("{expected} {expected}"));
    }

    #[test]
    fn a_secret_is_new_each_time_and_no_log_shows_it() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.reveal().len(), PREFIX.len() + 44);
        assert!(!format!("{one:?}").contains("whsec"), "{one:?}");
    }
}
