//! Sessions: a login and what keeps it alive.
//!
//! A session has a credential (`ses_…`), given out once, and a refresh token (`rt_…`) that is replaced with each use; the
//! database knows only their SHA-256, which is enough because both are random. A refresh token that comes a second time,
//! later or from another client, was stolen, from the user or by the user's thief, so the session ends. Then the gateway takes
//! none of its access tokens any more, and this service looks at the session itself.

pub mod cache;
pub mod handlers;
pub mod list;
pub mod login;
pub mod queries;
pub mod refresh_token;
pub mod validation;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use shared::id::{SessionId, UserId};
use shared::{ApiError, Denial, Origin};
use utoipa::ToSchema;

use crate::login_attempts::device::PresentedDevice;

/// A session ends when it was not used for this long.
pub const IDLE_LIFETIME: Duration = Duration::days(7);

const SECRET_BYTES: usize = 32;
const SESSION_PREFIX: &str = "ses_";
const REFRESH_TOKEN_PREFIX: &str = "rt_";
const BRIDGE_PREFIX: &str = "brs_";
const REMEMBERED_DEVICE_PREFIX: &str = "rdv_";
pub const MAX_USER_AGENT_LENGTH: usize = 256;
const REMEMBERED_DEVICE: HeaderName = HeaderName::from_static("x-remembered-device");

/// A bearer secret of our making: 256 random bits behind a prefix that tells what it is for.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn session() -> Result<Self, ApiError> {
        Self::generate(SESSION_PREFIX)
    }

    pub fn bridge() -> Result<Self, ApiError> {
        Self::generate(BRIDGE_PREFIX)
    }

    pub fn refresh_token() -> Result<Self, ApiError> {
        Self::generate(REFRESH_TOKEN_PREFIX)
    }

    pub fn remembered_device() -> Result<Self, ApiError> {
        Self::generate(REMEMBERED_DEVICE_PREFIX)
    }

    pub fn generate(prefix: &str) -> Result<Self, ApiError> {
        let mut bytes = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
        Ok(Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)).into()))
    }

    /// One that was made before, or that a client says was.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// What the database keeps.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose_secret())
    }

    /// For the answer to who it belongs to.
    pub fn reveal(&self) -> String {
        self.0.expose_secret().to_owned()
    }
}

pub fn sha256(text: &str) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().to_vec()
}

/// The credential of a session, or of a login that may become one, as a client presented it. Any text is one, known or unknown.
#[derive(ToSchema)]
#[schema(value_type = String, format = Password, example = "ses_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8")]
pub struct PresentedSession(pub Secret);

impl<'de> Deserialize<'de> for PresentedSession {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretString::deserialize(deserializer).map(|text| Self(Secret(text)))
    }
}

/// Until when a session lasts that began at `created_at` and is used `now`, if it is not used again.
fn idle_expiry(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    (now + IDLE_LIFETIME).min(expires_at)
}

/// Where a login came from, as the user will see it in the list of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    /// What the program calls the device it runs on: `X-Device-ID`.
    pub device_id: Option<String>,
    /// Whether it has logged in before, and with which e-mail. Not kept.
    #[serde(skip)]
    pub device: PresentedDevice,
    /// The SHA-256 of the token of a device that is not asked for the second factor: `X-Remembered-Device`. Not kept.
    #[serde(skip)]
    pub remembered_device_hash: Option<Vec<u8>>,
}

impl Client {
    pub fn of(request: &HttpRequest) -> Self {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let Origin { device, address } = Origin::of(request.headers());
        let ip = address.or_else(|| request.peer_addr().map(|peer| peer.ip().to_canonical()));
        let user_agent = text(header::USER_AGENT).filter(|text| !text.is_empty());
        Self {
            ip: ip.map(|ip| ip.to_string()),
            user_agent: user_agent.map(|text| text.chars().take(MAX_USER_AGENT_LENGTH).collect()),
            device_id: device,
            device: PresentedDevice::of(request),
            remembered_device_hash: text(REMEMBERED_DEVICE).map(sha256),
        }
    }
}

/// A login as it is kept, decrypted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    pub client: Client,
    /// How the user proved who they are, by RFC 8176.
    pub amr: Vec<String>,
    /// When they last did.
    pub authenticated_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub idle_expires_at: DateTime<Utc>,
}

/// 401: the access token is genuine, but its session was ended.
pub fn session_revoked() -> ApiError {
    ApiError::unauthorized("session_revoked", "This session has ended. Log in again.")
        .denied(Denial::SessionRevoked)
}

/// 401 for every refresh token that does not work, whatever the reason.
fn invalid_refresh_token() -> ApiError {
    ApiError::unauthorized(
        "invalid_refresh_token",
        "This refresh token is not valid (any more). Log in again.",
    )
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn secrets_are_long_different_and_tell_what_they_are() {
        let (one, other) = (Secret::session().unwrap(), Secret::session().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert!(one.reveal().starts_with("ses_") && one.reveal().len() == 4 + 43);
        assert!(Secret::refresh_token().unwrap().reveal().starts_with("rt_"));
        assert_eq!(one.hash(), sha256(&one.reveal()));
    }

    #[test]
    fn use_keeps_a_session_alive_but_never_past_its_end() {
        let login = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let end = login + Duration::days(30);
        assert_eq!(idle_expiry(end, login), login + Duration::days(7));
        assert_eq!(idle_expiry(end, login + Duration::days(29)), end);
    }

    #[test]
    fn a_client_is_what_the_gateway_says_within_bounds() {
        let request = TestRequest::default()
            .insert_header(("x-forwarded-for", "6.6.6.6, ::ffff:192.0.2.7"))
            .insert_header(("user-agent", "x".repeat(1000)))
            .insert_header(("x-device-id", "d".repeat(128)))
            .to_http_request();
        let client = Client::of(&request);
        assert_eq!(client.ip.as_deref(), Some("192.0.2.7"));
        assert_eq!(client.user_agent.map(|text| text.len()), Some(256));
        assert_eq!(client.device_id.map(|text| text.len()), Some(128));
        let nonsense = TestRequest::default()
            .insert_header(("x-forwarded-for", "<script>"))
            .peer_addr(([127, 0, 0, 1], 1).into())
            .to_http_request();
        assert_eq!(Client::of(&nonsense).ip.as_deref(), Some("127.0.0.1"));
    }
}
