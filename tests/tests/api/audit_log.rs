//! The audit log: who changed what by hand, in a chain that shows when it was altered.

use futures_util::future::join_all;
use platform::client::{eventually, new_key, text_of};
use platform::invariants::integrity_report;
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

const AUDIT_LOG: &str = "/api/v1/audit-log";

async fn entries(auditor: &Customer, query: &str) -> Vec<Value> {
    let page = auditor.get(&format!("{AUDIT_LOG}{query}")).await.must_be(200);
    page["data"].as_array().unwrap().clone()
}

async fn post(who: &Customer, path: String, body: Value) -> Value {
    let answer = who.post_with_key(&path, &new_key(), body).await;
    assert!([200, 201].contains(&answer.status), "{answer}");
    answer.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_staff_does_to_the_ledger_is_in_it_once_and_in_order() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let clerk = platform.register_with_role("clerk", Role::Support).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let transfer = payer.transfer(&from, &to, 4_000, "USD").await.must_be(201);
    let transfer = text_of(&transfer, "id");
    assert_eq!(entries(&officer, "").await, Vec::<Value>::new());

    let path = format!("/api/v1/transfers/{transfer}/reversals");
    let reversal = json!({ "description": "Paid twice" });
    let key = new_key();
    for _ in 0..2 {
        let answer = clerk.post_with_key(&path, &key, reversal.clone()).await;
        assert_eq!(answer.status, 201, "{answer}");
    }
    let refused = clerk.post_with_key(&path, &new_key(), reversal).await;
    refused.must_be_problem(422, "already_reversed");
    let proposed = entries(&officer, "").await;
    assert_eq!(
        proposed.len(),
        1,
        "a repetition or a refusal is told: {proposed:?}"
    );
    let reversal = proposed[0]["after"].as_str().unwrap();
    let reversal = text_of(&serde_json::from_str(reversal).unwrap(), "reversal_id");
    post(
        &officer,
        format!("/api/v1/transfers/{reversal}/approve"),
        json!(null),
    )
    .await;
    post(&payer, format!("/api/v1/accounts/{from}/freeze"), json!(null)).await;

    let told = entries(&officer, "?limit=3").await;
    let brief = |entry: &Value| ["action", "actor", "subject", "before"].map(|member| text_of(entry, member));
    let in_review = json!({ "status": "in_review" }).to_string();
    let open = json!({ "status": "open" }).to_string();
    let expected = [
        ["account.status_changed", &payer.user_id, &from, &open],
        ["transfer.approved", &officer.user_id, &reversal, &in_review],
        [
            "transfer.reversal_proposed",
            &clerk.user_id,
            &transfer,
            r#"{"reversal_id":null}"#,
        ],
    ];
    for (entry, expected) in told.iter().zip(expected) {
        assert_eq!(brief(entry), expected.map(str::to_owned));
        assert!(entry["request_id"].as_str().is_some(), "{entry}");
    }
    assert_eq!(told.len(), 3);
    assert!(told[2]["roles"].to_string().contains("support"), "{}", told[2]);
    assert_eq!(told[0]["previous_hash"], told[1]["hash"]);
    assert_eq!(told[2]["previous_hash"], json!("0".repeat(64)));

    let about = entries(&officer, &format!("?subject={reversal}")).await;
    assert_eq!(about.len(), 1, "{about:?}");
    let first = officer.get(&format!("{AUDIT_LOG}?limit=2")).await.must_be(200);
    let next = text_of(&first, "next_cursor");
    let rest = entries(&officer, &format!("?limit=2&after={next}")).await;
    assert_eq!(rest, [told[2].clone()]);
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_freezes_and_closes_an_account_is_named_also_when_the_ledger_was_down() {
    let platform = Platform::start().await;
    let owner = platform.register("owner").await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let account = owner.open_account("USD").await;
    let path = |verb: &str| format!("/api/v1/accounts/{account}/{verb}");
    platform.stop_service(Service::Transactions).await.unwrap();
    let answer = officer.post_empty(&path("freeze")).await;
    assert_eq!(answer.status, 503, "{answer}");
    platform.start_service(Service::Transactions).await.unwrap();
    let about = format!("?subject={account}");
    eventually("the job has frozen it", async || {
        (entries(&officer, &about).await.len() == 1).then_some(())
    })
    .await;
    post(&officer, path("unfreeze"), json!(null)).await;
    post(&owner, path("close"), json!(null)).await;
    // What is so already is no change.
    post(&owner, path("close"), json!(null)).await;

    let told = entries(&officer, &about).await;
    let told: Vec<[String; 3]> = told
        .iter()
        .map(|entry| ["actor", "before", "after"].map(|member| text_of(entry, member)))
        .collect();
    let status = |word: &str| json!({ "status": word }).to_string();
    let [open, frozen, closed] = ["open", "frozen", "closed"].map(status);
    assert_eq!(
        told,
        [
            [owner.user_id.clone(), open.clone(), closed],
            [officer.user_id.clone(), frozen.clone(), open.clone()],
            [officer.user_id.clone(), open, frozen],
        ]
    );
    let roles = &entries(&officer, &about).await[1]["roles"];
    assert!(roles.to_string().contains("compliance"), "{roles}");
    // Whom it was for is forgotten where it is done.
    let sql = platform.sql().await;
    let kept = "SELECT FROM accounts.accounts WHERE changed_by IS NOT NULL";
    assert!(sql.query(kept, &[]).await.unwrap().is_empty());
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_can_only_append_and_what_a_superuser_alters_is_named() {
    let platform = Platform::start().await;
    let owner = platform.register("owner").await;
    let account = owner.open_account("USD").await;
    for verb in ["freeze", "unfreeze", "freeze"] {
        post(&owner, format!("/api/v1/accounts/{account}/{verb}"), json!(null)).await;
    }
    let url = platform
        .server
        .runtime_url(Service::Transactions, &platform.database)
        .unwrap();
    let (runtime, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for statement in [
        "UPDATE transactions.audit_log SET actor = 'nobody'",
        "DELETE FROM transactions.audit_log",
        "TRUNCATE transactions.audit_log",
        "INSERT INTO transactions.audit_log SELECT * FROM transactions.audit_log",
    ] {
        let error = runtime.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}: {error:?}");
    }
    let sql = platform.sql().await;
    let alter = "UPDATE transactions.audit_log SET actor = 'nobody' WHERE number = 2";
    assert!(
        sql.batch_execute(alter).await.is_err(),
        "the owner can rewrite it"
    );

    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let violations = async || {
        let report = integrity_report(&officer).await.unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["code"] == "I10b").unwrap();
        check["violations"].clone()
    };
    assert_eq!(violations().await, json!([]));
    sql.batch_execute("SET session_replication_role = replica")
        .await
        .unwrap();
    sql.batch_execute(alter).await.unwrap();
    let named = json!(["audit entry 2: does not follow entry 1, or was altered"]);
    assert_eq!(violations().await, named);
    // With a hash that fits, the next entry gives it away.
    sql.batch_execute(
        "UPDATE transactions.audit_log AS entry SET hash = transactions.hash_of_audit_entry(entry.*) WHERE number = 2",
    )
    .await
    .unwrap();
    let named = json!(["audit entry 3: does not follow entry 2, or was altered"]);
    assert_eq!(violations().await, named);
    sql.batch_execute("DELETE FROM transactions.audit_log WHERE number = 2")
        .await
        .unwrap();
    assert_eq!(violations().await, named);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_come_at_once_make_one_chain() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let owner = platform.register("owner").await;
    let accounts = join_all((0..12).map(|_| owner.open_account("USD"))).await;
    let frozen = accounts
        .iter()
        .map(async |account| post(&owner, format!("/api/v1/accounts/{account}/freeze"), json!(null)).await);
    join_all(frozen).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let told = entries(&officer, "?limit=100").await;
    let numbers: Vec<i64> = told
        .iter()
        .map(|entry| entry["number"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=12).rev().collect::<Vec<i64>>());
    platform.assert_invariants().await;
}
