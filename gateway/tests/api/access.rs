//! Who is let in, and to what.

use std::net::TcpListener;

use crate::stack::{Settings, Signer, Stack, problem};
use shared::access_token::TOKEN_TYPE;

#[tokio::test]
async fn a_request_reaches_its_service_with_its_token() {
    let stack = Stack::start().await;
    for (path, service) in [
        ("/api/v1/accounts?limit=2&after=a%2Fb", "accounts"),
        ("/api/v1/accounts/acct_1", "accounts"),
        ("/api/v1/transfers", "service"),
        ("/api/v1/payments/deposits", "service"),
        ("/api/v1/idempotency-keys/a%20b", "service"),
        ("/api/v1/integrity", "service"),
        ("/api/v1/auth/me", "service"),
    ] {
        let token = stack.signer.token();
        let answer = stack
            .request("GET", path)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let echo: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(
            (echo["service"].as_str(), echo["target"].as_str()),
            (Some(service), Some(path))
        );
        assert_eq!(echo["headers"]["authorization"], format!("Bearer {token}"));
    }
}

#[tokio::test]
async fn only_the_public_paths_need_no_token() {
    let stack = Stack::start().await;
    for path in [
        "/api/v1/auth/login",
        "/api/v1/auth/register",
        "/api/v1/auth/refresh",
    ] {
        assert_eq!(
            stack
                .request("POST", path)
                .body("{}")
                .send()
                .await
                .unwrap()
                .status(),
            200,
            "{path}"
        );
    }
    for path in [
        "/.well-known/jwks.json",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/metrics",
        "/docs/",
    ] {
        assert_eq!(
            stack.request("GET", path).send().await.unwrap().status(),
            200,
            "{path}"
        );
    }
    for path in [
        "/api/v1/accounts",
        "/api/v1/auth/me",
        "/api/v1/auth/logout",
        "/api/v1/auth/login/",
    ] {
        let (status, problem) = problem(stack.request("GET", path).send().await.unwrap()).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (401, Some("missing_token")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_401() {
    let stack = Stack::start().await;
    let mut tampered = stack.signer.token();
    tampered.replace_range(tampered.len() - 10.., "AAAAAAAAAA");
    for (case, token, code) in [
        ("tampered", tampered, "invalid_token"),
        ("foreign", Signer::generate().token(), "invalid_token"),
        (
            "of another type",
            stack.signer.sign("refresh+jwt", "k1", 300),
            "invalid_token",
        ),
        (
            "of an unknown key",
            stack.signer.sign(TOKEN_TYPE, "k9", 300),
            "invalid_token",
        ),
        (
            "expired",
            stack.signer.sign(TOKEN_TYPE, "k1", -1),
            "token_expired",
        ),
        ("not a token", "x".to_owned(), "invalid_token"),
    ] {
        let answer = stack
            .request("GET", "/api/v1/accounts")
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{case}");
        let (status, problem) = problem(answer).await;
        assert_eq!((status, problem["code"].as_str()), (401, Some(code)), "{case}");
    }
}

#[tokio::test]
async fn a_remembered_token_expires_too() {
    let stack = Stack::start().await;
    let token = stack.signer.token();
    let ask = || {
        stack
            .request("GET", "/api/v1/accounts")
            .bearer_auth(&token)
            .send()
    };
    assert_eq!(ask().await.unwrap().status(), 200);
    stack.clock.advance(chrono::Duration::minutes(6));
    let (status, problem) = problem(ask().await.unwrap()).await;
    assert_eq!((status, problem["code"].as_str()), (401, Some("token_expired")));
}

#[tokio::test]
async fn without_keys_the_answer_is_503_and_never_401() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings {
        auth_url: Some(format!("http://{nobody}")),
        ..Settings::default()
    };
    let stack = Stack::with(settings).await;
    let answer = stack.authorised("GET", "/api/v1/accounts").send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    let (status, problem) = problem(answer).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (503, Some("authentication_unavailable"))
    );
    assert_eq!(
        stack.request("GET", "/readyz").send().await.unwrap().status(),
        503
    );
    assert_eq!(stack.request("GET", "/livez").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_not_routed_is_404() {
    let stack = Stack::start().await;
    for path in [
        "/internal/scores",
        "/api/v1/accountsx",
        "/api/v1",
        "/nothing",
        "/api/v2/accounts",
    ] {
        let (status, problem) = problem(stack.authorised("GET", path).send().await.unwrap()).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (404, Some("not_found")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_an_internal_one() {
    let stack = Stack::start().await;
    for target in [
        "/internal/scores",
        "/internal",
        "//internal/scores",
        "/%69nternal/scores",
        "/./internal/scores",
        "/x/../internal/scores",
        "/api/v1/accounts/../../../internal/scores",
        "/api/v1/accounts/..%2f..%2f..%2finternal/scores",
        "/api/v1/accounts/%2e%2e/%2e%2e/%2e%2e/internal/scores",
        "/api/v1/accounts/%2E%2E/internal",
        "/api/v1/accounts/%252e%252e/%252e%252e/internal",
        "/api/v1/accounts/..;/..;/..;/internal/scores",
        "/api/v1/accounts;/../../../internal",
        "/api/v1/accounts/..\\..\\..\\internal",
        "/api/v1/accounts/..%5c..%5cinternal",
        "/api/v1/accounts//internal",
        "/api/v1/accounts/%00/internal",
        "/api/v1/accounts/%0d%0aX-User-Id:%201",
        "http://gateway/internal/scores",
        "http://gateway/api/v1/accounts/../../../internal",
        "http://evil.example/api/v1/accounts",
        "http://gateway@evil.example/api/v1/accounts",
        "/.well-known/jwks.json/../../internal",
        "*",
        "internal/scores",
    ] {
        let (status, answer) = stack.raw_get(target).await;
        assert!(matches!(status, 400 | 404), "{target} got {status}");
        assert!(
            !answer.contains("\"service\""),
            "{target} reached a service: {answer}"
        );
    }
    let (status, answer) = stack.raw_get("http://gateway/api/v1/accounts").await;
    assert_eq!(
        status, 200,
        "an absolute target of our own host is allowed: {answer}"
    );
}
