//! Lists: block, allow, watch, with an end.

use platform::Platform;
use platform::client::eventually;
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

const LISTS: &str = "/api/v1/fraud/lists";

fn entry(list: &str, kind: &str, subject: &str) -> Value {
    json!({ "list": list, "subject_kind": kind, "subject": subject, "reason": "As agreed" })
}

fn in_days(days: i64) -> Value {
    json!(shared::Clock::system().now() + chrono::Duration::days(days))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_decide_before_rules_until_they_are_removed_or_expire() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000_000).await;
    let analyst = platform.register_with_role("analyst", Role::Compliance).await;
    let pay = async |amount: i64| payer.transfer(&from, &to, amount, "USD").await;

    let blocked = analyst
        .post(LISTS, entry("block", "counterparty", &to))
        .await
        .must_be(201);
    analyst
        .post(LISTS, entry("block", "counterparty", &to))
        .await
        .must_be_problem(409, "already_listed");
    pay(100).await.must_be_problem(422, "blocked_by_risk");
    // Blocking wins.
    let mut allowed = entry("allow", "account", &from);
    for end in [Value::Null, in_days(91)] {
        allowed["expires_at"] = end;
        let refused = analyst.post(LISTS, allowed.clone()).await;
        refused.must_be_problem(422, "invalid_expiry");
    }
    allowed["expires_at"] = in_days(89);
    let allowed = analyst.post(LISTS, allowed).await.must_be(201);
    pay(100).await.must_be_problem(422, "blocked_by_risk");
    let path = format!("{LISTS}/{}", blocked["id"].as_str().unwrap());
    analyst
        .send(analyst.request(reqwest::Method::DELETE, &path))
        .await
        .must_be(204);
    analyst
        .send(analyst.request(reqwest::Method::DELETE, &path))
        .await
        .must_be_problem(404, "not_found");
    // What rules would have held is let through.
    assert_eq!(pay(1_000_000).await.must_be(201)["status"], "posted");

    let mut short = entry("block", "holder", &payer.user_id);
    let soon = shared::Clock::system().now() + chrono::Duration::seconds(2);
    short["expires_at"] = json!(soon);
    analyst.post(LISTS, short).await.must_be(201);
    pay(100).await.must_be_problem(422, "blocked_by_risk");
    eventually("the entry has expired", async || {
        (pay(100).await.status == 201).then_some(())
    })
    .await;
    let listed = analyst.get(LISTS).await.must_be(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    // An expired one is no obstacle.
    analyst
        .post(LISTS, entry("block", "holder", &payer.user_id))
        .await
        .must_be(201);

    for (kind, subject) in [
        ("account", "acct_1"),
        ("holder", to.as_str()),
        ("address", "here"),
        ("device", ""),
        ("device", &"d".repeat(129)),
    ] {
        analyst
            .post(LISTS, entry("watch", kind, subject))
            .await
            .must_be_problem(422, "invalid_subject");
    }
    let mut past = entry("watch", "account", &from);
    past["expires_at"] = json!("2020-01-01T00:00:00Z");
    analyst
        .post(LISTS, past)
        .await
        .must_be_problem(422, "invalid_expiry");

    // Nobody lists themselves or what is theirs, nor takes it off.
    platform.grant_role(&payer.email, Role::Compliance).await.unwrap();
    let party = payer.log_in_again().await;
    for (kind, subject) in [
        ("holder", &payer.user_id),
        ("account", &from),
        ("counterparty", &from),
    ] {
        let mut own = entry("allow", kind, subject);
        own["expires_at"] = in_days(1);
        party
            .post(LISTS, own)
            .await
            .must_be_problem(403, "separation_of_duties");
    }
    let path = format!("{LISTS}/{}", allowed["id"].as_str().unwrap());
    party
        .send(party.request(reqwest::Method::DELETE, &path))
        .await
        .must_be_problem(403, "separation_of_duties");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_of_somebody_who_is_watched_is_an_alert() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 100_000).await;
    let analyst = platform.register_with_role("analyst", Role::Compliance).await;
    analyst
        .post(LISTS, entry("watch", "account", &from))
        .await
        .must_be(201);
    let transfer = payer.transfer(&from, &to, 100, "USD").await.must_be(201);
    assert_eq!(transfer["status"], "posted", "{transfer}");
    let alert = eventually("the alert is open", async || {
        let page = analyst.get("/api/v1/fraud/alerts").await.must_be(200);
        page["data"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&alert["kind"], &alert["transfer_id"]),
        (&json!("watch"), &transfer["id"]),
        "{alert}"
    );
    assert_eq!(alert["sentence"], "the account is watched: As agreed");
    let path = format!("/api/v1/fraud/alerts/{}", alert["id"].as_str().unwrap());
    analyst.post_empty(&format!("{path}/claim")).await.must_be(200);
    let held = json!({ "outcome": "refuse", "fraud": true, "reason": "x" });
    analyst
        .post(&format!("{path}/decide"), held)
        .await
        .must_be_problem(422, "nothing_held");
    let fraud = json!({ "fraud": true, "reason": "The same device as the thief." });
    let closed = analyst.post(&format!("{path}/decide"), fraud).await.must_be(200);
    assert_eq!(closed["status"], "closed", "{closed}");
    platform.stop().await.unwrap();
}
