//! The HTTP server of a service: its routes, `/livez`, `/readyz`, `/metrics`, and a stop that loses nothing.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError, web};
use diesel_migrations::EmbeddedMigrations;
use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::request_context::{self, Endpoint};
use crate::{ApiError, Db, openapi, telemetry};

/// How long requests in flight may take to finish after a stop was asked for.
const SHUTDOWN_TIMEOUT_S: u64 = 30;
/// A readiness check that takes longer than this has failed.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

type ReadinessCheck = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// What must hold for this replica to be sent requests.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<(&'static str, ReadinessCheck)>,
}

impl Readiness {
    pub fn check(
        mut self,
        name: &'static str,
        check: impl Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name, Arc::new(check)));
        self
    }

    /// The service's database: that it answers, and that `migrate` of this version or a newer one has run.
    pub fn database(self, db: &Db, migrations: &'static EmbeddedMigrations) -> Self {
        let (pinged, migrated) = (db.clone(), db.clone());
        let is_migrated = Arc::new(AtomicBool::new(false));
        self.check("database", move || {
            let db = pinged.clone();
            Box::pin(async move { db.ping().await })
        })
        .check("schema", move || {
            let (db, known) = (migrated.clone(), Arc::clone(&is_migrated));
            Box::pin(async move {
                // Migrations are never taken back under a running service.
                if !known.load(Ordering::Relaxed) {
                    let is_migrated = db.has_applied(migrations).await.unwrap_or(false);
                    known.store(is_migrated, Ordering::Relaxed);
                }
                known.load(Ordering::Relaxed)
            })
        })
    }

    async fn respond(&self, stopping: bool) -> HttpResponse {
        let results = join_all(self.checks.iter().map(|(name, check)| async move {
            let passed = tokio::time::timeout(READINESS_TIMEOUT, check())
                .await
                .unwrap_or(false);
            (*name, passed)
        }))
        .await;
        let ready = !stopping && results.iter().all(|(_, passed)| *passed);
        let checks: serde_json::Map<_, _> = results
            .into_iter()
            .map(|(name, passed)| (name.to_owned(), json!(if passed { "ok" } else { "failed" })))
            .collect();
        let body = json!({ "status": if ready { "ready" } else { "unavailable" }, "stopping": stopping, "checks": checks });
        if ready {
            HttpResponse::Ok().json(body)
        } else {
            HttpResponse::ServiceUnavailable().json(body)
        }
    }
}

pub struct Server {
    pub service: &'static str,
    /// Whether strangers call it. What they say about sampling is not believed, and each of their requests is logged.
    pub public: bool,
    pub listener: TcpListener,
    /// Threads that serve requests.
    pub workers: usize,
    /// How long requests are still taken after a stop was asked for, while `/readyz` says no and every answer closes its
    /// connection: whoever balances over the replicas needs a moment to send the next one elsewhere.
    pub shutdown_delay: Duration,
    pub readiness: Readiness,
    /// The service's OpenAPI document, which tells 404 from 405.
    pub document: OpenApi,
    pub shutdown: CancellationToken,
}

impl Server {
    /// Serves `routes` until `shutdown` is cancelled, the delay is over, and the requests in flight are answered.
    pub async fn serve(
        self,
        routes: impl Fn(&mut ServiceConfig<'_>) + Clone + Send + 'static,
    ) -> anyhow::Result<()> {
        use utoipa_actix_web::AppExt;
        let Self {
            service,
            public,
            listener,
            workers,
            shutdown_delay,
            readiness,
            document,
            shutdown,
        } = self;
        let known_paths = Arc::new(openapi::KnownPaths::new(&document));
        let stopping = shutdown.clone();
        let server = HttpServer::new(move || {
            let (readiness, known_paths) = (readiness.clone(), Arc::clone(&known_paths));
            let (stopping, closing) = (stopping.clone(), stopping.clone());
            let endpoint = Rc::new(Endpoint::new(service, public));
            let (app, _) = App::new()
                .app_data(web::QueryConfig::default().error_handler(|error, _| invalid_query(&error).into()))
                .app_data(web::PathConfig::default().error_handler(|error, _| invalid_path(&error).into()))
                .into_utoipa_app()
                .configure(routes.clone())
                .split_for_parts();
            app.route("/livez", web::get().to(async || HttpResponse::Ok().body("ok")))
                .route(
                    "/readyz",
                    web::get().to(move || {
                        let (readiness, stopping) = (readiness.clone(), stopping.is_cancelled());
                        async move { readiness.respond(stopping).await }
                    }),
                )
                .route("/metrics", web::get().to(metrics_page))
                .default_service(web::to(move |request: HttpRequest| {
                    let answer = known_paths.unroutable(&request);
                    async move { answer }
                }))
                .wrap(from_fn(move |request, next| {
                    close_when_stopping(closing.clone(), request, next)
                }))
                .wrap(from_fn(run_to_the_end))
                .wrap(from_fn(move |request, next| {
                    request_context::middleware(Rc::clone(&endpoint), request, next)
                }))
        })
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(Duration::from_secs(10))
        .workers(workers)
        .listen(listener)?
        .run();
        let handle = server.handle();
        let upkeep = tokio::spawn(telemetry::upkeep());
        let stop = tokio::spawn(async move {
            shutdown.cancelled().await;
            tokio::time::sleep(shutdown_delay).await;
            handle.stop(true).await;
        });
        server.await?;
        stop.abort();
        upkeep.abort();
        Ok(())
    }
}

/// A client that resets its connection must not tear a handler down in the middle of a transaction: the handler runs as
/// a task of its own, to its end, whether or not somebody still waits for the answer.
async fn run_to_the_end(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let context = request_context::current();
    let span = tracing::Span::current();
    let answer = next.call(request);
    let task = actix_web::rt::spawn(tracing::Instrument::instrument(
        request_context::within(context, answer),
        span,
    ));
    task.await
        .map_err(|error| ApiError::internal(anyhow::Error::new(error)))?
}

/// Kept connections would go on bringing requests to a server that is about to end, and break under one of them.
async fn close_when_stopping(
    stopping: CancellationToken,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut answer = next.call(request).await?;
    if stopping.is_cancelled() {
        let head = answer.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

async fn metrics_page() -> HttpResponse {
    match telemetry::metrics_page() {
        Some(page) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4"))
            .body(page),
        None => ApiError::internal(anyhow::anyhow!("the metrics recorder is not installed")).error_response(),
    }
}

/// The refusal of a query that is not understood.
pub fn invalid_query(error: &actix_web::error::QueryPayloadError) -> ApiError {
    let text = error.to_string();
    let text = text.strip_prefix("Query deserialize error: ").unwrap_or(&text);
    ApiError::bad_request("invalid_query", text.to_owned())
}

fn invalid_path(error: &actix_web::error::PathError) -> ApiError {
    ApiError::bad_request("invalid_id", error.to_string())
}
