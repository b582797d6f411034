//! What is sent by mail and what it is good for: verifying the e-mail, resetting the password, logging in without one.

use chrono::Duration;
use platform::client::{Answer, Customer, PASSWORD, text_of};
use platform::{Client, Platform, Service};
use serde_json::json;

const ME: &str = "/api/v1/auth/me";
const LOGIN: &str = "/api/v1/auth/login";
const VERIFY: &str = "/api/v1/auth/email/verify";
const ASK_VERIFICATION: &str = "/api/v1/auth/email/verification";
const ASK_RESET: &str = "/api/v1/auth/password/reset/request";
const VALIDATE_RESET: &str = "/api/v1/auth/password/reset/validate";
const RESET: &str = "/api/v1/auth/password/reset/complete";
const ASK_LINK: &str = "/api/v1/auth/login/links";
const USE_LINK: &str = "/api/v1/auth/login/links/use";
const ASK_CODE: &str = "/api/v1/auth/login/codes";
const USE_CODE: &str = "/api/v1/auth/login/codes/use";
const ADA: &str = "ada@example.com";
const ANOTHER_PASSWORD: &str = "copper-meadow-17-telescope";

async fn log_in(client: &Client, password: &str) -> Answer {
    client
        .post(LOGIN, json!({ "email": ADA, "password": password }))
        .await
}

/// Asks for a mail, and gives the token in it.
async fn token_of(platform: &Platform, ask: &str, kind: &str) -> String {
    let before = platform.inbox.of(ADA, kind).len();
    platform
        .client()
        .post(ask, json!({ "email": ADA }))
        .await
        .must_be(202);
    platform.inbox.wait_for(ADA, kind, before + 1).await.token()
}

/// The request of a code, and the code.
async fn code_of(platform: &Platform) -> (String, String) {
    let before = platform.inbox.of(ADA, "login_code").len();
    let asked = platform
        .client()
        .post(ASK_CODE, json!({ "email": ADA }))
        .await
        .must_be(202);
    let mail = platform.inbox.wait_for(ADA, "login_code", before + 1).await;
    (text_of(&asked, "request"), mail.code())
}

async fn reset(client: &Client, token: &str, password: &str) -> Answer {
    client
        .post(RESET, json!({ "token": token, "new_password": password }))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_email_is_verified_once_by_the_mail_that_registration_sends() {
    let platform = Platform::builder()
        .set(Service::Auth, "EMAIL_VERIFICATION", "required")
        .start()
        .await
        .unwrap();
    let client = platform.client();
    let registration = json!({ "email": ADA, "password": PASSWORD, "name": "Ada" });
    client
        .post("/api/v1/auth/register", registration)
        .await
        .must_be(201);
    log_in(&client, PASSWORD)
        .await
        .must_be_problem(403, "email_not_verified");
    // Who does not know the password does not hear of it.
    log_in(&client, "not-the-password")
        .await
        .must_be_problem(401, "invalid_credentials");

    let first = platform
        .inbox
        .wait_for(ADA, "email_verification", 1)
        .await
        .token();
    assert!(first.starts_with("ver_") && first.len() == 4 + 43, "{first}");
    let second = token_of(&platform, ASK_VERIFICATION, "email_verification").await;
    let verify = async |token: &str| client.post(VERIFY, json!({ "token": token })).await;
    let user = verify(&first).await.must_be(200);
    assert_eq!(user["user"]["email"], ADA);
    for used in [first.as_str(), &second, "ver_unknown", ""] {
        verify(used)
            .await
            .must_be_problem(422, "invalid_verification_token");
    }
    log_in(&client, PASSWORD).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_expires_and_proves_nothing_about_another_email() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let token = platform
        .inbox
        .wait_for(ADA, "email_verification", 1)
        .await
        .token();
    let verify = async |token: &str| client.post(VERIFY, json!({ "token": token })).await;
    platform.clock.advance(Duration::hours(25));
    verify(&token)
        .await
        .must_be_problem(422, "invalid_verification_token");

    let token = token_of(&platform, ASK_VERIFICATION, "email_verification").await;
    let of_reset = token_of(&platform, ASK_RESET, "password_reset").await;
    let of_link = token_of(&platform, ASK_LINK, "login_link").await;
    let works = async || {
        let looked = client.post(VALIDATE_RESET, json!({ "token": of_reset })).await;
        let link = client.get(&format!("/auth/token/validate?token={of_link}")).await;
        (looked.must_be(200)["valid"] == true, link.status)
    };
    assert_eq!(works().await, (true, 200));
    let ada = ada.log_in_again().await;
    let change = json!({ "email": "ada.l@example.com" });
    ada.patch(ME, change).await.must_be(200);
    assert_eq!(works().await, (false, 401));
    verify(&token)
        .await
        .must_be_problem(422, "invalid_verification_token");
    platform.inbox.wait_for(ADA, "email_changed", 1).await;
    let mail = platform
        .inbox
        .wait_for("ada.l@example.com", "email_verification", 1)
        .await;
    let user = verify(&mail.token()).await.must_be(200);
    assert_eq!(user["user"]["email_verified"], true);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_mail_sent_to_one_stranger_after_the_other() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let to = async |name: &str| {
        let change = json!({ "email": format!("{name}@example.com") });
        ada.patch(ME, change).await
    };
    for number in 0..5 {
        let name = format!("stranger{number}");
        to(&name).await.must_be(200);
        // What clients send that know all members changes nothing, and does not count.
        to(&name).await.must_be(200);
    }
    let refused = to("stranger5").await;
    refused.must_be_problem(429, "rate_limited");
    assert!(refused.header("retry-after").is_some(), "{refused}");
    platform.clock.advance(Duration::hours(2));
    let ada = Customer::log_in(&platform.client(), "stranger4@example.com").await;
    ada.patch(ME, json!({ "email": ADA })).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_reset_once_and_every_session_ends() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let token = token_of(&platform, ASK_RESET, "password_reset").await;
    let unused = token_of(&platform, ASK_RESET, "password_reset").await;
    assert!(token.starts_with("reset_"), "{token}");
    let is_valid = async |token: &str| {
        let answer = client
            .post(VALIDATE_RESET, json!({ "token": token }))
            .await
            .must_be(200);
        answer["valid"].as_bool().unwrap()
    };
    assert!(is_valid(&token).await && is_valid(&unused).await && !is_valid("reset_no").await);
    // A password that is refused does not use the token up.
    reset(&client, &token, "password1")
        .await
        .must_be_problem(422, "weak_password");
    ada.get(ME).await.must_be(200);

    reset(&client, &token, ANOTHER_PASSWORD).await.must_be(204);
    for token in [&token, &unused] {
        reset(&client, token, PASSWORD)
            .await
            .must_be_problem(422, "invalid_reset_token");
        assert!(!is_valid(token).await);
    }
    ada.get(ME).await.must_be_problem(401, "session_revoked");
    let refresh = json!({ "refresh_token": ada.refresh_token });
    client
        .post("/api/v1/auth/refresh", refresh)
        .await
        .must_be_problem(401, "invalid_refresh_token");
    log_in(&client, PASSWORD)
        .await
        .must_be_problem(401, "invalid_credentials");
    log_in(&client, ANOTHER_PASSWORD).await.must_be(200);
    platform.inbox.wait_for(ADA, "password_changed", 1).await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_resets_at_once_with_one_token_one_succeeds() {
    let platform = Platform::start().await;
    let client = platform.client();
    platform.register("ada").await;
    let token = token_of(&platform, ASK_RESET, "password_reset").await;
    let passwords: Vec<String> = (0..6)
        .map(|number| format!("{ANOTHER_PASSWORD}-{number}"))
        .collect();
    let resets = passwords.iter().map(|password| reset(&client, &token, password));
    let answers = futures_util::future::join_all(resets).await;
    let winners: Vec<usize> = (0..6).filter(|number| answers[*number].status == 204).collect();
    assert_eq!(winners.len(), 1, "{answers:#?}");
    log_in(&client, &passwords[winners[0]]).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_from_asking_for_a_mail_who_is_a_user() {
    let platform = Platform::start().await;
    let client = platform.client();
    platform.register("ada").await;
    for ask in [ASK_VERIFICATION, ASK_RESET, ASK_LINK, ASK_CODE] {
        let body_of = async |email: &str| {
            let mut body = client.post(ask, json!({ "email": email })).await.must_be(202);
            body.as_object_mut().unwrap().remove("request");
            body
        };
        assert_eq!(body_of(ADA).await, body_of("bob@example.com").await, "{ask}");
    }
    for kind in ["email_verification", "password_reset", "login_link", "login_code"] {
        platform.inbox.wait_for(ADA, kind, 1).await;
    }
    let sql = platform.sql().await;
    platform::client::eventually("what nobody gets is dropped", async || {
        let dropped = "SELECT count(*) FROM auth.messages WHERE status = 'dropped'";
        let dropped: i64 = sql.query_one(dropped, &[]).await.unwrap().get(0);
        (dropped == 4).then_some(())
    })
    .await;
    let to_bob = platform
        .inbox
        .all()
        .into_iter()
        .filter(|mail| mail.recipient != ADA)
        .count();
    assert_eq!(to_bob, 0);
    // To whom and what is forgotten with the end.
    platform::client::eventually("nothing is kept of what has ended", async || {
        let kept = "SELECT count(*) FROM auth.messages
            WHERE recipient_encrypted IS NOT NULL OR content_encrypted IS NOT NULL";
        let kept: i64 = sql.query_one(kept, &[]).await.unwrap().get(0);
        (kept == 0).then_some(())
    })
    .await;
    drop(sql);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_flooded_with_mail() {
    let platform = Platform::start().await;
    let client = platform.client();
    for email in [ADA, "nobody@example.com"] {
        for _ in 0..6 {
            client
                .post(ASK_RESET, json!({ "email": email }))
                .await
                .must_be(202);
        }
        let refused = client.post(ASK_LINK, json!({ "email": email })).await;
        refused.must_be_problem(429, "rate_limited");
        let wait_s: i64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&wait_s), "{wait_s}");
    }
    platform.clock.advance(Duration::hours(1));
    client.post(ASK_RESET, json!({ "email": ADA })).await.must_be(202);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_in_a_mail_leads_only_where_the_operator_has_allowed() {
    let platform = Platform::builder()
        .set(
            Service::Auth,
            "LINK_URLS",
            "example://reset,https://app.example.com/in",
        )
        .start()
        .await
        .unwrap();
    let client = platform.client();
    platform.register("ada").await;
    let body = json!({ "email": ADA, "reset_url": "https://evil.example.com/" });
    client
        .post(ASK_RESET, body)
        .await
        .must_be_problem(422, "url_not_allowed");
    let body = json!({ "email": ADA, "login_url": "https://app.example.com/in?next=evil" });
    client
        .post(ASK_LINK, body)
        .await
        .must_be_problem(422, "url_not_allowed");
    let body = json!({ "email": ADA, "reset_url": "example://reset" });
    client.post(ASK_RESET, body).await.must_be(202);
    let mail = platform.inbox.wait_for(ADA, "password_reset", 1).await;
    assert_eq!(mail.link(), format!("example://reset?token={}", mail.token()));
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_logs_in_once_and_not_late() {
    let platform = Platform::start().await;
    let client = platform.client();
    platform.register("ada").await;
    let follow = async |token: &str| client.post(USE_LINK, json!({ "token": token })).await;
    let late = token_of(&platform, ASK_LINK, "login_link").await;
    platform.clock.advance(Duration::minutes(10));
    follow(&late).await.must_be_problem(401, "invalid_login_token");

    let token = token_of(&platform, ASK_LINK, "login_link").await;
    let answers = futures_util::future::join_all((0..8).map(|_| follow(&token))).await;
    let logins: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(logins.len(), 1, "{answers:#?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.must_be_problem(401, "invalid_login_token");
    }
    let ada = Customer::from_login(&client, ADA, &logins[0].body);
    assert_eq!(ada.get(ME).await.must_be(200)["user"]["email"], ADA);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_belongs_to_its_request_and_may_be_tried_five_times() {
    let platform = Platform::start().await;
    let client = platform.client();
    platform.register("ada").await;
    let try_code = async |request: &str, code: &str| {
        client
            .post(USE_CODE, json!({ "request": request, "code": code }))
            .await
    };
    let wrong = |code: &str| if code == "000000" { "000001" } else { "000000" };

    let (one, code) = code_of(&platform).await;
    let (other, other_code) = code_of(&platform).await;
    if code != other_code {
        try_code(&one, &other_code)
            .await
            .must_be_problem(401, "invalid_login_code");
    }
    try_code("lrq_unknown", &code)
        .await
        .must_be_problem(401, "invalid_login_code");
    try_code(&one, "12345").await.must_be_problem(400, "invalid_body");
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let login = try_code(&one, &spaced).await.must_be(200);
    Customer::from_login(&client, ADA, &login)
        .get(ME)
        .await
        .must_be(200);
    try_code(&one, &code)
        .await
        .must_be_problem(401, "invalid_login_code");

    for _ in 0..5 {
        let tried = try_code(&other, wrong(&other_code)).await;
        tried.must_be_problem(401, "invalid_login_code");
    }
    try_code(&other, &other_code)
        .await
        .must_be_problem(401, "invalid_login_code");

    // The same when they race each other: no more than five are looked at.
    let (request, code) = code_of(&platform).await;
    let guesses = (0..20).map(|_| try_code(&request, wrong(&code)));
    futures_util::future::join_all(guesses).await;
    try_code(&request, &code)
        .await
        .must_be_problem(401, "invalid_login_code");

    let (request, code) = code_of(&platform).await;
    platform.clock.advance(Duration::minutes(10));
    try_code(&request, &code)
        .await
        .must_be_problem(401, "invalid_login_code");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_for_its_purpose_only() {
    let platform = Platform::start().await;
    let client = platform.client();
    platform.register("ada").await;
    let verification = platform
        .inbox
        .wait_for(ADA, "email_verification", 1)
        .await
        .token();
    let password_reset = token_of(&platform, ASK_RESET, "password_reset").await;
    let link = token_of(&platform, ASK_LINK, "login_link").await;
    let (request, code) = code_of(&platform).await;
    for token in [&password_reset, &link, &request] {
        client
            .post(VERIFY, json!({ "token": token }))
            .await
            .must_be_problem(422, "invalid_verification_token");
    }
    for token in [&verification, &link, &request] {
        reset(&client, token, ANOTHER_PASSWORD)
            .await
            .must_be_problem(422, "invalid_reset_token");
    }
    for token in [&verification, &password_reset, &request] {
        let used = client.post(USE_LINK, json!({ "token": token })).await;
        used.must_be_problem(401, "invalid_login_token");
    }
    for token in [&verification, &password_reset, &link] {
        let used = client
            .post(USE_CODE, json!({ "request": token, "code": code }))
            .await;
        used.must_be_problem(401, "invalid_login_code");
        client.with_token(token).get(ME).await.must_be(401);
    }
    // None of this used one up.
    client
        .post(VERIFY, json!({ "token": verification }))
        .await
        .must_be(200);
    client.post(USE_LINK, json!({ "token": link })).await.must_be(200);
    client
        .post(USE_CODE, json!({ "request": request, "code": code }))
        .await
        .must_be(200);
    reset(&client, &password_reset, ANOTHER_PASSWORD)
        .await
        .must_be(204);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registered_the_email_of_somebody_else_is_shut_out_when_its_owner_logs_in() {
    let platform = Platform::start().await;
    let client = platform.client();
    let squatter = platform.register("ada").await;
    let key = json!({ "name": "Program", "scopes": ["read"] });
    let key = squatter.post("/api/v1/auth/api-keys", key).await.must_be(201);
    let link = token_of(&platform, ASK_LINK, "login_link").await;
    let login = client.post(USE_LINK, json!({ "token": link })).await.must_be(200);
    squatter.get(ME).await.must_be_problem(401, "session_revoked");
    let program = client.with_token(&text_of(&key, "key"));
    program
        .get("/api/v1/accounts")
        .await
        .must_be_problem(401, "invalid_api_key");
    log_in(&client, PASSWORD)
        .await
        .must_be_problem(401, "invalid_credentials");

    // Who has proved it keeps the password.
    let ada = Customer::from_login(&client, ADA, &login);
    let password_reset = token_of(&platform, ASK_RESET, "password_reset").await;
    reset(&client, &password_reset, PASSWORD).await.must_be(204);
    ada.get(ME).await.must_be_problem(401, "session_revoked");
    let ada = ada.log_in_again().await;
    let link = token_of(&platform, ASK_LINK, "login_link").await;
    client.post(USE_LINK, json!({ "token": link })).await.must_be(200);
    ada.get(ME).await.must_be(200);
    ada.log_in_again().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_or_code_is_stored_as_it_is() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let password_reset = token_of(&platform, ASK_RESET, "password_reset").await;
    let link = token_of(&platform, ASK_LINK, "login_link").await;
    let (request, _) = code_of(&platform).await;
    let sql = platform.sql().await;
    for table in ["one_time_tokens", "messages", "throttles"] {
        let rows = sql
            .query(&format!("SELECT t::text FROM auth.{table} t"), &[])
            .await;
        let rows = rows.unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let row: String = row.get(0);
            for secret in [password_reset.as_str(), &link, &request, ADA] {
                let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                assert!(
                    !row.contains(secret) && !row.contains(&hexadecimal),
                    "{table}: {row}"
                );
            }
        }
    }
    drop(sql);
    platform.stop().await.unwrap();
}
