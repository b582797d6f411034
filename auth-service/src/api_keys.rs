//! API keys, with which programs of a user ask without a login; and OAuth clients, which are the same with another way of
//! presenting them.
//!
//! A key is 256 random bits behind a prefix that scanners for leaked secrets can look for, and before a checksum, so that
//! what was mistyped or cut off is refused without asking the database, which knows its SHA-256 only. The gateway
//! exchanges it for an access token of five minutes with the key's scopes and none of a member of staff's roles.

pub mod clients;
pub mod handlers;
pub mod oauth;
pub mod queries;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use shared::id::ApiKeyId;
use shared::{ApiError, Role, Scope};
use utoipa::ToSchema;

use crate::sessions::sha256;

/// What is given out as a key starts with this; the gateway tells keys from access tokens by it.
const KEY_PREFIX: &str = "flk_";
const CLIENT_PREFIX: &str = "fls_";
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

const DEFAULT_LIFETIME: Duration = Duration::days(90);
pub const MAX_LIFETIME: Duration = Duration::days(366);
/// How many live keys a user may have, and as many clients.
pub const MAX_LIVE: i64 = 20;
const MAX_NETWORKS: usize = 32;
/// How exactly it is known when a key was used last.
pub const USE_NOTED_EVERY: Duration = Duration::minutes(1);

/// How a secret is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is, with each request.
    ApiKey,
    /// For an access token, by `POST /oauth/token`.
    Client,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Client => "client",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => KEY_PREFIX,
            Self::Client => CLIENT_PREFIX,
        }
    }
}

/// A secret that was just made, to be shown once.
pub struct Secret(SecretString);

impl Secret {
    pub fn generate(kind: Kind) -> Result<Self, ApiError> {
        let mut bytes = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
        let text = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(bytes));
        let checksum = checksum(&text);
        Ok(Self((text + &checksum).into()))
    }

    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose_secret())
    }

    /// For the answer to who it belongs to.
    pub fn reveal(&self) -> String {
        self.0.expose_secret().to_owned()
    }
}

fn checksum(text: &str) -> String {
    let hash = sha256(text);
    URL_SAFE_NO_PAD.encode(hash.get(..CHECKSUM_BYTES).unwrap_or_default())
}

pub fn is_api_key(text: &str) -> bool {
    text.starts_with(KEY_PREFIX)
}

/// The hash of a presented secret, if it is whole.
pub fn hash_of(text: &str, kind: Kind) -> Option<Vec<u8>> {
    let checksum_length = checksum("").len();
    let (body, presented) = text.split_at_checked(text.len().checked_sub(checksum_length)?)?;
    (body.starts_with(kind.prefix()) && checksum(body) == presented).then(|| sha256(text))
}

/// What the owner calls a key: 1 to 64 characters on one line.
#[derive(Clone, Debug, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 64, example = "Nightly payouts")]
pub struct KeyName(String);

impl KeyName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let text = text.trim();
        if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(serde::de::Error::custom(
            "expected 1 to 64 characters without control characters",
        ))
    }
}

/// At least one scope, each once.
#[derive(Clone, Debug, ToSchema)]
#[schema(value_type = Vec<Scope>, example = json!(["read", "money"]))]
pub struct Scopes(pub Vec<Scope>);

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut scopes = Vec::<Scope>::deserialize(deserializer)?;
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(serde::de::Error::custom(
                "expected at least one of `read`, `write` and `money`",
            ));
        }
        Ok(Self(scopes))
    }
}

/// Networks in CIDR form, or single addresses; without any, every address is allowed.
#[derive(Clone, Debug, Default, ToSchema)]
#[schema(value_type = Vec<String>, example = json!(["203.0.113.0/24", "2001:db8::7"]))]
pub struct Networks(pub Vec<IpNet>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let networks: Option<Vec<IpNet>> = texts.iter().map(|text| parse_network(text)).collect();
        networks
            .filter(|networks| networks.len() <= MAX_NETWORKS)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected at most 32 networks such as `203.0.113.0/24`"))
    }
}

pub fn parse_network(text: &str) -> Option<IpNet> {
    let address = || {
        text.parse()
            .ok()
            .map(|address: std::net::IpAddr| IpNet::from(address.to_canonical()))
    };
    text.parse()
        .ok()
        .map(|network: IpNet| network.trunc())
        .or_else(address)
}

/// What a key is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyRequest {
    pub name: KeyName,
    pub scopes: Scopes,
    #[serde(default)]
    pub allowed_networks: Networks,
    /// At most 366 days from now; 90 days unless told.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewKeyRequest {
    pub fn expires_at(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, ApiError> {
        let expires_at = self.expires_at.unwrap_or(now + DEFAULT_LIFETIME);
        if expires_at <= now || expires_at > now + MAX_LIFETIME {
            let detail = "expected a moment in the next 366 days";
            return Err(ApiError::invalid("invalid_body", "/expires_at", detail));
        }
        Ok(expires_at)
    }
}

/// A key as its owner sees it; of the secret itself nothing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    #[schema(value_type = Vec<String>)]
    pub allowed_networks: Vec<IpNet>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The key that took its place; both are good until `expires_at`.
    pub replaced_by: Option<ApiKeyId>,
}

/// The roles that a user's programs have.
pub fn roles_of_programs(roles: &[Role]) -> Vec<Role> {
    roles.iter().copied().filter(|role| !role.is_staff()).collect()
}

pub fn not_found() -> ApiError {
    ApiError::not_found("There is no such key, or it is not yours.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_whole_and_only_as_its_own_kind() {
        for (kind, other) in [(Kind::ApiKey, Kind::Client), (Kind::Client, Kind::ApiKey)] {
            let secret = Secret::generate(kind).unwrap();
            let text = secret.reveal();
            assert_eq!(text.len(), 4 + 43 + 6);
            assert_eq!(hash_of(&text, kind), Some(secret.hash()));
            assert_eq!(hash_of(&text, other), None);
            let mut mistyped = text.clone();
            mistyped.replace_range(20..21, if text.as_bytes()[20] == b'A' { "B" } else { "A" });
            for wrong in [&mistyped, &text[1..], &text[..50], "", "flk_", "flk_äöü"] {
                assert_eq!(hash_of(wrong, kind), None, "{wrong}");
            }
        }
    }

    #[test]
    fn a_request_holds_no_wrong_value() {
        let parse = |text: &str| serde_json::from_str::<NewKeyRequest>(text);
        let good = r#"{"name": " A ", "scopes": ["money", "read", "read"], "allowed_networks": ["10.1.2.3/8", "::1"]}"#;
        let good = parse(good).unwrap();
        assert_eq!(good.scopes.0, [Scope::Read, Scope::Money]);
        let networks: Vec<String> = good.allowed_networks.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            (good.name.as_str(), networks),
            ("A", vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned()])
        );
        for bad in [
            r#"{"name": "", "scopes": ["read"]}"#,
            r#"{"name": "a", "scopes": []}"#,
            r#"{"name": "a", "scopes": ["admin"]}"#,
            r#"{"name": "a", "scopes": ["read"], "allowed_networks": ["example.com"]}"#,
            r#"{"name": "a", "scopes": ["read"], "user_id": "usr_1"}"#,
        ] {
            parse(bad).unwrap_err();
        }
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert_eq!(good.expires_at(now).unwrap(), now + DEFAULT_LIFETIME);
        for (days, allowed) in [(-1, false), (0, false), (366, true), (367, false)] {
            let request = NewKeyRequest {
                expires_at: Some(now + Duration::days(days)),
                ..parse(r#"{"name": "a", "scopes": ["read"]}"#).unwrap()
            };
            assert_eq!(request.expires_at(now).is_ok(), allowed, "{days}");
        }
    }

    #[test]
    fn programs_have_no_role_of_staff() {
        assert_eq!(roles_of_programs(&Role::ALL), [Role::Customer, Role::Partner]);
    }
}
