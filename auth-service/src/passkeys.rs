//! Passkeys (WebAuthn): logging in without a password, and a second factor that cannot be phished.
//!
//! The authenticator verifies its user, always, so a passkey is two factors in one. A challenge is good for one answer, right
//! or wrong. An answer is checked against the credential as it is at that moment, under a lock, so that a signature counter
//! that did not grow, the mark of a copied authenticator, is noticed whichever answer comes first.
//!
//! Deliberately absent: attestation. Which make of authenticator a customer has is not ours to choose.

pub mod handlers;
pub mod queries;

use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use shared::ApiError;
use shared::authorization::AuthorizedTransfer;
use shared::config::Env;
use shared::id::{CeremonyId, UserId};
use utoipa::ToSchema;
use webauthn_rs::Webauthn;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    Url, WebauthnBuilder,
};

/// How long an authenticator has to answer.
pub const LIFETIME: Duration = Duration::minutes(5);
/// Passkeys of one user.
const MAX: usize = 20;
const NAME: &str = "Flowlet";

/// Where passkeys are used: none without `PASSKEY_ORIGINS`.
#[derive(Clone, Debug, Default)]
pub struct RelyingParty(Option<Arc<Webauthn>>);

impl RelyingParty {
    /// Reads `PASSKEY_ORIGINS` and `PASSKEY_RP_ID`.
    pub fn from_env(env: &mut Env) -> Self {
        let origins: Option<String> = env.optional("PASSKEY_ORIGINS");
        let id: Option<String> = env.optional("PASSKEY_RP_ID");
        let Some(origins) = origins.filter(|text| !text.is_empty()) else {
            return Self::default();
        };
        match Self::parse(&origins, id.as_deref()) {
            Ok(party) => party,
            Err(error) => {
                env.refuse("PASSKEY_ORIGINS", format!("{error:#}"));
                Self::default()
            }
        }
    }

    fn parse(origins: &str, id: Option<&str>) -> anyhow::Result<Self> {
        let origins = origins.split(',').map(|text| Url::parse(text.trim()));
        let origins: Vec<Url> = origins
            .collect::<Result<_, _>>()
            .context("is not a list of origins such as https://app.example.com")?;
        let (first, others) = origins.split_first().context("is empty")?;
        let host = first.host_str().context("has an origin without a host")?;
        let mut builder = WebauthnBuilder::new(id.unwrap_or(host), first)
            .context("does not begin with an origin below PASSKEY_RP_ID")?
            .rp_name(NAME);
        for origin in others {
            builder = builder.append_allowed_origin(origin);
        }
        Ok(Self(Some(Arc::new(builder.build()?))))
    }

    /// 404 when there are no passkeys here.
    pub fn webauthn(&self) -> Result<&Webauthn, ApiError> {
        self.0.as_deref().ok_or_else(|| {
            ApiError::new(
                actix_web::http::StatusCode::NOT_FOUND,
                "passkeys_disabled",
                "Passkeys are not set up here.",
            )
        })
    }
}

/// What an answer of an authenticator is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Registration,
    Login,
    SecondFactor,
    StepUp,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Login => "login",
            Self::SecondFactor => "second_factor",
            Self::StepUp => "step_up",
        }
    }
}

/// A challenge, before it is given out.
pub struct Ceremony {
    pub purpose: Purpose,
    /// Who has to answer; of a login anybody.
    pub user_id: Option<UserId>,
    state: Value,
    pub transfer: Option<AuthorizedTransfer>,
    /// For the browser.
    options: Value,
    nonce: Option<String>,
}

/// What to give to the browser, and how to name the challenge in the answer.
#[derive(Serialize, ToSchema)]
pub struct CeremonyResponse {
    pub ceremony_id: CeremonyId,
    /// For `navigator.credentials.create()` or `.get()`.
    #[schema(value_type = Object)]
    pub options: Value,
    /// Of a transfer: the challenge is the SHA-256 of these bytes and the JSON of `transfer` as it was sent back here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<AuthorizedTransfer>,
}

/// An authenticator's answer to a challenge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    pub ceremony_id: CeremonyId,
    /// What `navigator.credentials.get()` gave, as JSON.
    #[schema(value_type = Object)]
    pub credential: Box<PublicKeyCredential>,
}

/// What a person calls a passkey: 1 to 64 characters on one line.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 64, example = "My phone")]
pub struct PasskeyName(String);

impl<'de> Deserialize<'de> for PasskeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let text = text.trim();
        if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(D::Error::custom(
            "expected 1 to 64 characters without control characters",
        ))
    }
}

/// A challenge to make a passkey, which the authenticator must be able to find by itself: then it needs no name to log in.
fn registration(
    user_id: UserId,
    options: &CreationChallengeResponse,
    state: &PasskeyRegistration,
) -> anyhow::Result<Ceremony> {
    let mut options = serde_json::to_value(options)?;
    let selection = options
        .pointer_mut("/publicKey/authenticatorSelection")
        .and_then(Value::as_object_mut)
        .context("no authenticatorSelection")?;
    selection.insert("residentKey".to_owned(), json!("required"));
    selection.insert("requireResidentKey".to_owned(), json!(true));
    Ok(Ceremony {
        purpose: Purpose::Registration,
        user_id: Some(user_id),
        state: serde_json::to_value(state)?,
        transfer: None,
        options,
        nonce: None,
    })
}

/// A challenge to use a passkey: any, to log in, or one of these of a user.
fn authentication(
    webauthn: &Webauthn,
    purpose: Purpose,
    user: Option<(UserId, &[Passkey])>,
    transfer: Option<AuthorizedTransfer>,
) -> anyhow::Result<Ceremony> {
    let (mut options, state) = webauthn.start_discoverable_authentication()?;
    // The program decides whether the browser asks at once or beside a form.
    options.mediation = None;
    let (mut options, mut state) = (serde_json::to_value(options)?, serde_json::to_value(state)?);
    if let Some((_, passkeys)) = user {
        let allowed = passkeys
            .iter()
            .map(|passkey| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(passkey.cred_id()) }));
        *member(&mut options, "/publicKey/allowCredentials")? = allowed.collect();
    }
    let mut nonce = None;
    if let Some(transfer) = &transfer {
        let challenge = member(&mut options, "/publicKey/challenge")?;
        let random = challenge.as_str().context("no challenge")?.to_owned();
        let bound = json!(challenge_of(&random, transfer)?);
        challenge.clone_from(&bound);
        *member(&mut state, "/ast/challenge")? = bound;
        nonce = Some(random);
    }
    Ok(Ceremony {
        purpose,
        user_id: user.map(|(user_id, _)| user_id),
        state,
        transfer,
        options,
        nonce,
    })
}

fn member<'v>(value: &'v mut Value, pointer: &str) -> anyhow::Result<&'v mut Value> {
    value
        .pointer_mut(pointer)
        .with_context(|| format!("the WebAuthn library writes no {pointer}"))
}

/// The challenge that covers a transfer, so that what the authenticator signs is this and no other one (PSD2: dynamic linking).
fn challenge_of(nonce: &str, transfer: &AuthorizedTransfer) -> anyhow::Result<String> {
    let mut covered = URL_SAFE_NO_PAD.decode(nonce)?;
    covered.extend(serde_json::to_vec(transfer)?);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &covered);
    Ok(URL_SAFE_NO_PAD.encode(digest))
}

/// The passkey as it is after an answer that was right.
fn verify(
    webauthn: &Webauthn,
    state: Value,
    mut passkey: Passkey,
    answer: &PublicKeyCredential,
) -> anyhow::Result<Passkey> {
    let state: DiscoverableAuthentication = serde_json::from_value(state)?;
    let result = webauthn.finish_discoverable_authentication_v2(answer, state, &passkey)?;
    anyhow::ensure!(
        result.user_verified(),
        "the authenticator did not verify its user"
    );
    passkey.update_credential(&result);
    Ok(passkey)
}

/// 401: at a login, where nobody is known yet.
pub fn invalid_passkey() -> ApiError {
    ApiError::unauthorized(
        "invalid_passkey",
        "The passkey is not known, or its answer is wrong, too old, or was sent before. Begin again.",
    )
}

/// 422: of somebody who is known.
pub fn wrong_passkey() -> ApiError {
    ApiError::unprocessable(
        "wrong_passkey",
        "The passkey is not yours, or its answer is wrong, too old, or was sent before. Begin again.",
    )
}

#[cfg(test)]
mod tests {
    use shared::Amount;
    use shared::id::AccountId;

    use super::*;

    #[test]
    fn origins_are_below_the_domain_that_passkeys_are_for() {
        let party = |origins, id| RelyingParty::parse(origins, id).map(|party| party.0.is_some());
        assert!(party("https://app.example.com", None).unwrap());
        assert!(
            party(
                "https://app.example.com, https://example.com",
                Some("example.com")
            )
            .unwrap()
        );
        for (origins, id) in [
            ("app.example.com", None),
            ("", None),
            ("https://app.example.com", Some("example.org")),
        ] {
            assert!(party(origins, id).is_err(), "{origins}");
        }
        assert_eq!(
            RelyingParty::default().webauthn().unwrap_err().code(),
            "passkeys_disabled"
        );
    }

    #[test]
    fn the_challenge_covers_the_transfer() {
        let party = RelyingParty::parse("https://app.example.com", None).unwrap();
        let transfer = AuthorizedTransfer {
            idempotency_key: "rent".to_owned(),
            amount: Amount::try_from(500).unwrap(),
            currency: "USD".parse().unwrap(),
            credit_account_id: AccountId::new(),
        };
        let user = Some((UserId::new(), [].as_slice()));
        let webauthn = party.webauthn().unwrap();
        let ceremony = authentication(webauthn, Purpose::StepUp, user, Some(transfer.clone())).unwrap();
        let nonce = ceremony.nonce.unwrap();
        let expected = challenge_of(&nonce, &transfer).unwrap();
        assert_eq!(ceremony.options["publicKey"]["challenge"], expected);
        assert_eq!(ceremony.state["ast"]["challenge"], expected);
        assert_eq!(ceremony.options["publicKey"]["userVerification"], "required");
        let altered = AuthorizedTransfer {
            amount: Amount::try_from(501).unwrap(),
            ..transfer
        };
        assert_ne!(challenge_of(&nonce, &altered).unwrap(), expected);
    }
}
