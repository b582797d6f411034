//! Proofs and exports, checked as whoever gets them would: with the published keys and `flowlet-verify`, and nothing else.

use flowlet_verify::export::{Report, Verifier};
use flowlet_verify::proof::Proof;
use flowlet_verify::{Checkpoint, Keys, note};
use futures_util::future::join_all;
use platform::client::{eventually, new_key, text_of};
use platform::invariants::integrity_report;
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

async fn keys(customer: &Customer) -> Keys {
    eventually("the key is published", async || {
        let keys = customer.get("/api/v1/ledger/keys").await;
        assert_eq!(keys.status, 200, "{keys}");
        Keys::from_json(&keys.text).ok()
    })
    .await
}

/// The proof of a transfer, once there is one.
async fn proof(customer: &Customer, transfer: &str) -> Proof {
    let path = format!("/api/v1/transfers/{transfer}/proof");
    let answer = eventually("there is a proof", async || {
        let answer = customer.get(&path).await;
        if answer.status == 409 {
            answer.must_be_problem(409, "not_yet_proven");
            assert_eq!(answer.header("retry-after"), Some("2"), "{answer}");
            return None;
        }
        Some(answer)
    })
    .await;
    assert_eq!(answer.status, 200, "{answer}");
    serde_json::from_str(&answer.text).unwrap()
}

async fn export(auditor: &Customer, query: &str) -> String {
    let answer = auditor.get(&format!("/api/v1/ledger/export{query}")).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer.text
}

fn check(export: &str, keys: &Keys, kept: Option<Checkpoint>) -> Report {
    let mut verifier = Verifier::new(keys, kept);
    export.lines().for_each(|line| verifier.read(line));
    verifier.finish()
}

fn problems(report: &Report) -> Vec<&str> {
    report
        .problems
        .iter()
        .map(|problem| problem.text.as_str())
        .collect()
}

async fn transfer(who: &Customer, body: Value) -> String {
    let answer = who.post_with_key("/api/v1/transfers", &new_key(), body).await;
    text_of(&answer.must_be(201), "id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_a_transfer_can_be_proven_to_those_it_concerns() {
    let platform = Platform::builder()
        .without(Service::Ml)
        .set(Service::Transactions, "UNSCORED_POST_LIMIT", 5_000)
        .set(Service::Transactions, "SCORE_DEADLINE_MS", 200)
        .start()
        .await
        .unwrap();
    let (payer, payee) = (platform.register("payer").await, platform.register("payee").await);
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let from = payer.open_funded_account(20_000, "USD").await;
    let (to, other) = (payee.open_account("USD").await, payee.open_account("USD").await);
    let pair = json!({
        "debit_account_id": from, "credit_account_id": to, "amount": 4_000, "currency": "USD",
        "description": "Miete für März ☀ \"warm\"", "metadata": { "b": "zwei \\ 2", "a": "1" },
        "reference": "R-1", "effective_date": "2026-11-01"
    });
    let leg = |account: &str, direction: &str, amount: i64| json!({ "account_id": account, "direction": direction, "amount": amount, "currency": "USD" });
    let several =
        json!({ "legs": [leg(&to, "credit", 5), leg(&from, "debit", 9), leg(&other, "credit", 4)] });
    let posted = transfer(&payer, pair).await;
    let split = transfer(&payer, several).await;
    let large =
        json!({ "debit_account_id": from, "credit_account_id": to, "amount": 6_000, "currency": "USD" });
    let approved = transfer(&payer, large.clone()).await;
    let rejected = transfer(&payer, large.clone()).await;
    for (id, verb) in [(&approved, "approve"), (&rejected, "reject")] {
        let path = format!("/api/v1/transfers/{id}/{verb}");
        officer
            .post_with_key(&path, &new_key(), json!(null))
            .await
            .must_be(200);
    }
    let refund = payee
        .post_with_key(
            &format!("/api/v1/transfers/{posted}/refunds"),
            &new_key(),
            json!({ "amount": 10 }),
        )
        .await;
    let refund = text_of(&refund.must_be(201), "id");
    let hold = payer.place_hold(&from, &to, 100, "USD").await.must_be(201);
    let path = format!("/api/v1/holds/{}/capture", text_of(&hold, "id"));
    let capture = payee
        .post_with_key(&path, &new_key(), json!({}))
        .await
        .must_be(201);

    let keys = keys(&payer).await;
    let statuses = |proof: &Proof| -> Vec<String> {
        proof
            .facts
            .iter()
            .map(|proven| proven.fact.status.clone())
            .collect()
    };
    for (who, id, expected) in [
        (&payer, &posted, vec!["posted"]),
        (&payee, &split, vec!["posted"]),
        (&payer, &approved, vec!["in_review", "posted"]),
        (&payer, &rejected, vec!["in_review", "rejected"]),
        (&payer, &refund, vec!["posted"]),
        (&officer, &text_of(&capture, "id"), vec!["posted"]),
    ] {
        let proof = proof(who, id).await;
        assert_eq!(statuses(&proof), expected);
        let checkpoints = proof.verify(&keys).unwrap();
        assert_eq!(checkpoints.len(), expected.len());
        let mut altered = proof.clone();
        altered.facts[0].fact.legs[0].amount += 1;
        altered.verify(&keys).unwrap_err();
    }
    let decided = &proof(&officer, &approved).await.facts[1].fact;
    assert_eq!(decided.decided_by.as_deref(), Some(officer.user_id.as_str()));
    assert_eq!((decided.legs.len(), decided.postings.len()), (2, 2));
    assert_eq!(
        decided.postings[0].balance_after.abs(),
        decided.postings[0].balance_after
    );
    let stranger = platform.register("stranger").await;
    for id in [&posted, &rejected] {
        let path = format!("/api/v1/transfers/{id}/proof");
        stranger.get(&path).await.must_be_problem(404, "not_found");
    }
    // Who is to be paid does not learn of what was rejected.
    let path = format!("/api/v1/transfers/{rejected}/proof");
    payee.get(&path).await.must_be_problem(404, "not_found");

    let kept = payer.get("/api/v1/ledger/checkpoints/latest").await.must_be(200);
    let kept_note = text_of(&kept, "note");
    let kept_checkpoint: Checkpoint = note::open(&kept_note, &keys).unwrap().parse().unwrap();
    assert_eq!(text_of(&kept, "hash"), kept_checkpoint.hash().to_string());
    assert!(kept_checkpoint.audit_number >= 2, "{kept_checkpoint}");
    let same = payer
        .get(&format!("/api/v1/ledger/checkpoints/{}", kept["number"]))
        .await;
    assert_eq!(same.must_be(200), kept);
    let report = check(&export(&officer, "").await, &keys, Some(kept_checkpoint.clone()));
    assert_eq!(problems(&report), Vec::<&str>::new());
    // A deposit, six transfers, two of them decided, and a refund or capture are facts of their own.
    assert_eq!(report.facts, 9);
    let rest = check(&export(&officer, "?after=1").await, &keys, None);
    assert_eq!(problems(&rest), Vec::<&str>::new());
    assert_eq!(rest.first.map_or(2, |first| first.number), 2);
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_superuser_alters_is_named_by_the_export_and_by_integrity() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let mut ids = Vec::new();
    for amount in [100, 200, 300] {
        let body = json!({ "debit_account_id": from, "credit_account_id": to, "amount": amount, "currency": "USD",
            "description": "Rent", "metadata": { "order": "1" }, "reference": "R-1" });
        ids.push(transfer(&payer, body).await);
    }
    let [_, id, _] = ids.as_slice() else { panic!() };
    for id in &ids {
        proof(&payer, id).await;
    }
    let keys = keys(&payer).await;
    let sql = platform.sql().await;
    sql.batch_execute("SET session_replication_role = replica; SET search_path = transactions")
        .await
        .unwrap();
    let transfers = "UPDATE transfers SET";
    let postings = "UPDATE postings SET";
    let this = "amount = 200";
    let altered = format!("transfer {id} was altered");
    let missing = format!("transfer {id} is missing below");
    let cases = [
        (format!("{transfers} amount = 201 WHERE {this}"), &altered),
        (format!("{transfers} currency = 'EUR' WHERE {this}"), &altered),
        (
            format!("{transfers} credit_account_id = id WHERE {this}"),
            &altered,
        ),
        (format!("{transfers} description = 'Gift' WHERE {this}"), &altered),
        (
            format!("{transfers} metadata = '{{\"order\": \"2\"}}' WHERE {this}"),
            &altered,
        ),
        (format!("{transfers} metadata = '[1]' WHERE {this}"), &altered),
        (format!("{transfers} reference = NULL WHERE {this}"), &altered),
        (
            format!("{transfers} effective_date = now() WHERE {this}"),
            &altered,
        ),
        (format!("{transfers} initiated_by = id WHERE {this}"), &altered),
        (format!("{transfers} decided_by = id WHERE {this}"), &altered),
        (
            format!("{transfers} created_at = created_at - interval '1 day' WHERE {this}"),
            &altered,
        ),
        (format!("{transfers} kind = 'withdrawal' WHERE {this}"), &altered),
        (
            format!("{transfers} status = 'rejected', rejection_code = 'x' WHERE {this}"),
            &altered,
        ),
        (format!("{postings} amount = 201 WHERE {this}"), &altered),
        (
            format!("{postings} balance_after = balance_after + 1 WHERE {this}"),
            &altered,
        ),
        (
            format!("{postings} sequence = 99 WHERE {this} AND direction = 'credit'"),
            &altered,
        ),
        (
            format!("{postings} account_id = transfer_id WHERE {this} AND direction = 'credit'"),
            &altered,
        ),
        (format!("DELETE FROM postings WHERE {this}"), &altered),
        (format!("DELETE FROM transfers WHERE {this}"), &missing),
        (
            format!("{transfers} block_ids = ARRAY[id] WHERE {this}"),
            &altered,
        ),
    ];
    for (statement, expected) in cases {
        sql.batch_execute(&format!(
            "BEGIN; CREATE TEMP TABLE t ON COMMIT DROP AS SELECT * FROM transfers WHERE {this};
            CREATE TEMP TABLE p ON COMMIT PRESERVE ROWS AS SELECT * FROM postings WHERE {this};
            CREATE TEMP TABLE kept ON COMMIT PRESERVE ROWS AS SELECT * FROM t; {statement}; COMMIT"
        ))
        .await
        .unwrap();
        let report = check(&export(&officer, "").await, &keys, None);
        let audit = integrity_report(&officer).await.unwrap();
        let checks = audit["checks"].as_array().unwrap();
        let violations = &checks.iter().find(|check| check["code"] == "I10").unwrap()["violations"];
        assert!(
            violations.to_string().contains(expected.as_str()),
            "{statement}: {violations}"
        );
        assert_eq!(
            problems(&report)[0],
            expected.as_str(),
            "{statement}: {:?}",
            report.problems
        );
        if *expected == altered && !statement.contains("block_ids") {
            let proof = proof(&payer, id).await;
            proof.verify(&keys).expect_err(&statement);
        }
        sql.batch_execute("BEGIN; DELETE FROM transfers USING kept WHERE transfers.id = kept.id; INSERT INTO transfers SELECT * FROM kept;
            DELETE FROM postings USING kept WHERE transfer_id = kept.id; INSERT INTO postings SELECT * FROM p; DROP TABLE kept, p; COMMIT")
            .await
            .unwrap();
    }
    assert_eq!(
        problems(&check(&export(&officer, "").await, &keys, None)),
        Vec::<&str>::new()
    );

    // Of what leads from the facts to the signature.
    for (statement, expected) in [
        (
            "UPDATE blocks SET root = leaves WHERE cardinality(transfer_ids) = 1 AND height = 1",
            "altered",
        ),
        ("UPDATE blocks SET chain_id = id WHERE height = 1", "altered"),
        ("DELETE FROM blocks WHERE height = 1", "checkpoint"),
        (
            "UPDATE checkpoints SET note = replace(note, 'number 1', 'number 2') WHERE number = 1",
            "checkpoint 2",
        ),
    ] {
        let before =
            "CREATE TEMP TABLE b AS SELECT * FROM blocks; CREATE TEMP TABLE c AS SELECT * FROM checkpoints";
        sql.batch_execute(before).await.unwrap();
        let changed = sql.execute(statement, &[]).await.unwrap();
        let report = check(&export(&officer, "").await, &keys, None);
        let is_noop = statement.contains("root = leaves");
        assert!(changed > 0, "{statement}");
        if !is_noop {
            assert!(
                problems(&report).join("\n").contains(expected),
                "{statement}: {:?}",
                report.problems
            );
        }
        let back = "DELETE FROM blocks; INSERT INTO blocks SELECT * FROM b; DELETE FROM checkpoints;
            INSERT INTO checkpoints SELECT * FROM c; DROP TABLE b, c";
        sql.batch_execute(back).await.unwrap();
    }
    platform.assert_invariants().await;

    // What was there before blocks were has no proof, and is no fault.
    platform.stop_service(Service::Transactions).await.unwrap();
    sql.batch_execute("UPDATE transfers SET block_ids = '{}'; DELETE FROM blocks; DELETE FROM checkpoints")
        .await
        .unwrap();
    platform.start_service(Service::Transactions).await.unwrap();
    let path = format!("/api/v1/transfers/{id}/proof");
    payer.get(&path).await.must_be_problem(404, "no_proof");
    let after = text_of(&payer.transfer(&from, &to, 400, "USD").await.must_be(201), "id");
    proof(&payer, &after).await.verify(&keys).unwrap();
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_with_two_lanes_each_leave_nothing_out() {
    let platform = Platform::builder()
        .replicas(2)
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let (payer, payee) = (platform.register("payer").await, platform.register("payee").await);
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let from = payer.open_funded_account(100_000, "USD").await;
    let accounts = join_all((0..4).map(|_| payee.open_account("USD"))).await;
    let transfers = (0..200).map(async |number: usize| {
        let answer = payer.transfer(&from, &accounts[number % 4], 10, "USD").await;
        text_of(&answer.must_be(201), "id")
    });
    let ids = join_all(transfers).await;
    let keys = keys(&payer).await;
    for id in &ids {
        proof(&payer, id).await.verify(&keys).unwrap();
    }
    let report = check(&export(&officer, "").await, &keys, None);
    assert_eq!(problems(&report), Vec::<&str>::new());
    assert_eq!(report.facts, 201);
    platform.assert_invariants().await;
}
