//! Registering, logging in with a password, and changing it.

use chrono::Duration;
use platform::client::{Answer, Customer, PASSWORD};
use platform::{Client, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";
const CHANGE: &str = "/api/v1/auth/password/change";
const ANOTHER_PASSWORD: &str = "copper-meadow-17-telescope";

async fn log_in(client: &Client, email: &str, password: &str) -> Answer {
    client
        .post(LOGIN, json!({ "email": email, "password": password }))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_registers_logs_in_and_sees_who_they_are() {
    let platform = Platform::start().await;
    let client = platform.client();
    let registration = json!({ "email": "Ada@Example.com", "password": PASSWORD, "name": "Ada Lovelace" });
    let user = client.post(REGISTER, registration).await.must_be(201)["user"].clone();
    assert!(user["id"].as_str().unwrap().starts_with("usr_"), "{user}");
    assert_eq!(user["email"], "ada@example.com");
    assert_eq!(user["roles"], json!(["customer"]));
    assert!(!user.to_string().contains("password"), "{user}");

    let login = log_in(&client, "ada@example.com", PASSWORD).await.must_be(200);
    assert_eq!(login["expires_in"], 300);
    assert_eq!(login["token_type"], "Bearer");
    assert!(
        login["session_id"].as_str().unwrap().starts_with("ses_"),
        "{login}"
    );
    assert_eq!(login["user"], user);
    let ada = Customer::from_login(&client, "ada@example.com", &login);
    let me = ada.get("/api/v1/auth/me").await.must_be(200);
    assert_eq!(me["user"], user);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_email_is_one_user_however_it_is_written() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let client = platform.client();
    for email in ["ada@example.com", "ADA@example.com", " Ada@Example.COM "] {
        let again = json!({ "email": email, "password": PASSWORD, "name": "Ada" });
        client
            .post(REGISTER, again)
            .await
            .must_be_problem(409, "email_taken");
        log_in(&client, email, PASSWORD).await.must_be(200);
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_registrations_at_once_one_succeeds() {
    let platform = Platform::start().await;
    let client = platform.client();
    let registrations = (0..8).map(|_| {
        let body = json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada" });
        client.post(REGISTER, body)
    });
    let mut statuses: Vec<u16> = futures_util::future::join_all(registrations)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[201].as_slice(), &[409; 7]].concat());
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_is_wrong_is_told_where() {
    let platform = Platform::start().await;
    let client = platform.client();
    let with = |member: &str, value: Value| {
        let mut body = json!({ "email": "eve@example.com", "password": PASSWORD, "name": "Eve" });
        body[member] = value;
        body
    };
    for (member, value) in [
        ("email", json!("eve")),
        ("email", json!("eve@")),
        ("email", json!("eve@example.com\u{0}")),
        ("email", json!("e v e@example.com")),
        ("email", json!(format!("{}@example.com", "e".repeat(300)))),
        ("email", json!(7)),
        ("email", Value::Null),
        ("name", json!("")),
        ("name", json!("a\nb")),
        ("name", json!("x".repeat(101))),
        ("password", json!("x".repeat(257))),
        ("password", json!("")),
        ("roles", json!(["admin"])),
        ("status", json!("active")),
    ] {
        let answer = client.post(REGISTER, with(member, value.clone())).await;
        answer.must_be_problem(400, "invalid_body");
        assert_eq!(answer.pointers(), [format!("/{member}")], "{value} {answer}");
    }
    for weak in [
        "short7!",
        "password1",
        "1234567890",
        "eve@example.com",
        "aaaaaaaaaaaaaaaa",
    ] {
        let answer = client.post(REGISTER, with("password", json!(weak))).await;
        answer.must_be_problem(422, "weak_password");
    }
    let missing = client.post(REGISTER, json!({ "email": "eve@example.com" })).await;
    missing.must_be_problem(400, "invalid_body");
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\u{7}",
        "{\"email\":\"a\",\"email\":\"b\"}",
    ] {
        let request = client
            .request(Method::POST, REGISTER)
            .header("content-type", "application/json");
        let answer = client.send(request.body(body)).await;
        assert_eq!(answer.status, 400, "{body:?} {answer}");
    }
    let as_text = client
        .request(Method::POST, REGISTER)
        .header("content-type", "text/plain");
    let answer = client.send(as_text.body("{}")).await;
    answer.must_be_problem(415, "unsupported_media_type");
    let answer = client
        .post(REGISTER, with("name", json!("x".repeat(70_000))))
        .await;
    answer.must_be_problem(413, "body_too_large");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let client = platform.client();
    let without_id = |answer: &Answer| {
        let mut body = answer.must_be_problem(401, "invalid_credentials").clone();
        body.as_object_mut().unwrap().remove("request_id");
        body
    };
    let wrong = log_in(&client, "ada@example.com", "not-the-password").await;
    let unknown = log_in(&client, "bob@example.com", "not-the-password").await;
    assert_eq!(without_id(&wrong), without_id(&unknown));
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_gets_slower_for_known_and_unknown_users_alike_and_success_forgets() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let client = platform.client();
    for email in ["ada@example.com", "nobody@example.com"] {
        let mut wait_s = 0;
        for _ in 0..7 {
            platform.clock.advance(Duration::seconds(wait_s));
            let refused = log_in(&client, email, "not-the-password").await;
            assert_eq!(
                (refused.status, refused.code()),
                (401, "invalid_credentials"),
                "{refused}"
            );
            let next = log_in(&client, email, PASSWORD).await;
            if next.status == 429 {
                next.must_be_problem(429, "rate_limited");
                wait_s = next.header("retry-after").unwrap().parse().unwrap();
            } else if email.starts_with("ada") {
                next.must_be(200);
                // Success took the failures back, so only failures in a row count from here.
                for _ in 0..5 {
                    log_in(&client, email, "not-the-password").await;
                }
                wait_s = 2;
            }
        }
        assert!(wait_s >= 2, "{email} may try again after {wait_s} s");
    }
    platform.clock.advance(Duration::minutes(1));
    log_in(&client, "ada@example.com", PASSWORD).await.must_be(200);
    platform.stop().await.unwrap();
}

/// Guesses without a pause, from as many new devices as there are guesses, while the owner logs in again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attacker_keeps_nobody_out_who_has_logged_in_before_with_the_device() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let (client, bob) = (platform.client(), platform.register("bob").await);
    let token = log_in(&client, "ada@example.com", PASSWORD).await.must_be(200)["device_token"].clone();
    let bobs = log_in(&client, &bob.email, PASSWORD).await.must_be(200)["device_token"].clone();
    let from = async |device: &Value, password: &str| {
        let request = client.request(Method::POST, LOGIN);
        let request = request.header("x-device-token", device.as_str().unwrap());
        client
            .send(request.json(&json!({ "email": "ada@example.com", "password": password })))
            .await
    };
    let attacked = tokio_util::sync::CancellationToken::new();
    let attacker = tokio::spawn({
        let (client, attacked) = (client.clone(), attacked.clone());
        async move {
            let mut refused = 0;
            while !attacked.is_cancelled() {
                refused += usize::from(log_in(&client, "ada@example.com", "guess").await.status == 429);
            }
            refused
        }
    });
    // Not with the right password, which would take the attacker's failures back.
    let other_device = async || log_in(&client, "ada@example.com", "another guess").await;
    platform::client::eventually("unknown devices are slowed down", async || {
        (other_device().await.status == 429).then_some(())
    })
    .await;
    for _ in 0..20 {
        from(&token, PASSWORD).await.must_be(200);
    }
    // Nobody borrows that: neither with a token of their own, nor by guessing from the owner's device.
    from(&bobs, PASSWORD).await.must_be_problem(429, "rate_limited");
    for _ in 0..5 {
        from(&token, "guess")
            .await
            .must_be_problem(401, "invalid_credentials");
    }
    from(&token, "guess").await.must_be_problem(429, "rate_limited");
    attacked.cancel();
    assert!(attacker.await.unwrap() > 20);
    platform.stop().await.unwrap();
}

/// Many more passwords at once than may wait, at their cost in production; the bench prints what others feel of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_is_shed_and_starves_nobody() {
    const GUESSERS: usize = 32;
    const GUESSES: usize = 4;
    let platform = Platform::builder()
        .set(Service::Auth, "PASSWORD_HASH_MEMORY_KIB", 19_456)
        .set(Service::Auth, "PASSWORD_HASH_ITERATIONS", 2)
        .set(Service::Auth, "PASSWORD_HASH_QUEUE", 2)
        .start()
        .await
        .unwrap();
    let (ada, client) = (platform.register("ada").await, platform.client());
    let guessers = (0..GUESSERS).map(|guesser| {
        let client = client.clone();
        async move {
            let mut answers = Vec::new();
            for guess in 0..GUESSES {
                let email = format!("guess{guesser}.{guess}@example.com");
                answers.push(log_in(&client, &email, "not-the-password").await);
            }
            answers
        }
    });
    let flood = tokio::spawn(futures_util::future::join_all(guessers));
    let mut checks = 0;
    while !flood.is_finished() {
        ada.get("/api/v1/auth/me").await.must_be(200);
        ada.get("/api/v1/accounts").await.must_be(200);
        checks += 1;
    }
    let answers = flood.await.unwrap().concat();
    let mut shed = 0;
    for answer in &answers {
        if answer.status == 503 {
            answer.must_be_problem(503, "overloaded");
            let wait_s: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(wait_s >= 1, "{answer}");
            shed += 1;
        } else {
            answer.must_be_problem(401, "invalid_credentials");
        }
    }
    assert!(
        (1..GUESSERS * GUESSES).contains(&shed) && checks > 0,
        "{shed} of {} guesses were shed during {checks} checks",
        answers.len()
    );
    log_in(&client, &ada.email, PASSWORD).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_that_race_each_other_are_counted_like_guesses_in_a_row() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let client = platform.client();
    let guesses = (0..40).map(|number| {
        let client = client.clone();
        async move {
            log_in(&client, "ada@example.com", &format!("guess-{number}"))
                .await
                .status
        }
    });
    let statuses = futures_util::future::join_all(guesses).await;
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert!(
        looked_at <= 7,
        "{looked_at} of 40 guesses were looked at: {statuses:?}"
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_the_password_ends_every_other_session() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let elsewhere = ada.log_in_again().await;
    let change = json!({ "current_password": PASSWORD, "new_password": ANOTHER_PASSWORD });
    ada.post(CHANGE, change.clone()).await.must_be(204);

    ada.get("/api/v1/auth/me").await.must_be(200);
    let ended = elsewhere.get("/api/v1/auth/me").await;
    ended.must_be_problem(401, "session_revoked");
    let refresh = json!({ "refresh_token": elsewhere.refresh_token });
    let refused = elsewhere.post("/api/v1/auth/refresh", refresh).await;
    refused.must_be_problem(401, "invalid_refresh_token");
    let client = platform.client();
    let old = log_in(&client, "ada@example.com", PASSWORD).await;
    old.must_be_problem(401, "invalid_credentials");
    log_in(&client, "ada@example.com", ANOTHER_PASSWORD)
        .await
        .must_be(200);
    ada.post(CHANGE, change)
        .await
        .must_be_problem(422, "wrong_password");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_changed_only_by_who_knows_it_and_only_to_a_good_one() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let wrong = ada
        .post(CHANGE, change("not-the-password", ANOTHER_PASSWORD))
        .await;
    wrong.must_be_problem(422, "wrong_password");
    let weak = ada.post(CHANGE, change(PASSWORD, "password1")).await;
    weak.must_be_problem(422, "weak_password");
    let mut unknown = change(PASSWORD, ANOTHER_PASSWORD);
    unknown["user_id"] = json!(ada.user_id);
    ada.post(CHANGE, unknown)
        .await
        .must_be_problem(400, "invalid_body");
    log_in(&platform.client(), "ada@example.com", PASSWORD)
        .await
        .must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_in_the_tokens_issued_after_it_was_granted() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    ada.get("/api/v1/audit-log")
        .await
        .must_be_problem(403, "role_required");
    platform.grant_role(&ada.email, Role::Compliance).await.unwrap();
    ada.get("/api/v1/audit-log")
        .await
        .must_be_problem(403, "role_required");
    let refresh = json!({ "refresh_token": ada.refresh_token });
    let refreshed = ada.post("/api/v1/auth/refresh", refresh).await.must_be(200);
    assert_eq!(refreshed["user"]["roles"], json!(["customer", "compliance"]));
    let ada = Customer::from_login(&platform.client(), &ada.email, &refreshed);
    ada.get("/api/v1/audit-log").await.must_be(200);
    assert!(
        platform
            .grant_role("nobody@example.com", Role::Admin)
            .await
            .is_err()
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_token_or_session_is_stored_as_it_is() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let sql = platform.sql().await;
    for table in ["users", "sessions", "refresh_tokens", "login_attempts"] {
        let rows = sql
            .query(&format!("SELECT t::text FROM auth.{table} t"), &[])
            .await
            .unwrap();
        for row in rows {
            let row: String = row.get(0);
            for secret in [PASSWORD, &ada.access_token, &ada.refresh_token, &ada.session_id] {
                // In bytea columns a text would be in hexadecimal.
                let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                assert!(
                    !row.contains(secret) && !row.contains(&hexadecimal),
                    "{table}: {row}"
                );
            }
        }
    }
    platform.stop().await.unwrap();
}
