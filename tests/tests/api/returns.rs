//! Giving back: refunds in parts, reversals by two people, and never more than was posted.

use futures_util::future::join_all;
use platform::client::{Answer, new_key, text_of};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    payee: Customer,
    to: String,
    /// Of 40.00, posted.
    transfer: String,
}

async fn scene() -> Scene {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    let transfer = payer.transfer(&from, &to, 4_000, "USD").await.must_be(201);
    Scene {
        transfer: text_of(&transfer, "id"),
        platform,
        payer,
        from,
        payee,
        to,
    }
}

impl Scene {
    async fn refund(&self, amount: i64) -> Answer {
        refund(&self.payee, &self.transfer, amount).await
    }

    async fn original(&self) -> Value {
        let path = format!("/api/v1/transfers/{}", self.transfer);
        self.payer.get(&path).await.must_be(200)
    }
}

async fn refund(customer: &Customer, transfer: &str, amount: i64) -> Answer {
    let path = format!("/api/v1/transfers/{transfer}/refunds");
    customer
        .post_with_key(&path, &new_key(), json!({ "amount": amount }))
        .await
}

async fn reverse(customer: &Customer, transfer: &str) -> Answer {
    let path = format!("/api/v1/transfers/{transfer}/reversals");
    customer
        .post_with_key(
            &path,
            &new_key(),
            json!({ "description": "Sent twice by mistake" }),
        )
        .await
}

async fn decide(customer: &Customer, transfer: &str, decision: &str) -> Answer {
    let path = format!("/api/v1/transfers/{transfer}/{decision}");
    customer.post_with_key(&path, &new_key(), json!(null)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_payee_gives_back_in_parts_and_never_more_than_was_paid() {
    let scene = scene().await;
    let part = scene.refund(1_500).await.must_be(201);
    assert_eq!(
        (&part["kind"], &part["status"]),
        (&json!("refund"), &json!("posted"))
    );
    assert_eq!(part["original_transfer_id"], json!(scene.transfer));
    assert_eq!(scene.original().await["refunded"], 1_500);
    scene.refund(2_501).await.must_be_problem(422, "refund_exceeded");
    scene.refund(2_500).await.must_be(201);
    scene.refund(1).await.must_be_problem(422, "refund_exceeded");
    assert_eq!(scene.payer.balance(&scene.from).await, (10_000, 0, 10_000));
    // The payer cannot give back, nor can a refund be refunded, nor what came over a rail.
    refund(&scene.payer, &scene.transfer, 1)
        .await
        .must_be_problem(404, "not_found");
    refund(&scene.payer, &text_of(&part, "id"), 1)
        .await
        .must_be_problem(422, "not_refundable");
    let deposit = scene.payer.deposit(&scene.from, 100, "USD").await.must_be(201);
    refund(&scene.payer, &text_of(&deposit, "id"), 1)
        .await
        .must_be_problem(422, "not_refundable");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_the_payee_cannot_pay_uses_nothing_up() {
    let scene = scene().await;
    scene.payee.withdraw(&scene.to, 4_000, "USD").await.must_be(201);
    scene
        .refund(4_000)
        .await
        .must_be_problem(422, "insufficient_funds");
    assert_eq!(scene.original().await["refunded"], json!(null));
    scene.payee.deposit(&scene.to, 4_000, "USD").await.must_be(201);
    scene.refund(4_000).await.must_be(201);
    scene.platform.assert_invariants().await;
}

/// Hyperswitch #13182: refunds that raced each other gave back more than was captured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyperswitch_13182_refunds_that_race_never_exceed_what_was_captured() {
    let scene = scene().await;
    let hold = scene.payer.place_hold(&scene.from, &scene.to, 3_000, "USD").await;
    let hold = text_of(&hold.must_be(201), "id");
    let path = format!("/api/v1/holds/{hold}/capture");
    let capture = scene
        .payee
        .post_with_key(&path, &new_key(), json!({}))
        .await
        .must_be(201);
    let refunds = (0..24).map(|_| {
        let (payee, capture) = (scene.payee.clone(), text_of(&capture, "id"));
        tokio::spawn(async move { refund(&payee, &capture, 700).await })
    });
    let answers: Vec<Answer> = join_all(refunds).await.into_iter().map(Result::unwrap).collect();
    let given_back = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(given_back, 4, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.must_be_problem(422, "refund_exceeded");
    }
    // The database would not have let it happen either.
    let sql = scene.platform.sql().await;
    for more in ["refunded = amount + 1", "reversal_id = id"] {
        let update = format!("UPDATE transactions.transfers SET {more} WHERE kind = 'capture'");
        let error = sql.batch_execute(&update).await.unwrap_err();
        let code = error.code().map(tokio_postgres::error::SqlState::code);
        assert_eq!(code, Some("23514"), "{more}");
    }
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_takes_two_people_and_happens_once() {
    let scene = scene().await;
    let clerk = scene.platform.register_with_role("clerk", Role::Support).await;
    let officer = scene
        .platform
        .register_with_role("officer", Role::Compliance)
        .await;
    reverse(&scene.payer, &scene.transfer)
        .await
        .must_be_problem(403, "role_required");
    let proposed = reverse(&clerk, &scene.transfer).await.must_be(201);
    assert_eq!(
        (&proposed["kind"], &proposed["status"]),
        (&json!("reversal"), &json!("in_review"))
    );
    let id = text_of(&proposed, "id");
    assert_eq!(scene.original().await["reversal_id"], json!(id));
    assert_eq!(scene.payee.balance(&scene.to).await, (4_000, 4_000, 0));
    reverse(&officer, &scene.transfer)
        .await
        .must_be_problem(422, "already_reversed");
    scene.refund(1).await.must_be_problem(422, "already_reversed");

    decide(&clerk, &id, "approve")
        .await
        .must_be_problem(403, "role_required");
    assert_eq!(
        decide(&officer, &id, "approve").await.must_be(200)["status"],
        "posted"
    );
    assert_eq!(scene.payer.balance(&scene.from).await, (10_000, 0, 10_000));
    assert_eq!(scene.payee.balance(&scene.to).await, (0, 0, 0));
    reverse(&clerk, &scene.transfer)
        .await
        .must_be_problem(422, "already_reversed");
    reverse(&clerk, &id).await.must_be_problem(422, "not_reversible");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_with_several_legs_is_reversed_as_a_whole() {
    let scene = scene().await;
    let other = scene.payee.open_account("USD").await;
    let leg = |account: &str, direction: &str, amount: i64| json!({ "account_id": account, "direction": direction, "amount": amount, "currency": "USD" });
    let legs = [
        leg(&scene.from, "debit", 500),
        leg(&scene.to, "credit", 300),
        leg(&other, "credit", 200),
    ];
    let path = "/api/v1/transfers";
    let transfer = scene
        .payer
        .post_with_key(path, &new_key(), json!({ "legs": legs }))
        .await;
    let clerk = scene.platform.register_with_role("clerk", Role::Support).await;
    let officer = scene
        .platform
        .register_with_role("officer", Role::Compliance)
        .await;
    let proposed = reverse(&clerk, &text_of(&transfer.must_be(201), "id")).await;
    let proposed = text_of(&proposed.must_be(201), "id");
    assert_eq!(scene.payee.balance(&other).await, (200, 200, 0));
    assert_eq!(
        decide(&officer, &proposed, "approve").await.must_be(200)["status"],
        "posted"
    );
    assert_eq!(scene.payer.balance(&scene.from).await, (6_000, 0, 6_000));
    assert_eq!(scene.payee.balance(&other).await, (0, 0, 0));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_proposes_a_reversal_cannot_approve_it_and_a_rejected_one_leaves_no_trace_on_the_money() {
    let scene = scene().await;
    let officer = scene
        .platform
        .register_with_role("officer", Role::Compliance)
        .await;
    let other = scene.platform.register_with_role("other", Role::Admin).await;
    let id = text_of(&reverse(&officer, &scene.transfer).await.must_be(201), "id");
    decide(&officer, &id, "approve")
        .await
        .must_be_problem(403, "separation_of_duties");
    assert_eq!(
        decide(&other, &id, "reject").await.must_be(200)["status"],
        "rejected"
    );
    assert_eq!(scene.payee.balance(&scene.to).await, (4_000, 0, 4_000));
    assert_eq!(scene.original().await["reversal_id"], json!(null));
    scene.refund(1_000).await.must_be(201);
    reverse(&officer, &scene.transfer)
        .await
        .must_be_problem(422, "already_refunded");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_paid_or_was_paid_cannot_propose_the_reversal() {
    let scene = scene().await;
    let staff = scene.platform.register_with_role("staff", Role::Support).await;
    let account = staff.open_funded_account(1_000, "USD").await;
    for transfer in [
        staff.transfer(&account, &scene.to, 100, "USD").await,
        scene.payer.transfer(&scene.from, &account, 100, "USD").await,
    ] {
        let transfer = text_of(&transfer.must_be(201), "id");
        let proposed = reverse(&staff, &transfer).await;
        proposed.must_be_problem(403, "separation_of_duties");
    }
    reverse(&staff, &scene.transfer).await.must_be(201);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_and_a_reversal_that_race_never_both_happen() {
    let scene = scene().await;
    let clerk = scene.platform.register_with_role("clerk", Role::Support).await;
    for _ in 0..6 {
        let transfer = scene.payer.transfer(&scene.from, &scene.to, 100, "USD").await;
        let transfer = text_of(&transfer.must_be(201), "id");
        let (refunded, reversed) =
            tokio::join!(refund(&scene.payee, &transfer, 100), reverse(&clerk, &transfer));
        match (refunded.status, reversed.status) {
            (201, 422) => drop(reversed.must_be_problem(422, "already_refunded")),
            (422, 201) => drop(refunded.must_be_problem(422, "already_reversed")),
            _ => panic!("{refunded}\n{reversed}"),
        }
    }
    scene.platform.assert_invariants().await;
}
