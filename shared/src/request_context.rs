//! The id and trace of the request that is being served.
//!
//! [`middleware`] is the outermost layer of every service: it names the request, follows W3C Trace Context, opens the
//! log span, and counts the answer. Errors and outgoing calls read the context from a task-local, so that no function
//! in between has to carry it.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::Instrument;

use crate::Id;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[derive(Clone, Debug)]
pub struct RequestContext {
    pub request_id: String,
    /// 32 hexadecimal digits, the same in every service that the request passes.
    pub trace_id: String,
    /// 16 hexadecimal digits, this service's own.
    pub span_id: String,
    pub sampled: bool,
    pub path: String,
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The request being served by this task, if any.
pub fn current() -> Option<RequestContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs `work` as part of the request of `context`.
pub async fn within<F: Future>(context: Option<RequestContext>, work: F) -> F::Output {
    match context {
        Some(context) => CURRENT.scope(context, work).await,
        None => work.await,
    }
}

enum Request {}
impl crate::id::Kind for Request {
    const PREFIX: &'static str = "req";
}

impl RequestContext {
    pub fn from_headers(headers: &HeaderMap, path: &str) -> Self {
        let (trace_id, sampled) = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(parse_traceparent)
            .unwrap_or_else(|| (random_hexadecimal(32), true));
        let request_id = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| valid_request_id(id))
            .map_or_else(|| Id::<Request>::new().to_string(), str::to_owned);
        Self {
            request_id,
            trace_id,
            span_id: random_hexadecimal(16),
            sampled,
            path: path.to_owned(),
        }
    }

    /// The `traceparent` for a call that this request makes.
    pub fn traceparent(&self) -> String {
        format!(
            "00-{}-{}-{:02x}",
            self.trace_id,
            self.span_id,
            u8::from(self.sampled)
        )
    }
}

fn valid_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The trace id and the sampled flag of a version-00 `traceparent`.
fn parse_traceparent(text: &str) -> Option<(String, bool)> {
    let mut parts = text.split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hexadecimal = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let nonzero = |part: &str| part.bytes().any(|byte| byte != b'0');
    let well_formed = version == "00"
        && parts.next().is_none()
        && hexadecimal(trace_id, 32)
        && hexadecimal(parent_id, 16)
        && hexadecimal(flags, 2)
        && nonzero(trace_id)
        && nonzero(parent_id);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    well_formed.then(|| (trace_id.to_owned(), sampled))
}

fn random_hexadecimal(digits: usize) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "trace ids are random by their specification, not ids of ours"
    )]
    let mut text = uuid::Uuid::new_v4().simple().to_string();
    // The end of a version-4 uuid is random throughout; its middle holds fixed bits.
    text.split_off(32 - digits)
}

/// The outermost layer of a service named `service`.
pub async fn middleware<B: MessageBody>(
    service: &'static str,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let context = RequestContext::from_headers(request.headers(), request.path());
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        service,
        request_id = context.request_id,
        trace_id = context.trace_id,
        http.method = %method,
        http.path = context.path,
    );
    let started = Instant::now();
    let request_id = HeaderValue::from_str(&context.request_id);
    CURRENT
        .scope(
            context,
            async move {
                let mut response = next.call(request).await?;
                let route = response
                    .request()
                    .match_pattern()
                    .unwrap_or_else(|| "unmatched".to_owned());
                let status = response.status().as_u16();
                let labels = [
                    ("service", service.to_owned()),
                    ("method", method.to_string()),
                    ("route", route),
                    ("status", status.to_string()),
                ];
                metrics::counter!("http_requests_total", &labels).increment(1);
                metrics::histogram!("http_request_duration_seconds", &labels).record(started.elapsed());
                if status >= 500 {
                    tracing::warn!(status, elapsed = ?started.elapsed(), "answered");
                } else {
                    tracing::debug!(status, elapsed = ?started.elapsed(), "answered");
                }
                if let Ok(request_id) = request_id {
                    response.headers_mut().insert(REQUEST_ID, request_id);
                }
                Ok(response)
            }
            .instrument(span),
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_followed_and_a_malformed_one_is_replaced() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            parse_traceparent(good),
            Some(("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), true))
        );
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        for (id, valid) in [("abc-1.2_3", true), ("", false), ("a\nb", false), ("a b", false)] {
            assert_eq!(valid_request_id(id), valid, "{id:?}");
        }
        assert!(!valid_request_id(&"a".repeat(65)));
    }

    #[test]
    fn random_parts_have_the_right_length() {
        assert_eq!(
            (random_hexadecimal(32).len(), random_hexadecimal(16).len()),
            (32, 16)
        );
    }
}
