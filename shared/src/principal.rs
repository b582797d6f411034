//! Who is asking: the verified access token of a request, as a handler's argument.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use chrono::{DateTime, Duration, Utc};
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access_token::{AccessTokenVerifier, missing_token};
use crate::authorization::AuthorizationDetail;
use crate::id::{ApiKeyId, SessionId, UserId};
use crate::service_token::bearer_token;
use crate::{ApiError, Denial, Id, Scope, scope};

/// What a user may do. Separation of duties: whoever proposes a sensitive action never approves it, whatever the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Customer,
    Support,
    Compliance,
    Admin,
    Superadmin,
    Partner,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Customer,
        Self::Support,
        Self::Compliance,
        Self::Admin,
        Self::Superadmin,
        Self::Partner,
    ];

    /// As JSON and databases write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Support => "support",
            Self::Compliance => "compliance",
            Self::Admin => "admin",
            Self::Superadmin => "superadmin",
            Self::Partner => "partner",
        }
    }

    /// Of people who work for the platform, and see what belongs to others.
    pub const fn is_staff(self) -> bool {
        !matches!(self, Self::Customer | Self::Partner)
    }
}

/// How sure it is who somebody is, after the authenticator assurance levels of NIST SP 800-63B: the `acr` of access tokens.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// One proof, such as a password.
    #[default]
    Aal1,
    /// Two of different kinds, or a passkey that has verified its user.
    Aal2,
}

impl Assurance {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aal1 => "aal1",
            Self::Aal2 => "aal2",
        }
    }
}

/// The user and session of a verified access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub user_id: UserId,
    /// What the token was given for: a session, or an API key, whose id then stands here.
    pub session_id: SessionId,
    /// The OAuth client that it was given to.
    pub client_id: Option<ApiKeyId>,
    pub roles: Vec<Role>,
    /// What the token may be used for; a login's for everything.
    pub scopes: Option<Vec<Scope>>,
    /// Who acts for the user.
    pub actor: Option<UserId>,
    pub expires_at: DateTime<Utc>,
    pub assurance: Assurance,
    /// When the user last proved who they are, with that assurance.
    pub authenticated_at: DateTime<Utc>,
    /// What this token was made for, when it was made for something.
    pub authorization: Option<AuthorizationDetail>,
}

impl Principal {
    /// Refuses a principal that has none of `roles`.
    pub fn require_any(&self, roles: &[Role]) -> Result<(), ApiError> {
        if self.has_any(roles) {
            return Ok(());
        }
        let refusal = ApiError::forbidden("role_required", "Your roles do not allow this.");
        Err(refusal.denied(Denial::Forbidden))
    }

    /// Refuses a principal who has not proved who they are with `least` assurance within `max_age`: 401 with the challenge of
    /// RFC 9470, which a client answers at `POST /api/v1/auth/step-up`.
    pub fn require_authentication(
        &self,
        least: Assurance,
        max_age: Duration,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        if self.assurance >= least && now - self.authenticated_at <= max_age {
            return Ok(());
        }
        Err(ApiError::insufficient_authentication(
            least.name(),
            max_age.num_seconds(),
        ))
    }

    pub fn has_any(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// Refuses a principal that is not `owner`, in the words of a thing that does not exist: whether somebody else has it
    /// is nobody's business.
    pub fn require_owner(&self, owner: UserId) -> Result<(), ApiError> {
        if self.user_id == owner {
            return Ok(());
        }
        let refusal = ApiError::not_found("There is no such resource, or it is not yours.");
        Err(refusal.denied(Denial::NotOwner))
    }
}

impl Principal {
    /// Refuses a request that the token is not for.
    fn require_scope(&self, request: &HttpRequest) -> Result<(), ApiError> {
        if self.authorization.is_some() {
            scope::require_order(request)?;
        }
        match &self.scopes {
            Some(scopes) => scope::require(scopes, request),
            None => Ok(()),
        }
    }
}

impl FromRequest for Principal {
    type Error = ApiError;
    type Future = Either<Ready<Result<Self, ApiError>>, LocalBoxFuture<'static, Result<Self, ApiError>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(verifier) = request.app_data::<web::Data<AccessTokenVerifier>>().cloned() else {
            return Either::Left(ready(Err(ApiError::internal(anyhow::anyhow!(
                "no AccessTokenVerifier in app data"
            )))));
        };
        let Some(token) = bearer_token(request) else {
            return Either::Left(ready(Err(missing_token())));
        };
        if let Some(principal) = verifier.cached(token) {
            let allowed = principal.require_scope(request);
            return Either::Left(ready(allowed.map(|()| Principal::clone(&principal))));
        }
        let (token, request) = (token.to_owned(), request.clone());
        Either::Right(Box::pin(async move {
            let principal = verifier.verify(&token).await?;
            principal.require_scope(&request)?;
            Ok(Arc::unwrap_or_clone(principal))
        }))
    }
}

/// The claims of an access token (RFC 9068). `auth-service` writes them, everyone else reads them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    pub iss: String,
    pub aud: String,
    pub sub: UserId,
    pub sid: SessionId,
    pub roles: Vec<Role>,
    pub jti: Id<crate::id::AccessToken>,
    pub iat: i64,
    pub exp: i64,
    /// RFC 9068 authentication class and methods: `["pwd"]` after a password.
    pub amr: Vec<String>,
    /// Without it, as in tokens of the version before, the least.
    #[serde(default)]
    pub acr: Assurance,
    /// When the user last proved who they are; without it, when the token was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// RFC 9396.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ApiKeyId>,
    /// RFC 8693: what the token may be used for; without it, for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// RFC 8693: who acts for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Actor {
    pub sub: UserId,
}
