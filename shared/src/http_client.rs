//! Calls to another service: pooled connections, a timeout on each try, the caller's trace, a service token, and a retry
//! only where a second call has no second effect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Problem;
use crate::trace::Span;
use crate::{ApiError, ServiceTokens, json, request_context, telemetry};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Across the internet, with a TLS handshake.
const OUTWARD_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TRY_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_TRIES: u32 = 3;
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Whether a call may be sent again when its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The callee recognises a repetition, or nothing changes.
    Idempotent,
    Never,
}

/// A call that did not answer what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{service} cannot be reached or is overloaded: {reason}")]
    Unavailable { service: &'static str, reason: String },
    #[error("{service} refused: {} {}", .problem.status, .problem.code)]
    Refused {
        service: &'static str,
        problem: Box<Problem>,
    },
    #[error("{service} answered what we do not understand: {reason}")]
    Unintelligible { service: &'static str, reason: String },
}

impl From<CallError> for ApiError {
    /// A refusal that the user can act on is passed on as it is; anything else is our trouble, not the user's.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unavailable { .. } => ApiError::unavailable(
                "service_unavailable",
                "A part of the platform cannot be reached. Try again shortly.",
            )
            .caused_by(error),
            CallError::Refused { problem, service } => {
                let status =
                    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if !matches!(problem.status, 404 | 409 | 422) {
                    return ApiError::internal(CallError::Refused { problem, service });
                }
                let status = actix_web::http::StatusCode::from_u16(status.as_u16())
                    .unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR);
                ApiError::new(status, problem.code, problem.detail.unwrap_or(problem.title))
            }
            CallError::Unintelligible { .. } => ApiError::internal(error),
        }
    }
}

#[derive(Clone)]
pub struct HttpClient {
    connections: reqwest::Client,
    caller: &'static str,
    service: &'static str,
    base_url: Arc<str>,
    tokens: Option<ServiceTokens>,
    /// Instead of a service token: for whom a call is made, and under which key.
    on_behalf: Option<Arc<OnBehalf>>,
}

struct OnBehalf {
    access_token: SecretString,
    idempotency_key: String,
}

impl HttpClient {
    /// Calls `service` at `base_url` for `caller`; with `tokens`, it can prove who is calling.
    pub fn new(
        caller: &'static str,
        service: &'static str,
        base_url: &str,
        tokens: Option<ServiceTokens>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            connections: connection_pool(TRY_TIMEOUT)?,
            caller,
            service,
            base_url: base_url.trim_end_matches('/').into(),
            tokens,
            on_behalf: None,
        })
    }

    /// The same service, with the token of the user who asks: the callee decides whether this user may. The key makes a
    /// repetition safe.
    pub fn on_behalf(&self, access_token: &str, idempotency_key: String) -> Self {
        Self {
            tokens: None,
            on_behalf: Some(Arc::new(OnBehalf {
                access_token: access_token.into(),
                idempotency_key,
            })),
            ..self.clone()
        }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, None::<&()>, Retry::Idempotent, TRY_TIMEOUT)
            .await
    }

    pub async fn put<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, CallError> {
        self.call(Method::PUT, path, Some(body), Retry::Idempotent, TRY_TIMEOUT)
            .await
    }

    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        retry: Retry,
    ) -> Result<T, CallError> {
        self.call(Method::POST, path, Some(body), retry, TRY_TIMEOUT)
            .await
    }

    /// Tries, within `timeout` each, and again after a short pause where `retry` allows it.
    pub async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        retry: Retry,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let mut tried = 0;
        loop {
            let result = self.try_once(method.clone(), path, body, timeout).await;
            tried += 1;
            let again = retry == Retry::Idempotent
                && tried < MAX_TRIES
                && matches!(result, Err(CallError::Unavailable { .. }));
            if !again {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(20) * tried * tried).await;
        }
    }

    async fn try_once<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let mut span = Span::call(self.service);
        span.set("http.request.method", || method.to_string());
        let started = Instant::now();
        let answer = span.run(self.send(method, path, body, timeout)).await;
        let status = match &answer {
            Ok((status, _)) => status.as_str().to_owned(),
            Err(_) => "error".to_owned(),
        };
        match &answer {
            Ok((status, _)) if !status.is_server_error() => {}
            _ => span.fail(&status),
        }
        span.set("http.response.status_code", || status.clone());
        drop(span);
        metrics::histogram!("http_client_request_duration_seconds", "upstream" => self.service)
            .record(started.elapsed());
        metrics::counter!(
            "http_client_requests_total",
            "client" => self.caller, "upstream" => self.service, "status" => status
        )
        .increment(1);
        let (status, body) = answer?;
        self.understand(status, &body)
    }

    /// The status and the body of an answer, whatever it says.
    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let service = self.service;
        let unavailable = |error: reqwest::Error| CallError::Unavailable {
            service,
            reason: crate::db::chain(&error.without_url()),
        };
        let unintelligible = |reason: String| CallError::Unintelligible { service, reason };
        let mut request = self
            .connections
            .request(method, format!("{}{path}", self.base_url))
            .timeout(timeout);
        if let Some(context) = request_context::current() {
            request = request
                .header(request_context::REQUEST_ID.as_str(), &*context.request_id)
                .header(request_context::TRACEPARENT.as_str(), context.trace.to_string());
        }
        if let Some(tokens) = &self.tokens {
            request = request.bearer_auth(
                tokens
                    .issue(service)
                    .map_err(|error| unintelligible(error.to_string()))?,
            );
        }
        if let Some(user) = &self.on_behalf {
            request = request
                .bearer_auth(user.access_token.expose_secret())
                .header(IDEMPOTENCY_KEY, &user.idempotency_key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(unavailable)?;
        let status = answer.status();
        if answer
            .content_length()
            .is_some_and(|length| usize::try_from(length).is_ok_and(|it| it > MAX_ANSWER_BYTES))
        {
            return Err(unintelligible("the answer is too large".to_owned()));
        }
        Ok((status, answer.bytes().await.map_err(unavailable)?))
    }

    fn understand<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, CallError> {
        let service = self.service;
        let unintelligible = |reason: String| CallError::Unintelligible { service, reason };
        if status.is_success() {
            let body = if body.is_empty() { b"null" } else { body };
            return serde_json::from_slice(body).map_err(|error| unintelligible(json::place_of(&error)));
        }
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Err(CallError::Unavailable {
                service,
                reason: status.to_string(),
            });
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Err(CallError::Refused {
                service,
                problem: Box::new(problem),
            }),
            Err(_) => Err(unintelligible(status.to_string())),
        }
    }
}

/// Connections to hosts that somebody else has named, each resolved by `resolver`, which refuses where nobody is to go. An
/// address in place of a name is not resolved: the caller looks at that.
pub fn outward_connection_pool(
    timeout: Duration,
    resolver: impl reqwest::dns::Resolve + 'static,
) -> anyhow::Result<reqwest::Client> {
    let builder = builder(timeout).connect_timeout(OUTWARD_CONNECT_TIMEOUT);
    Ok(builder.dns_resolver(resolver).build()?)
}

/// Connections that are kept open for reuse. Proxies of the environment are ignored: a platform must not obey
/// `HTTP_PROXY` by accident, and a redirect is never followed.
pub fn connection_pool(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    Ok(builder(timeout).build()?)
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    telemetry::install_crypto_provider();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that makes HTTP clients"
    )]
    let builder = reqwest::Client::builder();
    builder
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
}
