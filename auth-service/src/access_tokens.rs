//! Issuing access tokens (RFC 9068), and publishing the keys that verify them.
//!
//! A key is replaced in three steps, each with every replica restarted, so that no token is ever signed by a key that some
//! replica does not publish: the new one is `NEXT_SIGNING_KEY`; then it is `SIGNING_KEY` and the old one is
//! `PREVIOUS_SIGNING_KEY`; and when the last token of the old one has expired, that is gone. Other services fetch the keys
//! again when they meet an unknown `kid`.

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, Header};
use secrecy::{ExposeSecret, SecretString};
use shared::access_token::{AUDIENCE, ISSUER, TOKEN_TYPE};
use shared::id::{AccessTokenId, ApiKeyId, SessionId, UserId};
use shared::openapi::CommonErrors;
use shared::principal::{AccessTokenClaims, Actor};
use shared::{ApiError, Role, Scope, scope};

use crate::config::SigningKeysConfig;
use crate::signing_key::SigningKey;
use crate::state::AppState;

pub const LIFETIME: Duration = Duration::minutes(5);

/// The key that signs, and all that are published.
pub struct SigningKeys {
    current: SigningKey,
    published: JwkSet,
}

/// What an access token says.
pub struct Grant<'g> {
    pub user_id: UserId,
    /// What it is given for; of an API key, the key's id.
    pub session_id: SessionId,
    pub client_id: Option<ApiKeyId>,
    pub roles: &'g [Role],
    pub amr: &'g [String],
    /// Without any, it is good for everything.
    pub scopes: Option<&'g [Scope]>,
    pub actor: Option<UserId>,
}

impl SigningKeys {
    pub fn new(config: &SigningKeysConfig) -> anyhow::Result<Self> {
        let load = |pem: &SecretString| SigningKey::from_pem(pem.expose_secret());
        let current = load(&config.current)?;
        let next = config.next.as_ref().map(load).transpose()?;
        let previous = config.previous.as_ref().map(load).transpose()?;
        let published = std::iter::once(&current).chain(&next).chain(&previous);
        Ok(Self {
            published: JwkSet {
                keys: published.map(|key| key.public.clone()).collect(),
            },
            current,
        })
    }

    pub fn published(&self) -> &JwkSet {
        &self.published
    }

    /// For a session, which lasts longer than any token.
    pub fn issue(
        &self,
        user_id: UserId,
        session_id: SessionId,
        roles: &[Role],
        amr: &[String],
        now: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let grant = Grant {
            user_id,
            session_id,
            client_id: None,
            roles,
            amr,
            scopes: None,
            actor: None,
        };
        self.issue_until(&grant, now, now + LIFETIME)
    }

    pub fn issue_until(
        &self,
        grant: &Grant<'_>,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let claims = AccessTokenClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: grant.user_id,
            sid: grant.session_id,
            roles: grant.roles.to_vec(),
            jti: AccessTokenId::new(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            amr: grant.amr.to_vec(),
            client_id: grant.client_id,
            scope: grant.scopes.map(scope::claim),
            act: grant.actor.map(|sub| Actor { sub }),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(self.current.kid.clone());
        Ok(jsonwebtoken::encode(&header, &claims, &self.current.private)?)
    }
}

/// The public keys that verify access tokens: a JWK set (RFC 7517).
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "The keys; cache them for as long as `Cache-Control` says", body = Object), CommonErrors)
)]
#[get("/.well-known/jwks.json")]
pub async fn get_jwks(state: web::Data<AppState>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .json(state.signing_keys.published()))
}

#[cfg(test)]
mod tests {
    use shared::Clock;
    use shared::access_token::AccessTokenVerifier;

    use super::*;
    use crate::signing_key::generate_pem;

    fn keys(
        current: &SecretString,
        next: Option<&SecretString>,
        previous: Option<&SecretString>,
    ) -> SigningKeys {
        let config = SigningKeysConfig {
            current: current.clone(),
            next: next.cloned(),
            previous: previous.cloned(),
        };
        SigningKeys::new(&config).unwrap()
    }

    #[tokio::test]
    async fn a_token_is_what_the_verifier_of_every_service_accepts_until_it_expires() {
        let (new, old): (SecretString, SecretString) =
            (generate_pem().unwrap().into(), generate_pem().unwrap().into());
        let clock = Clock::system();
        let (user, session) = (UserId::new(), SessionId::new());
        let before = keys(&old, Some(&new), None);
        let during = keys(&new, None, Some(&old));
        let after = keys(&new, None, None);
        let token = before
            .issue(user, session, &[Role::Customer], &["pwd".to_owned()], clock.now())
            .unwrap();

        // Published before it signs: whoever knows the keys of one replica accepts what another one signs.
        let early = AccessTokenVerifier::from_keys(before.published(), clock.clone());
        let signed_elsewhere = during.issue(user, session, &[], &[], clock.now()).unwrap();
        early.verify(&signed_elsewhere).await.unwrap();

        let verifier = AccessTokenVerifier::from_keys(during.published(), clock.clone());
        let principal = verifier.verify(&token).await.unwrap();
        assert_eq!((principal.user_id, principal.session_id), (user, session));
        assert_eq!(principal.roles, [Role::Customer]);

        let retired = AccessTokenVerifier::from_keys(after.published(), clock.clone());
        assert_eq!(retired.verify(&token).await.unwrap_err().code(), "invalid_token");

        clock.advance(LIFETIME);
        assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "token_expired");
    }

    #[test]
    fn no_private_part_is_published() {
        let [one, two, three] = [(); 3].map(|()| generate_pem().unwrap().into());
        let published = serde_json::to_value(keys(&one, Some(&two), Some(&three)).published()).unwrap();
        let published = published["keys"].as_array().unwrap();
        assert_eq!(published.len(), 3);
        for key in published {
            let mut names: Vec<_> = key.as_object().unwrap().keys().collect();
            names.sort();
            assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
        }
    }
}
