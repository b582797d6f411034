//! A refresh token that somebody presents: what it is known by, and the successor that was given for it.
//!
//! A client whose answer was lost, or whose other tab was faster, presents a token that is used up. If it comes soon, from the
//! same client, it gets the same successor again, so nobody is logged out and no session forks. The successor is kept
//! sealed under a key that only the presented token gives, and bound to the client: the database alone opens nothing.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use chrono::Duration;
use serde::{Deserialize, Deserializer};
use shared::ApiError;

use super::{Client, Secret, sha256};

/// How long after its use a token is taken for a repetition, and not for a stolen one.
pub const REPEATABLE_FOR: Duration = Duration::seconds(20);

/// The nonce may always be the same, because a key seals one text only: the one successor of its token.
const NONCE: [u8; 12] = [0; 12];

/// Nothing of the token itself is kept. Any text is one, known or unknown.
pub struct PresentedRefreshToken {
    pub hash: Vec<u8>,
    sealing_key: LessSafeKey,
}

impl PresentedRefreshToken {
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let key = hmac::sign(&key, b"successor of a refresh token");
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| sealing_failed())?;
        Ok(Self {
            hash: sha256(text),
            sealing_key: LessSafeKey::new(key),
        })
    }

    pub fn seal(&self, successor: &Secret, client: &Client) -> Result<Vec<u8>, ApiError> {
        let mut text = successor.reveal().into_bytes();
        let nonce = Nonce::assume_unique_for_key(NONCE);
        self.sealing_key
            .seal_in_place_append_tag(nonce, fingerprint(client), &mut text)
            .map_err(|_| sealing_failed())?;
        Ok(text)
    }

    /// The successor, if it was sealed for this token and this client.
    pub fn unseal(&self, mut sealed: Vec<u8>, client: &Client) -> Option<Secret> {
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let text = self
            .sealing_key
            .open_in_place(nonce, fingerprint(client), &mut sealed)
            .ok()?;
        Some(Secret::from_text(std::str::from_utf8(text).ok()?))
    }
}

/// What a client keeps when it changes networks.
fn fingerprint(client: &Client) -> Aad<Vec<u8>> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Aad::from(sha256(&format!(
        "{}\n{}",
        text(&client.device_id),
        text(&client.user_agent)
    )))
}

fn sealing_failed() -> ApiError {
    ApiError::internal(anyhow::anyhow!("a refresh token cannot be sealed"))
}

impl std::fmt::Debug for PresentedRefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresentedRefreshToken")
    }
}

impl<'de> Deserialize<'de> for PresentedRefreshToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(user_agent: &str) -> Client {
        Client {
            user_agent: Some(user_agent.to_owned()),
            ..Client::default()
        }
    }

    #[test]
    fn a_successor_is_opened_by_its_token_and_client_only() {
        let (token, other) = (Secret::refresh_token().unwrap(), Secret::refresh_token().unwrap());
        let presented = |secret: &Secret| PresentedRefreshToken::parse(&secret.reveal()).unwrap();
        let successor = Secret::refresh_token().unwrap();
        let sealed = presented(&token).seal(&successor, &client("a")).unwrap();
        let text = successor.reveal();
        assert!(!String::from_utf8_lossy(&sealed).contains(&text));
        let opened = |secret, agent| presented(secret).unseal(sealed.clone(), &client(agent));
        assert_eq!(opened(&token, "a").unwrap().reveal(), text);
        assert!(opened(&token, "b").is_none());
        assert!(opened(&other, "a").is_none());
    }

    #[test]
    fn a_presented_token_keeps_nothing_that_works() {
        let token: PresentedRefreshToken = serde_json::from_value("rt_hunter2".into()).unwrap();
        assert_eq!(token.hash, sha256("rt_hunter2"));
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
