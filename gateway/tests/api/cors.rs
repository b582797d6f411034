//! Browser apps of other origins.

use crate::stack::{Settings, Stack, problem};

const APP: &str = "https://app.example.com";

async fn stack() -> Stack {
    Stack::with(Settings {
        cors_origins: vec![APP.to_owned()],
        ..Settings::default()
    })
    .await
}

fn preflight(stack: &Stack, origin: &str) -> reqwest::RequestBuilder {
    stack
        .request("OPTIONS", "/api/v1/transfers")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,idempotency-key",
        )
}

#[tokio::test]
async fn an_allowed_origin_may_call() {
    let stack = stack().await;
    let answer = preflight(&stack, APP).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], APP);
    let allowed = headers["access-control-allow-headers"]
        .to_str()
        .unwrap()
        .to_ascii_lowercase();
    for name in ["authorization", "content-type", "idempotency-key"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(
        headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    assert!(headers["vary"].to_str().unwrap().contains("Origin"));
}

#[tokio::test]
async fn its_pages_may_read_every_answer_even_a_refusal() {
    let stack = stack().await;
    for (request, status) in [
        (stack.authorised("GET", "/api/v1/accounts"), 200),
        (stack.request("GET", "/api/v1/accounts"), 401),
        (stack.request("GET", "/nothing"), 404),
    ] {
        let answer = request.header("origin", APP).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["access-control-allow-origin"], APP);
        let exposed = answer.headers()["access-control-expose-headers"]
            .to_str()
            .unwrap();
        for name in ["RateLimit", "Retry-After", "Idempotent-Replayed", "X-Request-Id"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
}

#[tokio::test]
async fn another_origin_may_not() {
    let stack = stack().await;
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.com.evil.example",
    ] {
        let answer = preflight(&stack, origin).send().await.unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        let (status, refusal) = problem(answer).await;
        assert_eq!(
            (status, refusal["code"].as_str()),
            (403, Some("origin_not_allowed"))
        );
        let answer = stack
            .authorised("GET", "/api/v1/accounts")
            .header("origin", origin)
            .send()
            .await
            .unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        assert!(answer.headers()["vary"].to_str().unwrap().contains("origin"));
    }
}
