//! Logging in, staying logged in, logging out.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::SessionId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::login::{Login, Method};
use super::refresh_token::{PresentedRefreshToken, REPEATABLE_FOR};
use super::{Client, Secret, invalid_refresh_token, login, queries, session_revoked};
use crate::access_tokens::Authentication;
use crate::passwords::Password;
use crate::passwords::authentication::{authenticate, invalid_credentials};
use crate::state::AppState;
use crate::telemetry::{Revocation, login_attempted, sessions_revoked};
use crate::two_factor::login_handlers::PendingLoginResponse;
use crate::users::{self, Email, User};
use crate::{access_tokens, email_verification, field_keys, login_attempts};

/// Who logs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    email: Email,
    password: Password,
}

/// The refresh token to use up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    #[schema(value_type = String, format = Password, example = "rt_B3ZKQ0mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E")]
    refresh_token: PresentedRefreshToken,
}

/// How an access token is to be presented.
#[derive(Debug, Serialize, ToSchema)]
pub enum TokenType {
    Bearer,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub struct LoginResponse {
    /// The session's own credential. It stays the same as long as the session lasts, and is shown only here.
    #[schema(example = "ses_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8")]
    pub session_id: String,
    /// Proves at later logins, in `X-Device-Token` or the cookie `device_token`, that this device has logged in before: then nobody
    /// who guesses at the password elsewhere delays them.
    #[schema(example = "dev_q2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8o7fT2mXk0o2l8m4y1m9c6Jk7")]
    pub device_token: String,
    #[serde(flatten)]
    pub tokens: TokensResponse,
}

/// The tokens of a session that goes on.
#[derive(Serialize, ToSchema)]
pub struct TokensResponse {
    /// A JWT: send it as `Authorization: Bearer <access_token>`.
    pub access_token: String,
    pub token_type: TokenType,
    /// Seconds until the access token expires.
    #[schema(example = 300)]
    pub expires_in: i64,
    /// Gives the next tokens, and another one in its place.
    pub refresh_token: String,
    pub user: User,
}

impl TokensResponse {
    pub fn new(
        state: &AppState,
        user: User,
        session_id: SessionId,
        authentication: &Authentication<'_>,
        refresh_token: &Secret,
        now: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let access_token = state
            .signing_keys
            .issue(user.id, session_id, &user.roles.0, authentication, now);
        Ok(Self {
            access_token: access_token.map_err(ApiError::internal)?,
            token_type: TokenType::Bearer,
            expires_in: access_tokens::LIFETIME.num_seconds(),
            refresh_token: refresh_token.reveal(),
            user,
        })
    }
}

/// An answer with tokens in it, which RFC 6749 wants no cache to keep.
pub fn secret_answer(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

/// The same for what was made by the request.
pub fn secret_created(body: impl Serialize) -> HttpResponse {
    HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

/// Logs a user in with the password, and begins a session.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 202, description = "The password is right, and a second factor is needed: go on at POST /api/v1/auth/two-factor/login", body = PendingLoginResponse),
        (status = 401, description = "`invalid_credentials`: there is no such user, or the password is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`email_not_verified`: the operator wants it to be", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/login")]
pub async fn log_in(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<LoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let LoginRequest { email, password } = body.into_inner();
    let login = log_in_with_password(&state, Client::of(&request), email.as_str(), password).await?;
    login.answer(&state)
}

/// `login_name` is an e-mail or a user name in its one written form.
pub async fn log_in_with_password(
    state: &AppState,
    client: Client,
    login_name: &str,
    password: Password,
) -> Result<Login, ApiError> {
    let result = begin_session(state, client, login_name, password).await;
    login_attempted(&result);
    result
}

async fn begin_session(
    state: &AppState,
    client: Client,
    login_name: &str,
    password: Password,
) -> Result<Login, ApiError> {
    let now = state.clock.now();
    let authenticated = authenticate(state, login_name, &password, &client.device, now).await?;
    let login = state
        .db
        .transaction("log_in", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            let user = users::queries::lock_verified(connection, &authenticated.credentials)
                .await?
                .ok_or_else(invalid_credentials)?;
            login_attempts::forget(connection, &authenticated.attempts).await?;
            let keys = &state.field_keys;
            authenticated
                .warn_of_breach(connection, &protection, keys, &user, now)
                .await?;
            // The password was right, which is committed.
            if let Err(error) = email_verification::require(state.email_verification, &user) {
                return Ok(Err(error));
            }
            let methods = [Method::Password];
            let client = client.clone();
            login::begin(state, connection, &protection, user, client, &methods, now)
                .await
                .map(Ok)
        })
        .await??;
    authenticated.renew_hash(state, password);
    Ok(login)
}

/// Exchanges a refresh token for new tokens. The next one replaces it: who repeats the request within 20 seconds, because the
/// answer was lost or another tab was faster, gets the same one again; a token that comes later, or from another client, ends
/// its session.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The next tokens; `session_id` has not changed", body = TokensResponse),
        (status = 401, description = "`invalid_refresh_token`: unknown, used before, or its session has ended", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/refresh")]
pub async fn refresh_tokens(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<RefreshRequest>,
) -> Result<HttpResponse, ApiError> {
    let presented = body.into_inner().refresh_token;
    let tokens = refresh(&state, &Client::of(&request), &presented).await?;
    Ok(secret_answer(tokens))
}

pub async fn refresh(
    state: &AppState,
    client: &Client,
    presented: &PresentedRefreshToken,
) -> Result<TokensResponse, ApiError> {
    let now = state.clock.now();
    let next = Secret::refresh_token()?;
    let sealed = presented.seal(&next, client)?;
    // A reuse is no error inside the transaction, so that the revocation is committed.
    let renewed = state
        .db
        .transaction("refresh", async |connection| {
            let hash = &presented.hash;
            let Some(session) = queries::lock_live_by_refresh_token(connection, hash, now).await? else {
                return Ok(None);
            };
            let repeated = if queries::use_refresh_token(connection, hash, &sealed, now).await? {
                queries::renew(connection, &session, &next.hash(), now).await?;
                None
            } else {
                let sealed = queries::find_successor(connection, hash, now - REPEATABLE_FOR).await?;
                let Some(successor) = sealed.and_then(|sealed| presented.unseal(sealed, client)) else {
                    queries::revoke(connection, session.id, now).await?;
                    return Ok(Some((session, None)));
                };
                Some(successor)
            };
            let user = users::queries::find_active(connection, session.user_id).await?;
            let user = user.map(|user| user.decrypt(&state.field_keys)).transpose()?;
            Ok(user.map(|user| (session, Some((user, repeated)))))
        })
        .await?;
    let (session, tokens) = renewed.ok_or_else(invalid_refresh_token)?;
    let Some((user, repeated)) = tokens else {
        state.session_cache.catch_up_and_tell(&state.db).await;
        tracing::warn!(session_id = %session.id, "a refresh token was used twice; its session is revoked");
        metrics::counter!("auth_refresh_token_reuses_total").increment(1);
        sessions_revoked(Revocation::TokenReuse).increment(1);
        return Err(invalid_refresh_token());
    };
    if repeated.is_some() {
        metrics::counter!("auth_refresh_token_repeats_total").increment(1);
    }
    let token = repeated.as_ref().unwrap_or(&next);
    let authentication = Authentication {
        amr: &session.amr(),
        at: session.authenticated_at(),
        authorization: None,
    };
    TokensResponse::new(state, user, session.id, &authentication, token, now)
}

/// Ends the session of the access token.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Logged out"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/logout")]
pub async fn log_out(state: web::Data<AppState>, principal: Principal) -> Result<HttpResponse, ApiError> {
    if !end_session(&state, principal.session_id).await? {
        return Err(session_revoked());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Ends a session; whether it still went on.
pub async fn end_session(state: &AppState, id: SessionId) -> Result<bool, ApiError> {
    let mut connection = state.db.connection().await?;
    let ended = queries::revoke(&mut connection, id, state.clock.now()).await?;
    drop(connection);
    if ended {
        sessions_revoked(Revocation::Logout).increment(1);
        state.session_cache.catch_up_and_tell(&state.db).await;
    }
    Ok(ended)
}

/// Refuses an access token whose session was ended, for what must not happen in its last minutes.
pub async fn must_be_live(state: &AppState, principal: &Principal) -> Result<(), ApiError> {
    let mut connection = state.db.connection().await?;
    let session = principal.session_id;
    let user = queries::find_live_user(&mut connection, session, state.clock.now()).await?;
    user.map(drop).ok_or_else(session_revoked)
}
