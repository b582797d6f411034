//! A service that is down, hangs up or stays silent.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::stack::{Settings, Stack, problem};

async fn in_front_of(accounts: &TcpListener) -> Stack {
    let accounts_url = Some(format!("http://{}", accounts.local_addr().unwrap()));
    Stack::with(Settings {
        accounts_url,
        ..Settings::default()
    })
    .await
}

async fn in_front_of_nothing() -> Stack {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    in_front_of(&closed).await
}

#[tokio::test]
async fn a_service_that_is_down_is_503_and_nothing_happened() {
    let stack = in_front_of_nothing().await;
    let answer = stack
        .authorised("POST", "/api/v1/accounts")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert!(answer.headers().contains_key("retry-after") && answer.headers().contains_key("ratelimit"));
    let (status, refusal) = problem(answer).await;
    assert_eq!(
        (status, refusal["code"].as_str()),
        (503, Some("service_unavailable"))
    );
    assert_eq!(refusal["outcome"], "none");
    let (_, refusal) = problem(stack.authorised("GET", "/api/v1/accounts").send().await.unwrap()).await;
    assert!(
        refusal.get("outcome").is_none(),
        "a GET has no outcome: {refusal}"
    );
    let other = stack.authorised("GET", "/api/v1/transfers").send().await.unwrap();
    assert_eq!(other.status(), 200, "the other services go on");
}

/// A service that hangs up on every request, and how many for this path it got until none came for two seconds. The gateway has
/// questions of its own besides.
fn hang_up(service: TcpListener, path: &'static str) -> tokio::task::JoinHandle<u32> {
    tokio::spawn(async move {
        let (mut requests, mut last) = (0, Instant::now());
        while last.elapsed() < Duration::from_secs(2) {
            let accepted = tokio::time::timeout(Duration::from_secs(1), service.accept());
            let Ok(Ok((mut stream, _))) = accepted.await else {
                continue;
            };
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap_or_default();
            if String::from_utf8_lossy(head.get(..length).unwrap_or_default()).contains(path) {
                requests += 1;
                last = Instant::now();
            }
        }
        requests
    })
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    for (key, sent) in [(false, 1), (true, 2)] {
        let accounts = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stack = in_front_of(&accounts).await;
        let requests = hang_up(accounts, "/api/v1/accounts");
        let mut request = stack.authorised("POST", "/api/v1/accounts").body("{}");
        if key {
            request = request.header("idempotency-key", "k");
        }
        let (status, refusal) = problem(request.send().await.unwrap()).await;
        assert_eq!(
            (status, refusal["code"].as_str()),
            (503, Some("service_unavailable"))
        );
        assert_eq!(refusal["outcome"], "unknown");
        let why = "what may have been applied is sent again only under a key";
        assert_eq!(requests.await.unwrap(), sent, "{why}");
    }
}

#[tokio::test]
async fn a_key_makes_nothing_repeatable_that_knows_no_keys() {
    // A refresh token that comes twice at once gets the same answer, key or not.
    for (path, sent) in [("/api/v1/auth/register", 1), ("/api/v1/auth/refresh", 2)] {
        let auth = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stack = Stack::with(Settings {
            auth_url: Some(format!("http://{}", auth.local_addr().unwrap())),
            ..Settings::default()
        })
        .await;
        let requests = hang_up(auth, path);
        let request = stack.request("POST", path).body("{}");
        let answer = request.header("idempotency-key", "k").send().await.unwrap();
        assert_eq!(problem(answer).await.1["outcome"], "unknown", "{path}");
        assert_eq!(requests.await.unwrap(), sent, "{path}");
    }
}

#[tokio::test]
async fn what_uses_a_credential_up_is_not_repeated_although_it_is_a_get() {
    for (path, sent) in [
        ("/auth/token/validate", 1),
        ("/auth/social/google/callback", 1),
        ("/api/v1/auth/social/google/callback", 1),
        ("/auth/social/providers", 2),
    ] {
        let auth = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stack = Stack::with(Settings {
            auth_url: Some(format!("http://{}", auth.local_addr().unwrap())),
            ..Settings::default()
        })
        .await;
        let requests = hang_up(auth, path);
        let answer = stack.request("GET", path).send().await.unwrap();
        assert_eq!(problem(answer).await.0, 503, "{path}");
        assert_eq!(requests.await.unwrap(), sent, "{path}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_replaced_by_a_new_one() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let accounts = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stack = in_front_of(&accounts).await;
    let service = tokio::spawn(async move {
        // One answer on each connection, then it goes away under the next request, as a service does that stops.
        for _ in 0..3 {
            let (mut stream, _) = accounts.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(ANSWER).await.unwrap();
            let mut next = [0; 4096];
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut next)).await;
        }
    });
    for number in 0..3 {
        let request = stack.authorised("POST", "/api/v1/accounts").body("{}");
        let answer = request.header("idempotency-key", "k").send().await.unwrap();
        assert_eq!(answer.status(), 200, "request {number}");
    }
    service.await.unwrap();
}

#[tokio::test]
async fn a_service_that_keeps_failing_is_left_alone_for_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stack = in_front_of(&listener).await;
    drop(listener);
    let post = || stack.authorised("POST", "/api/v1/accounts").body("{}").send();
    for _ in 0..5 {
        assert_eq!(post().await.unwrap().status(), 503);
    }
    // It is back, and the gateway does not know yet.
    let _back = TcpListener::bind(address).await.unwrap();
    let started = Instant::now();
    let (status, refusal) = problem(post().await.unwrap()).await;
    assert_eq!((status, refusal["outcome"].as_str()), (503, Some("none")));
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
    let metrics = stack
        .request("GET", "/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("gateway_upstream_failures_total"), "{metrics}");
}

#[tokio::test]
async fn a_service_that_comes_back_is_found_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let accounts_url = Some(format!("http://{address}"));
    let stack = Stack::with(Settings {
        accounts_url,
        ..Settings::default()
    })
    .await;
    let get = || stack.authorised("GET", "/api/v1/accounts").send();
    for _ in 0..3 {
        assert_eq!(get().await.unwrap().status(), 503);
    }
    let listener = std::net::TcpListener::bind(address).unwrap();
    let server = actix_web::HttpServer::new(|| {
        actix_web::App::new().default_service(actix_web::web::to(async || actix_web::HttpResponse::Ok()))
    });
    let server = server
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
    let handle = server.handle();
    tokio::spawn(server);
    let mut status = 0;
    for _ in 0..30 {
        status = get().await.unwrap().status().as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status, 200);
    handle.stop(false).await;
}
