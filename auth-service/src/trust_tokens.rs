//! Trust tokens: PASETO v4.public tokens that a backend can hand to another one, which then knows for a few minutes whose session
//! it is without asking.
//!
//! Their keys are derived from those of access tokens, so they are replaced together and there is no further secret; a key
//! never signs both, because a token of one kind must not pass as the other.

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use anyhow::{Context, anyhow};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use pasetors::claims::Claims;
use pasetors::footer::Footer;
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::public;
use pasetors::version4::V4;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::access_token::ISSUER;
use shared::openapi::CommonErrors;
use utoipa::ToSchema;

use crate::config::SigningKeysConfig;
use crate::sessions::Session;
use crate::signing_key::SigningKey;
use crate::state::AppState;
use crate::users::User;

pub const LIFETIME: Duration = Duration::minutes(5);
const PURPOSE: &[u8] = b"flowlet trust tokens, PASETO v4.public";

/// The key that signs, and all that are published.
pub struct TrustTokens {
    private: AsymmetricSecretKey<V4>,
    footer: Footer,
    published: Vec<TrustTokenKey>,
}

/// A public key, as PASERK writes it.
#[derive(Clone, Serialize, ToSchema)]
pub struct TrustTokenKey {
    /// What the footer of a token names it by.
    #[schema(example = "k4.pid.9ShR3xc8-qVJ_di0tc9nx0IDIqbatdeM2mqLFBJsKRHs")]
    pub kid: String,
    #[schema(example = "k4.public.cHFyc3R1dnd4eXp7fH1-f4CBgoOEhYaHiImKi4yNjo8")]
    pub public_key: String,
}

#[derive(Serialize, ToSchema)]
pub struct TrustTokenKeys {
    pub keys: Vec<TrustTokenKey>,
}

impl TrustTokens {
    pub fn new(config: &SigningKeysConfig) -> anyhow::Result<Self> {
        let (private, public) = derive(&config.current)?;
        let mut footer = Footer::new();
        footer.key_id(&Id::from(&public));
        let mut published = vec![published(&public)?];
        for other in config.next.iter().chain(&config.previous) {
            published.push(self::published(&derive(other)?.1)?);
        }
        Ok(Self {
            private,
            footer,
            published,
        })
    }

    pub fn issue(&self, session: &Session, user: &User, now: DateTime<Utc>) -> anyhow::Result<String> {
        let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let expires_at = (now + LIFETIME).min(session.idle_expires_at);
        let mut claims = Claims::new()?;
        claims.issuer(ISSUER)?;
        claims.subject(&user.id.to_string())?;
        claims.issued_at(&moment(now))?;
        claims.not_before(&moment(now))?;
        claims.expiration(&moment(expires_at))?;
        for (name, value) in [
            ("user_id", user.id.to_string()),
            ("session_id", session.id.to_string()),
            ("email", user.email.clone()),
            ("name", user.name.clone()),
        ] {
            claims.add_additional(name, value)?;
        }
        Ok(public::sign(&self.private, &claims, Some(&self.footer), None)?)
    }
}

fn derive(pem: &SecretString) -> anyhow::Result<(AsymmetricSecretKey<V4>, AsymmetricPublicKey<V4>)> {
    let signing_key = SigningKey::from_pem(pem.expose_secret())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, signing_key.private.as_bytes());
    let seed = hmac::sign(&key, PURPOSE);
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
        .map_err(|error| anyhow!("a key of trust tokens: {error}"))?;
    let public = pair.public_key().as_ref();
    Ok((
        AsymmetricSecretKey::from(&[seed.as_ref(), public].concat())?,
        AsymmetricPublicKey::from(public)?,
    ))
}

fn published(key: &AsymmetricPublicKey<V4>) -> anyhow::Result<TrustTokenKey> {
    let (mut kid, mut public_key) = (String::new(), String::new());
    Id::from(key).fmt(&mut kid).context("writing a key id")?;
    key.fmt(&mut public_key).context("writing a key")?;
    Ok(TrustTokenKey { kid, public_key })
}

/// The public keys that verify trust tokens.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "The keys; cache them for as long as `Cache-Control` says", body = TrustTokenKeys), CommonErrors)
)]
#[get("/.well-known/trust-token-keys.json")]
pub async fn get_trust_token_keys(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .json(TrustTokenKeys {
            keys: state.trust_tokens.published.clone(),
        })
}
