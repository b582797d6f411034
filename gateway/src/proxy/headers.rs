//! Which header fields cross the gateway. Those of one connection stay on it (RFC 9110 §7.6.1), and what a client says
//! about its own identity or route is dropped: a service may believe the gateway.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header as client_header;
use reqwest::header::{self as upstream_header, HeaderName, HeaderValue};
use shared::{ApiError, request_context};

use crate::client_address::TrustedProxies;
use crate::credential;

const VIA: &str = "1.1 flowlet";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The client's fields that pass, and the gateway's own.
pub fn proxy_headers(
    request: &HttpRequest,
    client: IpAddr,
    trusted: &TrustedProxies,
) -> upstream_header::HeaderMap {
    let from = request.headers();
    let mut to = upstream_header::HeaderMap::with_capacity(from.len() + 6);
    let connection = listed(
        from.get_all(client_header::CONNECTION)
            .map(|value| value.as_bytes()),
    );
    for (name, value) in from {
        let text = name.as_str();
        if is_of_the_connection(text) || is_a_claim(text) || connection.iter().any(|listed| listed == text) {
            continue;
        }
        let name = HeaderName::from_bytes(text.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            to.append(name, value);
        }
    }
    set(&mut to, FORWARDED_FOR, client.to_string().as_bytes());
    set(
        &mut to,
        FORWARDED_PROTO,
        forwarded_proto(request, trusted).as_bytes(),
    );
    if let Some(host) = from.get(client_header::HOST) {
        set(&mut to, FORWARDED_HOST, host.as_bytes());
    }
    if let Some(context) = request_context::current() {
        set(&mut to, REQUEST_ID, context.request_id.as_bytes());
        set(&mut to, TRACEPARENT, context.trace.to_string().as_bytes());
    }
    to.append(upstream_header::VIA, HeaderValue::from_static(VIA));
    to
}

/// Replaces what the client brought by an access token, the one kind of credential that services know.
pub fn present_token_only(headers: &mut upstream_header::HeaderMap, token: &str) -> Result<(), ApiError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(ApiError::internal)?;
    value.set_sensitive(true);
    headers.insert(upstream_header::AUTHORIZATION, value);
    headers.remove(upstream_header::COOKIE);
    headers.remove(credential::SESSION_HEADER);
    Ok(())
}

pub fn set(headers: &mut upstream_header::HeaderMap, name: HeaderName, text: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(text) {
        headers.insert(name, value);
    }
}

/// TLS ends before the gateway, so only a trusted proxy knows.
fn forwarded_proto(request: &HttpRequest, trusted: &TrustedProxies) -> &'static str {
    let peer_is_trusted = request
        .peer_addr()
        .is_some_and(|peer| trusted.trusts(peer.ip().to_canonical()));
    let proto = request
        .headers()
        .get("x-forwarded-proto")
        .filter(|_| peer_is_trusted);
    if proto.is_some_and(|proto| proto.as_bytes() == b"https") {
        "https"
    } else {
        "http"
    }
}

/// The service's fields that pass.
pub fn for_client(from: &upstream_header::HeaderMap) -> client_header::HeaderMap {
    let mut to = client_header::HeaderMap::with_capacity(from.len() + 8);
    let connection = listed(
        from.get_all(upstream_header::CONNECTION)
            .iter()
            .map(HeaderValue::as_bytes),
    );
    for (name, value) in from {
        let text = name.as_str();
        let framing = matches!(text, "content-length" | "server");
        if framing || is_of_the_connection(text) || connection.iter().any(|listed| listed == text) {
            continue;
        }
        let name = client_header::HeaderName::from_bytes(text.as_bytes());
        let value = client_header::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            to.append(name, value);
        }
    }
    to.append(client_header::VIA, client_header::HeaderValue::from_static(VIA));
    to
}

/// The field names that `Connection` lists, in lower case.
fn listed<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let names = fields.flat_map(|field| field.split(|byte| *byte == b','));
    names
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .filter(|name| !matches!(name.as_str(), "keep-alive" | "close" | "upgrade"))
        .collect()
}

/// `host`, `content-length` and `expect` as well: the gateway's own HTTP client writes them anew.
fn is_of_the_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "host"
            | "content-length"
            | "expect"
    )
}

/// What other systems let a client or a proxy say about who is asking, from where, or for what else.
fn is_a_claim(name: &str) -> bool {
    let exact = matches!(
        name,
        "forwarded"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "fastly-client-ip"
            | "x-request-id"
            | "traceparent"
    );
    let prefixes = [
        "x-forwarded",
        "x-flowlet",
        "x-user",
        "x-principal",
        "x-auth",
        "x-role",
        "x-original-",
        "x-internal",
    ];
    exact || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn forwarded(fields: &[(&'static str, &'static str)]) -> upstream_header::HeaderMap {
        let mut request = TestRequest::get().uri("/api/v1/accounts");
        for field in fields {
            request = request.append_header(*field);
        }
        proxy_headers(
            &request.to_http_request(),
            "203.0.113.9".parse().unwrap(),
            &TrustedProxies::default(),
        )
    }

    #[test]
    fn claims_of_the_client_are_replaced_by_our_own() {
        let headers = forwarded(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-user", "root"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-user-id", "usr_1"),
            ("x-flowlet-roles", "admin"),
            ("x-principal", "root"),
            ("x-original-url", "/internal"),
            ("authorization", "Bearer t"),
            ("host", "api.example.com"),
        ]);
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text("x-forwarded-for").unwrap(), "203.0.113.9");
        assert_eq!(text("x-forwarded-proto").unwrap(), "http");
        assert_eq!(text("x-forwarded-host").unwrap(), "api.example.com");
        assert_eq!(text("authorization").unwrap(), "Bearer t");
        assert_eq!(text("via").unwrap(), VIA);
        for gone in [
            "x-forwarded-user",
            "forwarded",
            "x-real-ip",
            "x-user-id",
            "x-flowlet-roles",
            "x-principal",
            "x-original-url",
            "host",
        ] {
            assert_eq!(text(gone), None, "{gone}");
        }
    }

    #[test]
    fn fields_of_the_connection_stay_on_it() {
        let headers = forwarded(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("accept", "application/json"),
        ]);
        for gone in [
            "connection",
            "x-secret",
            "te",
            "upgrade",
            "keep-alive",
            "proxy-authorization",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert!(headers.contains_key("accept"));
    }

    #[test]
    fn an_answers_fields_of_the_connection_stay_on_it_too() {
        let mut from = upstream_header::HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("server", "x"),
            ("idempotent-replayed", "true"),
        ] {
            from.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let to = for_client(&from);
        let names: Vec<&str> = to.keys().map(|name| name.as_str()).collect();
        assert_eq!(to.len(), 2, "{names:?}");
        assert!(to.contains_key("idempotent-replayed") && to.contains_key("via"));
    }
}
