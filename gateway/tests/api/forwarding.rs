//! What passes between client and service, and what does not.

use std::time::Duration;

use serde_json::Value;

use crate::stack::{Settings, Stack, problem};

#[tokio::test]
async fn method_body_and_fields_pass() {
    let stack = Stack::start().await;
    let request = stack
        .authorised("PATCH", "/api/v1/accounts/acct_1")
        .header("idempotency-key", "k");
    let echo: Value = request
        .body(r#"{"nickname":"a"}"#)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (echo["method"].as_str(), echo["body"].as_str()),
        (Some("PATCH"), Some(r#"{"nickname":"a"}"#))
    );
    assert_eq!(echo["headers"]["idempotency-key"], "k");
    assert_eq!(echo["headers"]["via"], "1.1 flowlet");
}

#[tokio::test]
async fn a_client_cannot_say_who_it_is() {
    let stack = Stack::start().await;
    let request = stack
        .authorised("GET", "/api/v1/accounts")
        .header("x-user-id", "usr_1")
        .header("x-flowlet-roles", "admin")
        .header("x-forwarded-for", "1.1.1.1")
        .header("forwarded", "for=1.1.1.1")
        .header("connection", "x-hop")
        .header("x-hop", "1");
    let echo: Value = request.send().await.unwrap().json().await.unwrap();
    for gone in ["x-user-id", "x-flowlet-roles", "forwarded", "x-hop", "connection"] {
        assert!(echo["headers"].get(gone).is_none(), "{gone}: {echo}");
    }
    assert_eq!(echo["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(echo["headers"]["x-forwarded-host"], stack.address.to_string());
    assert_eq!(echo["headers"]["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn a_trusted_proxy_can() {
    let settings = Settings {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Settings::default()
    };
    let stack = Stack::with(settings).await;
    let request = stack
        .authorised("GET", "/api/v1/accounts")
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.9")
        .header("x-forwarded-proto", "https");
    let echo: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["headers"]["x-forwarded-for"], "203.0.113.9");
    assert_eq!(echo["headers"]["x-forwarded-proto"], "https");
}

#[tokio::test]
async fn the_trace_goes_on() {
    let stack = Stack::start().await;
    let request = stack
        .authorised("GET", "/api/v1/accounts")
        .header("x-request-id", "req-1")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "req-1");
    let echo: Value = answer.json().await.unwrap();
    assert_eq!(echo["headers"]["x-request-id"], "req-1");
    let traceparent = echo["headers"]["traceparent"].as_str().unwrap();
    assert!(
        traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{traceparent}"
    );
    assert!(!traceparent.contains("00f067aa0ba902b7"), "{traceparent}");
}

#[tokio::test]
async fn an_answer_passes_whatever_its_status() {
    let stack = Stack::start().await;
    let answer = stack
        .authorised("POST", "/api/v1/transfers/teapot")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 418);
    let headers = answer.headers().clone();
    assert!(!headers.contains_key("server"), "{headers:?}");
    assert_eq!(headers["idempotent-replayed"], "true");
    assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(answer.text().await.unwrap(), "short and stout");
}

#[tokio::test]
async fn large_streamed_and_empty_answers_pass() {
    let stack = Stack::start().await;
    let large = stack
        .authorised("GET", "/api/v1/transfers/large")
        .send()
        .await
        .unwrap();
    assert_eq!(large.content_length(), Some(300_000));
    assert_eq!(large.bytes().await.unwrap().len(), 300_000);
    let stream = stack
        .authorised("GET", "/api/v1/transfers/stream")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.text().await.unwrap(), "chunk0;chunk1;chunk2;");
    let nothing = stack
        .authorised("DELETE", "/api/v1/transfers/nothing")
        .send()
        .await
        .unwrap();
    assert_eq!(nothing.status(), 204);
    let head = stack.authorised("HEAD", "/api/v1/transfers").send();
    let head = tokio::time::timeout(Duration::from_secs(3), head)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.status(), 200);
    let length: usize = head.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(length > 100, "{length}");
}

#[tokio::test]
async fn a_body_of_64_kib_passes_and_a_larger_one_is_413() {
    let stack = Stack::start().await;
    let post = |body: reqwest::Body| stack.authorised("POST", "/api/v1/transfers").body(body).send();
    let echo: Value = post("x".repeat(64 * 1024).into())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(echo["body"].as_str().unwrap().len(), 64 * 1024);
    let (status, refusal) = problem(post("x".repeat(64 * 1024 + 1).into()).await.unwrap()).await;
    assert_eq!((status, refusal["code"].as_str()), (413, Some("body_too_large")));
    let chunks = (0..80).map(|_| Ok::<_, std::io::Error>("x".repeat(1024)));
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let (status, refusal) = problem(post(chunked).await.unwrap()).await;
    assert_eq!((status, refusal["code"].as_str()), (413, Some("body_too_large")));
    let few = (0..3).map(|_| Ok::<_, std::io::Error>("abc"));
    let few = reqwest::Body::wrap_stream(futures_util::stream::iter(few));
    let echo: Value = post(few).await.unwrap().json().await.unwrap();
    assert_eq!(echo["body"], "abcabcabc");
}

#[tokio::test]
async fn a_declared_length_is_refused_before_the_body_comes() {
    let stack = Stack::start().await;
    let answer = stack
        .raw(&format!(
            "POST /api/v1/transfers HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n",
            stack.signer.token()
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
