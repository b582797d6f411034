//! Traces as a collector gets them: one transfer is one trace through all services, with the right parents.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use platform::client::{eventually, new_key, transfer_body};
use platform::platform::Builder;
use platform::{Answer, Customer, Platform, Service};
use prost::Message;
use reqwest::Method;

const TRANSFERS: &str = "/api/v1/transfers";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Nothing else is told about a piece of work.
const ATTRIBUTES: [&str; 6] = [
    "batch.size",
    "db.system.name",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "outcome",
];

/// A span, and the service that sent it.
#[derive(Clone, Debug)]
struct Received {
    service: String,
    span: Span,
}

/// Where the services send their spans.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Received>>>);

impl Collector {
    /// Starts one and returns it with its URL.
    fn start() -> (Self, String) {
        let collector = Self::default();
        let state = web::Data::new(collector.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(state.clone())
                .app_data(web::PayloadConfig::new(16 * 1024 * 1024))
                .route("/v1/traces", web::post().to(receive))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        (collector, url)
    }

    fn spans(&self) -> Vec<Received> {
        self.0.lock().unwrap().clone()
    }

    fn of_trace(&self, trace_id: &str) -> Vec<Received> {
        let mut spans = self.spans();
        spans.retain(|received| hex(&received.span.trace_id) == trace_id);
        spans
    }
}

async fn receive(collector: web::Data<Collector>, body: web::Bytes) -> HttpResponse {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let spans = request.resource_spans.into_iter().flat_map(received);
    collector.0.lock().unwrap().extend(spans);
    HttpResponse::Ok().finish()
}

fn received(sent: ResourceSpans) -> impl Iterator<Item = Received> {
    let attributes = sent.resource.unwrap().attributes;
    let name = attributes
        .into_iter()
        .find(|it| it.key == "service.name")
        .unwrap();
    let Some(Value::StringValue(service)) = name.value.unwrap().value else {
        panic!("service.name is no text")
    };
    let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| Received {
        service: service.clone(),
        span,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A platform that sends its spans to `endpoint`.
fn platform_exporting_to(endpoint: &str) -> Builder {
    let builder = Platform::builder().processes(env!("CARGO_BIN_EXE_dev"));
    Service::ALL.into_iter().fold(builder, |builder, service| {
        builder.set(service, "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    })
}

async fn transfer(payer: &Customer, from: &str, to: &str, traceparent: &str) -> Answer {
    let request = payer
        .request(Method::POST, TRANSFERS)
        .header("idempotency-key", new_key())
        .header("traceparent", traceparent)
        .json(&transfer_body(from, to, 100, "USD"));
    payer.send(request).await
}

/// The span that `service` sent with this name and parent, once all is there.
#[track_caller]
fn child(spans: &[Received], service: &str, name: &str, parent: &str) -> String {
    let found = spans.iter().find(|received| {
        received.service == service
            && received.span.name == name
            && hex(&received.span.parent_span_id) == parent
    });
    let found = found.unwrap_or_else(|| panic!("no {name} of {service} below {parent} in {spans:#?}"));
    hex(&found.span.span_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_transfer_is_one_trace_through_all_services() {
    let (collector, url) = Collector::start();
    let platform = platform_exporting_to(&url).start().await.unwrap();
    let ada = platform.register("ada").await;
    let from = ada.open_funded_account(100_000, "USD").await;
    let to = ada.open_account("USD").await;
    // A stranger's wish not to be sampled is not followed either.
    let traceparent = format!("00-{TRACE_ID}-{CALLER}-00");
    transfer(&ada, &from, &to, &traceparent).await.must_be(201);

    let spans = eventually("the spans of a transfer arrive", async || {
        let spans = collector.of_trace(TRACE_ID);
        (spans.len() >= 8).then_some(spans)
    })
    .await;
    let served = format!("POST {TRANSFERS}");
    let asked = child(&spans, "gateway", &served, CALLER);
    let called = child(&spans, "gateway", "transactions-service", &asked);
    let handled = child(&spans, "transactions-service", &served, &called);
    let scoring = child(&spans, "transactions-service", "score_batch", &handled);
    let scored = child(&spans, "transactions-service", "ml-service", &scoring);
    child(&spans, "ml-service", "POST /internal/scores", &scored);
    let batch = child(&spans, "transactions-service", "lane_batch", &handled);
    child(&spans, "transactions-service", "post_batch", &batch);
    assert_eq!(spans.len(), 8, "{spans:#?}");
    for Received { span, .. } in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        let calls = ["transactions-service", "ml-service"].contains(&span.name.as_str());
        assert_eq!(span.kind() == SpanKind::Client, calls, "{span:?}");
    }

    // A transaction outside of the lane, and what is told about any work.
    let login = eventually("the spans of a login arrive", async || {
        collector.spans().into_iter().find(|it| it.span.name == "log_in")
    })
    .await;
    let trace = collector.of_trace(&hex(&login.span.trace_id));
    let parent = trace
        .iter()
        .find(|it| it.span.span_id == login.span.parent_span_id);
    assert_eq!(parent.unwrap().span.name, "POST /api/v1/auth/login");
    for Received { span, .. } in collector.spans() {
        assert!(
            !span.name.contains("/readyz") && !span.name.contains("/livez"),
            "{span:?}"
        );
        for attribute in &span.attributes {
            assert!(ATTRIBUTES.contains(&attribute.key.as_str()), "{span:?}");
        }
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_linked_to_all_of_its_requests() {
    let (collector, url) = Collector::start();
    let platform = platform_exporting_to(&url).start().await.unwrap();
    let ada = platform.register("ada").await;
    let from = ada.open_funded_account(100_000, "USD").await;
    let to = ada.open_account("USD").await;
    let trace_of = |number: usize| format!("{number:032x}");
    let transfers = (1..=40).map(|number| {
        let traceparent = format!("00-{}-{CALLER}-01", trace_of(number));
        let (ada, from, to) = (&ada, &from, &to);
        async move { transfer(ada, from, to, &traceparent).await.must_be(201) }
    });
    futures_util::future::join_all(transfers).await;
    // What has ended is sent before a process ends.
    platform.stop().await.unwrap();

    let spans = collector.spans();
    let batches = spans.iter().filter(|received| received.span.name == "lane_batch");
    let mut covered: Vec<String> = batches
        .flat_map(|received| {
            let links = received.span.links.iter().map(|link| hex(&link.trace_id));
            links.chain([hex(&received.span.trace_id)])
        })
        .filter(|trace_id| (1..=40).any(|number| trace_of(number) == *trace_id))
        .collect();
    let linked = spans.iter().map(|received| received.span.links.len()).max();
    assert!(linked > Some(0), "no two of forty transfers were in one batch");
    covered.sort();
    let expected: Vec<String> = (1..=40).map(trace_of).collect();
    assert_eq!(covered, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_nothing_but_its_spans() {
    // Bound, and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let platform = platform_exporting_to(&url).start().await.unwrap();
    let ada = platform.register("ada").await;
    let from = ada.open_funded_account(100_000, "USD").await;
    let to = ada.open_account("USD").await;
    for _ in 0..20 {
        let started = Instant::now();
        ada.transfer(&from, &to, 1, "USD").await.must_be(201);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    }
    let started = Instant::now();
    platform.stop().await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}
