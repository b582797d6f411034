//! How often one may ask.

use gateway::config::LimitsConfig;

use crate::stack::{Settings, Stack, problem};

async fn stack_with(address: u32, user: u32, login: u32) -> Stack {
    let limits = LimitsConfig {
        address_per_minute: address,
        user_per_minute: user,
        login_per_minute: login,
    };
    Stack::with(Settings {
        limits,
        trusted_proxies: vec!["127.0.0.1".to_owned()],
        ..Settings::default()
    })
    .await
}

fn text(answer: &reqwest::Response, name: &str) -> String {
    answer.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_proxied_answer_tells_the_limits() {
    let stack = stack_with(600, 1200, 30).await;
    let answer = stack.authorised("GET", "/api/v1/accounts").send().await.unwrap();
    assert_eq!(
        text(&answer, "ratelimit-policy"),
        r#""address";q=600;w=60, "user";q=1200;w=60"#
    );
    assert_eq!(
        text(&answer, "ratelimit"),
        r#""address";r=599;t=1, "user";r=1199;t=1"#
    );
    let answer = stack.request("POST", "/api/v1/auth/login").send().await.unwrap();
    assert_eq!(
        text(&answer, "ratelimit-policy"),
        r#""address";q=600;w=60, "login";q=30;w=60"#
    );
    // One more is allowed again each tenth of a second, which a busy machine may have taken.
    let told = text(&answer, "ratelimit");
    let expected = [598, 599].map(|left| format!(r#""address";r={left};t=1, "login";r=29;t=2"#));
    assert!(expected.contains(&told), "{told}");
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits() {
    let stack = stack_with(3, 100, 100).await;
    for _ in 0..3 {
        // Requests that are refused count as well.
        assert_eq!(
            stack
                .request("GET", "/api/v1/accounts")
                .send()
                .await
                .unwrap()
                .status(),
            401
        );
    }
    let answer = stack.authorised("GET", "/api/v1/accounts").send().await.unwrap();
    let wait: u64 = text(&answer, "retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert!(text(&answer, "ratelimit").starts_with(r#""address";r=0;t="#));
    let (status, refusal) = problem(answer).await;
    assert_eq!((status, refusal["code"].as_str()), (429, Some("rate_limited")));
    let elsewhere = stack
        .authorised("GET", "/api/v1/accounts")
        .header("x-forwarded-for", "203.0.113.9");
    assert_eq!(elsewhere.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_user_is_limited_wherever_it_asks_from() {
    let stack = stack_with(100, 2, 100).await;
    let token = stack.signer.token();
    let ask = |address: &'static str| {
        let request = stack.request("GET", "/api/v1/accounts").bearer_auth(&token);
        request.header("x-forwarded-for", address).send()
    };
    assert_eq!(ask("203.0.113.1").await.unwrap().status(), 200);
    assert_eq!(ask("203.0.113.2").await.unwrap().status(), 200);
    assert_eq!(ask("203.0.113.3").await.unwrap().status(), 429);
    assert_eq!(
        stack
            .authorised("GET", "/api/v1/accounts")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn attempts_at_a_credential_have_their_own_limit() {
    let stack = stack_with(100, 100, 2).await;
    let attempt = |path: &'static str| stack.request("POST", path).send();
    assert_eq!(attempt("/api/v1/auth/login").await.unwrap().status(), 200);
    assert_eq!(attempt("/api/v1/auth/register").await.unwrap().status(), 200);
    assert_eq!(attempt("/api/v1/auth/refresh").await.unwrap().status(), 429);
    assert_eq!(
        stack
            .authorised("GET", "/api/v1/accounts")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}
