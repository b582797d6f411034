//! Logging in with an account at another provider.
//!
//! An account is known by its provider's issuer and subject, never by an e-mail: those change hands. An e-mail leads to an
//! existing user only where the provider vouches for it; and where the user had not proved it, whoever registered with it is
//! shut out. Any other e-mail that somebody has already is refused: the owner logs in and links the account.

pub mod handlers;
pub mod identity;
mod oauth;
mod oidc;
pub mod queries;
pub mod visit;

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, ensure};
use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use shared::ApiError;
use shared::config::{Env, is_loopback};
use utoipa::ToSchema;

use crate::users::Email;

/// Whose accounts may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    Google,
    Github,
    Facebook,
    Apple,
    Discord,
    Microsoft,
}

impl ProviderName {
    pub const ALL: [Self; 6] = [
        Self::Google,
        Self::Github,
        Self::Facebook,
        Self::Apple,
        Self::Discord,
        Self::Microsoft,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Github => "github",
            Self::Facebook => "facebook",
            Self::Apple => "apple",
            Self::Discord => "discord",
            Self::Microsoft => "microsoft",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == text)
    }

    /// Whether an e-mail that it calls verified is. Microsoft's is whatever the administrator of some tenant has written, and
    /// Facebook tells nothing.
    fn vouches_for_emails(self) -> bool {
        !matches!(self, Self::Microsoft | Self::Facebook)
    }
}

/// Our account at a provider, from `SOCIAL_AUTH`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    pub client_id: String,
    #[serde(default)]
    client_secret: Option<SecretString>,
    /// Another server than the provider's own: a proxy, an instance in a company, a test.
    #[serde(default)]
    base_url: Option<Url>,
    /// Microsoft's: who may log in. `common` is everybody.
    #[serde(default)]
    tenant: Option<String>,
    /// Apple has no secret but a key that signs one.
    #[serde(default)]
    team_id: Option<String>,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    private_key: Option<SecretString>,
}

/// How a browser that a program for Flowless has sent gets its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallbackMode {
    #[default]
    Cookie,
    /// In the URL, for programs that cannot have a cookie from here. It is then in the history of the browser.
    Params,
}

impl FromStr for CallbackMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cookie" => Ok(Self::Cookie),
            "params" => Ok(Self::Params),
            _ => Err("expected `cookie` or `params`"),
        }
    }
}

/// The providers that are switched on.
#[derive(Clone, Debug, Default)]
pub struct SocialConfig {
    providers: BTreeMap<ProviderName, ProviderConfig>,
    /// Where the gateway is for browsers.
    api_base_url: String,
    callback_mode: CallbackMode,
}

impl SocialConfig {
    pub fn from_env(env: &mut Env) -> Self {
        let text: Option<String> = env.optional("SOCIAL_AUTH");
        let api_base_url: Option<String> = env.optional("API_BASE_URL");
        let callback_mode = env.or("SOCIAL_CALLBACK_MODE", CallbackMode::default());
        let api_base_url = api_base_url.unwrap_or_default();
        let api_base_url = api_base_url.trim_end_matches('/').to_owned();
        let Some(text) = text else {
            return Self {
                api_base_url,
                ..Self::default()
            };
        };
        let providers = match serde_json::from_str::<BTreeMap<ProviderName, ProviderConfig>>(&text) {
            Ok(providers) => providers,
            Err(error) => {
                let place = shared::json::place_of(&error);
                env.refuse("SOCIAL_AUTH", format!("is not what is wanted: it has {place}"));
                BTreeMap::new()
            }
        };
        for (name, provider) in &providers {
            if let Err(why) = provider.check(*name) {
                env.refuse("SOCIAL_AUTH", format!("has {}, which {why}", name.name()));
            }
            let host = provider.base_url.as_ref().filter(|url| url.scheme() != "https");
            if host.is_some_and(|url| !url.host_str().is_some_and(is_loopback)) {
                env.refuse(
                    "SOCIAL_AUTH",
                    format!("has {} at a base_url without https", name.name()),
                );
            }
        }
        if api_base_url.is_empty() {
            env.refuse("API_BASE_URL", "is not set: providers send browsers back there");
        }
        if api_base_url.starts_with("http:") {
            env.refuse_in_production("API_BASE_URL", "is http: use https");
        }
        Self {
            providers,
            api_base_url,
            callback_mode,
        }
    }
}

impl ProviderConfig {
    fn check(&self, name: ProviderName) -> Result<(), &'static str> {
        let has_key = self.team_id.is_some() && self.key_id.is_some() && self.private_key.is_some();
        match name {
            _ if self.client_id.is_empty() => Err("has no client_id"),
            ProviderName::Apple if !has_key => Err("needs team_id, key_id and private_key"),
            ProviderName::Apple => Ok(()),
            _ if self.client_secret.is_none() => Err("has no client_secret"),
            _ => Ok(()),
        }
    }

    /// A URL of the provider's, or the same path where it has been moved to.
    fn url(&self, text: &str) -> anyhow::Result<Url> {
        let url = Url::parse(text)?;
        let Some(base) = &self.base_url else {
            return Ok(url);
        };
        let mut moved = base.clone();
        moved.set_path(url.path());
        moved.set_query(url.query());
        Ok(moved)
    }
}

/// What a provider says about who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub provider: ProviderName,
    pub issuer: String,
    pub subject: String,
    pub email: Option<Email>,
    /// Whether the provider vouches for the e-mail.
    pub email_verified: bool,
    pub name: Option<String>,
}

/// Everything that logging in by way of providers needs.
pub struct Social {
    providers: BTreeMap<ProviderName, Provider>,
    api_base_url: String,
    pub callback_mode: CallbackMode,
}

enum Provider {
    Oidc(oidc::OidcProvider),
    OAuth(oauth::OAuthProvider),
}

/// What a browser came back with, and what was to be expected of it.
pub struct Returned<'r> {
    pub code: &'r str,
    pub redirect_uri: &'r str,
    pub verifier: &'r str,
    pub nonce: &'r str,
}

/// What a program got from a provider by itself.
pub enum Proof<'p> {
    IdToken { token: &'p str, nonce: Option<&'p str> },
    AccessToken(&'p str),
}

impl Social {
    pub fn new(config: &SocialConfig) -> anyhow::Result<Self> {
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            let made = match name {
                ProviderName::Google | ProviderName::Apple | ProviderName::Microsoft => {
                    oidc::OidcProvider::new(*name, provider).map(Provider::Oidc)
                }
                ProviderName::Github | ProviderName::Facebook | ProviderName::Discord => {
                    oauth::OAuthProvider::new(*name, provider).map(Provider::OAuth)
                }
            };
            providers.insert(
                *name,
                made.with_context(|| format!("SOCIAL_AUTH: {}", name.name()))?,
            );
        }
        ensure!(
            providers.is_empty() || config.api_base_url.starts_with("http"),
            "API_BASE_URL is not a URL"
        );
        Ok(Self {
            providers,
            api_base_url: config.api_base_url.clone(),
            callback_mode: config.callback_mode,
        })
    }

    pub fn enabled(&self) -> impl Iterator<Item = ProviderName> {
        self.providers.keys().copied()
    }

    pub fn client_id(&self, name: ProviderName) -> Option<&str> {
        self.providers.get(&name).map(|provider| match provider {
            Provider::Oidc(provider) => provider.client_id(),
            Provider::OAuth(provider) => provider.client_id(),
        })
    }

    fn get(&self, name: ProviderName) -> Result<&Provider, ApiError> {
        self.providers.get(&name).ok_or_else(|| {
            let detail = "Logging in with this provider is not switched on.";
            ApiError::unprocessable("provider_disabled", detail)
        })
    }

    /// Where a provider sends browsers back to, of ours.
    pub fn redirect_uri(&self, callback: &str) -> String {
        format!("{}{callback}", self.api_base_url)
    }

    /// Whether the cookie may be kept to https.
    pub fn is_https(&self) -> bool {
        self.api_base_url.starts_with("https:")
    }

    /// Where to send a browser to.
    pub async fn authorization_url(
        &self,
        name: ProviderName,
        redirect_uri: &str,
        state: &str,
        nonce: &str,
        challenge: &str,
    ) -> Result<Url, ApiError> {
        let mut url = match self.get(name)? {
            Provider::Oidc(provider) => provider.authorization_url(nonce).await?,
            Provider::OAuth(provider) => provider.authorization_url()?,
        };
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", state)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Who came back.
    pub async fn identify(
        &self,
        name: ProviderName,
        returned: &Returned<'_>,
        now: i64,
    ) -> Result<Identity, ApiError> {
        match self.get(name)? {
            Provider::Oidc(provider) => provider.exchange(returned, now).await,
            Provider::OAuth(provider) => provider.exchange(returned).await,
        }
    }

    /// Who somebody is by what a program has got for us from the provider.
    pub async fn verify(&self, name: ProviderName, proof: Proof<'_>, now: i64) -> Result<Identity, ApiError> {
        match (self.get(name)?, proof) {
            (Provider::Oidc(provider), Proof::IdToken { token, nonce }) => {
                provider.verify(token, nonce, now).await
            }
            (Provider::OAuth(provider), Proof::AccessToken(token)) => provider.verify(token).await,
            (Provider::Oidc(_), Proof::AccessToken(_)) => Err(ApiError::unprocessable(
                "id_token_required",
                "Send the provider's `id_token`: an access token does not tell whom it is for.",
            )),
            (Provider::OAuth(_), Proof::IdToken { .. }) => Err(ApiError::unprocessable(
                "access_token_required",
                "This provider has no ID tokens: send its `access_token`.",
            )),
        }
    }
}

/// 401: what was presented is not the word of the provider, or not for us, or not now. The log knows more.
fn not_accepted(why: impl Into<anyhow::Error>) -> ApiError {
    let detail = "The provider's answer was not accepted. Begin again.";
    ApiError::unauthorized("social_login_failed", detail).caused_by(why)
}

/// 503: nothing is known about who it is.
fn unreachable(error: reqwest::Error) -> ApiError {
    let detail = "The provider cannot be reached. Try again shortly.";
    ApiError::unavailable("service_unavailable", detail).caused_by(error.without_url())
}

/// An answer of a provider as JSON, if it is one of success and not endless.
async fn read_json<T: serde::de::DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, ApiError> {
    const MAX_BYTES: usize = 512 * 1024;
    let mut response = request
        .header("accept", "application/json")
        .header("user-agent", "Flowlet")
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BYTES {
            return Err(not_accepted(anyhow::anyhow!("the answer is too long")));
        }
    }
    if status.is_server_error() || status.as_u16() == 429 {
        let detail = "The provider does not answer. Try again shortly.";
        return Err(ApiError::unavailable("service_unavailable", detail)
            .caused_by(anyhow::anyhow!("status {status}")));
    }
    if !status.is_success() {
        return Err(not_accepted(anyhow::anyhow!("status {status}")));
    }
    serde_json::from_slice(&body)
        .map_err(|error| not_accepted(anyhow::anyhow!("{}", shared::json::place_of(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(social_auth: &str, api_base_url: &str) -> String {
        let mut env = Env::from_pairs([("SOCIAL_AUTH", social_auth), ("API_BASE_URL", api_base_url)]);
        SocialConfig::from_env(&mut env);
        env.finish(())
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn providers_are_configured_completely_or_refused_without_showing_a_secret() {
        let good = r#"{"google":{"client_id":"id","client_secret":"hunter2"},
            "apple":{"client_id":"id","team_id":"t","key_id":"k","private_key":"hunter2"}}"#;
        assert_eq!(problems_of(good, "https://api.example.com"), "");
        for (wrong, told) in [
            (r#"{"google":{"client_id":"hunter2"}}"#, "has no client_secret"),
            (
                r#"{"apple":{"client_id":"id","client_secret":"hunter2"}}"#,
                "needs team_id",
            ),
            (r#"{"myspace":{"client_id":"hunter2"}}"#, "is not what is wanted"),
            (
                r#"{"github":{"client_id":"id","client_secret":"hunter2","base_url":"http://git.example.com"}}"#,
                "without https",
            ),
            ("hunter2", "is not what is wanted"),
        ] {
            let problems = problems_of(wrong, "https://api.example.com");
            assert!(
                problems.contains(told) && !problems.contains("hunter2"),
                "{problems}"
            );
        }
        assert!(problems_of(good, "http://api.example.com").contains("API_BASE_URL is http"));
        assert!(problems_of(good, "").contains("API_BASE_URL is not set"));
    }
}
