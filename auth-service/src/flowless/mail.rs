//! Verifying the e-mail, and setting a password by mail, under all the names that clients have for it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::failure::Failure;
use super::input::{Input, query_member};
use super::logins::password;
use super::reply;
use crate::messages::Content;
use crate::one_time_tokens::PresentedToken;
use crate::passwords::reset;
use crate::state::AppState;
use crate::users::Email;
use crate::{email_verification, mail_requests};

pub fn configure(config: &mut web::ServiceConfig) {
    for path in ["/password-reset/request", "/password/reset/request"] {
        config.route(path, web::post().to(request_reset));
    }
    for path in ["/password-reset/validate", "/password/reset/validate"] {
        config
            .route(path, web::post().to(validate_reset))
            .route(path, web::get().to(validate_reset));
    }
    config.route(
        "/password-reset/validate/{token}",
        web::get().to(validate_in_path),
    );
    for path in [
        "/password-reset/complete",
        "/password-reset/reset",
        "/password/reset/complete",
    ] {
        config.route(path, web::post().to(complete_reset));
    }
    for path in ["/resend-verification", "/email/resend"] {
        config.route(path, web::post().to(resend_verification));
    }
    config.route("/email/verify", web::post().to(verify_email));
}

pub fn email(input: &Input) -> Result<Email, Failure> {
    let text = input.required(&["email"])?;
    Email::parse(text).ok_or_else(|| Failure::bad_request("Invalid email format"))
}

/// In the body, or else in the query.
pub fn token(request: &HttpRequest, input: &Input) -> Result<PresentedToken, Failure> {
    let in_query = query_member(request.query_string(), "token");
    let text = input.text(&["token"])?.or(in_query.as_deref());
    text.map(PresentedToken::new)
        .ok_or_else(|| Failure::bad_request("token is required"))
}

/// The same answer whoever has the e-mail, if anybody.
async fn request_reset(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let url = input.text(&["reset_url", "resetUrl"])?;
    reset::ask(&state, &input.client, &email(&input)?, url).await?;
    Ok(reply::done(
        "If the email is registered, a password reset link has been sent",
    ))
}

async fn validate_reset(
    state: web::Data<AppState>,
    request: HttpRequest,
    input: Input,
) -> Result<HttpResponse, Failure> {
    validity(&state, &token(&request, &input)?).await
}

async fn validate_in_path(
    state: web::Data<AppState>,
    token: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    validity(&state, &PresentedToken::new(&token)).await
}

/// Clients that look at `success` alone must not take a token for good that is not.
async fn validity(state: &AppState, token: &PresentedToken) -> Result<HttpResponse, Failure> {
    let valid = reset::is_valid(state, token).await?;
    let message = if valid {
        "Token is valid"
    } else {
        "Invalid or expired token"
    };
    let data = json!({ "success": valid, "valid": valid, "message": message });
    Ok(reply::secret(&reply::with(data.clone(), "data", data)))
}

async fn complete_reset(
    state: web::Data<AppState>,
    request: HttpRequest,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let password = password(&input, &["password", "new_password", "newPassword"])?;
    reset::complete(&state, &token(&request, &input)?, &password).await?;
    Ok(reply::done("Password reset successfully"))
}

async fn resend_verification(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let content = Content::EmailVerification;
    mail_requests::queue(&state, &input.client, &email(&input)?, &content).await?;
    Ok(reply::done(
        "If the email is registered, a verification link has been sent",
    ))
}

async fn verify_email(
    state: web::Data<AppState>,
    request: HttpRequest,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let user = email_verification::verify(&state, &token(&request, &input)?).await?;
    Ok(reply::profile(
        &user,
        json!({ "message": "Email verified successfully" }),
    ))
}
