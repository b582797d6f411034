//! Cross-origin requests of browser apps whose origin is in `CORS_ORIGINS`. Others get no CORS headers, so their browsers
//! keep the answer from them. Credentials are bearer tokens, so cookies are not allowed across origins.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use shared::ApiError;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const ALLOWED_HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, X-Request-Id, X-Session-ID, Traceparent";
const EXPOSED_HEADERS: &str =
    "RateLimit, RateLimit-Policy, Retry-After, Idempotent-Replayed, X-Request-Id, Location";
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
const MAX_AGE_S: &str = "600";

#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    pub fn parse(origins: &[String]) -> Result<Self, String> {
        let parse = |text: &String| {
            let value = HeaderValue::from_str(text).ok().filter(|_| is_origin(text));
            value.ok_or_else(|| {
                format!("holds `{text}`, which is not an origin such as https://app.example.com")
            })
        };
        Ok(Self {
            origins: origins.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    /// The answer to a preflight request, if `request` is one.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HttpResponse> {
        let is_preflight =
            method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(header::ORIGIN).filter(|_| is_preflight)?;
        if !self.allows(origin) {
            let detail = "Browser apps of this origin are not allowed to call this API.";
            return Some(ApiError::forbidden("origin_not_allowed", detail).error_response());
        }
        let mut answer = HttpResponse::NoContent();
        answer
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S))
            .insert_header((header::VARY, PREFLIGHT_VARY));
        Some(answer.finish())
    }

    /// Lets the page at `origin` read the answer, if it is allowed.
    pub fn write_to(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        if !headers.contains_key(header::VARY) {
            headers.insert(header::VARY, name_value(&header::ORIGIN));
        } else if !headers.get_all(header::VARY).any(names_origin) {
            headers.append(header::VARY, name_value(&header::ORIGIN));
        }
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED_HEADERS),
            );
        }
    }
}

fn name_value(name: &HeaderName) -> HeaderValue {
    HeaderValue::from(name.clone())
}

fn names_origin(vary: &HeaderValue) -> bool {
    vary.to_str().is_ok_and(|text| {
        text.split(',')
            .any(|name| name.trim().eq_ignore_ascii_case("origin"))
    })
}

/// Scheme, host and port as browsers write them, and nothing else; never `*` or `null`.
fn is_origin(text: &str) -> bool {
    let is_plain = |url: &reqwest::Url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    };
    !text.contains('*') && reqwest::Url::parse(text).is_ok_and(|url| is_plain(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_origins_are_accepted() {
        for (text, valid) in [
            ("https://app.example.com", true),
            ("http://localhost:3000", true),
            ("https://app.example.com/", false),
            ("https://App.example.com", false),
            ("https://app.example.com:443", false),
            ("https://*.example.com", false),
            ("app.example.com", false),
            ("*", false),
            ("null", false),
        ] {
            assert_eq!(is_origin(text), valid, "{text}");
        }
        let error = Cors::parse(&["*".to_owned()]).unwrap_err();
        assert!(error.contains("`*`"), "{error}");
    }

    #[test]
    fn a_services_own_vary_is_kept() {
        let cors = Cors::parse(&["https://app.example.com".to_owned()]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        cors.write_to(None, &mut headers);
        assert_eq!(headers.get_all(header::VARY).count(), 2);
    }
}
