//! Providers that speak OpenID Connect: they sign who it is (an ID token), for us, and for the one visit it was asked in.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use shared::ApiError;
use shared::http_client::connection_pool;
use tokio::sync::Mutex;

use super::{Identity, ProviderConfig, ProviderName, Returned, not_accepted, read_json};
use crate::users::Email;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_TOKEN_LENGTH: usize = 16 * 1024;
/// A provider's clock may differ from ours.
const LEEWAY_S: i64 = 60;
/// After this long its documents are fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(3600);
/// How soon an unknown key may have them fetched again.
const FETCH_PAUSE: Duration = Duration::from_secs(5);
const APPLE: &str = "https://appleid.apple.com";

pub struct OidcProvider {
    name: ProviderName,
    client_id: String,
    secret: ClientSecret,
    /// Where its documents are.
    location: Url,
    http: reqwest::Client,
    known: Mutex<Option<Known>>,
}

enum ClientSecret {
    Text(SecretString),
    /// Apple's: a token that our key signs.
    Signed {
        team_id: String,
        key_id: String,
        key: EncodingKey,
    },
}

#[derive(Clone)]
struct Known {
    discovery: Discovery,
    keys: JwkSet,
    at: Instant,
}

#[derive(Clone, Deserialize)]
struct Discovery {
    /// Microsoft's has `{tenantid}` where that of each user has the tenant.
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    nonce: Option<String>,
    azp: Option<String>,
    email: Option<String>,
    #[serde(default, deserialize_with = "boolean")]
    email_verified: bool,
    name: Option<String>,
    /// The tenant of a user of Microsoft's.
    tid: Option<String>,
}

/// Apple writes `"true"`.
fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value == true || value == "true")
}

impl OidcProvider {
    pub fn new(name: ProviderName, config: &ProviderConfig) -> anyhow::Result<Self> {
        let tenant = config.tenant.as_deref().unwrap_or("common");
        let issuer = match name {
            ProviderName::Apple => APPLE.to_owned(),
            ProviderName::Microsoft => format!("https://login.microsoftonline.com/{tenant}/v2.0"),
            _ => "https://accounts.google.com".to_owned(),
        };
        let secret = match (&config.client_secret, &config.private_key) {
            (_, Some(pem)) if name == ProviderName::Apple => ClientSecret::Signed {
                team_id: config.team_id.clone().unwrap_or_default(),
                key_id: config.key_id.clone().unwrap_or_default(),
                key: EncodingKey::from_ec_pem(pem.expose_secret().as_bytes()).context("private_key")?,
            },
            (Some(secret), _) => ClientSecret::Text(secret.clone()),
            _ => return Err(anyhow!("there is no secret")),
        };
        Ok(Self {
            name,
            client_id: config.client_id.clone(),
            secret,
            location: config.url(&format!("{issuer}/.well-known/openid-configuration"))?,
            http: connection_pool(TIMEOUT)?,
            known: Mutex::default(),
        })
    }

    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub async fn authorization_url(&self, nonce: &str) -> Result<Url, ApiError> {
        let mut url = self.known(None).await?.discovery.authorization_endpoint;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &self.client_id)
            .append_pair("nonce", nonce);
        match self.name {
            // It wants to answer by a form as soon as it is asked for anything.
            ProviderName::Apple => query
                .append_pair("scope", "openid email name")
                .append_pair("response_mode", "form_post"),
            _ => query.append_pair("scope", "openid email profile"),
        };
        drop(query);
        Ok(url)
    }

    pub async fn exchange(&self, returned: &Returned<'_>, now: i64) -> Result<Identity, ApiError> {
        let secret = self.client_secret(now).map_err(ApiError::internal)?;
        let endpoint = self.known(None).await?.discovery.token_endpoint;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", returned.code),
            ("redirect_uri", returned.redirect_uri),
            ("code_verifier", returned.verifier),
            ("client_id", &self.client_id),
            ("client_secret", secret.expose_secret()),
        ];
        let answer: TokenAnswer = read_json(form_request(&self.http, endpoint, &form)).await?;
        // The nonce is always there: we have asked for it.
        self.verify(&answer.id_token, Some(returned.nonce), now).await
    }

    fn client_secret(&self, now: i64) -> anyhow::Result<SecretString> {
        #[derive(Serialize)]
        struct Assertion<'a> {
            iss: &'a str,
            iat: i64,
            exp: i64,
            aud: &'a str,
            sub: &'a str,
        }
        match &self.secret {
            ClientSecret::Text(text) => Ok(text.clone()),
            ClientSecret::Signed { team_id, key_id, key } => {
                let mut header = Header::new(Algorithm::ES256);
                header.kid = Some(key_id.clone());
                let assertion = Assertion {
                    iss: team_id,
                    iat: now,
                    exp: now + 300,
                    aud: APPLE,
                    sub: &self.client_id,
                };
                Ok(jsonwebtoken::encode(&header, &assertion, key)?.into())
            }
        }
    }

    /// Who an ID token is about, if the provider signed it, for us, for this visit, and it has not expired.
    pub async fn verify(&self, token: &str, nonce: Option<&str>, now: i64) -> Result<Identity, ApiError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(not_accepted(anyhow!("the ID token is too long")));
        }
        let header = jsonwebtoken::decode_header(token).map_err(not_accepted)?;
        let allowed = [
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ];
        if !allowed.contains(&header.alg) {
            return Err(not_accepted(anyhow!(
                "the ID token is signed by {:?}",
                header.alg
            )));
        }
        let kid = header.kid.unwrap_or_default();
        let known = self.known(Some(&kid)).await?;
        let key = known
            .keys
            .find(&kid)
            .context("an unknown key")
            .map_err(not_accepted)?;
        let key = DecodingKey::from_jwk(key).map_err(not_accepted)?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.client_id]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Expiry is checked against our own clock below, and the issuer with the tenant in it.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(not_accepted)?;
        self.check(claims.claims, &known.discovery.issuer, nonce, now)
            .map_err(not_accepted)
    }

    fn check(&self, claims: Claims, issuer: &str, nonce: Option<&str>, now: i64) -> anyhow::Result<Identity> {
        let issuer = match &claims.tid {
            Some(tenant) if self.name == ProviderName::Microsoft => issuer.replace("{tenantid}", tenant),
            _ => issuer.to_owned(),
        };
        anyhow::ensure!(claims.iss == issuer, "the ID token is of another issuer");
        anyhow::ensure!(now < claims.exp + LEEWAY_S, "the ID token has expired");
        anyhow::ensure!(
            claims.azp.is_none_or(|azp| azp == self.client_id),
            "the ID token was made for another client"
        );
        if let Some(nonce) = nonce {
            anyhow::ensure!(
                claims.nonce.as_deref() == Some(nonce),
                "the ID token is of another visit"
            );
        }
        anyhow::ensure!(
            (1..=255).contains(&claims.sub.len()),
            "the ID token has no usable subject"
        );
        Ok(Identity {
            provider: self.name,
            issuer,
            subject: claims.sub,
            email: claims.email.as_deref().and_then(Email::parse),
            email_verified: claims.email_verified && self.name.vouches_for_emails(),
            name: claims.name,
        })
    }

    /// Its documents, fetched when they are old or lack this key, one at a time.
    async fn known(&self, kid: Option<&str>) -> Result<Known, ApiError> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            let has_key = kid.is_none_or(|kid| known.keys.find(kid).is_some());
            let age = known.at.elapsed();
            if age < FETCH_PAUSE || has_key && age < FRESH_FOR {
                return Ok(known.clone());
            }
        }
        let fetched = self.fetch().await;
        match (fetched, &*known) {
            (Ok(fetched), _) => Ok(known.insert(fetched).clone()),
            // What is old is better than nothing.
            (Err(error), Some(old)) => {
                tracing::warn!(%error, provider = self.name.name(), "a provider's documents cannot be fetched");
                Ok(old.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch(&self) -> Result<Known, ApiError> {
        let discovery: Discovery = read_json(self.http.get(self.location.clone())).await?;
        let keys: JwkSet = read_json(self.http.get(discovery.jwks_uri.clone())).await?;
        Ok(Known {
            discovery,
            keys,
            at: Instant::now(),
        })
    }
}

/// A POST of a form.
pub fn form_request(http: &reqwest::Client, url: Url, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
    // The query of a URL is written like a form.
    let mut form = url.clone();
    form.query_pairs_mut().clear().extend_pairs(fields);
    http.post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.query().unwrap_or_default().to_owned())
}
