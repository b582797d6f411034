//! Transfers that look suspicious: held, decided by somebody else, and what happens when no score comes.

use platform::client::{eventually, new_key, text_of, transfer_body};
use platform::{Customer, Platform, Service};
use serde_json::json;
use shared::Role;

use crate::parties::payer_and_payee;

const TRANSFERS: &str = "/api/v1/transfers";

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    payee: Customer,
    to: String,
    officer: Customer,
}

/// Without ml-service, so that an amount above the fallback limit is always reviewed.
async fn scene() -> Scene {
    let platform = Platform::builder()
        .without(Service::Ml)
        .set(Service::Transactions, "UNSCORED_POST_LIMIT", 1_000)
        .set(Service::Transactions, "SCORE_DEADLINE_MS", 200)
        .start()
        .await
        .unwrap();
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    Scene {
        platform,
        payer,
        from,
        payee,
        to,
        officer,
    }
}

impl Scene {
    /// A transfer of 60.00 that waits for a decision.
    async fn transfer_in_review(&self) -> String {
        let transfer = self
            .payer
            .transfer(&self.from, &self.to, 6_000, "USD")
            .await
            .must_be(201);
        assert_eq!(transfer["status"], "in_review");
        transfer["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_score_small_amounts_post_and_large_ones_wait() {
    let scene = scene().await;
    let small = scene
        .payer
        .transfer(&scene.from, &scene.to, 1_000, "USD")
        .await
        .must_be(201);
    assert_eq!(small["status"], "posted");
    let large = scene
        .payer
        .transfer(&scene.from, &scene.to, 1_001, "USD")
        .await
        .must_be(201);
    assert_eq!(
        (&large["status"], &large["completed_at"]),
        (&json!("in_review"), &json!(null))
    );
    assert_eq!(scene.payer.balance(&scene.from).await, (9_000, 1_001, 7_999));
    assert_eq!(scene.payee.balance(&scene.to).await, (1_000, 0, 1_000));
    // What is held cannot be spent, and the payee does not see what is not posted.
    scene
        .payer
        .withdraw(&scene.from, 8_000, "USD")
        .await
        .must_be_problem(422, "insufficient_funds");
    let path = format!("{TRANSFERS}/{}", large["id"].as_str().unwrap());
    scene.payee.get(&path).await.must_be_problem(404, "not_found");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_transfer_posts_once() {
    let scene = scene().await;
    let id = scene.transfer_in_review().await;
    let waiting = scene
        .officer
        .get(&format!("{TRANSFERS}?status=in_review"))
        .await
        .must_be(200);
    assert_eq!(waiting["data"][0]["id"], json!(id));

    let (path, key) = (format!("{TRANSFERS}/{id}/approve"), new_key());
    let approved = scene.officer.post_with_key(&path, &key, json!(null)).await;
    assert_eq!(approved.clone().must_be(200)["status"], "posted");
    let again = scene.officer.post_with_key(&path, &key, json!(null)).await;
    assert_eq!((again.status, &again.text), (200, &approved.text));
    let anew = scene.officer.post_with_key(&path, &new_key(), json!(null)).await;
    anew.must_be_problem(422, "not_in_review");
    let reject = format!("{TRANSFERS}/{id}/reject");
    scene
        .officer
        .post_with_key(&reject, &new_key(), json!(null))
        .await
        .must_be_problem(422, "not_in_review");
    assert_eq!(scene.payer.balance(&scene.from).await, (4_000, 0, 4_000));
    assert_eq!(scene.payee.balance(&scene.to).await, (6_000, 0, 6_000));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_transfer_gives_the_money_back() {
    let scene = scene().await;
    let id = scene.transfer_in_review().await;
    let rejected = scene
        .officer
        .post_with_key(&format!("{TRANSFERS}/{id}/reject"), &new_key(), json!(null))
        .await;
    let rejected = rejected.must_be(200);
    assert_eq!(rejected["status"], "rejected");
    assert_eq!(rejected["rejection_code"], "rejected_in_review");
    assert_eq!(scene.payer.balance(&scene.from).await, (10_000, 0, 10_000));
    let seen = scene.payer.get(&format!("{TRANSFERS}/{id}")).await.must_be(200);
    assert_eq!(seen["status"], "rejected");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_decides_what_is_their_own() {
    let scene = scene().await;
    let id = scene.transfer_in_review().await;
    let decide = async |who: &Customer, verb: &str| {
        who.post_with_key(&format!("{TRANSFERS}/{id}/{verb}"), &new_key(), json!(null))
            .await
    };
    for verb in ["approve", "reject"] {
        decide(&scene.payer, verb)
            .await
            .must_be_problem(403, "role_required");
        decide(&scene.payee, verb)
            .await
            .must_be_problem(403, "role_required");
    }
    scene
        .platform
        .grant_role(&scene.payer.email, Role::Compliance)
        .await
        .unwrap();
    scene
        .platform
        .grant_role(&scene.payee.email, Role::Admin)
        .await
        .unwrap();
    let payer_as_officer = scene.payer.log_in_again().await;
    let payee_as_admin = scene.payee.log_in_again().await;
    for verb in ["approve", "reject"] {
        decide(&payee_as_admin, verb)
            .await
            .must_be_problem(403, "separation_of_duties");
        decide(&payer_as_officer, verb)
            .await
            .must_be_problem(403, "separation_of_duties");
    }
    assert_eq!(scene.payer.balance(&scene.from).await, (10_000, 6_000, 4_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approve_and_reject_at_once_have_one_winner() {
    let scene = scene().await;
    let id = scene.transfer_in_review().await;
    let decisions = (0..8).map(|number| {
        let (officer, verb) = (
            scene.officer.clone(),
            if number % 2 == 0 { "approve" } else { "reject" },
        );
        let path = format!("{TRANSFERS}/{id}/{verb}");
        async move { officer.post_with_key(&path, &new_key(), json!(null)).await.status }
    });
    let statuses = futures_util::future::join_all(decisions).await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_posted_without_a_score_is_scored_later() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    platform.stop_service(Service::Ml).await.unwrap();
    let transfer = payer.transfer(&from, &to, 100, "USD").await.must_be(201);
    assert_eq!(transfer["status"], "posted");
    platform.start_service(Service::Ml).await.unwrap();
    let sql = platform.sql().await;
    let decision = eventually("the transfer is scored", async || {
        let row = sql
            .query_one(
                "SELECT risk_decision FROM transactions.transfers WHERE kind = 'transfer'",
                &[],
            )
            .await
            .unwrap();
        row.get::<_, Option<String>>(0)
    })
    .await;
    assert_eq!(decision, "allow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_out_of_all_proportion_does_not_just_post() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 100_000_000).await;
    for _ in 0..12 {
        payer.transfer(&from, &to, 1_000, "USD").await.must_be(201);
    }
    let sql = platform.sql().await;
    eventually("ml-service has learnt the account's habits", async || {
        let row = sql
            .query_one(
                "SELECT coalesce(sum(transfer_count), 0)::bigint FROM ml.account_states",
                &[],
            )
            .await
            .unwrap();
        (row.get::<_, i64>(0) == 12).then_some(())
    })
    .await;
    let stranger = platform.register("stranger").await.open_account("USD").await;
    let huge = payer
        .post_with_key(
            TRANSFERS,
            &new_key(),
            transfer_body(&from, &stranger, 90_000_000, "USD"),
        )
        .await;
    let stopped = huge.body["status"] == "in_review" || huge.code() == "blocked_by_risk";
    assert!(stopped, "{huge}");
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    if let Some(id) = huge.body["id"].as_str() {
        let seen = officer.get(&format!("{TRANSFERS}/{id}")).await.must_be(200);
        assert!(!seen["risk"]["reasons"].as_array().unwrap().is_empty(), "{seen}");
        assert!(
            payer
                .get(&format!("{TRANSFERS}/{id}"))
                .await
                .body
                .get("risk")
                .is_none()
        );
    }
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_in_review_cannot_be_decided_and_trying_to_is_no_fault_of_the_books() {
    let scene = scene().await;
    let posted = scene.payer.transfer(&scene.from, &scene.to, 1_000, "USD").await;
    let id = text_of(&posted.must_be(201), "id");
    for decision in ["approve", "reject"] {
        let path = format!("{TRANSFERS}/{id}/{decision}");
        let decided = scene.officer.post_with_key(&path, &new_key(), json!(null)).await;
        decided.must_be_problem(422, "not_in_review");
    }
    assert_eq!(scene.payee.balance(&scene.to).await, (1_000, 0, 1_000));
    scene.platform.assert_invariants().await;
}
