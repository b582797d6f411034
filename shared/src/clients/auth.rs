//! What the gateway asks of `auth-service`: access tokens for other credentials, and what was revoked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::HttpClient;
use crate::http_client::{CallError, Retry};

pub const SERVICE: &str = "auth-service";

/// Both calls are short, and somebody waits for the first.
const TIMEOUT: Duration = Duration::from_secs(2);

/// `POST /internal/tokens`: what a client presented instead of an access token. An unknown one, or one that has ended, is
/// refused with 422, because 401 would be about the token of the service that asks.
#[derive(Serialize, Deserialize)]
pub struct Exchange {
    pub credential: String,
}

/// An access token that says the same as the credential.
#[derive(Serialize, Deserialize)]
pub struct Exchanged {
    pub access_token: String,
    pub expires_at: DateTime<Utc>,
    /// Where the credential may come from; from everywhere when this is empty.
    #[serde(default)]
    pub allowed_networks: Vec<IpNet>,
}

/// A session, or an API key, that ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// 1, 2, 3 … in the order of the commits, without a gap.
    pub number: i64,
    /// The `sid` of the access tokens that were given for it.
    pub id: Uuid,
}

/// `GET /internal/revocations?after=`: those with higher numbers, oldest first, as soon as there are any or after a moment; without
/// `after` those that a token may still be good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    pub revocations: Vec<Revocation>,
    /// The number of the last one that there is, shown here or not.
    pub last: i64,
}

#[derive(Clone)]
pub struct AuthClient {
    http: HttpClient,
}

impl AuthClient {
    pub fn new(http: HttpClient) -> Self {
        Self { http }
    }

    pub async fn exchange(&self, exchange: &Exchange) -> Result<Exchanged, CallError> {
        self.http
            .call(
                reqwest::Method::POST,
                "/internal/tokens",
                Some(exchange),
                Retry::Idempotent,
                TIMEOUT,
            )
            .await
    }

    pub async fn revocations(&self, after: Option<i64>) -> Result<Revocations, CallError> {
        let path = match after {
            Some(number) => format!("/internal/revocations?after={number}"),
            None => "/internal/revocations".to_owned(),
        };
        self.http
            .call(reqwest::Method::GET, &path, None::<&()>, Retry::Never, TIMEOUT)
            .await
    }
}
