//! The only public listener of the platform. It decides what is reachable, who may ask and how often, and sends the request
//! on to the service that answers it; it also serves the documentation.
//!
//! Deliberately absent: any rule of the business, and any trust that a service could lean on. Services verify the access
//! token themselves.

mod authentication;
mod breaker;
mod client_address;
pub mod config;
mod cors;
mod credential;
mod docs;
mod edge;
mod limits;
mod openapi;
mod proxy;
mod request_target;
mod revocations;
mod routes;
mod state;
mod telemetry;
mod token_exchange;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::web::{Bytes, Data};
use shared::HttpClient;
use shared::config::Env;
use shared::server::{Readiness, Server};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use utoipa::openapi::OpenApi;

pub use config::Config;
use state::Gateway;

const SERVICE: &str = "gateway";
const FORGET_IDLE_EVERY: Duration = Duration::from_secs(60);

pub async fn serve(env: Env, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run(Config::from_env(env)?, listener, shutdown).await
}

pub async fn migrate(_: Env) -> anyhow::Result<()> {
    anyhow::bail!("the gateway has no database to migrate")
}

/// Runs the gateway on `listener` until `shutdown` is cancelled.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    telemetry::start();
    let gateway = Data::new(Gateway::new(&config)?);
    let auth_service = HttpClient::new(SERVICE, "auth-service", &config.auth_url, None)?;
    let document = Bytes::from(serde_json::to_vec(&openapi::document()?)?);
    let _forgetting = AbortOnDropHandle::new(tokio::spawn(forget_idle(Data::clone(&gateway))));
    let following = Data::clone(&gateway);
    let _following = AbortOnDropHandle::new(tokio::spawn(async move {
        following.authentication.revocations.follow().await;
    }));
    Server {
        service: SERVICE,
        public: true,
        listener,
        workers: config.workers,
        shutdown_delay: config.shutdown_delay,
        readiness: readiness(auth_service, Data::clone(&gateway)),
        // Its routes are not described by a document of its own.
        document: OpenApi::default(),
        shutdown,
    }
    .serve(move |config| {
        config.map(|config| {
            routes::configure(config, &gateway, &document);
            config
        });
    })
    .await
}

/// Ready once the keys of access tokens could be fetched, and what was revoked: until then requests would be answered 503. Later
/// both are kept, and an `auth-service` that is down is no reason to stop serving the others.
fn readiness(auth_service: HttpClient, gateway: Data<Gateway>) -> Readiness {
    let fetched = Arc::new(AtomicBool::new(false));
    Readiness::default()
        .check("access_token_keys", move || {
            let (auth_service, fetched) = (auth_service.clone(), Arc::clone(&fetched));
            Box::pin(async move {
                if !fetched.load(Ordering::Relaxed) {
                    let keys = auth_service
                        .get::<serde_json::Value>("/.well-known/jwks.json")
                        .await;
                    fetched.store(keys.is_ok(), Ordering::Relaxed);
                }
                fetched.load(Ordering::Relaxed)
            })
        })
        .check("revocations", move || {
            let known = gateway.authentication.revocations.are_known();
            Box::pin(async move { known })
        })
}

async fn forget_idle(gateway: Data<Gateway>) {
    loop {
        tokio::time::sleep(FORGET_IDLE_EVERY).await;
        gateway.limits.forget_idle();
    }
}
