//! Credentials of sessions, which the gateway exchanges for access tokens, and revocations, which it follows.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::access_token::TOKEN_TYPE;
use shared::clients::auth::{Exchange, Exchanged, Revocation, Revocations};
use shared::{ApiError, Clock};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::stack::{Settings, Signer, Stack, problem};

const READ: &str = "/api/v1/accounts";
const MONEY: &str = "/api/v1/transfers";

/// What auth-service would be asked for.
struct AuthService {
    signer: Signer,
    exchanges: AtomicUsize,
    revoked: Mutex<Vec<uuid::Uuid>>,
    broken: AtomicBool,
}

impl AuthService {
    fn start() -> (Arc<Self>, String, DropGuard) {
        let service = Arc::new(Self {
            signer: Signer::generate(),
            exchanges: AtomicUsize::new(0),
            revoked: Mutex::default(),
            broken: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let data = web::Data::from(Arc::clone(&service));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/.well-known/jwks.json", web::get().to(keys))
                .route("/internal/tokens", web::post().to(exchange))
                .route("/internal/revocations", web::get().to(revocations))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
        let (handle, stop) = (server.handle(), CancellationToken::new());
        tokio::spawn(server);
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.cancelled().await;
            handle.stop(false).await;
        });
        (service, url, stop.drop_guard())
    }
}

async fn keys(service: web::Data<AuthService>) -> HttpResponse {
    HttpResponse::Ok().json(service.signer.jwks())
}

async fn exchange(service: web::Data<AuthService>, body: web::Json<Exchange>) -> HttpResponse {
    service.exchanges.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    if service.broken.load(Ordering::Relaxed) {
        return HttpResponse::InternalServerError().finish();
    }
    if body.credential == "ses_unknown" {
        return ApiError::unprocessable("invalid_session", "Unknown.").error_response();
    }
    let allowed_networks = match body.credential.as_str() {
        "ses_elsewhere" => vec!["192.0.2.0/24".parse().unwrap()],
        "ses_here" => vec!["127.0.0.0/8".parse().unwrap()],
        _ => vec![],
    };
    HttpResponse::Ok().json(Exchanged {
        access_token: service.signer.sign(TOKEN_TYPE, "k1", 300),
        expires_at: Clock::system().now() + chrono::Duration::seconds(300),
        allowed_networks,
    })
}

#[derive(serde::Deserialize)]
struct After {
    after: Option<i64>,
}

/// One at a time, so that a reader has to go on.
async fn revocations(service: web::Data<AuthService>, query: web::Query<After>) -> HttpResponse {
    if service.broken.load(Ordering::Relaxed) {
        return HttpResponse::InternalServerError().finish();
    }
    let revoked = service.revoked.lock().unwrap();
    let numbered = (1..).zip(revoked.iter());
    let mut next = numbered.filter(|(number, _)| *number > query.after.unwrap_or(0));
    let shown = next.next().map(|(number, id)| Revocation { number, id: *id });
    HttpResponse::Ok().json(Revocations {
        revocations: shown.into_iter().collect(),
        last: i64::try_from(revoked.len()).unwrap(),
    })
}

async fn stack() -> (Stack, Arc<AuthService>, DropGuard) {
    let (service, url, guard) = AuthService::start();
    let settings = Settings {
        auth_url: Some(url),
        revocation_max_staleness: Duration::from_secs(1),
        ..Settings::default()
    };
    let stack = Stack::with(settings).await;
    while stack.request("GET", "/readyz").send().await.unwrap().status() != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (stack, service, guard)
}

fn session(stack: &Stack, method: &str, path: &str, credential: &str) -> reqwest::RequestBuilder {
    stack.request(method, path).header("X-Session-ID", credential)
}

async fn refused(request: reqwest::RequestBuilder, status: u16, code: &str) {
    let (got, problem) = problem(request.send().await.unwrap()).await;
    assert_eq!(
        (got, problem.get("code").and_then(Value::as_str)),
        (status, Some(code))
    );
}

#[tokio::test]
async fn a_session_reaches_services_as_an_access_token_and_as_nothing_else() {
    let (stack, service, _guard) = stack().await;
    for request in [
        session(&stack, "POST", READ, "ses_ada"),
        stack
            .request("GET", READ)
            .header("Cookie", "theme=dark; session_id=ses_ada"),
    ] {
        let echo: Value = request.send().await.unwrap().json().await.unwrap();
        let headers = echo["headers"].as_object().unwrap();
        assert!(
            headers["authorization"]
                .as_str()
                .unwrap()
                .starts_with("Bearer ey"),
            "{echo}"
        );
        assert!(!echo.to_string().contains("ses_ada"), "{echo}");
    }
    assert_eq!(service.exchanges.load(Ordering::Relaxed), 1);
    let with_both = session(&stack, "GET", READ, "ses_unknown").bearer_auth(service.signer.token());
    assert_eq!(with_both.send().await.unwrap().status(), 200);
    let no_token = session(&stack, "GET", READ, "ses_ada").bearer_auth("ses_ada");
    refused(no_token, 401, "invalid_token").await;
    let forged = stack.request("POST", READ).header("Cookie", "session_id=ses_ada");
    refused(
        forged.header("Origin", "https://evil.example"),
        403,
        "origin_not_allowed",
    )
    .await;
}

#[tokio::test]
async fn a_page_of_another_site_does_nothing_in_a_session_of_flowless() {
    let app = "https://app.example.com";
    let stack = Stack::with(Settings {
        cors_origins: vec![app.to_owned()],
        ..Settings::default()
    })
    .await;
    let ours = format!("http://{}", stack.address);
    let with_cookie = |method: &str, path: &str, origin: Option<&str>| {
        let request = stack.request(method, path).header("Cookie", "session_id=ses_ada");
        match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        }
    };
    for origin in ["https://evil.example.com", "null"] {
        for (method, path) in [
            ("POST", "/auth/logout"),
            ("POST", "/auth/register"),
            ("PUT", "/auth/user/me"),
            ("DELETE", "/auth/profile/picture"),
        ] {
            let forged = with_cookie(method, path, Some(origin));
            refused(forged, 403, "origin_not_allowed").await;
        }
        for (method, path) in [
            ("GET", "/auth/user/me"),
            ("POST", "/auth/social/apple/callback"),
            ("POST", "/api/v1/auth/social/apple/callback"),
            ("POST", "/auth/verify-email"),
            ("POST", "/auth/reset-password"),
            ("POST", "/auth/login/link"),
        ] {
            let answer = with_cookie(method, path, Some(origin)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{method} {path}");
        }
        let by_header = with_cookie("POST", "/auth/logout", Some(origin)).header("X-Session-ID", "ses_ada");
        assert_eq!(by_header.send().await.unwrap().status(), 200);
        let without_session = stack.request("POST", "/auth/login").header("Origin", origin);
        assert_eq!(without_session.send().await.unwrap().status(), 200);
    }
    for origin in [None, Some(app), Some(ours.as_str())] {
        let answer = with_cookie("POST", "/auth/logout", origin).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{origin:?}");
    }
}

#[tokio::test]
async fn many_requests_with_one_session_ask_once_and_again_before_the_token_expires() {
    let (stack, service, _guard) = stack().await;
    let ask = async || {
        session(&stack, "GET", READ, "ses_ada")
            .send()
            .await
            .unwrap()
            .status()
    };
    let statuses = join_all((0..40).map(|_| ask())).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(service.exchanges.load(Ordering::Relaxed), 1);
    stack.clock.advance(chrono::Duration::seconds(260));
    assert_eq!(ask().await, 200);
    assert_eq!(service.exchanges.load(Ordering::Relaxed), 1);
    stack.clock.advance(chrono::Duration::seconds(15));
    assert_eq!(ask().await, 200);
    assert_eq!(service.exchanges.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_auth_service_refuses_is_401_and_what_it_does_not_answer_is_503() {
    let (stack, service, guard) = stack().await;
    refused(
        session(&stack, "GET", READ, "ses_unknown"),
        401,
        "invalid_session",
    )
    .await;
    refused(session(&stack, "GET", READ, "hunter2"), 401, "invalid_session").await;
    refused(
        session(&stack, "GET", READ, "ses_elsewhere"),
        403,
        "address_not_allowed",
    )
    .await;
    assert_eq!(
        session(&stack, "GET", READ, "ses_here")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    service.broken.store(true, Ordering::Relaxed);
    refused(
        session(&stack, "GET", READ, "ses_new"),
        503,
        "authentication_unavailable",
    )
    .await;
    drop(guard);
    refused(
        session(&stack, "GET", READ, "ses_newer"),
        503,
        "authentication_unavailable",
    )
    .await;
    // What was exchanged before goes on.
    assert_eq!(
        session(&stack, "GET", READ, "ses_here")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

fn sid_of(token: &str) -> uuid::Uuid {
    use base64::Engine;
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .unwrap();
    let claims: shared::principal::AccessTokenClaims = serde_json::from_slice(&claims).unwrap();
    claims.sid.uuid()
}

async fn wait_until_refused(stack: &Stack, token: &str) -> Duration {
    let started = Instant::now();
    while stack
        .request("GET", READ)
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .status()
        != 401
    {
        assert!(started.elapsed() < Duration::from_secs(5), "still let in");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn what_was_revoked_is_refused_within_a_second_also_when_it_was_missed() {
    let (stack, service, _guard) = stack().await;
    let tokens: Vec<String> = (0..4).map(|_| service.signer.token()).collect();
    let ask = |token: &str| stack.request("GET", READ).bearer_auth(token).send();
    for token in &tokens {
        assert_eq!(ask(token).await.unwrap().status(), 200);
    }
    service.revoked.lock().unwrap().push(sid_of(&tokens[0]));
    let took = wait_until_refused(&stack, &tokens[0]).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    refused(
        stack.request("GET", READ).bearer_auth(&tokens[0]),
        401,
        "session_revoked",
    )
    .await;

    // Two while nobody hears of them, and then everything goes back in time.
    service.broken.store(true, Ordering::Relaxed);
    service
        .revoked
        .lock()
        .unwrap()
        .extend([sid_of(&tokens[1]), sid_of(&tokens[2])]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(ask(&tokens[2]).await.unwrap().status(), 200);
    service.broken.store(false, Ordering::Relaxed);
    wait_until_refused(&stack, &tokens[2]).await;
    assert_eq!(ask(&tokens[1]).await.unwrap().status(), 401);
    *service.revoked.lock().unwrap() = vec![sid_of(&tokens[3])];
    wait_until_refused(&stack, &tokens[3]).await;
    assert_eq!(ask(&tokens[1]).await.unwrap().status(), 401);
}

#[tokio::test]
async fn no_money_is_moved_while_it_is_not_known_who_was_revoked() {
    let (stack, service, _guard) = stack().await;
    let token = service.signer.token();
    let ask = |method: &str, path: &str| stack.request(method, path).bearer_auth(&token);
    assert_eq!(ask("POST", MONEY).send().await.unwrap().status(), 200);
    service.broken.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let answer = ask("POST", MONEY).send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    let (status, body) = problem(answer).await;
    assert_eq!(
        (status, &body["code"]),
        (503, &json!("authentication_unavailable"))
    );
    assert_eq!(body["outcome"], "none", "{body}");
    assert_eq!(ask("GET", MONEY).send().await.unwrap().status(), 200);
    assert_eq!(ask("POST", READ).send().await.unwrap().status(), 200);
    service.broken.store(false, Ordering::Relaxed);
    let started = Instant::now();
    while ask("POST", MONEY).send().await.unwrap().status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "still refused");
    }
}
