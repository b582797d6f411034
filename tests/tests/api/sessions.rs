//! Staying logged in, and being logged out.

use chrono::Duration;
use platform::client::{Answer, Customer, text_of};
use platform::{Client, Platform};
use serde_json::json;

const ME: &str = "/api/v1/auth/me";

async fn refresh(client: &Client, refresh_token: &str) -> Answer {
    client
        .post("/api/v1/auth/refresh", json!({ "refresh_token": refresh_token }))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_by_refreshing_after_its_access_token_has_expired() {
    let platform = Platform::start().await;
    let client = platform.client();
    let mut ada = platform.register("ada").await;
    for _ in 0..3 {
        platform.clock.advance(Duration::minutes(5));
        ada.get(ME).await.must_be_problem(401, "token_expired");
        let refreshed = refresh(&client, &ada.refresh_token).await.must_be(200);
        assert!(
            refreshed.get("session_id").is_none(),
            "the session's secret is shown again"
        );
        let next = Customer::from_login(&client, &ada.email, &refreshed);
        assert_ne!(next.refresh_token, ada.refresh_token);
        next.get(ME).await.must_be(200);
        ada = next;
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_comes_twice_ends_its_session_and_no_other() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let elsewhere = ada.log_in_again().await;
    let refreshed = refresh(&client, &ada.refresh_token).await.must_be(200);
    platform.clock.advance(Duration::seconds(20));
    let stolen = refresh(&client, &ada.refresh_token).await;
    stolen.must_be_problem(401, "invalid_refresh_token");
    let next = refresh(&client, &text_of(&refreshed, "refresh_token")).await;
    next.must_be_problem(401, "invalid_refresh_token");
    ada.get(ME).await.must_be_problem(401, "session_revoked");
    elsewhere.get(ME).await.must_be(200);
    refresh(&client, &elsewhere.refresh_token).await.must_be(200);
    platform.stop().await.unwrap();
}

/// Again when nobody had time for it, as clients do.
async fn refresh_until_answered(client: &Client, token: &str) -> Answer {
    loop {
        let answer = refresh(client, token).await;
        if answer.status != 503 {
            return answer;
        }
    }
}

/// Every client refreshes with each of its tokens many times at once, as tabs and retries do, and goes on with what it got.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_at_once_log_nobody_out_and_fork_no_session() {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 10;
    const AT_ONCE: usize = 16;
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push(ada.log_in_again().await);
    }
    let go_on = sessions.into_iter().map(|session| {
        let client = client.clone();
        async move {
            let mut token = session.refresh_token.clone();
            for round in 0..ROUNDS {
                let refreshes = (0..AT_ONCE).map(|_| refresh_until_answered(&client, &token));
                let answers = futures_util::future::join_all(refreshes).await;
                let mut next: Vec<String> = answers
                    .into_iter()
                    .map(|answer| text_of(&answer.must_be(200), "refresh_token"))
                    .collect();
                next.dedup();
                assert_eq!(next.len(), 1, "round {round} forked: {next:?}");
                token = next.remove(0);
            }
            session
        }
    });
    for session in futures_util::future::join_all(go_on).await {
        session.get(ME).await.must_be(200);
    }
    let sql = platform.sql().await;
    let count = "SELECT count(*) FROM auth.refresh_tokens WHERE session_id IN (
        SELECT id FROM auth.sessions WHERE revoked_at IS NULL)";
    let tokens: i64 = sql.query_one(count, &[]).await.unwrap().get(0);
    // One for each round and the login before it, and the one of the first login.
    assert_eq!(usize::try_from(tokens).unwrap(), CLIENTS * (ROUNDS + 1) + 1);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_with_the_same_token_ends_the_session_at_once() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    refresh(&client, &ada.refresh_token).await.must_be(200);
    let elsewhere = client
        .request(reqwest::Method::POST, "/api/v1/auth/refresh")
        .header("user-agent", "somebody else's");
    let stolen = elsewhere.json(&json!({ "refresh_token": ada.refresh_token }));
    client
        .send(stolen)
        .await
        .must_be_problem(401, "invalid_refresh_token");
    ada.get(ME).await.must_be_problem(401, "session_revoked");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_ends_this_session_and_no_other() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let elsewhere = ada.log_in_again().await;
    ada.post_empty("/api/v1/auth/logout").await.must_be(204);
    ada.get(ME).await.must_be_problem(401, "session_revoked");
    ada.post_empty("/api/v1/auth/logout")
        .await
        .must_be_problem(401, "session_revoked");
    let refused = refresh(&client, &ada.refresh_token).await;
    refused.must_be_problem(401, "invalid_refresh_token");
    elsewhere.get(ME).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_nobody_uses_ends() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    platform.clock.advance(Duration::days(8));
    let refused = refresh(&platform.client(), &ada.refresh_token).await;
    refused.must_be_problem(401, "invalid_refresh_token");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_refresh_token_is_refused() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    for token in [
        &ada.access_token,
        &ada.session_id,
        "rt_",
        "",
        "rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        refresh(&client, token)
            .await
            .must_be_problem(401, "invalid_refresh_token");
    }
    let body = json!({ "refresh_token": 7 });
    let answer = client.post("/api/v1/auth/refresh", body).await;
    answer.must_be_problem(400, "invalid_body");
    // None of this was a use of the real one.
    refresh(&client, &ada.refresh_token).await.must_be(200);
    platform.stop().await.unwrap();
}
