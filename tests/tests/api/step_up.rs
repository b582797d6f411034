//! Proving once more who one is, for what needs it to be surer: money above an amount.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use platform::client::{Customer, PASSWORD, new_key, text_of, transfer_body};
use platform::{Client, Platform, Service};
use serde_json::{Value, json};

use super::two_factor::{App, enrol, switch_module};

const STEP_UP: &str = "/api/v1/auth/step-up";

/// What a token says.
pub fn claims(token: &str) -> Value {
    let text = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

struct Payer {
    ada: Customer,
    app: App,
    from: String,
    to: String,
}

impl Payer {
    async fn start(per_transfer: bool) -> (Platform, Self) {
        let builder = Platform::builder()
            .set(Service::Transactions, "STEP_UP_ABOVE", "USD=1000")
            .set(Service::Transactions, "STEP_UP_PER_TRANSFER", per_transfer);
        let platform = builder.start().await.unwrap();
        switch_module(&platform, true).await;
        let ada = platform.register("ada").await;
        let from = ada.open_funded_account(100_000, "USD").await;
        let to = platform.register("bob").await.open_account("USD").await;
        let (app, _) = enrol(&ada, &platform.clock).await;
        (platform, Self { ada, app, from, to })
    }

    /// A token that two factors gave.
    async fn sure(&self, platform: &Platform, transfer: Option<Value>) -> Client {
        platform.clock.advance(Duration::seconds(30));
        let mut body = json!({ "method": "totp", "code": self.app.code(&platform.clock) });
        if let Some(transfer) = transfer {
            body["transfer"] = transfer;
        }
        let stepped = self.ada.post(STEP_UP, body).await.must_be(200);
        self.ada.with_token(&text_of(&stepped, "access_token"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_amount_a_password_is_not_enough() {
    let (platform, payer) = Payer::start(false).await;
    let Payer { ada, from, to, .. } = &payer;
    ada.transfer(from, to, 1000, "USD").await.must_be(201);
    let body = transfer_body(from, to, 1001, "USD");
    let batch = json!({ "mode": "independent", "items": [
        { "key": new_key(), "transfer": transfer_body(from, to, 600, "USD") },
        { "key": new_key(), "transfer": transfer_body(from, to, 600, "USD") },
    ] });
    let calendar = json!({ "first_on": "2030-01-01", "at": "09:00", "time_zone": "UTC" });
    let hold = json!({ "account_id": from, "credit_account_id": to, "amount": 1001, "currency": "USD" });
    let withdrawal = json!({ "account_id": from, "amount": 1001, "currency": "USD" });
    let requests = [
        ("/api/v1/transfers", body.clone()),
        ("/api/v1/transfer-batches", batch),
        (
            "/api/v1/transfer-schedules",
            json!({ "transfer": body, "calendar": calendar }),
        ),
        ("/api/v1/holds", hold),
        ("/api/v1/payments/withdrawals", withdrawal),
    ];
    for (path, body) in &requests {
        let refused = ada.post_with_key(path, &new_key(), body.clone()).await;
        refused.must_be_problem(401, "insufficient_user_authentication");
        let challenge = refused.header("www-authenticate").unwrap();
        for part in [
            r#"error="insufficient_user_authentication""#,
            r#"acr_values="aal2""#,
            r#"max_age="300""#,
        ] {
            assert!(challenge.contains(part), "{path}: {challenge}");
        }
    }
    // A young password is no second factor.
    let young = ada
        .post(STEP_UP, json!({ "password": PASSWORD }))
        .await
        .must_be(200);
    let young = ada.with_token(&text_of(&young, "access_token"));
    let refused = young
        .post_with_key("/api/v1/transfers", &new_key(), body.clone())
        .await;
    refused.must_be_problem(401, "insufficient_user_authentication");
    // Small steps of a hold are not small.
    let small = ada.place_hold(from, to, 900, "USD").await.must_be(201);
    let more = format!("/api/v1/holds/{}/increment", text_of(&small, "id"));
    let refused = ada
        .post_with_key(&more, &new_key(), json!({ "amount": 200 }))
        .await;
    refused.must_be_problem(401, "insufficient_user_authentication");
    assert_eq!(ada.balance(from).await, (99_000, 900, 98_100));

    let sure = payer.sure(&platform, None).await;
    for (path, body) in &requests {
        let done = sure.post_with_key(path, &new_key(), body.clone()).await;
        assert!([200, 201].contains(&done.status), "{done}");
    }
    // Later it is asked for again, and of the token that the session has by then.
    platform.clock.advance(Duration::minutes(4));
    sure.post_with_key("/api/v1/transfers", &new_key(), body.clone())
        .await
        .must_be(201);
    platform.clock.advance(Duration::minutes(2));
    let refreshed = json!({ "refresh_token": ada.refresh_token });
    let refreshed = ada.post("/api/v1/auth/refresh", refreshed).await.must_be(200);
    let later = Customer::from_login(&platform.client(), &ada.email, &refreshed);
    assert_eq!(claims(&later.access_token)["acr"], "aal2");
    let refused = later.post_with_key("/api/v1/transfers", &new_key(), body).await;
    refused.must_be_problem(401, "insufficient_user_authentication");
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_one_transfer_moves_nothing_else() {
    let (platform, payer) = Payer::start(true).await;
    let Payer { ada, from, to, .. } = &payer;
    let unbound = payer.sure(&platform, None).await;
    let transfers = "/api/v1/transfers";
    let body = |to: &str, amount: i64| transfer_body(from, to, amount, "USD");
    let refused = unbound.post_with_key(transfers, &new_key(), body(to, 5000)).await;
    refused.must_be_problem(403, "transfer_authorization_required");

    let key = new_key();
    let agreed =
        json!({ "idempotency_key": key, "amount": 5000, "currency": "USD", "credit_account_id": to });
    let sure = payer.sure(&platform, Some(agreed)).await;
    let mallory = platform.register("mallory").await.open_account("USD").await;
    for (key, altered) in [
        (key.clone(), body(to, 5001)),
        (key.clone(), body(&mallory, 5000)),
        (new_key(), body(to, 5000)),
        (new_key(), body(&mallory, 1)),
    ] {
        let refused = sure.post_with_key(transfers, &key, altered).await;
        refused.must_be_problem(403, "transfer_not_authorized");
    }
    // Nor does it change who can log in, sure as it is.
    let method = json!({ "method": "email" });
    let refused = sure.post("/api/v1/auth/two-factor/methods", method).await;
    refused.must_be_problem(403, "transfer_not_authorized");
    assert_eq!(ada.balance(from).await, (100_000, 0, 100_000));
    sure.post_with_key(transfers, &key, body(to, 5000))
        .await
        .must_be(201);
    // It moves it once, however often it comes.
    let replayed = sure.post_with_key(transfers, &key, body(to, 5000)).await;
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"), "{replayed}");
    assert_eq!(ada.balance(from).await, (95_000, 0, 95_000));
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_proof_gives_no_token() {
    let (platform, payer) = Payer::start(false).await;
    let ada = &payer.ada;
    for (body, status, code) in [
        (json!({ "password": "not-the-password" }), 422, "wrong_password"),
        (json!({ "method": "totp", "code": "000000" }), 422, "wrong_code"),
        (
            json!({ "method": "recovery_code", "code": "0000-0000-0000-0000" }),
            422,
            "wrong_code",
        ),
        (json!({}), 400, "invalid_body"),
        (json!({ "method": "totp" }), 400, "invalid_body"),
        (
            json!({ "password": PASSWORD, "method": "totp", "code": "000000" }),
            400,
            "invalid_body",
        ),
        (
            json!({ "method": "carrier_pigeon", "code": "000000" }),
            400,
            "invalid_body",
        ),
    ] {
        ada.post(STEP_UP, body).await.must_be_problem(status, code);
    }
    ada.post_empty("/api/v1/auth/logout").await.must_be(204);
    let late = ada.post(STEP_UP, json!({ "password": PASSWORD })).await;
    late.must_be_problem(401, "session_revoked");
    platform.stop().await.unwrap();
}
