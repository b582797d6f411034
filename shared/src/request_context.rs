//! The id, trace and origin of the request that is being served.
//!
//! [`middleware`] is the outermost layer of every service: it names the request, follows W3C Trace Context, opens the spans
//! of log and trace, and counts the answer. Errors and outgoing calls read the context from a task-local, so that no
//! function in between has to carry it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use metrics::{Counter, Gauge, Histogram};
use tokio::task::futures::TaskLocalFuture;
use tracing::Instrument;

use crate::trace::{Span, TraceContext, export};
use crate::{Id, Origin};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Asked all the time, by machines: in no trace, and in the log at `debug` only.
const OPERATIONAL_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Which service is serving it.
    pub service: &'static str,
    pub request_id: Arc<str>,
    pub path: Arc<str>,
    pub trace: TraceContext,
    /// As the gateway tells it; unknown at the gateway itself, and when another service asks.
    pub origin: Option<Arc<Origin>>,
}

tokio::task_local! {
    static CURRENT: Option<RequestContext>;
}

/// The request being served by this task, if any.
pub fn current() -> Option<RequestContext> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// The service that is serving the current request; empty outside of one.
pub(crate) fn current_service() -> &'static str {
    let service = CURRENT.try_with(|context| context.as_ref().map(|context| context.service));
    service.ok().flatten().unwrap_or_default()
}

/// Runs `work` as part of the request of `context`; without one, of whatever it would be part of anyway.
pub fn within<F: Future>(
    context: Option<RequestContext>,
    work: F,
) -> TaskLocalFuture<Option<RequestContext>, F> {
    CURRENT.scope(context.or_else(current), work)
}

enum Request {}
impl crate::id::Kind for Request {
    const PREFIX: &'static str = "req";
}

impl RequestContext {
    /// Of a request to `endpoint`, and the caller's place in the trace.
    fn of_request(endpoint: &Endpoint, headers: &HeaderMap, path: &str) -> (Self, Option<TraceContext>) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let caller = text(TRACEPARENT).and_then(TraceContext::parse);
        let mut trace = caller.map_or_else(TraceContext::root, TraceContext::child);
        if endpoint.public {
            // Whether we keep a trace is not for a stranger to decide.
            trace.sampled = export::samples(trace.trace_id);
        }
        trace.sampled &= !OPERATIONAL_PATHS.contains(&path);
        let request_id = text(REQUEST_ID).filter(|id| valid_request_id(id));
        let context = Self {
            service: endpoint.service,
            request_id: request_id.map_or_else(|| Id::<Request>::new().to_string().into(), Arc::from),
            path: path.into(),
            trace,
            // A stranger could say anything.
            origin: (!endpoint.public)
                .then(|| Origin::of(headers))
                .filter(|origin| !origin.is_unknown())
                .map(Arc::new),
        };
        (context, caller)
    }

    /// Of a request that nobody sent.
    #[cfg(test)]
    pub fn for_test(trace: TraceContext) -> Self {
        Self {
            service: "test",
            request_id: "req_test".into(),
            path: "/".into(),
            trace,
            origin: None,
        }
    }
}

fn valid_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// What a worker knows about all of its requests. Series are looked up in the recorder once, not with every request.
pub(crate) struct Endpoint {
    service: &'static str,
    /// Whether strangers call it.
    public: bool,
    in_flight: Gauge,
    answered: RefCell<HashMap<AnsweredKey, Rc<Answered>>>,
}

/// Method, route and status.
type AnsweredKey = (&'static str, String, u16);

struct Answered {
    total: Counter,
    duration: Histogram,
}

impl Endpoint {
    pub fn new(service: &'static str, public: bool) -> Self {
        Self {
            service,
            public,
            in_flight: metrics::gauge!("http_requests_in_flight", "service" => service),
            answered: RefCell::default(),
        }
    }

    /// The series of requests that were answered like this. Methods that nobody defined are counted together, because a
    /// stranger can invent any number of them; routes and statuses are ours.
    fn answered(&self, method: &Method, route: String, status: u16) -> Rc<Answered> {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        let mut answered = self.answered.borrow_mut();
        let series = answered
            .entry((method, route, status))
            .or_insert_with_key(|key| Rc::new(Answered::new(self.service, key)));
        Rc::clone(series)
    }
}

impl Answered {
    fn new(service: &'static str, (method, route, status): &AnsweredKey) -> Self {
        let labels = [
            ("service", service.to_owned()),
            ("method", (*method).to_owned()),
            ("route", route.clone()),
            ("status", status.to_string()),
        ];
        Self {
            total: metrics::counter!("http_requests_total", &labels),
            duration: metrics::histogram!("http_request_duration_seconds", &labels),
        }
    }
}

/// A request that has not been answered; its client may also go away.
struct InFlight(Rc<Endpoint>);

impl InFlight {
    fn new(endpoint: Rc<Endpoint>) -> Self {
        endpoint.in_flight.increment(1);
        Self(endpoint)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.decrement(1);
    }
}

/// The outermost layer of a service.
pub(crate) async fn middleware<B: MessageBody>(
    endpoint: Rc<Endpoint>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let (context, caller) = RequestContext::of_request(&endpoint, request.headers(), request.path());
    let method = request.method().clone();
    let log_span = tracing::info_span!(
        "request",
        service = context.service,
        request_id = &*context.request_id,
        trace_id = %context.trace.trace_id,
        %method,
    );
    let span = Span::of_request(&context, caller);
    let in_flight = InFlight::new(Rc::clone(&endpoint));
    let started = Instant::now();
    let request_id = HeaderValue::from_str(&context.request_id);
    let serve = async move {
        let mut response = next.call(request).await?;
        drop(in_flight);
        finish(&endpoint, &method, &response, started, span);
        if let Ok(request_id) = request_id {
            response.headers_mut().insert(REQUEST_ID, request_id);
        }
        Ok(response)
    };
    within(Some(context), serve.instrument(log_span)).await
}

/// Counts the answer, and tells the log and the trace of it. What was asked for is told by its route: a path may hold what a
/// client chose.
fn finish<B>(
    endpoint: &Endpoint,
    method: &Method,
    response: &ServiceResponse<B>,
    started: Instant,
    mut span: Span,
) {
    let elapsed = started.elapsed();
    let route = response.request().match_pattern();
    let route = route.unwrap_or_else(|| "unmatched".to_owned());
    let status = response.status().as_u16();
    let duration_s = elapsed.as_secs_f64();
    if status >= 500 {
        tracing::warn!(route, status, duration_s, "answered");
    } else if endpoint.public && !OPERATIONAL_PATHS.contains(&route.as_str()) {
        tracing::info!(route, status, duration_s, "answered");
    } else {
        tracing::debug!(route, status, duration_s, "answered");
    }
    span.rename(|| format!("{method} {route}"));
    span.set("http.request.method", || method.to_string());
    span.set("http.route", || route.clone());
    span.set("http.response.status_code", || i64::from(status));
    if status >= 500 {
        span.fail(status);
    }
    let answered = endpoint.answered(method, route, status);
    answered.total.increment(1);
    answered.duration.record(elapsed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn the_callers_trace_goes_on_and_a_stranger_does_not_choose_what_is_kept() {
        let headers = header(
            TRACEPARENT,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        for (public, sampled) in [(false, true), (true, false)] {
            let endpoint = Endpoint::new("gateway", public);
            let (context, caller) = RequestContext::of_request(&endpoint, &headers, "/");
            assert_eq!(caller.unwrap().span_id.to_string(), "00f067aa0ba902b7");
            let trace = context.trace.to_string();
            assert!(
                trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
                "{trace}"
            );
            assert_eq!(context.trace.sampled, sampled);
        }
    }

    #[test]
    fn only_who_is_behind_the_gateway_believes_where_a_request_comes_from() {
        let headers = header(HeaderName::from_static("x-forwarded-for"), "192.0.2.7");
        for (public, known) in [(false, true), (true, false)] {
            let endpoint = Endpoint::new("gateway", public);
            let (context, _) = RequestContext::of_request(&endpoint, &headers, "/");
            assert_eq!(context.origin.is_some(), known);
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        for (id, valid) in [("abc-1.2_3", true), ("", false), ("a\nb", false), ("a b", false)] {
            assert_eq!(valid_request_id(id), valid, "{id:?}");
        }
        assert!(!valid_request_id(&"a".repeat(65)));
        let endpoint = Endpoint::new("gateway", true);
        let (context, _) = RequestContext::of_request(&endpoint, &header(REQUEST_ID, "a b"), "/");
        assert!(context.request_id.starts_with("req_"), "{}", context.request_id);
    }

    #[test]
    fn invented_methods_make_no_series_of_their_own() {
        let endpoint = Endpoint::new("gateway", true);
        for method in ["GET", "HACK", "HACK2"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            endpoint.answered(&method, "/".to_owned(), 405);
        }
        assert_eq!(endpoint.answered.borrow().len(), 2);
    }
}
