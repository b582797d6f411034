//! Sending a request on to the service that answers it: limits, access token, body, upstream, answer.
//!
//! Requests are buffered, because every one of them is small, so that a slow client holds nothing of a service and a failed
//! connection can be tried again. Large answers are streamed.

mod headers;

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse, ResponseError, body};
use shared::json::{self, body_too_large};
use shared::trace::Span;
use shared::{ApiError, Outcome, http_client};

use crate::client_address::{TrustedProxies, network_of};
use crate::credential;
use crate::limits::Charges;
use crate::routes::{self, Access, Service};
use crate::state::{Gateway, Upstream};

/// From the first byte sent to the last received.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a file, which takes as long as its reader does.
const FILE_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Below this, an answer in one piece is cheaper than a stream.
const BUFFERED_ANSWER_BYTES: u64 = 64 * 1024;

thread_local! {
    /// Connections belong to the worker that opened them: a pool that all workers share is slower.
    static CLIENT: OnceCell<reqwest::Client> = const { OnceCell::new() };
}

/// Answers any request to a path of `routes::find`.
pub async fn forward(
    request: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let mut charges = Charges::default();
    let answer = match admit(&gateway, &request, &mut charges).await {
        Ok(admitted) => exchange(&gateway, &admitted, &request, payload).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = answer.unwrap_or_else(|error| error.error_response());
    charges.write_to(response.headers_mut());
    response
}

/// A request that may go on.
struct Admitted {
    service: Service,
    /// Its address.
    client: IpAddr,
    /// The access token to send instead of what the client brought.
    access_token: Option<Arc<str>>,
}

/// Lets a request in, or tells why not: too many from this address, no valid token, too many of this user.
async fn admit(
    gateway: &Gateway,
    request: &HttpRequest,
    charges: &mut Charges,
) -> Result<Admitted, ApiError> {
    let (service, access) = routes::find(request.uri().path())
        .ok_or_else(|| ApiError::not_found("There is nothing at this path. See /docs."))?;
    let peer = request
        .peer_addr()
        .ok_or_else(|| ApiError::internal(anyhow::anyhow!("the connection has no peer address")))?;
    let client = gateway.trusted_proxies.client_of(peer.ip(), request.headers());
    let network = network_of(client);
    gateway.limits.address.charge(&network, charges)?;
    let path = request.path();
    if routes::is_of_flowless(path) && routes::is_in_session(path) {
        credential::refuse_foreign_page(request.method(), request.headers(), &gateway.cors)?;
    }
    let mut access_token = None;
    match access {
        Access::Public => {}
        Access::Credentials => gateway.limits.login.charge(&network, charges)?,
        Access::Token => {
            let authentication = &gateway.authentication;
            let authenticated = authentication
                .authenticate(request, client, &gateway.cors)
                .await?;
            gateway
                .limits
                .user
                .charge(&authenticated.principal.user_id, charges)?;
            if routes::changes_ledger(service, request.method(), request.path()) {
                authentication
                    .revocations
                    .check_fresh()
                    .map_err(|error| with_outcome(error, request, Outcome::None))?;
            }
            access_token = authenticated.access_token;
        }
    }
    Ok(Admitted {
        service,
        client,
        access_token,
    })
}

async fn exchange(
    gateway: &Gateway,
    admitted: &Admitted,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let service = admitted.service;
    let upstream = gateway.upstream(service);
    let max = routes::max_body_bytes(request.path());
    let body = read_body(request.headers(), payload, max).await?;
    let build = || {
        outgoing(
            upstream,
            request,
            admitted,
            &gateway.trusted_proxies,
            body.clone(),
        )
    };
    let answer = send(upstream, request, is_repeatable(service, request), build).await?;
    respond(upstream, request, answer).await
}

async fn read_body(headers: &HeaderMap, payload: web::Payload, max: usize) -> Result<Bytes, ApiError> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > max) {
        return Err(body_too_large(max));
    }
    if length.unwrap_or(0) == 0 && !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(BODY_TIMEOUT, json::read_body(payload, max)).await {
        Ok(body) => body,
        Err(_) => {
            let detail = "The body took too long to arrive.";
            Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                detail,
            ))
        }
    }
}

/// The request as the service gets it.
fn outgoing(
    upstream: &Upstream,
    request: &HttpRequest,
    admitted: &Admitted,
    trusted: &TrustedProxies,
    body: Bytes,
) -> Result<reqwest::Request, ApiError> {
    let uri = request.uri();
    let mut url = String::with_capacity(upstream.base_url.len() + 128);
    url.push_str(&upstream.base_url);
    url.push_str(uri.path_and_query().map_or("/", |target| target.as_str()));
    let url = reqwest::Url::parse(&url).map_err(|error| invalid_path().caused_by(error))?;
    // A URL parser normalises. Were there anything left to normalise, the path that was authorised would not be the one
    // that is asked for.
    if url.path() != uri.path() {
        return Err(invalid_path());
    }
    let method =
        reqwest::Method::from_bytes(request.method().as_str().as_bytes()).map_err(ApiError::internal)?;
    let mut outgoing = reqwest::Request::new(method, url);
    *outgoing.headers_mut() = headers::proxy_headers(request, admitted.client, trusted);
    if let Some(token) = &admitted.access_token {
        headers::present_token_only(outgoing.headers_mut(), token)?;
    }
    if uri.path().ends_with("/export") {
        *outgoing.timeout_mut() = Some(FILE_TIMEOUT);
    }
    if !body.is_empty() {
        *outgoing.body_mut() = Some(body.into());
    }
    Ok(outgoing)
}

fn invalid_path() -> ApiError {
    ApiError::bad_request("invalid_path", "The path is not in its plain form.")
}

/// Sends the request, and once more where that does no harm: if no connection came about, or if one broke before the answer,
/// as kept ones do when the replica at their other end stops or dies.
async fn send(
    upstream: &Upstream,
    request: &HttpRequest,
    repeatable: bool,
    build: impl Fn() -> Result<reqwest::Request, ApiError>,
) -> Result<reqwest::Response, ApiError> {
    let first = match attempt(upstream, build()?).await? {
        Ok(answer) => return Ok(answer),
        Err(failure) => failure,
    };
    let again = match &first {
        Failure::CircuitOpen => false,
        Failure::NotSent(_) => true,
        Failure::Lost(error) => repeatable && !error.is_timeout(),
    };
    if !again {
        return Err(first.into_refusal(upstream, request));
    }
    tokio::time::sleep(RETRY_PAUSE).await;
    match (first, attempt(upstream, build()?).await?) {
        // What became of the first is not better known because the second found nobody, or was turned away before anybody looked
        // for its key.
        (first @ Failure::Lost(_), Ok(answer))
            if answer.status().is_server_error() && !request.method().is_safe() =>
        {
            Err(first.into_refusal(upstream, request))
        }
        (_, Ok(answer)) => Ok(answer),
        (_, Err(failure @ Failure::Lost(_))) => Err(failure.into_refusal(upstream, request)),
        (first, Err(_)) => Err(first.into_refusal(upstream, request)),
    }
}

/// Why a try brought no answer.
enum Failure {
    /// The service has been failing, so nobody was asked.
    CircuitOpen,
    /// No connection came about, so nothing happened.
    NotSent(reqwest::Error),
    /// The service may have got the request.
    Lost(reqwest::Error),
}

impl Failure {
    fn into_refusal(self, upstream: &Upstream, request: &HttpRequest) -> ApiError {
        match self {
            Self::CircuitOpen => unreachable(request),
            Self::NotSent(error) => {
                unreachable(request).caused_by(anyhow::Error::new(error).context(upstream.name))
            }
            Self::Lost(error) => lost(upstream, request, error),
        }
    }
}

async fn attempt(
    upstream: &Upstream,
    mut request: reqwest::Request,
) -> Result<Result<reqwest::Response, Failure>, ApiError> {
    if !upstream.breaker.admits(Instant::now()) {
        return Ok(Err(Failure::CircuitOpen));
    }
    let mut span = Span::call(upstream.name);
    if let Some(traceparent) = span.traceparent() {
        headers::set(
            request.headers_mut(),
            headers::TRACEPARENT,
            traceparent.as_bytes(),
        );
    }
    let error = match worker_client()?.execute(request).await {
        Ok(answer) => {
            span.set("http.response.status_code", || {
                i64::from(answer.status().as_u16())
            });
            upstream.breaker.connected();
            return Ok(Ok(answer));
        }
        Err(error) => error.without_url(),
    };
    span.fail(count_failure(upstream, &error));
    Ok(Err(if error.is_connect() {
        upstream.breaker.could_not_connect(Instant::now());
        Failure::NotSent(error)
    } else {
        upstream.breaker.connected();
        Failure::Lost(error)
    }))
}

/// Whether a request that may have been applied does no harm when it comes again: nothing changes or is used up, or the service
/// recognises its key. auth-service takes no keys, but gives for a refresh token that comes twice at once the same answer.
fn is_repeatable(service: Service, request: &HttpRequest) -> bool {
    let has_key = request.headers().contains_key("idempotency-key");
    let changes_nothing = request.method().is_safe() && !routes::uses_up(request.path());
    changes_nothing || (has_key && service != Service::Auth) || request.path() == routes::REFRESH
}

fn worker_client() -> Result<reqwest::Client, ApiError> {
    CLIENT
        .with(|cell| {
            if let Some(client) = cell.get() {
                return Ok(client.clone());
            }
            let client = http_client::connection_pool(UPSTREAM_TIMEOUT)?;
            Ok(cell.get_or_init(|| client).clone())
        })
        .map_err(|error: anyhow::Error| ApiError::internal(error))
}

/// The service was never reached, so nothing happened.
fn unreachable(request: &HttpRequest) -> ApiError {
    let detail = "A part of the platform cannot be reached. Try again shortly.";
    with_outcome(
        ApiError::unavailable("service_unavailable", detail),
        request,
        Outcome::None,
    )
}

/// The service may have got the request, but we did not get its answer.
fn lost(upstream: &Upstream, request: &HttpRequest, error: reqwest::Error) -> ApiError {
    let refusal = if error.is_timeout() {
        let detail = "The answer took too long. Ask what became of the request before you send a new one.";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", detail)
    } else {
        let detail = "The connection broke before the answer. Ask what became of the request before you send a new one.";
        ApiError::unavailable("service_unavailable", detail)
    };
    let cause = anyhow::Error::new(error).context(upstream.name);
    with_outcome(refusal, request, Outcome::Unknown).caused_by(cause)
}

/// Only of requests that change something can it be asked what became of them.
fn with_outcome(error: ApiError, request: &HttpRequest, outcome: Outcome) -> ApiError {
    if request.method().is_safe() {
        error
    } else {
        error.outcome(outcome)
    }
}

fn count_failure(upstream: &Upstream, error: &reqwest::Error) -> &'static str {
    let kind = match error {
        error if error.is_connect() => "connect",
        error if error.is_timeout() => "timeout",
        _ => "broken",
    };
    metrics::counter!("gateway_upstream_failures_total", "upstream" => upstream.name, "kind" => kind)
        .increment(1);
    kind
}

/// The service's answer as the client gets it.
async fn respond(
    upstream: &Upstream,
    request: &HttpRequest,
    answer: reqwest::Response,
) -> Result<HttpResponse, ApiError> {
    let status = StatusCode::from_u16(answer.status().as_u16()).map_err(ApiError::internal)?;
    let head = request.method() == actix_web::http::Method::HEAD;
    let headers = headers::for_client(answer.headers());
    let length = answer.headers().get(reqwest::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let body = match length {
        Some(length) if head || length > BUFFERED_ANSWER_BYTES => {
            BoxBody::new(SizedStream::new(length, answer.bytes_stream()))
        }
        None if !head => BoxBody::new(body::BodyStream::new(answer.bytes_stream())),
        _ => BoxBody::new(answer.bytes().await.map_err(|error| {
            count_failure(upstream, &error);
            lost(upstream, request, error.without_url())
        })?),
    };
    let mut response = HttpResponse::with_body(status, body);
    *response.headers_mut() = headers;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LimitsConfig};
    use actix_web::test::TestRequest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn gateway(url: &str) -> Gateway {
        let limits = LimitsConfig {
            address_per_minute: 1,
            user_per_minute: 1,
            login_per_minute: 1,
        };
        let url = || url.to_owned();
        let config = Config {
            auth_url: url(),
            accounts_url: url(),
            transactions_url: url(),
            ml_url: url(),
            service_secrets: vec!["secret".into()],
            revocation_max_staleness: Duration::from_secs(10),
            limits,
            trusted_proxies: vec![],
            cors_origins: vec![],
            workers: 1,
            shutdown_delay: Duration::ZERO,
            clock: shared::Clock::system(),
        };
        Gateway::new(&config).unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_504_with_an_unknown_outcome() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let gateway = gateway(&url);
        let client = http_client::connection_pool(Duration::from_millis(50)).unwrap();
        let error = client.post(&url).send().await.unwrap_err();
        let upstream = gateway.upstream(Service::Transactions);
        let problem = lost(upstream, &TestRequest::post().to_http_request(), error).problem();
        assert_eq!((problem.status, problem.code.as_str()), (504, "upstream_timeout"));
        assert_eq!(problem.outcome, Some(Outcome::Unknown));
    }

    /// The first request may have been applied, so that the second was turned away must not sound as if nothing had happened.
    #[tokio::test]
    async fn a_repetition_that_is_turned_away_leaves_the_outcome_unknown() {
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", service.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in [
                "",
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            ] {
                let (mut connection, _) = service.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(connection.read(&mut request).await.unwrap() > 0);
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let gateway = gateway(&url);
        let upstream = gateway.upstream(Service::Transactions);
        let request = TestRequest::post().uri("/api/v1/transfers").to_http_request();
        let build = || Ok(reqwest::Request::new(reqwest::Method::POST, url.parse().unwrap()));
        let problem = send(upstream, &request, true, build).await.unwrap_err().problem();
        assert_eq!((problem.status, problem.outcome), (503, Some(Outcome::Unknown)));
    }

    #[test]
    fn a_path_that_a_url_parser_would_change_is_refused() {
        let gateway = gateway("http://localhost:1");
        let admitted = Admitted {
            service: Service::Accounts,
            client: IpAddr::from([127, 0, 0, 1]),
            access_token: None,
        };
        let build = |target: &str| {
            let request = TestRequest::get().uri(target).to_http_request();
            let upstream = gateway.upstream(Service::Accounts);
            outgoing(
                upstream,
                &request,
                &admitted,
                &gateway.trusted_proxies,
                Bytes::new(),
            )
        };
        assert_eq!(
            build("/api/v1/accounts?a=b").unwrap().url().as_str(),
            "http://localhost:1/api/v1/accounts?a=b"
        );
        for target in [
            "/api/v1/accounts/../../../internal",
            "/api/v1/accounts/%2e%2e/internal",
        ] {
            assert_eq!(build(target).unwrap_err().code(), "invalid_path", "{target}");
        }
    }
}
