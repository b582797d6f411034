//! The layer around everything the gateway serves: ambiguous requests are refused before routing, preflights are answered,
//! and every answer leaves with security headers.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, ResponseError, web};
use shared::ApiError;

use crate::state::Gateway;
use crate::{docs, request_target, routes};

const API_DEFAULTS: Defaults = Defaults {
    csp: "default-src 'none'; frame-ancestors 'none'",
    cache_control: "no-store",
};
const HSTS: &str = "max-age=31536000; includeSubDomains";

/// What differs between the API and the documentation.
#[derive(Clone, Copy)]
pub struct Defaults {
    pub csp: &'static str,
    /// Unless the answer has its own.
    pub cache_control: &'static str,
}

pub async fn layer<B: MessageBody + 'static>(
    gateway: web::Data<Gateway>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let cookies = routes::is_of_flowless(request.path());
    let defaults = if docs::owns(request.path()) {
        docs::DEFAULTS
    } else {
        API_DEFAULTS
    };
    let mut response = match refuse_or_preflight(&gateway, &request) {
        Some(answer) => request.into_response(answer),
        None => next.call(request).await?.map_into_boxed_body(),
    };
    let headers = response.headers_mut();
    write_security_headers(defaults, headers);
    gateway.cors.write_to(origin.as_ref(), cookies, headers);
    Ok(response)
}

fn refuse_or_preflight(gateway: &Gateway, request: &ServiceRequest) -> Option<HttpResponse> {
    let (method, headers) = (request.method(), request.headers());
    match request_target::check(method, request.uri(), headers) {
        Err(refusal) => Some(refusal.error_response()),
        Ok(()) => gateway.cors.preflight(method, headers),
    }
}

fn write_security_headers(defaults: Defaults, headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(defaults.csp),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static(defaults.cache_control),
        );
    }
}

pub async fn not_found() -> HttpResponse {
    ApiError::not_found("There is nothing at this path. See /docs.").error_response()
}
