//! Strict requests, and what every answer carries.

use crate::stack::{Stack, problem};

#[tokio::test]
async fn ambiguous_messages_are_400_and_go_nowhere() {
    let stack = Stack::start().await;
    let token = stack.signer.token();
    let post = |fields: &str, body: &str| {
        format!(
            "POST /api/v1/transfers HTTP/1.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{fields}\r\n\r\n{body}"
        )
    };
    for (case, message) in [
        ("no Host", post("Content-Length: 0", "")),
        ("two Hosts", post("Host: a\r\nHost: b\r\nContent-Length: 0", "")),
        ("an empty Host", post("Host: \r\nContent-Length: 0", "")),
        (
            "a Host with a path",
            post("Host: a/internal\r\nContent-Length: 0", ""),
        ),
        (
            "both lengths",
            post(
                "Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
        ),
        (
            "two Content-Lengths",
            post("Host: a\r\nContent-Length: 3\r\nContent-Length: 3", "abc"),
        ),
        (
            "a signed Content-Length",
            post("Host: a\r\nContent-Length: +3", "abc"),
        ),
        (
            "two Transfer-Encodings",
            post(
                "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
        ),
        (
            "an unknown Transfer-Encoding",
            post("Host: a\r\nTransfer-Encoding: xchunked", "0\r\n\r\n"),
        ),
        (
            "a folded field",
            post("Host: a\r\nX-A: 1\r\n b: 2\r\nContent-Length: 0", ""),
        ),
        (
            "a control character",
            post("Host: a\r\nX-A: a\u{1}b\r\nContent-Length: 0", ""),
        ),
        (
            "a space before the colon",
            post("Host : a\r\nContent-Length: 0", ""),
        ),
    ] {
        let answer = stack.raw(&message).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{case}: {answer}");
        assert!(!answer.contains("\"service\""), "{case}: {answer}");
    }
}

#[tokio::test]
async fn a_malformed_chunk_goes_nowhere() {
    let stack = Stack::start().await;
    let token = stack.signer.token();
    let head = format!(
        "POST /api/v1/transfers HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for chunks in [
        "-1\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc",
        "3;x\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
    ] {
        // The parser has seen a good head by then, so the connection may close without an answer.
        let answer = stack.raw(&(head.clone() + chunks)).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{chunks:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn an_endless_target_is_414() {
    let stack = Stack::start().await;
    let path = format!("/api/v1/accounts?after={}", "a".repeat(8 * 1024));
    let (status, refusal) = problem(stack.authorised("GET", &path).send().await.unwrap()).await;
    assert_eq!((status, refusal["code"].as_str()), (414, Some("uri_too_long")));
}

#[tokio::test]
async fn trace_is_refused() {
    let stack = Stack::start().await;
    let (status, refusal) = problem(
        stack
            .authorised("TRACE", "/api/v1/accounts")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        (status, refusal["code"].as_str()),
        (405, Some("method_not_allowed"))
    );
}

#[tokio::test]
async fn every_answer_has_security_headers() {
    let stack = Stack::start().await;
    for path in [
        "/api/v1/accounts",
        "/nothing",
        "/api/v1/accounts/..%2f",
        "/docs/",
        "/openapi.json",
    ] {
        let answer = stack.request("GET", path).send().await.unwrap();
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert!(
            headers["strict-transport-security"]
                .to_str()
                .unwrap()
                .contains("max-age="),
            "{path}"
        );
        let csp = headers["content-security-policy"].to_str().unwrap();
        assert!(
            csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"),
            "{path}: {csp}"
        );
        assert!(headers.contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn answers_are_not_stored_unless_the_service_says_so() {
    let stack = Stack::start().await;
    let cache_control = async |path: &str| {
        let answer = stack.authorised("GET", path).send().await.unwrap();
        answer.headers()["cache-control"].to_str().unwrap().to_owned()
    };
    assert_eq!(cache_control("/api/v1/accounts").await, "no-store");
    assert_eq!(
        cache_control("/.well-known/jwks.json").await,
        "public, max-age=300"
    );
}

#[tokio::test]
async fn metrics_count_by_route_and_never_by_id() {
    let stack = Stack::start().await;
    stack
        .authorised("GET", "/api/v1/accounts/acct_metrics")
        .send()
        .await
        .unwrap();
    let metrics = stack
        .request("GET", "/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let counted =
        |line: &&str| line.starts_with("http_requests_total") && line.contains(r#"service="gateway""#);
    let routes: Vec<&str> = metrics.lines().filter(counted).collect();
    assert!(
        routes
            .iter()
            .any(|line| line.contains(r#"route="/api/v1/accounts/{tail}*""#)),
        "{routes:?}"
    );
    assert!(!metrics.contains("acct_metrics"));
}
