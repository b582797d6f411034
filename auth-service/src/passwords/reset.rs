//! Setting a password without knowing the current one: by a token that was sent to the user's e-mail.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json};
use utoipa::ToSchema;

use super::{About, Password};
use crate::login_attempts::device::PresentedDevice;
use crate::mail_requests::{self, MailRequested};
use crate::messages::{Channel, Content};
use crate::one_time_tokens::{self, PresentedToken, Purpose};
use crate::sessions::Client;
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};
use crate::users::{self, Email};
use crate::{email_verification, field_keys, login_attempts, messages, passwordless, sessions};

/// Whose password is to be reset.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordResetRequest {
    email: Email,
    /// The page that the link in the mail leads to, if not the operator's own; the token is added as `?token=`.
    #[schema(example = "https://app.example.com/reset-password")]
    reset_url: Option<String>,
}

/// A token that may still be good.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateResetRequest {
    token: PresentedToken,
}

/// Whether a token would still work.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetTokenResponse {
    pub valid: bool,
}

/// The token of the mail, and the password to have from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteResetRequest {
    token: PresentedToken,
    new_password: Password,
}

/// Sends a mail with a link that leads to setting another password, if there is a user with this e-mail. The answer does not
/// tell.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 202, description = "Whoever has this e-mail gets a mail", body = MailRequested),
        (status = 422, description = "`url_not_allowed`: links may not lead to `reset_url`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/password/reset/request")]
pub async fn request_password_reset(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<PasswordResetRequest>,
) -> Result<HttpResponse, ApiError> {
    ask(
        &state,
        &Client::of(&request),
        &body.email,
        body.reset_url.as_deref(),
    )
    .await?;
    Ok(MailRequested::answer(Purpose::PasswordReset))
}

/// Queues the mail.
pub async fn ask(
    state: &AppState,
    client: &Client,
    email: &Email,
    reset_url: Option<&str>,
) -> Result<(), ApiError> {
    let target = state.links.target(reset_url)?;
    mail_requests::queue(state, client, email, &Content::PasswordReset { target })
        .await
        .map(drop)
}

/// Tells whether a token would still work, and does not use it.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "Whether it is valid", body = ResetTokenResponse), CommonErrors, BodyErrors)
)]
#[post("/api/v1/auth/password/reset/validate")]
pub async fn validate_password_reset(
    state: web::Data<AppState>,
    body: Json<ValidateResetRequest>,
) -> Result<web::Json<ResetTokenResponse>, ApiError> {
    let valid = is_valid(&state, &body.token).await?;
    Ok(web::Json(ResetTokenResponse { valid }))
}

pub async fn is_valid(state: &AppState, token: &PresentedToken) -> Result<bool, ApiError> {
    let mut connection = state.db.connection().await?;
    let (keys, purpose, now) = (&state.field_keys, Purpose::PasswordReset, state.clock.now());
    let found = one_time_tokens::find(&mut connection, keys, purpose, token, now).await?;
    Ok(found.is_some())
}

/// Sets another password, and ends all sessions of the user.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Set; log in with it"),
        (status = 422, description = "`invalid_reset_token`: unknown, used or expired; `weak_password`, and the token still works", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/password/reset/complete")]
pub async fn complete_password_reset(
    state: web::Data<AppState>,
    body: Json<CompleteResetRequest>,
) -> Result<HttpResponse, ApiError> {
    complete(&state, &body.token, &body.new_password).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub async fn complete(state: &AppState, token: &PresentedToken, password: &Password) -> Result<(), ApiError> {
    // A hash is dear: only who has a token that works may have one made.
    let found = {
        let mut connection = state.db.connection().await?;
        let (keys, purpose, now) = (&state.field_keys, Purpose::PasswordReset, state.clock.now());
        one_time_tokens::find(&mut connection, keys, purpose, token, now).await?
    };
    let user = found.ok_or_else(invalid_token)?.user;
    let hashing = state.hashing.reserve()?;
    hashing
        .check_strength(password, About::new(&user.email, &user.name))
        .await?;
    let hash = hashing.hash(password).await?;
    let revoked = set_password(state, token, &hash)
        .await?
        .ok_or_else(invalid_token)?;
    sessions_revoked(Revocation::PasswordReset).increment(u64::try_from(revoked).unwrap_or(u64::MAX));
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(())
}

/// Everything or nothing of it; how many sessions ended.
async fn set_password(
    state: &AppState,
    token: &PresentedToken,
    hash: &str,
) -> Result<Option<usize>, ApiError> {
    let (now, keys) = (state.clock.now(), &state.field_keys);
    state
        .db
        .transaction("reset_password", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, keys).await?;
            let purpose = Purpose::PasswordReset;
            let Some(mut user) = one_time_tokens::consume(connection, keys, purpose, token, now).await?
            else {
                return Ok(None);
            };
            users::queries::reset_password(connection, user.id, hash, now).await?;
            if user.email_verified_at.is_none() {
                passwordless::remove_other_ways_in(connection, user.id, now).await?;
            }
            // Whoever has the token reads what is sent to the e-mail.
            email_verification::set_verified(connection, &mut user, now).await?;
            let revoked = sessions::queries::revoke_all(connection, user.id, None, now).await?;
            for purpose in [Purpose::PasswordReset, Purpose::LoginLink, Purpose::LoginCode] {
                one_time_tokens::forget(connection, user.id, purpose).await?;
            }
            let unknown = PresentedDevice::default();
            let attempts = login_attempts::key_of(keys, &login_attempts::of_user(user.id), &unknown)?;
            let email = user.decrypt(keys)?.email;
            login_attempts::forget(connection, &attempts).await?;
            let (channel, content) = (Channel::Email, Content::PasswordChanged);
            messages::queries::queue(connection, &protection, channel, &email, &content, now).await?;
            Ok(Some(revoked))
        })
        .await
}

fn invalid_token() -> ApiError {
    let detail = "This link is not valid (any more). Ask for another one.";
    ApiError::unprocessable("invalid_reset_token", detail)
}
