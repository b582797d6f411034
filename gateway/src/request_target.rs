//! Which request targets are let in. The gateway and the service behind it must read the same path, so everything that
//! one of them could read differently (dot segments, empty segments, needless or nested percent-encoding, backslashes, path
//! parameters) is refused instead of normalised: a client that writes such a path has no honest use for it.

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode, Uri};
use shared::ApiError;

const MAX_TARGET_LENGTH: usize = 8 * 1024;

/// Refuses a request whose target could mean two things.
pub fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    if [Method::CONNECT, Method::TRACE].contains(method) {
        let detail = "This method is not supported.";
        return Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            detail,
        ));
    }
    if uri.path().len() + uri.query().map_or(0, str::len) > MAX_TARGET_LENGTH {
        let detail = format!("The path and query may have at most {MAX_TARGET_LENGTH} bytes.");
        return Err(ApiError::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail));
    }
    check_host(uri, headers)?;
    if is_canonical(uri.path()) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "invalid_path",
        "The path is not in its plain form: no dot or empty segments, `;`, backslashes or needless percent-encoding.",
    ))
}

/// Two `Host` fields, and none in HTTP/1.1, are refused by the parser already.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let authority = uri.authority().map(|authority| authority.as_str());
    let valid = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
        && authority.is_none_or(|authority| authority.eq_ignore_ascii_case(host));
    if valid {
        return Ok(());
    }
    let detail = "Send one `Host` header, the same as the host of an absolute request target.";
    Err(ApiError::bad_request("invalid_host", detail))
}

fn is_canonical(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\\;".contains(&byte))
        && !path.contains("//")
        && !path.split('/').any(|segment| segment == "." || segment == "..")
        && path.split('%').skip(1).all(is_needed_encoding)
}

/// Whether `text`, which follows a `%`, begins with the code of a byte that has to be encoded and that means nothing to
/// whoever decodes it.
fn is_needed_encoding(text: &str) -> bool {
    let Some(byte) = text.get(..2).and_then(hexadecimal) else {
        return false;
    };
    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !unreserved && !byte.is_ascii_control() && !b"/\\%;".contains(&byte)
}

fn hexadecimal(digits: &str) -> Option<u8> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass() {
        for path in [
            "/",
            "/api/v1/accounts",
            "/api/v1/accounts/acct_01/postings",
            "/api/v1/idempotency-keys/a%20b%3Ac%C3%A4",
            "/.well-known/jwks.json",
            "/api/v1/accounts/...",
        ] {
            assert!(is_canonical(path), "{path}");
        }
    }

    #[test]
    fn paths_that_two_readers_could_read_differently_do_not() {
        for path in [
            "",
            "*",
            "api",
            "//internal/scores",
            "/api/v1/accounts/../../../internal/scores",
            "/api/v1/accounts/..",
            "/api/v1/accounts/./x",
            "/api/v1/accounts//x",
            "/api/v1/accounts/%2e%2e/internal",
            "/api/v1/accounts/%2E./internal",
            "/api/v1/accounts/..%2finternal",
            "/api/v1/accounts/..%5Cinternal",
            "/api/v1/accounts\\..\\internal",
            "/api/v1/accounts/%252e%252e/internal",
            "/api/v1/accounts;/../internal",
            "/api/v1/accounts/..;/internal",
            "/api/v1/auth/%6Cogin",
            "/api/v1/accounts/%00",
            "/api/v1/accounts/%0a",
            "/api/v1/accounts/%",
            "/api/v1/accounts/%2",
            "/api/v1/accounts/%zz",
            "/api/v1/accounts/%+1",
            "/api/v1/accounts/\u{e4}",
        ] {
            assert!(!is_canonical(path), "{path}");
        }
    }
}
