//! Whether an e-mail is its user's: asked for by a mail with a link, and proved by the token in it.
//!
//! A link in a mail is opened by programs too, which look whether it is dangerous. So the page behind it is a form, and only
//! sending that uses the token.

use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json};
use utoipa::ToSchema;

use crate::mail_requests::{self, MailRequested};
use crate::messages::Content;
use crate::one_time_tokens::{self, PresentedToken, Purpose};
use crate::sessions::Client;
use crate::state::AppState;
use crate::users::{self, Email, StoredUser, User};

/// Whether who has not verified the e-mail may log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requirement {
    /// No: 403 `email_not_verified`.
    Required,
    /// Yes; they are sent the mail nevertheless.
    #[default]
    Optional,
    /// Yes, and no mail is sent at registration.
    Off,
}

impl FromStr for Requirement {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            "off" => Ok(Self::Off),
            _ => Err("expected `required`, `optional` or `off`"),
        }
    }
}

/// Refuses a login with 403 where the e-mail has to be verified first. What proved that it was is no subject of this.
pub fn require(requirement: Requirement, user: &StoredUser) -> Result<(), ApiError> {
    if requirement == Requirement::Required && user.email_verified_at.is_none() {
        let detail = "Verify your e-mail first: open the link that was sent there, or ask for another one.";
        return Err(ApiError::forbidden("email_not_verified", detail));
    }
    Ok(())
}

/// The e-mail to verify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerificationRequest {
    email: Email,
}

/// The token of the mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    token: PresentedToken,
}

/// The user whose e-mail is verified now.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerifiedResponse {
    pub user: User,
}

/// Sends a mail with a link that verifies the e-mail, if somebody has registered with it. The answer does not tell.
#[utoipa::path(
    tag = "auth",
    responses((status = 202, description = "Whoever has this e-mail gets a mail", body = MailRequested), CommonErrors, BodyErrors)
)]
#[post("/api/v1/auth/email/verification")]
pub async fn request_email_verification(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<VerificationRequest>,
) -> Result<HttpResponse, ApiError> {
    let content = Content::EmailVerification;
    mail_requests::queue(&state, &Client::of(&request), &body.email, &content).await?;
    Ok(MailRequested::answer(Purpose::EmailVerification))
}

/// Verifies the e-mail that the token was sent to.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Verified", body = VerifiedResponse),
        (status = 422, description = "`invalid_verification_token`: unknown, used, expired, or sent to an e-mail that the user has changed since", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/email/verify")]
pub async fn verify_email(
    state: web::Data<AppState>,
    body: Json<VerifyRequest>,
) -> Result<web::Json<VerifiedResponse>, ApiError> {
    let user = verify(&state, &body.token).await?;
    Ok(web::Json(VerifiedResponse { user }))
}

/// Verifies the e-mail that the token was sent to.
pub async fn verify(state: &AppState, token: &PresentedToken) -> Result<User, ApiError> {
    let now = state.clock.now();
    let verified = state
        .db
        .transaction("verify_email", async |connection| {
            let (keys, purpose) = (&state.field_keys, Purpose::EmailVerification);
            let Some(user) = one_time_tokens::consume(connection, keys, purpose, token, now).await? else {
                return Ok(None);
            };
            set_verified(connection, &user, now).await?;
            one_time_tokens::forget(connection, user.id, purpose).await?;
            Ok(Some(user.decrypt(keys)?))
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    verified.ok_or_else(|| {
        let detail = "This link is not valid (any more). Ask for another one.";
        ApiError::unprocessable("invalid_verification_token", detail)
    })
}

/// Notes that the user reads what is sent to the e-mail.
pub async fn set_verified(
    connection: &mut AsyncPgConnection,
    user: &StoredUser,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    if user.email_verified_at.is_none() {
        users::queries::set_email_verified(connection, user.id, now).await?;
    }
    Ok(())
}
