//! Passkeys, used through an authenticator in software.

use futures_util::future::join_all;
use platform::authenticator::Authenticator;
use platform::client::{Answer, Customer, PASSWORD, new_key, text_of, transfer_body};
use platform::{Client, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};

use super::step_up::claims;
use super::two_factor::switch_module;

const ME: &str = "/api/v1/auth/me";
const PASSKEYS: &str = "/api/v1/auth/passkeys";
const LOGIN: &str = "/api/v1/auth/passkeys/login";
const ORIGIN: &str = "https://app.example.com";

async fn register(customer: &Client, authenticator: &mut Authenticator) -> Answer {
    let begun = customer
        .post_empty(&format!("{PASSKEYS}/registration"))
        .await
        .must_be(201);
    let credential = authenticator.create(&begun["options"]).unwrap();
    let body = json!({ "ceremony_id": begun["ceremony_id"], "name": "My phone", "credential": credential });
    customer.post(PASSKEYS, body).await
}

/// The answer of an authenticator to a challenge.
async fn answer(client: &Client, path: &str, body: Value, authenticator: &mut Authenticator) -> Value {
    let begun = client.post(path, body).await.must_be(201);
    let credential = authenticator.get(&begun["options"]).unwrap();
    json!({ "ceremony_id": begun["ceremony_id"], "credential": credential })
}

async fn login_answer(client: &Client, authenticator: &mut Authenticator) -> Value {
    answer(client, &format!("{LOGIN}/options"), json!({}), authenticator).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passkey_logs_in_without_a_name_and_counts_as_two_factors() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let mut phone = Authenticator::new(ORIGIN).unwrap();
    let registered = register(&ada, &mut phone).await.must_be(201);
    assert_eq!(registered["name"], "My phone");

    let login = login_answer(&client, &mut phone).await;
    let login = client.post(LOGIN, login).await.must_be(200);
    let again = Customer::from_login(&client, &ada.email, &login);
    assert_eq!(again.user_id, ada.user_id);
    let me = again.get(ME).await.must_be(200);
    assert_eq!(me["user"]["two_factor"], true);
    let claims = claims(&again.access_token);
    assert_eq!(
        (&claims["acr"], &claims["amr"]),
        (&json!("aal2"), &json!(["pop", "mfa"]))
    );

    let list = ada.get(PASSKEYS).await.must_be(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(!list["items"][0]["last_used_at"].is_null(), "{list}");
    let path = format!("{PASSKEYS}/{}", text_of(&registered, "id"));
    ada.patch(&path, json!({ "name": "The old phone" }))
        .await
        .must_be(204);
    let list = ada.get(PASSKEYS).await.must_be(200);
    assert_eq!(list["items"][0]["name"], "The old phone");
    let too_long = ada.patch(&path, json!({ "name": "x".repeat(65) })).await;
    too_long.must_be_problem(400, "invalid_body");

    let remove = async |who: &Client| who.send(who.request(Method::DELETE, &path)).await;
    remove(&platform.register("bob").await.client)
        .await
        .must_be_problem(404, "not_found");
    let login = login_answer(&client, &mut phone).await;
    // With the password alone nobody takes away what is two factors.
    remove(&ada)
        .await
        .must_be_problem(401, "insufficient_user_authentication");
    remove(&again).await.must_be(204);
    client
        .post(LOGIN, login)
        .await
        .must_be_problem(401, "invalid_passkey");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_good_once_and_only_for_what_it_was_asked() {
    let platform = Platform::start().await;
    let client = platform.client();
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let mut phone = Authenticator::new(ORIGIN).unwrap();
    register(&ada, &mut phone).await.must_be(201);
    register(&bob, &mut phone)
        .await
        .must_be_problem(409, "passkey_exists");

    let login = login_answer(&client, &mut phone).await;
    let answers = join_all((0..6).map(|_| client.post(LOGIN, login.clone()))).await;
    let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(succeeded, 1, "{answers:#?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.must_be_problem(401, "invalid_passkey");
    }

    // An answer to a challenge of another kind, or of somebody else, or too late.
    let options = "/api/v1/auth/step-up/passkey-options";
    let step_up = answer(&ada, options, json!({}), &mut phone).await;
    client
        .post(LOGIN, step_up.clone())
        .await
        .must_be_problem(401, "invalid_passkey");
    let step_up = json!({ "passkey": step_up });
    let stolen = bob.post("/api/v1/auth/step-up", step_up.clone()).await;
    stolen.must_be_problem(422, "wrong_passkey");
    ada.post("/api/v1/auth/step-up", step_up).await.must_be(200);
    let login = login_answer(&client, &mut phone).await;
    platform.clock.advance(chrono::Duration::minutes(5));
    client
        .post(LOGIN, login)
        .await
        .must_be_problem(401, "invalid_passkey");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authenticator_that_is_copied_elsewhere_or_does_not_know_its_user_is_refused() {
    let platform = Platform::start().await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let mut phone = Authenticator::new(ORIGIN).unwrap();
    register(&ada, &mut phone).await.must_be(201);
    let attempt = async |phone: &mut Authenticator| {
        let login = login_answer(&client, phone).await;
        client.post(LOGIN, login).await
    };
    attempt(&mut phone).await.must_be(200);
    attempt(&mut phone).await.must_be(200);
    // A copy has signed less often.
    phone.counter = 0;
    attempt(&mut phone).await.must_be_problem(401, "invalid_passkey");
    phone.counter = 1;
    attempt(&mut phone).await.must_be_problem(401, "invalid_passkey");
    phone.counter = 9;
    phone.verifies_user = false;
    attempt(&mut phone).await.must_be_problem(401, "invalid_passkey");
    phone.verifies_user = true;
    for elsewhere in ["https://app.example.com.evil.example", "http://app.example.com"] {
        phone.origin = elsewhere.to_owned();
        attempt(&mut phone).await.must_be_problem(401, "invalid_passkey");
    }
    phone.origin = ORIGIN.to_owned();
    // A signature of something else.
    let mut mixed = login_answer(&client, &mut phone).await;
    let other = login_answer(&client, &mut phone).await;
    mixed["credential"]["response"]["signature"] = other["credential"]["response"]["signature"].clone();
    client
        .post(LOGIN, mixed)
        .await
        .must_be_problem(401, "invalid_passkey");
    let mut unknown = Authenticator::new(ORIGIN).unwrap();
    let stranger = login_answer(&client, &mut unknown).await;
    client
        .post(LOGIN, stranger)
        .await
        .must_be_problem(401, "invalid_passkey");
    let login = attempt(&mut phone).await.must_be(200);

    let sure = Customer::from_login(&client, &ada.email, &login);
    let mut careless = Authenticator::new(ORIGIN).unwrap();
    careless.verifies_user = false;
    register(&sure, &mut careless)
        .await
        .must_be_problem(422, "wrong_passkey");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passkey_is_a_second_factor_after_a_password() {
    let platform = Platform::start().await;
    let client = platform.client();
    switch_module(&platform, true).await;
    let ada = platform.register("ada").await;
    let mut phone = Authenticator::new(ORIGIN).unwrap();
    let registered = register(&ada, &mut phone).await.must_be(201);
    assert_eq!(registered["recovery_codes"].as_array().unwrap().len(), 10);
    let credentials = json!({ "email": ada.email, "password": PASSWORD });
    let waiting = client.post("/api/v1/auth/login", credentials).await.must_be(202);
    assert_eq!(waiting["methods"], json!(["passkey", "recovery_code"]));
    let finish = "/api/v1/auth/two-factor/login";
    let session = json!({ "session_id": waiting["session_id"] });
    let options = format!("{finish}/passkey-options");
    let passkey = answer(&client, &options, session, &mut phone).await;
    let body = json!({ "session_id": waiting["session_id"], "passkey": passkey });
    let login = client.post(finish, body.clone()).await.must_be(200);
    assert_eq!(login["session_id"], waiting["session_id"]);
    let token = claims(&text_of(&login, "access_token"));
    assert_eq!(token["amr"], json!(["pwd", "pop", "mfa"]));
    client
        .post(finish, body)
        .await
        .must_be_problem(401, "login_expired");

    // Another passkey is added, and this one removed, by whoever has it.
    let mut tablet = Authenticator::new(ORIGIN).unwrap();
    let begin = ada.post_empty(&format!("{PASSKEYS}/registration")).await;
    begin.must_be_problem(401, "insufficient_user_authentication");
    let sure = client.with_token(&text_of(&login, "access_token"));
    register(&sure, &mut tablet).await.must_be(201);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_covers_the_transfer() {
    let builder = Platform::builder()
        .set(Service::Transactions, "STEP_UP_ABOVE", "USD=1000")
        .set(Service::Transactions, "STEP_UP_PER_TRANSFER", true);
    let platform = builder.start().await.unwrap();
    let ada = platform.register("ada").await;
    let mut phone = Authenticator::new(ORIGIN).unwrap();
    register(&ada, &mut phone).await.must_be(201);
    let from = ada.open_funded_account(100_000, "USD").await;
    let bob = platform.register("bob").await;
    let (to, other) = (bob.open_account("USD").await, bob.open_account("USD").await);
    let key = new_key();
    let transfer =
        json!({ "idempotency_key": key, "amount": 5000, "currency": "USD", "credit_account_id": to });
    let options = "/api/v1/auth/step-up/passkey-options";
    let begun = ada
        .post(options, json!({ "transfer": transfer }))
        .await
        .must_be(201);
    assert_eq!(begun["transfer"], transfer);
    let credential = phone.get(&begun["options"]).unwrap();
    let passkey = json!({ "ceremony_id": begun["ceremony_id"], "credential": credential });
    // What was agreed to cannot be replaced afterwards.
    let mut elsewhere = transfer.clone();
    elsewhere["credit_account_id"] = json!(other);
    let replaced = json!({ "passkey": passkey, "transfer": elsewhere });
    ada.post("/api/v1/auth/step-up", replaced)
        .await
        .must_be_problem(400, "invalid_body");
    let stepped = ada
        .post("/api/v1/auth/step-up", json!({ "passkey": passkey }))
        .await;
    let sure = ada.with_token(&text_of(&stepped.must_be(200), "access_token"));
    for body in [
        transfer_body(&from, &to, 5001, "USD"),
        transfer_body(&from, &other, 5000, "USD"),
    ] {
        let refused = sure.post_with_key("/api/v1/transfers", &key, body).await;
        refused.must_be_problem(403, "transfer_not_authorized");
    }
    let body = transfer_body(&from, &to, 5000, "USD");
    sure.post_with_key("/api/v1/transfers", &key, body)
        .await
        .must_be(201);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_origin_there_are_no_passkeys() {
    let builder = Platform::builder().set(Service::Auth, "PASSKEY_ORIGINS", "");
    let platform = builder.start().await.unwrap();
    let ada = platform.register("ada").await;
    for path in [format!("{PASSKEYS}/registration"), format!("{LOGIN}/options")] {
        ada.post_empty(&path)
            .await
            .must_be_problem(404, "passkeys_disabled");
    }
    platform.stop().await.unwrap();
}
