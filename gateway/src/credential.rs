//! What a request says about who is asking: an access token or an API key as `Authorization: Bearer`, or the credential of a
//! session in a header or a cookie. The first of these that is there counts, and the others are not looked at.
//!
//! A browser adds a cookie by itself, also to what another site makes it send. So with a cookie alone nothing is changed
//! unless `Origin` says that the page is ours.

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, Uri};
use shared::access_token::missing_token;
use shared::{ApiError, Denial};

use crate::cors::Cors;

pub const SESSION_HEADER: &str = "x-session-id";
const SESSION_COOKIE: &str = "session_id";
const API_KEY_PREFIX: &str = "flk_";
const SESSION_PREFIX: &str = "ses_";
/// Longer than any credential that auth-service gives.
const MAX_LENGTH: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'r> {
    AccessToken(&'r str),
    /// What auth-service gives an access token for.
    Exchangeable(&'r str),
}

impl<'r> Credential<'r> {
    pub fn of(method: &Method, headers: &'r HeaderMap, cors: &Cors) -> Result<Self, ApiError> {
        if let Some(token) = bearer(headers) {
            let is_key = token.starts_with(API_KEY_PREFIX) && token.len() <= MAX_LENGTH;
            return Ok(if is_key {
                Self::Exchangeable(token)
            } else {
                Self::AccessToken(token)
            });
        }
        if let Some(value) = headers.get(SESSION_HEADER) {
            return session(value.to_str().unwrap_or_default());
        }
        let cookie = cookie(headers).ok_or_else(missing_token)?;
        if !method.is_safe() && !is_from_our_page(headers, cors) {
            return Err(origin_not_allowed());
        }
        session(cookie)
    }
}

fn origin_not_allowed() -> ApiError {
    let detail =
        "A cookie alone changes nothing, unless `Origin` is the address of this API or an allowed one.";
    ApiError::forbidden("origin_not_allowed", detail).denied(Denial::Forbidden)
}

/// Refuses what a page of another site makes a browser send with the cookie of a session, where the service looks at the session
/// itself. Programs that are no browsers send a cookie without `Origin`.
pub fn refuse_foreign_page(method: &Method, headers: &HeaderMap, cors: &Cors) -> Result<(), ApiError> {
    let has_only_cookie = !headers.contains_key(SESSION_HEADER) && cookie(headers).is_some();
    let is_by_page = headers.contains_key(header::ORIGIN);
    if !method.is_safe() && has_only_cookie && is_by_page && !is_from_our_page(headers, cors) {
        return Err(origin_not_allowed());
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(header::COOKIE);
    // As the services read it: another cookie that is not ASCII must not hide this one.
    let pairs = fields
        .filter_map(|field| std::str::from_utf8(field.as_bytes()).ok())
        .flat_map(|field| field.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
}

/// What cannot be a session's credential is nobody's business but the client's.
fn session(text: &str) -> Result<Credential<'_>, ApiError> {
    if text.starts_with(SESSION_PREFIX) && text.len() <= MAX_LENGTH {
        return Ok(Credential::Exchangeable(text));
    }
    Err(invalid_session())
}

pub fn invalid_session() -> ApiError {
    ApiError::unauthorized(
        "invalid_session",
        "This session is not known or has ended. Log in again.",
    )
    .denied(Denial::TokenInvalid)
}

/// Whether the page that sent the request is of this host, or of an origin that the operator allows.
fn is_from_our_page(headers: &HeaderMap, cors: &Cors) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let authority = |text: &str| {
        Some(
            text.parse::<Uri>()
                .ok()?
                .authority()?
                .as_str()
                .to_ascii_lowercase(),
        )
    };
    let of_page = origin.to_str().ok().and_then(authority);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    cors.allows(origin) || (of_page.is_some() && of_page == host.map(str::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn of(method: Method, fields: &[(&'static str, &str)]) -> Result<String, String> {
        let mut request = TestRequest::default().method(method);
        for field in fields {
            request = request.append_header(*field);
        }
        let (request, cors) = (
            request.to_http_request(),
            Cors::parse(&["https://app.example.com".to_owned()]).unwrap(),
        );
        match Credential::of(request.method(), request.headers(), &cors) {
            Ok(Credential::AccessToken(token)) => Ok(format!("token {token}")),
            Ok(Credential::Exchangeable(text)) => Ok(text.to_owned()),
            Err(error) => Err(error.code().to_owned()),
        }
    }

    #[test]
    fn a_token_wins_over_a_session_and_a_header_over_a_cookie() {
        let (token, header) = (("authorization", "Bearer t"), ("x-session-id", "ses_h"));
        let cookie = ("cookie", "a=b; session_id=ses_c; session_id=ses_d");
        assert_eq!(of(Method::GET, &[cookie, header, token]).unwrap(), "token t");
        assert_eq!(of(Method::GET, &[cookie, header]).unwrap(), "ses_h");
        assert_eq!(of(Method::GET, &[cookie]).unwrap(), "ses_c");
        let beside = ("cookie", "name=Zoë; session_id=ses_c");
        assert_eq!(of(Method::GET, &[beside]).unwrap(), "ses_c");
        assert_eq!(of(Method::GET, &[]).unwrap_err(), "missing_token");
        // What is wrong is not made good by another one.
        assert_eq!(
            of(Method::GET, &[("x-session-id", "x"), cookie]).unwrap_err(),
            "invalid_session"
        );
        let long = format!("ses_{}", "x".repeat(200));
        assert_eq!(
            of(Method::GET, &[("x-session-id", &long)]).unwrap_err(),
            "invalid_session"
        );
    }

    #[test]
    fn a_cookie_alone_changes_something_only_for_our_own_pages() {
        let (cookie, host) = (("cookie", "session_id=ses_c"), ("host", "api.example.com"));
        for (origin, allowed) in [
            (Some("https://api.example.com"), true),
            (Some("https://API.example.com"), true),
            (Some("https://app.example.com"), true),
            (None, false),
            (Some("null"), false),
            (Some("https://evil.example"), false),
            (Some("https://api.example.com.evil.example"), false),
            (Some("https://api.example.com:8443"), false),
        ] {
            let mut fields = vec![cookie, host];
            fields.extend(origin.map(|origin| ("origin", origin)));
            for method in [Method::POST, Method::DELETE] {
                assert_eq!(of(method, &fields).is_ok(), allowed, "{origin:?}");
            }
            assert!(of(Method::GET, &fields).is_ok());
            fields.push(("x-session-id", "ses_h"));
            assert!(
                of(Method::POST, &fields).is_ok(),
                "no browser adds a header by itself"
            );
        }
    }
}
