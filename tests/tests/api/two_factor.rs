//! Second factors: setting them up, logging in with them, and what becomes of codes, pending logins and devices.

use chrono::Duration;
use futures_util::future::join_all;
use platform::client::{Answer, Customer, PASSWORD, text_of};
use platform::{Client, Platform};
use serde_json::{Value, json};
use shared::{Clock, Role};
use totp_rs::{Builder, Secret};

const ME: &str = "/api/v1/auth/me";
const LOGIN: &str = "/api/v1/auth/login";
pub const TWO_FACTOR: &str = "/api/v1/auth/two-factor";
const FINISH: &str = "/api/v1/auth/two-factor/login";
const ENROL: &str = "/api/v1/auth/two-factor/login/methods";

/// An app that shows codes.
pub struct App(Value);

impl App {
    fn of(new_method: &Value) -> Self {
        Self(new_method["secret"].clone())
    }

    /// The code of the moment. The next one comes after half a minute.
    pub fn code(&self, clock: &Clock) -> String {
        let secret = Secret::try_from_base32(self.0.as_str().unwrap()).unwrap();
        let app = Builder::new().with_secret(secret).with_account_name("ada");
        let now = clock.now().timestamp().try_into().unwrap();
        app.build().unwrap().generate(now).to_string()
    }
}

pub async fn switch_module(platform: &Platform, on: bool) {
    let admin = platform.register_with_role("switch", Role::Admin).await;
    switch(&admin, on).await;
}

async fn switch(admin: &Client, on: bool) {
    let module = admin.put("/api/v1/auth/modules/two-factor", json!({ "enabled": on }));
    module.await.must_be(200);
}

/// Otherwise the first login by mail removes the password, which somebody else may have set.
async fn verify_email(platform: &Platform, customer: &Customer) {
    let ask = json!({ "email": customer.email });
    let asked = customer.post("/api/v1/auth/email/verification", ask).await;
    asked.must_be(202);
    let mail = platform.inbox.wait_for(&customer.email, "email_verification", 1);
    let token = json!({ "token": mail.await.token() });
    let verified = customer.post("/api/v1/auth/email/verify", token).await;
    verified.must_be(200);
}

/// Sets TOTP up for a customer; the app and the recovery codes.
pub async fn enrol(customer: &Customer, clock: &Clock) -> (App, Vec<String>) {
    let methods = format!("{TWO_FACTOR}/methods");
    let begun = customer.post(&methods, json!({ "method": "totp" })).await;
    let app = App::of(&begun.must_be(201));
    let activate = format!("{methods}/totp/activate");
    let activated = customer.post(&activate, json!({ "code": app.code(clock) })).await;
    (app, codes_in(&activated.must_be(200)))
}

fn codes_in(body: &Value) -> Vec<String> {
    let codes = body["recovery_codes"].as_array().unwrap().iter();
    codes.map(|code| code.as_str().unwrap().to_owned()).collect()
}

async fn log_in(client: &Client, email: &str) -> Answer {
    let credentials = json!({ "email": email, "password": PASSWORD });
    client.post(LOGIN, credentials).await
}

/// The credential of a login that waits for its second factor.
pub async fn pending(client: &Client, email: &str) -> String {
    text_of(&log_in(client, email).await.must_be(202), "session_id")
}

async fn finish(client: &Client, session_id: &str, method: &str, code: &str) -> Answer {
    let body = json!({ "session_id": session_id, "method": method, "code": code });
    client.post(FINISH, body).await
}

/// So that the app shows a code that was not used yet.
fn next_code(platform: &Platform, app: &App) -> String {
    platform.clock.advance(Duration::seconds(30));
    app.code(&platform.clock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_waits_for_the_second_factor_and_becomes_the_session_it_named() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let begun = ada
        .post(&format!("{TWO_FACTOR}/methods"), json!({ "method": "totp" }))
        .await;
    let begun = begun.must_be(201);
    assert!(text_of(&begun, "uri").starts_with("otpauth://totp/Flowlet:ada"));
    assert!(text_of(&begun, "qr_code").starts_with("<svg"));
    // It does not count before its first code.
    log_in(&client, &ada.email).await.must_be(200);

    let (app, recovery_codes) = enrol(&ada, &platform.clock).await;
    assert_eq!(recovery_codes.len(), 10);
    let status = ada.get(TWO_FACTOR).await.must_be(200);
    assert_eq!(status["methods"][0]["method"], "totp");
    assert_eq!(status["recovery_codes_left"], 10);

    let waiting = log_in(&client, &ada.email).await;
    assert_eq!(waiting.header("cache-control"), Some("no-store"));
    let waiting = waiting.must_be(202);
    assert_eq!(waiting["methods"], json!(["totp", "recovery_code"]));
    assert!(waiting.get("access_token").is_none(), "{waiting}");
    let session_id = text_of(&waiting, "session_id");
    finish(&client, &session_id, "totp", "000000")
        .await
        .must_be_problem(422, "wrong_code");
    let code = next_code(&platform, &app);
    let login = finish(&client, &session_id, "totp", &code).await.must_be(200);
    assert_eq!(text_of(&login, "session_id"), session_id);
    let again = Customer::from_login(&client, &ada.email, &login);
    again.get(ME).await.must_be(200);
    let claims = super::step_up::claims(&again.access_token);
    assert_eq!(claims["amr"], json!(["pwd", "otp", "mfa"]));
    assert_eq!(claims["acr"], "aal2");
    assert_eq!(super::step_up::claims(&ada.access_token)["acr"], "aal1");
    // The same login is none any more.
    let code = next_code(&platform, &app);
    finish(&client, &session_id, "totp", &code)
        .await
        .must_be_problem(401, "login_expired");
    // What the session has proved is in the tokens that it gets later.
    let refreshed = client
        .post(
            "/api/v1/auth/refresh",
            json!({ "refresh_token": again.refresh_token }),
        )
        .await
        .must_be(200);
    let refreshed = super::step_up::claims(&text_of(&refreshed, "access_token"));
    assert_eq!(
        (&refreshed["acr"], &refreshed["auth_time"]),
        (&json!("aal2"), &claims["auth_time"])
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pending_login_is_no_session_and_ends_after_five_minutes() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let (app, _) = enrol(&ada, &platform.clock).await;
    let session_id = pending(&client, &ada.email).await;
    for at in [&client, &platform.client_of(platform::Service::Auth)] {
        let bearer = at.with_token(&session_id);
        bearer.get(ME).await.must_be_problem(401, "invalid_token");
        let accounts = bearer.get("/api/v1/auth/two-factor").await;
        accounts.must_be_problem(401, "invalid_token");
        let refresh = json!({ "refresh_token": session_id });
        at.post("/api/v1/auth/refresh", refresh)
            .await
            .must_be_problem(401, "invalid_refresh_token");
    }
    let sql = platform.sql().await;
    let sessions =
        "SELECT count(*) FROM auth.sessions WHERE secret_hash = sha256(convert_to($1::text, 'UTF8'))";
    let row = sql.query_one(sessions, &[&session_id]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    // Nor does a session, or anything else, pass as a pending login.
    for other in [&ada.session_id, &ada.refresh_token, &ada.access_token, "ses_"] {
        finish(&client, other, "totp", "000000")
            .await
            .must_be_problem(401, "login_expired");
    }
    platform.clock.advance(Duration::minutes(5));
    finish(&client, &session_id, "totp", &app.code(&platform.clock))
        .await
        .must_be_problem(401, "login_expired");

    // Another password ends it too.
    let session_id = pending(&client, &ada.email).await;
    let ada = {
        let code = next_code(&platform, &app);
        let login = finish(&client, &pending(&client, &ada.email).await, "totp", &code).await;
        Customer::from_login(&client, &ada.email, &login.must_be(200))
    };
    platform.clock.advance(Duration::seconds(1));
    let change = json!({ "current_password": PASSWORD, "new_password": "copper-meadow-17-telescope" });
    ada.post("/api/v1/auth/password/change", change)
        .await
        .must_be(204);
    finish(&client, &session_id, "totp", &next_code(&platform, &app))
        .await
        .must_be_problem(401, "login_expired");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_logins_at_once_with_one_code_one_succeeds() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let (app, recovery_codes) = enrol(&ada, &platform.clock).await;
    // The code that set it up is used up as well.
    let used = app.code(&platform.clock);
    finish(&client, &pending(&client, &ada.email).await, "totp", &used)
        .await
        .must_be_problem(422, "wrong_code");
    let code = next_code(&platform, &app);
    for (method, code) in [("totp", &code), ("recovery_code", &recovery_codes[0])] {
        let mut logins = Vec::new();
        for _ in 0..4 {
            logins.push(pending(&client, &ada.email).await);
        }
        let answers = join_all(logins.iter().map(|login| finish(&client, login, method, code))).await;
        let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(succeeded, 1, "{method}: {answers:#?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.must_be_problem(422, "wrong_code");
        }
    }
    // Nor is the code good any more that came before the last one, though its time is not over.
    let passed = next_code(&platform, &app);
    let code = next_code(&platform, &app);
    finish(&client, &pending(&client, &ada.email).await, "totp", &code)
        .await
        .must_be(200);
    finish(&client, &pending(&client, &ada.email).await, "totp", &passed)
        .await
        .must_be_problem(422, "wrong_code");
    // Nor does one login finish twice.
    let login = pending(&client, &ada.email).await;
    let [one, other] = [&recovery_codes[1], &recovery_codes[2]];
    let (one, other) = tokio::join!(
        finish(&client, &login, "recovery_code", one),
        finish(&client, &login, "recovery_code", other)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "{one} {other}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_slows_down_over_all_logins_and_does_not_keep_the_owner_out() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let (app, recovery_codes) = enrol(&ada, &platform.clock).await;
    for _ in 0..5 {
        let guess = finish(&client, &pending(&client, &ada.email).await, "totp", "000000").await;
        guess.must_be_problem(422, "wrong_code");
    }
    let code = next_code(&platform, &app);
    let login = pending(&client, &ada.email).await;
    // Thirty seconds later one more, and a longer pause, in which the right code is refused too.
    let guess = finish(&client, &pending(&client, &ada.email).await, "totp", "000000").await;
    guess.must_be_problem(422, "wrong_code");
    finish(&client, &login, "totp", &code)
        .await
        .must_be_problem(429, "rate_limited");
    // On a slow machine a pause may end meanwhile.
    let mut refused = 0;
    for _ in 0..30 {
        let guess = finish(&client, &pending(&client, &ada.email).await, "totp", "000000").await;
        if guess.status == 429 {
            guess.must_be_problem(429, "rate_limited");
            assert!(guess.header("retry-after").is_some(), "{guess}");
            refused += 1;
        }
    }
    assert!(refused >= 25, "{refused}");
    finish(
        &client,
        &login,
        "recovery_code",
        &recovery_codes[0].to_uppercase(),
    )
    .await
    .must_be(200);
    platform.clock.advance(Duration::hours(1));
    let login = pending(&client, &ada.email).await;
    finish(&client, &login, "totp", &app.code(&platform.clock))
        .await
        .must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remembered_device_is_not_asked_again_until_the_password_changes() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let (app, _) = enrol(&ada, &platform.clock).await;
    enrol(&bob, &platform.clock).await;
    let body = json!({
        "session_id": pending(&client, &ada.email).await, "method": "totp",
        "code": next_code(&platform, &app), "remember_device": true,
    });
    let login = client.post(FINISH, body).await.must_be(200);
    let device = text_of(&login, "remembered_device_token");
    let log_in_with = async |email: &str, device: &str| {
        let request = client.request(reqwest::Method::POST, LOGIN);
        let request = request.header("x-remembered-device", device);
        let credentials = json!({ "email": email, "password": PASSWORD });
        client.send(request.json(&credentials)).await
    };
    log_in_with(&ada.email, &device).await.must_be(200);
    log_in_with(&bob.email, &device).await.must_be(202);
    log_in_with(&ada.email, "rdv_").await.must_be(202);
    let remembered = log_in_with(&ada.email, &device).await.must_be(200);
    assert_eq!(
        super::step_up::claims(&text_of(&remembered, "access_token"))["acr"],
        "aal1"
    );

    let again = Customer::from_login(&client, &ada.email, &login);
    again
        .send(again.request(
            reqwest::Method::DELETE,
            &format!("{TWO_FACTOR}/remembered-devices"),
        ))
        .await
        .must_be(204);
    log_in_with(&ada.email, &device).await.must_be(202);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_role_needs_a_second_factor_sets_one_up_to_log_in() {
    let platform = Platform::start().await;
    let client = platform.client();
    let admin = platform.register_with_role("admin", Role::Admin).await;
    switch(&admin, true).await;
    let ada = platform.register("ada").await;
    let roles = format!("{TWO_FACTOR}/required-roles");
    let set = admin
        .put(&roles, json!({ "roles": ["admin", "compliance"] }))
        .await;
    assert_eq!(set.must_be(200), json!({ "roles": ["compliance", "admin"] }));
    log_in(&client, &ada.email).await.must_be(200);

    let waiting = log_in(&client, &admin.email).await.must_be(202);
    assert_eq!(
        (&waiting["enrolling"], &waiting["methods"]),
        (&json!(true), &json!([]))
    );
    let session_id = text_of(&waiting, "session_id");
    let other = pending(&client, &admin.email).await;
    finish(&client, &session_id, "totp", "000000")
        .await
        .must_be_problem(404, "not_found");
    let enrol = json!({ "session_id": session_id, "method": "totp" });
    let app = App::of(&client.post(ENROL, enrol.clone()).await.must_be(201));
    let login = finish(&client, &session_id, "totp", &app.code(&platform.clock))
        .await
        .must_be(200);
    assert_eq!(codes_in(&login).len(), 10);
    Customer::from_login(&client, &admin.email, &login)
        .get(ME)
        .await
        .must_be(200);
    client
        .post(ENROL, enrol)
        .await
        .must_be_problem(401, "login_expired");
    // Whoever knew the password as well has nothing of a login that began before.
    let late = json!({ "session_id": other, "method": "email", "to": "mallory@example.com" });
    client
        .post(ENROL, late)
        .await
        .must_be_problem(401, "login_expired");
    // Whoever has one cannot replace it while logging in.
    let enrol = json!({ "session_id": pending(&client, &admin.email).await, "method": "totp" });
    client
        .post(ENROL, enrol)
        .await
        .must_be_problem(409, "method_exists");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_module_is_off_nothing_is_asked_and_nothing_is_lost() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let client = platform.client();
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let ada = platform.register("ada").await;
    ada.get(TWO_FACTOR).await.must_be_problem(404, "module_disabled");
    switch(&admin, true).await;
    let (app, _) = enrol(&ada, &platform.clock).await;
    let waiting = pending(&client, &ada.email).await;
    switch(&admin, false).await;
    // Both replicas know.
    for _ in 0..4 {
        log_in(&client, &ada.email).await.must_be(200);
        ada.get(TWO_FACTOR).await.must_be_problem(404, "module_disabled");
        finish(&client, &waiting, "totp", "000000")
            .await
            .must_be_problem(404, "module_disabled");
    }
    switch(&admin, true).await;
    for _ in 0..4 {
        log_in(&client, &ada.email).await.must_be(202);
    }
    let code = next_code(&platform, &app);
    finish(&client, &waiting, "totp", &code).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_change_second_factors_one_has_to_be_given() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let (app, recovery_codes) = enrol(&ada, &platform.clock).await;
    let delete = async |customer: &Client| {
        let path = format!("{TWO_FACTOR}/methods/totp");
        customer
            .send(customer.request(reqwest::Method::DELETE, &path))
            .await
    };
    let renew = format!("{TWO_FACTOR}/recovery-codes");
    // A password is not enough.
    for refused in [delete(&ada).await, ada.post_empty(&renew).await] {
        refused.must_be_problem(401, "insufficient_user_authentication");
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.contains(r#"acr_values="aal2""#), "{challenge}");
    }
    let step_up = json!({ "method": "totp", "code": next_code(&platform, &app) });
    let stepped = ada.post("/api/v1/auth/step-up", step_up).await.must_be(200);
    let sure = ada.with_token(&text_of(&stepped, "access_token"));
    let renewed = codes_in(&sure.post_empty(&renew).await.must_be(200));
    let login = pending(&client, &ada.email).await;
    finish(&client, &login, "recovery_code", &recovery_codes[0])
        .await
        .must_be_problem(422, "wrong_code");
    finish(&client, &login, "recovery_code", &renewed[0])
        .await
        .must_be(200);
    let methods = format!("{TWO_FACTOR}/methods");
    let another = sure.post(&methods, json!({ "method": "totp" }));
    another.await.must_be_problem(409, "method_exists");
    delete(&sure).await.must_be(204);
    delete(&sure).await.must_be_problem(404, "not_found");
    log_in(&client, &ada.email).await.must_be(200);
    let status = sure.get(TWO_FACTOR).await.must_be(200);
    assert_eq!(status["recovery_codes_left"], 0);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_was_sent_is_good_once_for_the_login_that_asked() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let methods = format!("{TWO_FACTOR}/methods");
    let begun = ada.post(&methods, json!({ "method": "email" })).await;
    assert_eq!(begun.must_be(201)["expires_in"], 600);
    let code = platform.inbox.wait_for(&ada.email, "code", 1).await.code();
    let activate = format!("{methods}/email/activate");
    ada.post(&activate, json!({ "code": code })).await.must_be(200);
    // The next one needs the first, and codes are not sent as fast as they are asked for.
    let refused = ada
        .post(&methods, json!({ "method": "sms", "to": "+14155550123" }))
        .await;
    refused.must_be_problem(401, "insufficient_user_authentication");
    let sent = ada.post_empty(&format!("{methods}/email/code")).await;
    sent.must_be_problem(429, "rate_limited");

    let waiting = pending(&client, &ada.email).await;
    let other = pending(&client, &ada.email).await;
    let ask = "/api/v1/auth/two-factor/login/code";
    let send = async |login: &str, method: &str| {
        client
            .post(ask, json!({ "session_id": login, "method": method }))
            .await
    };
    send(&waiting, "email").await.must_be_problem(429, "rate_limited");
    platform.clock.advance(Duration::seconds(30));
    send(&waiting, "email").await.must_be(202);
    send(&waiting, "totp").await.must_be_problem(404, "not_found");
    send("ses_", "email").await.must_be_problem(401, "login_expired");
    let code = platform.inbox.wait_for(&ada.email, "code", 2).await.code();
    // Whoever asked for another login has nothing of it.
    finish(&client, &other, "email", &code)
        .await
        .must_be_problem(422, "wrong_code");
    let answers = join_all((0..4).map(|_| finish(&client, &waiting, "email", &code))).await;
    let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(succeeded, 1, "{answers:#?}");

    // Who has read one mail can read another: after a login by mail it is no second proof.
    verify_email(&platform, &ada).await;
    let link = json!({ "email": ada.email });
    client.post("/api/v1/auth/login/links", link).await.must_be(202);
    let token = platform.inbox.wait_for(&ada.email, "login_link", 1).await.token();
    let mailed = client
        .post("/api/v1/auth/login/links/use", json!({ "token": token }))
        .await;
    let mailed = mailed.must_be(202);
    assert_eq!(mailed["methods"], json!(["recovery_code"]));
    let mailed = text_of(&mailed, "session_id");
    platform.clock.advance(Duration::seconds(30));
    send(&mailed, "email").await.must_be(202);
    let code = platform.inbox.wait_for(&ada.email, "code", 3).await.code();
    finish(&client, &mailed, "email", &code)
        .await
        .must_be_problem(422, "wrong_code");

    // Five attempts.
    platform.clock.advance(Duration::minutes(2));
    let waiting = pending(&client, &ada.email).await;
    send(&waiting, "email").await.must_be(202);
    let code = platform.inbox.wait_for(&ada.email, "code", 4).await.code();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        platform.clock.advance(Duration::seconds(2));
        finish(&client, &waiting, "email", wrong)
            .await
            .must_be_problem(422, "wrong_code");
    }
    platform.clock.advance(Duration::seconds(20));
    finish(&client, &waiting, "email", &code)
        .await
        .must_be_problem(422, "wrong_code");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_message_goes_to_the_phone_that_was_named() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let methods = format!("{TWO_FACTOR}/methods");
    for to in [
        "",
        "415 555 0123",
        "+1",
        "+0123456789",
        "+1415555012345678",
        "call me",
    ] {
        let body = json!({ "method": "sms", "to": to });
        ada.post(&methods, body)
            .await
            .must_be_problem(400, "invalid_body");
    }
    let body = json!({ "method": "sms", "to": "+1 (415) 555-0123" });
    ada.post(&methods, body).await.must_be(201);
    let code = platform.inbox.wait_for("+14155550123", "code", 1).await.code();
    let activate = format!("{methods}/sms/activate");
    ada.post(&activate, json!({ "code": code })).await.must_be(200);
    let waiting = pending(&client, &ada.email).await;
    platform.clock.advance(Duration::seconds(30));
    let ask = json!({ "session_id": waiting, "method": "sms" });
    client
        .post("/api/v1/auth/two-factor/login/code", ask)
        .await
        .must_be(202);
    let code = platform.inbox.wait_for("+14155550123", "code", 2).await.code();
    let login = finish(&client, &waiting, "sms", &code).await.must_be(200);
    let claims = super::step_up::claims(&text_of(&login, "access_token"));
    assert_eq!(claims["amr"], json!(["pwd", "sms", "mfa"]));
    // Where it goes is in no column that anybody could read.
    let sql = platform.sql().await;
    let readable = "SELECT count(*) FROM auth.two_factor_methods WHERE position('4155550123' IN encode(secret_encrypted, 'escape')) > 0";
    assert_eq!(sql.query_one(readable, &[]).await.unwrap().get::<_, i64>(0), 0);
    platform.stop().await.unwrap();
}
