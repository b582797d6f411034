//! Staying logged in, and being logged out.

use chrono::Duration;
use platform::client::{Answer, Customer, PASSWORD, text_of};
use platform::{Client, Platform};
use reqwest::Method;
use serde_json::json;

const ME: &str = "/api/v1/auth/me";
const SESSIONS: &str = "/api/v1/auth/sessions";

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
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// So many clients refresh with each of so many tokens so often at once, as tabs and retries do, and go on with what they got.
async fn refresh_at_once(clients: usize, tokens: usize, at_once: usize) {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let client = platform.client();
    let ada = platform.register("ada").await;
    let mut sessions = Vec::new();
    for _ in 0..clients {
        sessions.push(ada.log_in_again().await);
    }
    let go_on = sessions.into_iter().map(|session| {
        let client = client.clone();
        async move {
            let mut token = session.refresh_token.clone();
            for round in 0..tokens {
                let refreshes = (0..at_once).map(|_| refresh_until_answered(&client, &token));
                let answers = futures_util::future::join_all(refreshes).await;
                let mut next: Vec<String> = answers
                    .into_iter()
                    .map(|answer| text_of(&answer.must_be(200), "refresh_token"))
                    .collect();
                next.dedup();
                assert_eq!(next.len(), 1, "token {round} forked: {next:?}");
                token = next.remove(0);
            }
            let refreshed = refresh(&client, &token).await.must_be(200);
            Customer::from_login(&client, &session.email, &refreshed)
        }
    });
    for session in futures_util::future::join_all(go_on).await {
        session.get(ME).await.must_be(200);
    }
    let sql = platform.sql().await;
    let count = "SELECT count(*) FILTER (WHERE used_at IS NULL), count(*) FROM auth.refresh_tokens WHERE session_id IN (
        SELECT id FROM auth.sessions WHERE revoked_at IS NULL)";
    let row = sql.query_one(count, &[]).await.unwrap();
    let (unused, all): (i64, i64) = (row.get(0), row.get(1));
    // The first login has one as well. Besides, there is the one of each login, and one for each exchange.
    assert_eq!(usize::try_from(unused).unwrap(), clients + 1);
    assert_eq!(usize::try_from(all).unwrap(), clients * (tokens + 2) + 1);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_at_once_log_nobody_out_and_fork_no_session() {
    refresh_at_once(6, 10, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: .ci/nightly runs it"]
async fn a_hundred_thousand_refreshes_log_nobody_out_and_fork_no_session() {
    refresh_at_once(25, 250, 16).await;
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
async fn sessions_are_listed_with_their_device_and_ended_one_by_one_or_all() {
    let platform = Platform::start().await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let phone = platform
        .client()
        .request(Method::POST, "/api/v1/auth/login")
        .header("user-agent", "Ada's app/7")
        .header("x-device-id", "phone-1")
        .json(&json!({ "email": ada.email, "password": PASSWORD }));
    let phone = platform.client().send(phone).await.must_be(200);
    let phone = Customer::from_login(&platform.client(), &ada.email, &phone);
    let (laptop, tablet) = (ada.log_in_again().await, ada.log_in_again().await);
    let list = async |customer: &Customer| {
        let listed = customer.get(SESSIONS).await.must_be(200);
        listed["sessions"].as_array().unwrap().clone()
    };
    let listed = list(&ada).await;
    assert_eq!(listed.len(), 4, "{listed:?}");
    let current: Vec<bool> = listed.iter().map(|it| it["current"].as_bool().unwrap()).collect();
    // The one used last comes first, and these were not used since they began.
    assert_eq!(current, [false, false, false, true]);
    let of_phone = listed.iter().find(|it| it["device_id"] == "phone-1").unwrap();
    assert_eq!(
        (&of_phone["user_agent"], &of_phone["ip"], &of_phone["amr"]),
        (&json!("Ada's app/7"), &json!("127.0.0.1"), &json!(["pwd"]))
    );
    assert_eq!(list(&bob).await.len(), 1);

    let delete =
        async |customer: &Customer, path: &str| customer.send(customer.request(Method::DELETE, path)).await;
    let path = format!("{SESSIONS}/{}", text_of(of_phone, "id"));
    delete(&bob, &path).await.must_be_problem(404, "not_found");
    phone.get(ME).await.must_be(200);
    delete(&ada, &path).await.must_be(204);
    phone.get(ME).await.must_be_problem(401, "session_revoked");
    delete(&ada, &path).await.must_be_problem(404, "not_found");
    laptop.get(ME).await.must_be(200);

    let revoked = delete(&ada, SESSIONS).await.must_be(200);
    assert_eq!(revoked, json!({ "revoked": 2 }));
    for ended in [&laptop, &tablet] {
        ended.get(ME).await.must_be_problem(401, "session_revoked");
    }
    let again = ada.log_in_again().await;
    let all = format!("{SESSIONS}?include_current=true");
    let revoked = delete(&ada, &all).await.must_be(200);
    assert_eq!(revoked, json!({ "revoked": 2 }));
    for ended in [&ada, &again] {
        ended.get(ME).await.must_be_problem(401, "session_revoked");
    }
    bob.get(ME).await.must_be(200);
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
