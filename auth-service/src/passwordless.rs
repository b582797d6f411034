//! Logging in without a password: by a link or a code that is sent to the user's e-mail, once.
//!
//! Who first proves to read an e-mail may not be who registered it. So when nobody had proved that before, what the unknown
//! one has left behind, a password, sessions and whatever else logs in by itself, is removed.

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Deserializer, Serialize};
use shared::error::Problem;
use shared::id::{MessageId, UserId};
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json};
use utoipa::ToSchema;

use crate::mail_requests::{self, MailRequested};
use crate::messages::Content;
use crate::one_time_tokens::{self, PresentedToken, Purpose};
use crate::sessions::handlers::LoginResponse;
use crate::sessions::login::{self, Login, Method};
use crate::sessions::{self, Client};
use crate::state::AppState;
use crate::two_factor::login_handlers::PendingLoginResponse;
use crate::users::{self, Email, StoredUser};
use crate::{api_keys, email_verification, field_keys, passkeys, social, telemetry, two_factor};

/// Who wants a link to log in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginLinkRequest {
    email: Email,
    /// The page that the link in the mail leads to, if not the operator's own; the token is added as `?token=`.
    #[schema(example = "https://app.example.com/login")]
    login_url: Option<String>,
}

/// The token of the link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UseLoginLinkRequest {
    token: PresentedToken,
}

/// Who wants a code to log in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginCodeRequest {
    email: Email,
}

/// What the code belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginCodeResponse {
    /// Keep it, and send it back with the code.
    #[schema(example = "lrq_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8")]
    pub request: String,
    /// Seconds for which the code works.
    #[schema(example = 600)]
    pub expires_in: i64,
}

/// A code, and the request that it was sent for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UseLoginCodeRequest {
    request: PresentedToken,
    code: LoginCode,
}

/// Six digits. Spaces between them, which some mail programs show, do not count.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]{6}$", example = "493817")]
pub struct LoginCode(String);

impl<'de> Deserialize<'de> for LoginCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let digits: String = text
            .chars()
            .filter(|character| *character != ' ')
            .take(7)
            .collect();
        if digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(digits));
        }
        Err(serde::de::Error::custom("expected six digits"))
    }
}

/// Sends a mail with a link that logs in, once, if there is a user with this e-mail. The answer does not tell.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 202, description = "Whoever has this e-mail gets a mail", body = MailRequested),
        (status = 422, description = "`url_not_allowed`: links may not lead to `login_url`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/login/links")]
pub async fn request_login_link(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<LoginLinkRequest>,
) -> Result<HttpResponse, ApiError> {
    ask_for_link(
        &state,
        &Client::of(&request),
        &body.email,
        body.login_url.as_deref(),
    )
    .await?;
    Ok(MailRequested::answer(Purpose::LoginLink))
}

/// Queues the mail.
pub async fn ask_for_link(
    state: &AppState,
    client: &Client,
    email: &Email,
    login_url: Option<&str>,
) -> Result<MessageId, ApiError> {
    let target = state.links.target(login_url)?;
    mail_requests::queue(state, client, email, &Content::LoginLink { target }).await
}

/// Logs a user in with the token of a link, and begins a session.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 202, description = "A second factor is needed: go on at POST /api/v1/auth/two-factor/login", body = PendingLoginResponse),
        (status = 401, description = "`invalid_login_token`: unknown, used or expired", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/login/links/use")]
pub async fn use_login_link(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<UseLoginLinkRequest>,
) -> Result<HttpResponse, ApiError> {
    log_in_by_link(&state, Client::of(&request), &body.token)
        .await?
        .answer(&state)
}

/// Begins a session of whoever the link was sent to.
pub async fn log_in_by_link(
    state: &AppState,
    client: Client,
    token: &PresentedToken,
) -> Result<Login, ApiError> {
    let login = log_in(state, client, Purpose::LoginLink, token).await;
    let login = login.and_then(|login| {
        let detail = "This link is not valid (any more). Ask for another one.";
        login.ok_or_else(|| ApiError::unauthorized("invalid_login_token", detail))
    });
    telemetry::login_attempted(&login);
    login
}

/// Sends a mail with a code that logs in, once, if there is a user with this e-mail. The answer does not tell.
#[utoipa::path(
    tag = "auth",
    responses((status = 202, description = "Whoever has this e-mail gets a mail", body = LoginCodeResponse), CommonErrors, BodyErrors)
)]
#[post("/api/v1/auth/login/codes")]
pub async fn request_login_code(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<LoginCodeRequest>,
) -> Result<HttpResponse, ApiError> {
    let login_request = one_time_tokens::new_request()?.reveal();
    let content = Content::LoginCode {
        request: login_request.clone(),
    };
    mail_requests::queue(&state, &Client::of(&request), &body.email, &content).await?;
    Ok(HttpResponse::Accepted().json(LoginCodeResponse {
        request: login_request,
        expires_in: Purpose::LoginCode.lifetime().num_seconds(),
    }))
}

/// Logs a user in with a code, and begins a session. A code may be tried five times.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 202, description = "A second factor is needed: go on at POST /api/v1/auth/two-factor/login", body = PendingLoginResponse),
        (status = 401, description = "`invalid_login_code`: wrong, used, expired, tried too often, or of another request", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/login/codes/use")]
pub async fn use_login_code(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<UseLoginCodeRequest>,
) -> Result<HttpResponse, ApiError> {
    let login = log_in_by_code(&state, Client::of(&request), &body).await;
    telemetry::login_attempted(&login);
    login?.answer(&state)
}

async fn log_in_by_code(
    state: &AppState,
    client: Client,
    UseLoginCodeRequest { request, code }: &UseLoginCodeRequest,
) -> Result<Login, ApiError> {
    let is_right = {
        let mut connection = state.db.connection().await?;
        one_time_tokens::try_code(
            &mut connection,
            &state.field_keys,
            request,
            &code.0,
            state.clock.now(),
        )
        .await?
    };
    let login = match is_right {
        true => log_in(state, client, Purpose::LoginCode, request).await?,
        false => None,
    };
    login.ok_or_else(|| {
        let detail = "This code is wrong or not valid any more. Ask for another one.";
        ApiError::unauthorized("invalid_login_code", detail)
    })
}

async fn log_in(
    state: &AppState,
    client: Client,
    purpose: Purpose,
    token: &PresentedToken,
) -> Result<Option<Login>, ApiError> {
    let (now, keys) = (state.clock.now(), &state.field_keys);
    state
        .db
        .transaction("log_in_by_mail", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, keys).await?;
            let Some(mut user) = one_time_tokens::consume(connection, keys, purpose, token, now).await?
            else {
                return Ok(None);
            };
            take_over(state, connection, &mut user, now).await?;
            let client = client.clone();
            let methods = &[Method::Mail];
            let login = login::begin(state, connection, &protection, user, client, methods, now).await?;
            Ok(Some(login))
        })
        .await
}

/// Makes a user theirs who has proved to read the e-mail, which nobody had before: whoever registered it is shut out.
pub async fn take_over(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    user: &mut StoredUser,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    if user.email_verified_at.is_some() {
        return Ok(());
    }
    email_verification::set_verified(connection, user, now).await?;
    let nobodys = state.hashing.nobodys_hash()?;
    users::queries::remove_password(connection, user.id, &nobodys, now).await?;
    sessions::queries::revoke_all(connection, user.id, None, now).await?;
    remove_other_ways_in(connection, user.id, now).await?;
    one_time_tokens::forget(connection, user.id, Purpose::EmailVerification).await?;
    Ok(())
}

/// Removes what logs in, or acts as the user, without the password; and second factors, which would shut the owner out.
pub async fn remove_other_ways_in(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    passkeys::queries::remove_all(connection, user_id).await?;
    social::queries::unlink_all(connection, user_id).await?;
    api_keys::queries::revoke_all(connection, user_id, now).await?;
    two_factor::remove_all(connection, user_id).await
}
