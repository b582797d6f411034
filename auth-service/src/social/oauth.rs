//! Providers that only lend access (OAuth 2.0): who it is is asked for with the access token. One that a program brings
//! may have been lent to somebody else, so the provider is asked first whom it was lent to.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::ApiError;
use shared::http_client::connection_pool;

use super::oidc::form_request;
use super::{Identity, ProviderConfig, ProviderName, Returned, not_accepted, read_json};
use crate::users::Email;

const TIMEOUT: Duration = Duration::from_secs(10);

pub struct OAuthProvider {
    name: ProviderName,
    client_id: String,
    client_secret: SecretString,
    places: Places,
    http: reqwest::Client,
}

/// Where a provider answers what.
struct Places {
    issuer: &'static str,
    scope: &'static str,
    authorize: Url,
    token: Url,
    user: Url,
    /// GitHub's e-mails are apart.
    emails: Option<Url>,
    /// Tells whom a token was lent to.
    audience: Url,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}

#[derive(Deserialize)]
struct GithubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

impl OAuthProvider {
    pub fn new(name: ProviderName, config: &ProviderConfig) -> anyhow::Result<Self> {
        let url = |text: &str| config.url(text);
        let places = match name {
            ProviderName::Github => Places {
                issuer: "https://github.com",
                scope: "read:user user:email",
                authorize: url("https://github.com/login/oauth/authorize")?,
                token: url("https://github.com/login/oauth/access_token")?,
                user: url("https://api.github.com/user")?,
                emails: Some(url("https://api.github.com/user/emails")?),
                audience: url(&format!(
                    "https://api.github.com/applications/{}/token",
                    config.client_id
                ))?,
            },
            ProviderName::Facebook => Places {
                issuer: "https://www.facebook.com",
                scope: "email public_profile",
                authorize: url("https://www.facebook.com/v23.0/dialog/oauth")?,
                token: url("https://graph.facebook.com/v23.0/oauth/access_token")?,
                user: url("https://graph.facebook.com/v23.0/me?fields=id,name,email")?,
                emails: None,
                audience: url("https://graph.facebook.com/v23.0/debug_token")?,
            },
            _ => Places {
                issuer: "https://discord.com",
                scope: "identify email",
                authorize: url("https://discord.com/oauth2/authorize")?,
                token: url("https://discord.com/api/v10/oauth2/token")?,
                user: url("https://discord.com/api/v10/users/@me")?,
                emails: None,
                audience: url("https://discord.com/api/v10/oauth2/@me")?,
            },
        };
        Ok(Self {
            name,
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone().context("there is no secret")?,
            places,
            http: connection_pool(TIMEOUT)?,
        })
    }

    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub fn authorization_url(&self) -> Result<Url, ApiError> {
        let mut url = self.places.authorize.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", self.places.scope);
        Ok(url)
    }

    pub async fn exchange(&self, returned: &Returned<'_>) -> Result<Identity, ApiError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", returned.code),
            ("redirect_uri", returned.redirect_uri),
            ("code_verifier", returned.verifier),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose_secret()),
        ];
        let request = form_request(&self.http, self.places.token.clone(), &form);
        let answer: TokenAnswer = read_json(request).await?;
        self.identity(&answer.access_token).await
    }

    /// Who lent this token, if it was lent to us.
    pub async fn verify(&self, token: &str) -> Result<Identity, ApiError> {
        let audience = self.audience_of(token).await?;
        if audience.as_deref() != Some(&self.client_id) {
            return Err(not_accepted(anyhow!(
                "the access token was lent to somebody else"
            )));
        }
        self.identity(token).await
    }

    async fn audience_of(&self, token: &str) -> Result<Option<String>, ApiError> {
        let place = self.places.audience.clone();
        let secret = self.client_secret.expose_secret();
        let (request, pointer) = match self.name {
            ProviderName::Github => (
                self.http
                    .post(place)
                    .basic_auth(&self.client_id, Some(secret))
                    .json(&json!({ "access_token": token })),
                "/app/client_id",
            ),
            ProviderName::Facebook => {
                let app = format!("{}|{secret}", self.client_id);
                let mut place = place;
                place
                    .query_pairs_mut()
                    .append_pair("input_token", token)
                    .append_pair("access_token", &app);
                (self.http.get(place), "/data/app_id")
            }
            _ => (self.http.get(place).bearer_auth(token), "/application/id"),
        };
        let answer: Value = read_json(request).await?;
        let is_invalid = answer
            .pointer("/data/is_valid")
            .is_some_and(|valid| valid != true);
        Ok(answer
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|_| !is_invalid)
            .map(str::to_owned))
    }

    async fn identity(&self, token: &str) -> Result<Identity, ApiError> {
        let user: Value = read_json(self.http.get(self.places.user.clone()).bearer_auth(token)).await?;
        let text = |name: &str| user.get(name).and_then(Value::as_str);
        let subject = match user.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => String::new(),
        };
        if !(1..=255).contains(&subject.len()) {
            return Err(not_accepted(anyhow!("the user has no id")));
        }
        let (email, verified) = match &self.places.emails {
            Some(place) => self.primary_email(place, token).await?,
            None => {
                let verified = user.get("verified").is_some_and(|verified| verified == true);
                (text("email").map(str::to_owned), verified)
            }
        };
        Ok(Identity {
            provider: self.name,
            issuer: self.places.issuer.to_owned(),
            subject,
            email: email.as_deref().and_then(Email::parse),
            email_verified: verified && self.name.vouches_for_emails(),
            name: ["name", "global_name", "login", "username"]
                .into_iter()
                .find_map(text)
                .map(str::to_owned),
        })
    }

    async fn primary_email(&self, place: &Url, token: &str) -> Result<(Option<String>, bool), ApiError> {
        let emails: Vec<GithubEmail> = read_json(self.http.get(place.clone()).bearer_auth(token)).await?;
        let primary = emails.into_iter().find(|email| email.primary);
        Ok(primary.map_or((None, false), |email| (Some(email.email), email.verified)))
    }
}
