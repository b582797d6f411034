//! What these paths answer when something is wrong: `error` is always a text, and some clients branch on it.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::{Value, json};
use shared::ApiError;

use super::reply;

#[derive(Debug)]
pub struct Failure(pub ApiError);

pub const INVALID_SESSION: &str = "Invalid session";

impl Failure {
    pub fn bad_request(detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self(ApiError::bad_request("invalid_request", detail))
    }

    pub fn unauthorized(code: &'static str, detail: &'static str) -> Self {
        Self(ApiError::unauthorized(code, detail))
    }

    /// A client forgets the login it has stored at this text and no other.
    pub fn invalid_session() -> Self {
        Self::unauthorized("invalid_session", INVALID_SESSION)
    }

    /// Not one of the texts at which a client forgets its login: it goes on with a code.
    pub fn second_factor_needed() -> Self {
        Self::unauthorized("second_factor_required", "Two-factor authentication required")
    }

    pub fn invalid_secret() -> Self {
        Self::unauthorized(
            "invalid_bridge_secret",
            "Invalid or missing X-Bridge-Secret header",
        )
    }

    /// The texts that clients know, where they differ from ours.
    fn body(&self) -> Value {
        let problem = self.0.problem();
        let detail = problem.detail.unwrap_or(problem.title);
        let text = match problem.code.as_str() {
            "invalid_credentials" => "Invalid credentials".to_owned(),
            "email_taken" => "Email already registered".to_owned(),
            "session_revoked" => INVALID_SESSION.to_owned(),
            "wrong_password" => "Current password is incorrect".to_owned(),
            _ => detail,
        };
        let code = problem.code.to_uppercase();
        let body = json!({ "success": false, "error": text, "message": text, "code": code, "request_id": problem.request_id });
        match problem.code.as_str() {
            "second_factor_required" => reply::with(body, "requires_2fa", json!(true)),
            "wrong_code" => reply::with(body, "verified", json!(false)),
            _ => body,
        }
    }

    /// These paths know no 422.
    fn status(&self) -> StatusCode {
        match self.0.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        // The log, the metrics and the header fields are those of any error.
        let mut response = self.0.error_response().set_body(self.body().to_string());
        *response.status_mut() = self.status();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.map_into_boxed_body()
    }
}

/// Of a form or a query.
pub fn unreadable(error: impl fmt::Display, _: &HttpRequest) -> actix_web::Error {
    Failure::bad_request(format!("The request cannot be read: {error}")).into()
}

pub async fn not_found() -> Result<HttpResponse, Failure> {
    Err(Failure(ApiError::not_found("Not found")))
}
