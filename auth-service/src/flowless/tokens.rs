//! Logging in by a link. Clients mean two things by the same path: whoever sends a token has one, whoever sends an address wants
//! one. No answer ever shows a token: it is in the mail and nowhere else.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::bridge::client_of;
use super::failure::Failure;
use super::input::{Input, query_member};
use super::mail::token;
use super::reply;
use crate::instance::SecretKind;
use crate::one_time_tokens::{self, LiveToken, Purpose};
use crate::passwordless::{ask_for_link, log_in_by_link};
use crate::state::AppState;
use crate::users::Email;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/token/login", web::post().to(create_or_use))
        .route("/token/create", web::post().to(create))
        .route("/token/validate", web::post().to(validate))
        .route("/token/validate", web::get().to(validate));
}

async fn create_or_use(
    state: web::Data<AppState>,
    request: HttpRequest,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let secret = input.secret(&state).await?;
    let in_query = query_member(request.query_string(), "token").is_some();
    if in_query || input.text(&["token"])?.is_some() {
        return use_token(&state, &request, &input, secret).await;
    }
    if secret != Some(SecretKind::Server) {
        return Err(Failure::invalid_secret());
    }
    create(state, input).await
}

async fn use_token(
    state: &AppState,
    request: &HttpRequest,
    input: &Input,
    secret: Option<SecretKind>,
) -> Result<HttpResponse, Failure> {
    let login = log_in_by_link(state, client_of(input, secret)?, &token(request, input)?).await?;
    Ok(reply::login(&login, "Login successful"))
}

/// `token` is there, and empty, for a client that wants it to be.
async fn create(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let address = input.required(&["identifier", "email"])?;
    let email = Email::parse(address).ok_or_else(|| Failure::bad_request("Invalid email format"))?;
    let url = input.text(&["redirect_uri", "redirect_url", "login_url", "loginUrl"])?;
    let message = ask_for_link(&state, &input.client, &email, url).await?;
    let lifetime = Purpose::LoginLink.lifetime();
    let expires_at = state.clock.now() + lifetime;
    Ok(reply::twice(json!({
        "message": "If the email is registered, a login link has been sent",
        "token_id": message,
        "token": "",
        "method": "email",
        "expires_in": lifetime.num_seconds(),
        "expires_at": expires_at,
        "expiresAt": expires_at,
    })))
}

/// A backend with its secret logs the user in; without one, it is only told whose token it is, and nothing is used up.
async fn validate(
    state: web::Data<AppState>,
    request: HttpRequest,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let secret = input.secret(&state).await?;
    if secret == Some(SecretKind::Server) {
        return use_token(&state, &request, &input, secret).await;
    }
    let (token, now) = (token(&request, &input)?, state.clock.now());
    let found = {
        let mut connection = state.db.connection().await?;
        let (keys, purpose) = (&state.field_keys, Purpose::LoginLink);
        one_time_tokens::find(&mut connection, keys, purpose, &token, now).await?
    };
    let LiveToken { user, expires_at } =
        found.ok_or_else(|| Failure::unauthorized("invalid_login_token", "Invalid or expired token"))?;
    Ok(reply::twice(json!({
        "valid": true,
        "message": "Token is valid",
        "user": {
            "id": user.id, "email": user.email, "name": user.name,
            "isVerified": user.email_verified, "is_verified": user.email_verified,
        },
        "tokenType": "login",
        "token_type": "login",
        "token_id": user.id,
        "expires_at": expires_at,
    })))
}
