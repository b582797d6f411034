//! The one error that handlers return: RFC 9457 `application/problem+json` with a stable `code`.
//!
//! Which one to use where: `queries` return diesel's `QueryResult`, or the slice's own enum when callers branch on it;
//! that enum has one `From<…> for ApiError`, which is its whole HTTP story; `?` on a diesel or pool error maps itself
//! (not found 404, database away 503, anything unexpected an opaque 500 that is logged once, here, with its chain).
//! `code` is a promise to clients, `detail` is not.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Denial, request_context};

pub const PROBLEM_JSON: &str = "application/problem+json";

/// What became of the money that a failed request wanted to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// This request moved nothing. With a 503 that says nothing about an earlier one under the same key, whose answer was lost.
    None,
    /// It moved; only the answer failed.
    Applied,
    /// Not known: ask again with the same `Idempotency-Key`.
    Unknown,
}

/// One part of the request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvalidField {
    /// RFC 6901 JSON pointer into the body, or the name of a query parameter or header.
    #[schema(example = "/amount")]
    pub pointer: String,
    #[schema(example = "expected a positive whole number of minor units")]
    pub detail: String,
}

/// RFC 9457 problem details, as they are on the wire.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:flowlet:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:flowlet:problem:insufficient_funds")]
    pub kind: String,
    #[schema(example = "Insufficient funds")]
    pub title: String,
    #[schema(example = 422)]
    pub status: u16,
    /// Stable; branch on this.
    #[schema(example = "insufficient_funds")]
    pub code: String,
    /// For a person. May change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Quote it when you report a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<InvalidField>,
    /// Only on requests that move money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    errors: Vec<InvalidField>,
    outcome: Option<Outcome>,
    retry_after_s: Option<u64>,
    retryable: bool,
    denial: Option<Denial>,
    /// `WWW-Authenticate` of a 401, when it says more than that a token is needed.
    challenge: Option<Box<str>>,
    source: Option<anyhow::Error>,
}

impl ApiError {
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            detail: Some(detail.into()),
            errors: Vec::new(),
            outcome: None,
            retry_after_s: None,
            retryable: false,
            denial: None,
            challenge: None,
            source: None,
        }
    }

    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400 that points at the part of the request that is wrong.
    pub fn invalid(code: &'static str, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = InvalidField {
            pointer: pointer.into(),
            detail: detail.into(),
        };
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            code,
            format!("{}: {}", field.pointer, field.detail),
        );
        error.errors.push(field);
        error
    }

    /// 401: who is asking is not known. Sends `WWW-Authenticate`.
    pub fn unauthorized(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 401: who is asking is known, and not surely or not lately enough (RFC 9470).
    pub fn insufficient_authentication(acr: &str, max_age_s: i64) -> Self {
        let detail =
            "Prove again who you are: POST /api/v1/auth/step-up gives a token that is enough for this.";
        let mut error = Self::unauthorized("insufficient_user_authentication", detail)
            .denied(Denial::InsufficientAuthentication);
        let challenge = format!(
            r#"Bearer error="insufficient_user_authentication", error_description="{detail}", acr_values="{acr}", max_age="{max_age_s}""#
        );
        error.challenge = Some(challenge.into());
        error
    }

    pub fn forbidden(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: understood, and refused by a rule of the business.
    pub fn unprocessable(code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub fn too_many_requests(detail: impl Into<Cow<'static, str>>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(retry_after_s)
    }

    /// 503 with `Retry-After`: nothing is wrong with the request; it can be sent again.
    pub fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(1)
    }

    /// 500 that tells the client nothing and the log everything.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        let detail = "Something went wrong on our side. Quote the request_id when you report it.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).caused_by(source)
    }

    fn busy(source: impl Into<anyhow::Error>) -> Self {
        let detail = "Too much is changing the same thing at once. Try again shortly.";
        Self::unavailable("busy", detail).caused_by(source)
    }

    fn retryable(source: impl Into<anyhow::Error>) -> Self {
        Self {
            retryable: true,
            ..Self::busy(source)
        }
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// Counts the answer among those that were refused for who asked.
    pub fn denied(mut self, denial: Denial) -> Self {
        self.denial = Some(denial);
        self
    }

    pub fn caused_by(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong, for the user of a command, who may know everything.
    pub fn into_source(self) -> anyhow::Error {
        let detail = self.detail.unwrap_or(self.code);
        self.source
            .unwrap_or_else(|| anyhow::Error::msg(detail.into_owned()))
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether PostgreSQL asked for the same transaction again.
    pub(crate) fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The wire form, with the id and path of the request that is being answered.
    pub fn problem(&self) -> Problem {
        let context = request_context::current();
        Problem {
            kind: format!("urn:flowlet:problem:{}", self.code),
            title: title_of(&self.code),
            status: self.status.as_u16(),
            code: self.code.to_string(),
            detail: self.detail.as_deref().map(str::to_owned),
            instance: context.as_ref().map(|context| context.path.to_string()),
            request_id: context.as_ref().map(|context| context.request_id.to_string()),
            errors: self.errors.clone(),
            outcome: self.outcome,
        }
    }
}

/// `insufficient_funds` becomes `Insufficient funds`.
fn title_of(code: &str) -> String {
    let mut words = code.replace('_', " ");
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    words
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.code)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        if let Some(source) = &self.source {
            let chain = format!("{source:#}");
            if self.status.is_server_error() {
                tracing::error!(code = %self.code, error = chain, "request failed");
            } else {
                tracing::debug!(code = %self.code, error = chain, "request refused");
            }
        }
        if let Some(denial) = self.denial {
            let service = request_context::current_service();
            metrics::counter!("security_access_denied_total", "service" => service, "reason" => denial.reason())
                .increment(1);
        }
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = self.challenge.as_deref().unwrap_or("Bearer");
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        match serde_json::to_string(&self.problem()) {
            Ok(body) => response.body(body),
            Err(_) => response.finish(),
        }
    }
}

impl From<diesel::result::Error> for ApiError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error};
        match &error {
            Error::NotFound => Self::not_found("There is no such resource, or it is not yours."),
            Error::DatabaseError(DatabaseErrorKind::ClosedConnection, _)
            | Error::BrokenTransactionManager => database_unavailable(error),
            Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Self::retryable(error),
            Error::DatabaseError(_, information) if information.message() == "deadlock detected" => {
                Self::retryable(error)
            }
            // It has waited long enough: for a paused replica, or behind a migration.
            Error::DatabaseError(_, information)
                if information.message() == "canceling statement due to lock timeout" =>
            {
                Self::busy(error)
            }
            _ => Self::internal(error),
        }
    }
}

/// The database cannot be reached. Nothing was done, and the request can be sent again.
pub fn database_unavailable(source: impl Into<anyhow::Error>) -> ApiError {
    ApiError::unavailable(
        "database_unavailable",
        "The database cannot be reached. Try again shortly.",
    )
    .caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_too_long_for_a_lock_may_come_again() {
        use diesel::result::{DatabaseErrorKind, Error};
        for (message, status, retryable) in [
            ("canceling statement due to lock timeout", 503, false),
            ("deadlock detected", 503, true),
            ("division by zero", 500, false),
        ] {
            let error = Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_owned()));
            let error = ApiError::from(error);
            assert_eq!(
                (error.status().as_u16(), error.is_retryable()),
                (status, retryable),
                "{message}"
            );
        }
    }

    #[test]
    fn an_unexpected_error_tells_the_client_nothing() {
        let problem = ApiError::internal(anyhow::anyhow!("password=hunter2")).problem();
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(problem.status, 500);
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_title_is_the_code_in_words() {
        assert_eq!(title_of("insufficient_funds"), "Insufficient funds");
        assert_eq!(title_of(""), "");
    }
}
