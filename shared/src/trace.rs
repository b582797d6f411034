//! Traces: which work belongs to which request, in W3C Trace Context and OpenTelemetry's terms.
//!
//! Every request has a [`TraceContext`], which its logs name and its calls pass on. A [`Span`] is a piece of work in a
//! trace: a request that is served, a call, a database transaction, a batch. Spans of sampled traces go to a collector when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set ([`export`]); otherwise they cost next to nothing.
//!
//! Deliberately absent: a layer between `tracing` and OpenTelemetry. A trace has few spans, and each is opened where its work
//! is; events stay in the logs, which name the trace.

pub mod export;

use std::borrow::Cow;
use std::fmt;

use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceId, Value};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};

use crate::Clock;
use crate::request_context::{self, RequestContext};

/// The requests that a batch's span names; one more of a thousand tells nothing new.
const MAX_LINKS: usize = 128;

/// Where in which trace we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The same in every service that the request passes.
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// Whether the trace's spans are kept.
    pub sampled: bool,
}

impl TraceContext {
    /// The beginning of a trace.
    pub fn root() -> Self {
        let (high, low) = random_bits();
        let trace_id = TraceId::from((u128::from(high) << 64) | u128::from(low));
        Self {
            trace_id,
            span_id: new_span_id(),
            sampled: export::samples(trace_id),
        }
    }

    /// A version-00 `traceparent`; anything else is as good as none.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = |part: &str, length: usize| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let well_formed = version == "00"
            && parts.next().is_none()
            && hexadecimal(trace_id, 32)
            && hexadecimal(span_id, 16)
            && hexadecimal(flags, 2);
        let context = Self {
            trace_id: TraceId::from_hex(trace_id).ok()?,
            span_id: SpanId::from_hex(span_id).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        let nonzero = context.trace_id != TraceId::INVALID && context.span_id != SpanId::INVALID;
        (well_formed && nonzero).then_some(context)
    }

    /// The next step of the same trace.
    pub fn child(self) -> Self {
        Self {
            span_id: new_span_id(),
            ..self
        }
    }

    fn exported(self) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        SpanContext::new(self.trace_id, self.span_id, flags, false, TraceState::NONE)
    }
}

/// As the header `traceparent` has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }
}

fn new_span_id() -> SpanId {
    // The second half of a version-4 uuid begins with a fixed bit that is set, so this is never zero.
    SpanId::from(random_bits().1)
}

fn random_bits() -> (u64, u64) {
    #[expect(
        clippy::disallowed_methods,
        reason = "trace ids are random by their specification, not ids of ours"
    )]
    uuid::Uuid::new_v4().as_u64_pair()
}

/// A piece of work. It has ended when it is dropped.
#[must_use]
pub struct Span {
    /// What is current inside of it, unless that is what is current outside.
    context: Option<RequestContext>,
    /// Only when its trace is kept.
    record: Option<Box<SpanData>>,
}

impl Span {
    /// Of the request that `context` is about, as `caller` asked for it.
    pub(crate) fn of_request(context: &RequestContext, caller: Option<TraceContext>) -> Self {
        let parent = caller.map_or(SpanId::INVALID, |caller| caller.span_id);
        Self {
            context: None,
            record: record(
                "request",
                SpanKind::Server,
                context.trace,
                parent,
                caller.is_some(),
            ),
        }
    }

    /// A call to another service, which is told to go on from here.
    pub fn call(callee: &'static str) -> Self {
        Self::child(callee, SpanKind::Client)
    }

    /// Work of the current request.
    pub fn work(name: &'static str) -> Self {
        Self::child(name, SpanKind::Internal)
    }

    fn child(name: &'static str, kind: SpanKind) -> Self {
        let nothing = Self {
            context: None,
            record: None,
        };
        if !export::is_on() {
            return nothing;
        }
        let Some(mut context) = request_context::current() else {
            return nothing;
        };
        let parent = context.trace.span_id;
        context.trace = context.trace.child();
        let record = record(name, kind, context.trace, parent, false);
        Self {
            context: record.is_some().then_some(context),
            record,
        }
    }

    /// Work that is done for several requests at once. A span has one parent, so it is in the trace of the first sampled
    /// request and has links to the others.
    pub fn of_batch<'a>(
        name: &'static str,
        requests: impl Iterator<Item = &'a RequestContext> + Clone,
    ) -> Self {
        let sampled = requests.clone().filter(|request| request.trace.sampled);
        let Some(first) = sampled.clone().next().or_else(|| requests.clone().next()) else {
            return Self {
                context: None,
                record: None,
            };
        };
        let mut context = first.clone();
        let parent = context.trace.span_id;
        let mut record = None;
        if export::is_on() && context.trace.sampled {
            context.trace = context.trace.child();
            record = self::record(name, SpanKind::Internal, context.trace, parent, false);
        }
        if let Some(record) = &mut record {
            let others = sampled.skip(1).take(MAX_LINKS);
            let mut links = SpanLinks::default();
            links.links = others
                .map(|other| Link::with_context(other.trace.exported()))
                .collect();
            record.links = links;
        }
        Self {
            context: Some(context),
            record,
        }
    }

    /// Does `work` inside of this span: what it calls is the span's child.
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        request_context::within(self.context.clone(), work)
    }

    /// What a call has to carry to be this span's child, if it is kept.
    pub fn traceparent(&self) -> Option<String> {
        Some(self.context.as_ref()?.trace.to_string())
    }

    /// Never money, secrets or anything about a person: these leave for another system.
    pub fn set<V: Into<Value>>(&mut self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some(record) = &mut self.record {
            record.attributes.push(KeyValue::new(key, value()));
        }
    }

    pub(crate) fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(record) = &mut self.record {
            record.name = Cow::Owned(name());
        }
    }

    /// Notes that the work did not do what it was for. `why` is a code, never a message.
    pub fn fail(&mut self, why: impl fmt::Display) {
        if let Some(record) = &mut self.record {
            record.status = Status::error(why.to_string());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.end_time = Clock::system().now().into();
            export::send(*record);
        }
    }
}

fn record(
    name: &'static str,
    span_kind: SpanKind,
    context: TraceContext,
    parent_span_id: SpanId,
    parent_span_is_remote: bool,
) -> Option<Box<SpanData>> {
    if !context.sampled || !export::is_on() {
        return None;
    }
    let now = Clock::system().now().into();
    Some(Box::new(SpanData {
        span_context: context.exported(),
        parent_span_id,
        parent_span_is_remote,
        span_kind,
        name: Cow::Borrowed(name),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_followed_and_a_malformed_one_is_replaced() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(good).unwrap();
        assert_eq!(context.to_string(), good);
        assert!(context.sampled);
        assert!(!TraceContext::parse(&good.replace("-01", "-00")).unwrap().sampled);
        let next = context.child();
        assert_eq!((next.trace_id, next.sampled), (context.trace_id, true));
        assert_ne!(next.span_id, context.span_id);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_new_trace_is_in_the_form_that_it_is_read_in() {
        let root = TraceContext::root();
        assert_eq!(TraceContext::parse(&root.to_string()), Some(root));
        assert_ne!(root.trace_id, TraceContext::root().trace_id);
    }

    #[tokio::test]
    async fn without_a_collector_a_span_changes_nothing() {
        let context = RequestContext::for_test(TraceContext::root());
        request_context::within(Some(context.clone()), async {
            let span = Span::call("auth-service");
            let inside = span.run(async { request_context::current() }).await.unwrap();
            assert_eq!(inside.trace, context.trace);
        })
        .await;
    }

    #[tokio::test]
    async fn a_batch_goes_on_with_the_trace_of_its_first_sampled_request() {
        let mut contexts = [(); 3].map(|()| RequestContext::for_test(TraceContext::root()));
        contexts[1].trace.sampled = true;
        let span = Span::of_batch("batch", contexts.iter());
        let inside = span.run(async { request_context::current() }).await.unwrap();
        assert_eq!(inside.trace.trace_id, contexts[1].trace.trace_id);
        let span = Span::of_batch("batch", [].iter());
        assert!(span.run(async { request_context::current() }).await.is_none());
    }
}
