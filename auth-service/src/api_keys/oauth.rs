//! OAuth 2.0 for programs: the grant `client_credentials` (RFC 6749), revocation (RFC 7009), introspection (RFC 7662), and where
//! all of it is (RFC 8414). Requests are forms and errors have the members that these RFCs give them, which clients of every
//! make understand.
//!
//! Deliberately absent: grants that bring people to a login page; people log in at `/api/v1/auth/login`.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::access_token::{AUDIENCE, AccessTokenVerifier, ISSUER};
use shared::id::{ApiKeyId, SessionId};
use shared::openapi::CommonErrors;
use shared::{ApiError, Principal, Scope, scope};
use utoipa::ToSchema;

use super::queries::{self, UsedKey};
use super::{Kind, hash_of, roles_of_programs};
use crate::access_tokens::{self, Grant};
use crate::sessions::refresh_token::PresentedRefreshToken;
use crate::sessions::{self, Client};
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};

/// An error of RFC 6749, section 5.2; or one of ours, where the RFCs have nothing to say.
#[derive(Debug)]
enum OauthError {
    Request(&'static str, &'static str),
    Client,
    Other(ApiError),
}

impl From<ApiError> for OauthError {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<diesel::result::Error> for OauthError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Other(error.into())
    }
}

impl OauthError {
    fn answer(self) -> Result<HttpResponse, ApiError> {
        let (status, error, description) = match self {
            Self::Request(error, description) => (StatusCode::BAD_REQUEST, error, description),
            Self::Client => {
                let description =
                    "The client is not known, its secret is wrong, or it may not ask from this address.";
                (StatusCode::UNAUTHORIZED, "invalid_client", description)
            }
            Self::Other(error) => return Err(error),
        };
        let mut answer = HttpResponse::build(status);
        answer.insert_header((header::CACHE_CONTROL, "no-store"));
        if status == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"oauth\""));
        }
        Ok(answer.json(json!({ "error": error, "error_description": description })))
    }
}

/// The members of all three forms; what the RFCs do not know is ignored, as they want it.
#[derive(Deserialize, ToSchema)]
pub struct OauthForm {
    /// `client_credentials`, for a token.
    grant_type: Option<String>,
    /// Unless the client authenticates by `Authorization: Basic`.
    client_id: Option<String>,
    client_secret: Option<String>,
    /// Fewer scopes than the client has, with spaces between them.
    scope: Option<String>,
    /// To be introspected or revoked.
    token: Option<String>,
}

type ParsedForm = Result<web::Form<OauthForm>, actix_web::Error>;

fn form(form: ParsedForm) -> Result<OauthForm, OauthError> {
    let form =
        form.map_err(|_| OauthError::Request("invalid_request", "Send a form, each parameter once."))?;
    Ok(form.into_inner())
}

/// Who asks: `Authorization: Basic`, or the form, and never both.
async fn authenticate(
    state: &AppState,
    request: &HttpRequest,
    form: &OauthForm,
    now: DateTime<Utc>,
) -> Result<UsedKey, OauthError> {
    let (id, secret) = match (basic(request.headers()), &form.client_id, &form.client_secret) {
        (Some(_), _, Some(_)) => {
            return Err(OauthError::Request(
                "invalid_request",
                "Authenticate in one way only.",
            ));
        }
        (Some(basic), ..) => basic.ok_or(OauthError::Client)?,
        (None, Some(id), Some(secret)) => (id.clone(), secret.clone()),
        _ => return Err(OauthError::Client),
    };
    let id: ApiKeyId = id.parse().map_err(|_| OauthError::Client)?;
    let hash = hash_of(&secret, Kind::Client).ok_or(OauthError::Client)?;
    let mut connection = state.db.connection().await?;
    let client = queries::use_secret(&mut connection, Kind::Client, &hash, now).await?;
    let client = client
        .filter(|client| client.id == id)
        .ok_or(OauthError::Client)?;
    let networks = client.allowed_networks()?;
    let address = Client::of(request).ip.and_then(|ip| ip.parse().ok());
    let allowed = |ip: std::net::IpAddr| networks.iter().any(|network| network.contains(&ip));
    if !networks.is_empty() && !address.is_some_and(allowed) {
        return Err(OauthError::Client);
    }
    Ok(client)
}

/// What `Authorization: Basic` says, if it is there at all; both parts are encoded as in a form.
fn basic(headers: &HeaderMap) -> Option<Option<(String, String)>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| {
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((id.to_owned(), secret.to_owned()))
    })
}

/// RFC 6749, section 5.1.
#[derive(Serialize, ToSchema)]
pub struct ClientToken {
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    #[schema(example = 300)]
    pub expires_in: i64,
    #[schema(example = "read money")]
    pub scope: String,
}

/// Gives a client an access token (RFC 6749, `client_credentials`).
#[utoipa::path(
    tag = "oauth",
    request_body(content = OauthForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token", body = ClientToken),
        (status = 400, description = "`invalid_request`, `unsupported_grant_type`, `invalid_scope`", body = Object),
        (status = 401, description = "`invalid_client`", body = Object),
    )
)]
#[post("/oauth/token")]
pub async fn issue_client_token(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: ParsedForm,
) -> Result<HttpResponse, ApiError> {
    match client_token(&state, &request, body).await {
        Ok(token) => Ok(sessions::handlers::secret_answer(token)),
        Err(error) => error.answer(),
    }
}

async fn client_token(
    state: &AppState,
    request: &HttpRequest,
    body: ParsedForm,
) -> Result<ClientToken, OauthError> {
    let (now, form) = (state.clock.now(), form(body)?);
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            return Err(OauthError::Request(
                "unsupported_grant_type",
                "There is only `client_credentials`.",
            ));
        }
        None => return Err(OauthError::Request("invalid_request", "`grant_type` is missing.")),
    }
    let client = authenticate(state, request, &form, now).await?;
    let granted = client.scopes();
    let scopes = match form.scope.as_deref() {
        Some(asked) => asked_for(asked, &granted)?,
        None => granted,
    };
    let expires_at = (now + access_tokens::LIFETIME).min(client.expires_at);
    let grant = Grant {
        user_id: client.user_id,
        // Each token has a name of its own, by which it can be revoked; all of a client's end with the client.
        session_id: SessionId::new(),
        client_id: Some(client.id),
        roles: &roles_of_programs(&client.roles.0),
        amr: &[],
        scopes: Some(&scopes),
        actor: None,
    };
    let access_token = state.signing_keys.issue_until(&grant, now, expires_at);
    Ok(ClientToken {
        access_token: access_token.map_err(ApiError::internal)?,
        token_type: "Bearer",
        expires_in: (expires_at - now).num_seconds(),
        scope: scope::claim(&scopes),
    })
}

fn asked_for(asked: &str, granted: &[Scope]) -> Result<Vec<Scope>, OauthError> {
    let refusal = || OauthError::Request("invalid_scope", "The client may have fewer scopes than that.");
    let scopes = asked.split(' ').filter(|name| !name.is_empty());
    let mut scopes = scopes
        .map(|name| Scope::parse(name).filter(|scope| granted.contains(scope)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(refusal)?;
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        Err(refusal())
    } else {
        Ok(scopes)
    }
}

/// Tells a client about an access token in the name of the same user (RFC 7662); of any other, that it is not active.
#[utoipa::path(
    tag = "oauth",
    request_body(content = OauthForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "`active`, and what the token says if it is", body = Object),
        (status = 400, description = "`invalid_request`", body = Object),
        (status = 401, description = "`invalid_client`", body = Object),
    )
)]
#[post("/oauth/introspect")]
pub async fn introspect_token(
    state: web::Data<AppState>,
    verifier: web::Data<AccessTokenVerifier>,
    request: HttpRequest,
    body: ParsedForm,
) -> Result<HttpResponse, ApiError> {
    match introspect(&state, &verifier, &request, body).await {
        Ok(told) => Ok(sessions::handlers::secret_answer(told)),
        Err(error) => error.answer(),
    }
}

async fn introspect(
    state: &AppState,
    verifier: &AccessTokenVerifier,
    request: &HttpRequest,
    body: ParsedForm,
) -> Result<serde_json::Value, OauthError> {
    let (now, form) = (state.clock.now(), form(body)?);
    let client = authenticate(state, request, &form, now).await?;
    let token = form
        .token
        .ok_or(OauthError::Request("invalid_request", "`token` is missing."))?;
    let Ok(principal) = verifier.verify(&token).await else {
        return Ok(json!({ "active": false }));
    };
    let mut connection = state.db.connection().await?;
    let live = crate::revocations::is_live(&mut connection, &principal, now).await?;
    if !live || principal.user_id != client.user_id {
        return Ok(json!({ "active": false }));
    }
    let scopes = principal.scopes.as_deref().unwrap_or(&Scope::ALL);
    Ok(json!({
        "active": true,
        "scope": scope::claim(scopes),
        "client_id": principal.client_id,
        "token_type": "Bearer",
        "exp": principal.expires_at.timestamp(),
        "sub": principal.user_id,
        "aud": AUDIENCE,
        "iss": ISSUER,
    }))
}

/// Revokes a refresh token with its session, or an access token (RFC 7009). Whoever has a refresh token may revoke it; for an
/// access token, its client has to authenticate. What is not known is revoked already.
#[utoipa::path(
    tag = "oauth",
    request_body(content = OauthForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token is of no use any more"),
        (status = 400, description = "`invalid_request`", body = Object),
        (status = 401, description = "`invalid_client`", body = Object),
    )
)]
#[post("/oauth/revoke")]
pub async fn revoke_token(
    state: web::Data<AppState>,
    verifier: web::Data<AccessTokenVerifier>,
    request: HttpRequest,
    body: ParsedForm,
) -> Result<HttpResponse, ApiError> {
    match revoke(&state, &verifier, &request, body).await {
        Ok(()) => Ok(HttpResponse::Ok().finish()),
        Err(error) => error.answer(),
    }
}

async fn revoke(
    state: &AppState,
    verifier: &AccessTokenVerifier,
    request: &HttpRequest,
    body: ParsedForm,
) -> Result<(), OauthError> {
    let (now, form) = (state.clock.now(), form(body)?);
    let token = form
        .token
        .as_deref()
        .ok_or(OauthError::Request("invalid_request", "`token` is missing."))?;
    let presented = PresentedRefreshToken::parse(token)?;
    let mut connection = state.db.connection().await?;
    if sessions::queries::revoke_by_refresh_token(&mut connection, &presented.hash, now).await? {
        sessions_revoked(Revocation::Logout).increment(1);
        return Ok(());
    }
    drop(connection);
    let client = authenticate(state, request, &form, now).await?;
    let is_its_own = |principal: &Principal| principal.client_id == Some(client.id);
    if let Some(principal) = verifier.verify(token).await.ok().filter(|it| is_its_own(it)) {
        let mut connection = state.db.connection().await?;
        crate::revocations::revoke_token(&mut connection, principal.session_id).await?;
    }
    Ok(())
}

/// Where everything is (RFC 8414).
#[utoipa::path(
    tag = "oauth",
    responses((status = 200, description = "The metadata", body = Object), CommonErrors)
)]
#[get("/.well-known/oauth-authorization-server")]
pub async fn get_oauth_metadata(request: HttpRequest) -> HttpResponse {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    // The gateway writes these two.
    let (proto, host) = (text("x-forwarded-proto"), text("x-forwarded-host"));
    let issuer = format!("{}://{}", proto.unwrap_or("http"), host.unwrap_or("localhost"));
    let methods = ["client_secret_basic", "client_secret_post"];
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .json(json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/oauth/token"),
            "introspection_endpoint": format!("{issuer}/oauth/introspect"),
            "revocation_endpoint": format!("{issuer}/oauth/revoke"),
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": Scope::ALL,
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_scopes_may_be_asked_for_and_never_more() {
        let granted = [Scope::Read, Scope::Money];
        assert_eq!(asked_for("money", &granted).unwrap(), [Scope::Money]);
        assert_eq!(asked_for("money read money", &granted).unwrap(), granted);
        for more in ["write", "read write", "admin", ""] {
            asked_for(more, &granted).unwrap_err();
        }
    }

    #[test]
    fn basic_credentials_are_read_or_refused_but_never_overlooked() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            basic(&headers)
        };
        let pair = Some(("key_1".to_owned(), "fls_a".to_owned()));
        assert_eq!(of("Basic a2V5XzE6ZmxzX2E="), Some(pair));
        assert_eq!(of("basic ???"), Some(None));
        assert_eq!(of("Bearer a"), None);
    }
}
