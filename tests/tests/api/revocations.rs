//! A session's own credential at the gateway, and that what was revoked is refused everywhere at once.

use std::time::{Duration, Instant};

use platform::client::{Answer, eventually, new_key, transfer_body};
use platform::platform::Replica;
use platform::{Client, Customer, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::ServiceTokens;

/// A path of each service that anybody who is logged in may ask for.
const PROTECTED: [(Service, &str); 3] = [
    (Service::Auth, "/api/v1/auth/me"),
    (Service::Accounts, "/api/v1/accounts"),
    (Service::Transactions, "/api/v1/transfers"),
];
const LOGOUT: &str = "/api/v1/auth/logout";

async fn with_session(client: &Client, method: Method, path: &str, session: &str) -> Answer {
    let request = client.request(method, path).header("x-session-id", session);
    client.send(request).await
}

/// How long it took until `customer`'s access token was refused where no service looks at sessions.
async fn time_to_refusal(customer: &Customer) -> Duration {
    let started = Instant::now();
    loop {
        let answer = customer.get("/api/v1/accounts").await;
        if answer.status == 401 {
            answer.must_be_problem(401, "session_revoked");
            return started.elapsed();
        }
        answer.must_be(200);
        assert!(started.elapsed() < Duration::from_secs(10), "still let in");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_credential_is_as_good_as_its_access_tokens_at_the_gateway_and_nowhere_else() {
    let platform = Platform::start().await;
    let (ada, client) = (platform.register("ada").await, platform.client());
    let account = ada.open_funded_account(1_000, "USD").await;
    let other = ada.open_account("USD").await;
    for (service, path) in PROTECTED {
        with_session(&client, Method::GET, path, &ada.session_id)
            .await
            .must_be(200);
        let cookie = client
            .request(Method::GET, path)
            .header("cookie", format!("session_id={}", ada.session_id));
        client.send(cookie).await.must_be(200);
        let past = with_session(&platform.client_of(service), Method::GET, path, &ada.session_id).await;
        past.must_be_problem(401, "missing_token");
    }
    let transfer = client
        .request(Method::POST, "/api/v1/transfers")
        .header("x-session-id", &ada.session_id)
        .header("idempotency-key", new_key());
    let transfer = transfer.json(&transfer_body(&account, &other, 100, "USD"));
    client.send(transfer).await.must_be(201);
    for wrong in ["ses_unknown", &ada.refresh_token, &ada.access_token] {
        let refused = with_session(&client, Method::GET, PROTECTED[1].1, wrong).await;
        refused.must_be_problem(401, "invalid_session");
    }
    with_session(&client, Method::POST, LOGOUT, &ada.session_id)
        .await
        .must_be(204);
    eventually("the session is refused", async || {
        let answer = with_session(&client, Method::GET, PROTECTED[1].1, &ada.session_id).await;
        (answer.status == 401).then_some(())
    })
    .await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_while_its_credential_is_used() {
    let platform = Platform::start().await;
    let (ada, client) = (platform.register("ada").await, platform.client());
    for _ in 0..4 {
        platform.clock.advance(chrono::Duration::days(6));
        with_session(&client, Method::GET, "/api/v1/accounts", &ada.session_id)
            .await
            .must_be(200);
    }
    // 30 days after the login it ends all the same.
    platform.clock.advance(chrono::Duration::days(6));
    let ended = with_session(&client, Method::GET, "/api/v1/accounts", &ada.session_id).await;
    ended.must_be_problem(401, "invalid_session");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_session_is_felt_everywhere_within_a_second() {
    let platform = Platform::start().await;
    let mut took = Vec::new();
    for round in 0..8 {
        let ada = platform.register(&format!("ada{round}")).await;
        let elsewhere = ada.log_in_again().await;
        elsewhere.get("/api/v1/accounts").await.must_be(200);
        elsewhere.post_empty(LOGOUT).await.must_be(204);
        took.push(time_to_refusal(&elsewhere).await);
        ada.get("/api/v1/accounts").await.must_be(200);
    }
    println!("from a logout to the refusal: {took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_secs(1)), "{took:?}");

    // A password change, and a row that is deleted.
    let ada = platform.register("ada").await;
    let elsewhere = ada.log_in_again().await;
    let change = json!({
        "current_password": platform::client::PASSWORD, "new_password": "copper-meadow-17-telescope",
    });
    ada.post("/api/v1/auth/password/change", change)
        .await
        .must_be(204);
    time_to_refusal(&elsewhere).await;
    let sql = platform.sql().await;
    sql.batch_execute("DELETE FROM auth.sessions WHERE revoked_at IS NULL")
        .await
        .unwrap();
    time_to_refusal(&ada).await;
    platform.stop().await.unwrap();
}

/// Sessions are ended at either replica of auth-service, and in turn one gateway and the other has seen the token before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_of_everything_agree_on_what_was_revoked() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let at = |service, number| {
        Client::new(
            platform.http.clone(),
            platform.url_of(Replica { service, number }),
        )
    };
    let gateways = [0, 1].map(|number| at(Service::Gateway, number));
    let ada = platform.register("ada").await;
    for round in 0..8 {
        let ended = ada.log_in_again().await;
        let known_to = gateways[round % 2].with_token(&ended.access_token);
        known_to.get("/api/v1/accounts").await.must_be(200);
        let auth = at(Service::Auth, round / 2 % 2).with_token(&ended.access_token);
        auth.post_empty(LOGOUT).await.must_be(204);
        for gateway in &gateways {
            let ended = gateway.with_token(&ended.access_token);
            eventually("every gateway refuses the session", async || {
                let answer = ended.get("/api/v1/accounts").await;
                (answer.status == 401).then(|| answer.must_be_problem(401, "session_revoked").clone())
            })
            .await;
            // For good, and only that one.
            ended
                .get("/api/v1/accounts")
                .await
                .must_be_problem(401, "session_revoked");
            let goes_on = gateway.with_token(&ada.access_token);
            goes_on.get("/api/v1/accounts").await.must_be(200);
        }
        for number in [0, 1] {
            let refresh = json!({ "refresh_token": ended.refresh_token });
            let refused = at(Service::Auth, number)
                .post("/api/v1/auth/refresh", refresh)
                .await;
            refused.must_be_problem(401, "invalid_refresh_token");
        }
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_while_auth_service_was_down_is_caught_up_and_money_waits_meanwhile() {
    let platform = Platform::builder()
        .set(Service::Gateway, "REVOCATION_MAX_STALENESS_S", 3)
        .start()
        .await
        .unwrap();
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let account = bob.open_funded_account(1_000, "USD").await;
    platform.stop_service(Service::Auth).await.unwrap();
    let sql = platform.sql().await;
    let revoke = "UPDATE auth.sessions SET revoked_at = now() WHERE user_id = (
        SELECT id FROM auth.users ORDER BY created_at LIMIT 1)";
    assert_eq!(sql.execute(revoke, &[]).await.unwrap(), 1);
    eventually("no money is moved", async || {
        let refused = bob.deposit(&account, 1, "USD").await;
        (refused.status == 503).then(|| refused.must_be_problem(503, "authentication_unavailable").clone())
    })
    .await;
    bob.get("/api/v1/accounts").await.must_be(200);
    ada.get("/api/v1/accounts").await.must_be(200);
    platform.start_service(Service::Auth).await.unwrap();
    eventually("money is moved again", async || {
        (bob.deposit(&account, 1, "USD").await.status == 201).then_some(())
    })
    .await;
    ada.get("/api/v1/accounts")
        .await
        .must_be_problem(401, "session_revoked");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_are_numbered_in_the_order_of_their_commits_without_a_gap() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let mut sessions = Vec::new();
    for _ in 0..24 {
        sessions.push(ada.log_in_again().await);
    }
    let logouts = sessions.iter().map(|session| session.post_empty(LOGOUT));
    for answer in futures_util::future::join_all(logouts).await {
        answer.must_be(204);
    }
    let secrets = [platform.server.secrets.service_secret.clone().into()];
    let ask = async |caller: &'static str, path: &str| {
        let tokens = ServiceTokens::new(caller, &secrets, platform.clock.clone()).unwrap();
        let auth = platform.client_of(Service::Auth);
        auth.with_token(&tokens.issue("auth-service").unwrap())
            .get(path)
            .await
    };
    let feed = |answer: Answer| -> (Vec<i64>, i64) {
        let body: Value = answer.must_be(200);
        let numbers = body["revocations"].as_array().unwrap().iter();
        let numbers = numbers.map(|entry| entry["number"].as_i64().unwrap()).collect();
        (numbers, body["last"].as_i64().unwrap())
    };
    let all = feed(ask("gateway", "/internal/revocations").await);
    assert_eq!(all, ((1..=24).collect(), 24));
    let some = feed(ask("gateway", "/internal/revocations?after=20").await);
    assert_eq!(some, ((21..=24).collect(), 24));
    assert_eq!(
        feed(ask("gateway", "/internal/revocations?after=24").await),
        (vec![], 24)
    );
    let not_its_job = ask("ml-service", "/internal/revocations").await;
    not_its_job.must_be_problem(403, "caller_not_allowed");
    platform.stop().await.unwrap();
}
