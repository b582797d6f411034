//! Limits on what leaves an account, and the amounts that need a second person.

use futures_util::future::join_all;
use platform::client::{Answer, eventually, new_key, text_of};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    to: String,
    officer: Customer,
}

/// 100.00 in the payer's account, decided by two lanes; above 50.00 a second person is needed.
async fn scene() -> Scene {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .set(Service::Transactions, "APPROVAL_ABOVE", "USD=5000")
        .start()
        .await
        .unwrap();
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    Scene {
        officer: platform.register_with_role("officer", Role::Compliance).await,
        platform,
        payer,
        from,
        to,
    }
}

impl Scene {
    fn path(&self) -> String {
        format!("/api/v1/accounts/{}/limits", self.from)
    }

    async fn limit(&self, per_transfer: Value, daily: Value, monthly: Value) {
        let limits =
            json!({ "per_transfer": per_transfer, "daily": daily, "monthly": monthly, "reason": "Agreed." });
        self.officer.put(&self.path(), limits).await.must_be(200);
    }

    async fn pay(&self, amount: i64) -> Answer {
        self.payer.transfer(&self.from, &self.to, amount, "USD").await
    }

    async fn used(&self) -> (i64, i64, i64) {
        let limits = self.payer.get(&self.path()).await.must_be(200);
        let number = |name: &str| limits[name].as_i64().unwrap();
        (number("spent_today"), number("spent_this_month"), number("held"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_an_account_stays_within_its_limits() {
    let scene = scene().await;
    scene.limit(json!(300), json!(500), json!(600)).await;
    scene
        .pay(301)
        .await
        .must_be_problem(422, "transfer_limit_exceeded");
    scene.pay(300).await.must_be(201);
    scene.pay(201).await.must_be_problem(422, "daily_limit_exceeded");
    let hold = scene.payer.place_hold(&scene.from, &scene.to, 150, "USD").await;
    let hold = text_of(&hold.must_be(201), "id");
    assert_eq!(scene.used().await, (300, 300, 150));
    scene
        .payer
        .withdraw(&scene.from, 51, "USD")
        .await
        .must_be_problem(422, "daily_limit_exceeded");
    scene.payer.withdraw(&scene.from, 50, "USD").await.must_be(201);
    // What was held may be captured whatever was spent since.
    let capture = format!("/api/v1/holds/{hold}/capture");
    let capture = scene.payer.post_with_key(&capture, &new_key(), json!({})).await;
    capture.must_be(201);
    assert_eq!(scene.used().await, (500, 500, 0));
    scene.limit(json!(null), json!(null), json!(600)).await;
    scene
        .pay(101)
        .await
        .must_be_problem(422, "monthly_limit_exceeded");
    scene.limit(json!(null), json!(null), json!(null)).await;
    scene.pay(101).await.must_be(201);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_race_never_spend_more_than_the_limit() {
    let scene = scene().await;
    scene.limit(json!(null), json!(500), json!(null)).await;
    let answers = join_all((0..40).map(|_| scene.pay(50))).await;
    let posted = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(posted, 10);
    for refused in answers.into_iter().filter(|answer| answer.status != 201) {
        refused.must_be_problem(422, "daily_limit_exceeded");
    }
    assert_eq!(scene.used().await, (500, 500, 0));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_changed_by_staff_for_a_reason_that_is_written_down() {
    let scene = scene().await;
    let limits = json!({ "per_transfer": null, "daily": 700, "monthly": null, "reason": "Asked for by the customer." });
    for (body, code) in [
        (json!({ "daily": 1, "monthly": 1, "reason": "x" }), "invalid_body"),
        (
            json!({ "per_transfer": -1, "daily": 1, "monthly": 1, "reason": "x" }),
            "invalid_body",
        ),
        (
            json!({ "per_transfer": 1, "daily": 1, "monthly": 1, "reason": "" }),
            "invalid_body",
        ),
    ] {
        let refused = scene.officer.put(&scene.path(), body).await;
        refused.must_be_problem(400, code);
    }
    let own = scene.officer.open_account("USD").await;
    let own = format!("/api/v1/accounts/{own}/limits");
    let refused = scene.officer.put(&own, limits.clone()).await;
    refused.must_be_problem(403, "separation_of_duties");

    let changed = scene
        .officer
        .put(&scene.path(), limits.clone())
        .await
        .must_be(200);
    assert_eq!(changed["limits"]["daily"], 700);
    assert_eq!(
        scene.payer.get(&scene.path()).await.must_be(200)["limits"],
        changed["limits"]
    );
    // The same again changes nothing, and is not written down.
    scene.officer.put(&scene.path(), limits).await.must_be(200);
    let log = format!("/api/v1/audit-log?subject={}", scene.from);
    let log = scene.officer.get(&log).await.must_be(200);
    let entries = log["data"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{log}");
    let entry = &entries[0];
    assert_eq!(
        (&entry["action"], &entry["actor"]),
        (&json!("account.limits_changed"), &json!(scene.officer.user_id))
    );
    let after = text_of(entry, "after");
    assert!(
        after.contains("Asked for by the customer.") && after.contains("700"),
        "{after}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_an_amount_a_second_person_approves_while_the_money_is_held() {
    let scene = scene().await;
    let posted = scene.pay(5_000).await.must_be(201);
    assert_eq!(
        (&posted["status"], &posted["review_reason"]),
        (&json!("posted"), &json!(null))
    );
    let waiting = scene.payer.deposit(&scene.from, 5_000, "USD").await.must_be(201);
    assert_eq!(waiting["status"], "posted", "what comes in needs nobody");
    let waiting = scene.pay(5_001).await.must_be(201);
    assert_eq!(
        (&waiting["status"], &waiting["review_reason"]),
        (&json!("in_review"), &json!("amount"))
    );
    assert_eq!(scene.payer.balance(&scene.from).await, (10_000, 5_001, 4_999));
    let hold = scene.payer.place_hold(&scene.from, &scene.to, 5_001, "USD").await;
    hold.must_be_problem(422, "insufficient_funds");
    scene.payer.deposit(&scene.from, 5_000, "USD").await.must_be(201);
    let hold = scene.payer.place_hold(&scene.from, &scene.to, 5_001, "USD").await;
    hold.must_be_problem(422, "approval_required");

    let approve = format!("/api/v1/transfers/{}/approve", text_of(&waiting, "id"));
    let by_payer = scene.payer.post_with_key(&approve, &new_key(), json!({})).await;
    by_payer.must_be_problem(403, "role_required");
    let approved = scene.officer.post_with_key(&approve, &new_key(), json!({})).await;
    let approved = approved.must_be(200);
    assert_eq!(
        (&approved["status"], &approved["review_reason"]),
        (&json!("posted"), &json!("amount"))
    );
    let path = format!("/api/v1/transfers/{}", text_of(&waiting, "id"));
    eventually("it is read as it was answered", async || {
        let read = scene.payer.get(&path).await.must_be(200);
        (read["review_reason"] == "amount" && read["status"] == "posted").then_some(())
    })
    .await;
    scene.platform.assert_invariants().await;
}
