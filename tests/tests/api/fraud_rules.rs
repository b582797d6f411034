//! Rules that people write: proposed, tried on what happened, activated by somebody else, and retired.

use platform::client::eventually;
use platform::{Customer, Platform};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

const PROPOSALS: &str = "/api/v1/fraud/rule-proposals";

fn rule(expression: &str) -> Value {
    json!({
        "code": "round_amount",
        "expression": expression,
        "sentence": "{amount} {currency} is what thieves ask for",
        "action": "block",
    })
}

async fn propose(author: &Customer, expression: &str) -> String {
    let proposed = author.post(PROPOSALS, rule(expression)).await.must_be(201);
    format!("{PROPOSALS}/{}", proposed["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_tried_activated_by_somebody_else_and_retired() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000_000).await;
    let author = platform.register_with_role("author", Role::Compliance).await;
    let second = platform.register_with_role("second", Role::Admin).await;
    for amount in [7_700, 7_700, 1_000] {
        let transfer = payer.transfer(&from, &to, amount, "USD").await.must_be(201);
        assert_eq!(transfer["status"], "posted", "{transfer}");
    }

    let proposal = propose(&author, "amount == 77 major and kind == \"transfer\"").await;
    let activate = format!("{proposal}/activate");
    second
        .post_empty(&activate)
        .await
        .must_be_problem(409, "not_tested");
    let test = eventually("the facts have come", async || {
        let tested = author
            .post(&format!("{proposal}/test"), json!({ "days": 7 }))
            .await;
        let test = tested.body["test"].clone();
        (test["tried"]["transfers"] == 3).then_some(test)
    })
    .await;
    assert_eq!(
        (&test["would_block"]["transfers"], &test["complete"]),
        (&json!(2), &json!(true)),
        "{test}"
    );
    author
        .post_empty(&activate)
        .await
        .must_be_problem(403, "separation_of_duties");
    author
        .post_empty(&format!("{proposal}/shadow"))
        .await
        .must_be(200);
    payer.transfer(&from, &to, 7_700, "USD").await.must_be(201);
    assert_eq!(
        second.post_empty(&activate).await.must_be(200)["status"],
        "active"
    );
    second
        .post_empty(&activate)
        .await
        .must_be_problem(409, "proposal_closed");

    // Replicas follow within seconds.
    let refused = eventually("the rule is in force", async || {
        let answer = payer.transfer(&from, &to, 7_700, "USD").await;
        (answer.status == 422).then_some(answer)
    })
    .await;
    refused.must_be_problem(422, "blocked_by_risk");
    let rules = author.get("/api/v1/fraud/rules").await.must_be(200);
    let in_force = rules["data"]
        .as_array()
        .unwrap()
        .iter()
        .any(|it| it["code"] == "round_amount");
    assert!(in_force, "{rules}");

    let reason = json!({ "reason": "It stops everybody." });
    author
        .post("/api/v1/fraud/rules/round_amount/retire", reason.clone())
        .await
        .must_be(200);
    author
        .post("/api/v1/fraud/rules/round_amount/retire", reason)
        .await
        .must_be_problem(404, "not_found");
    eventually("the rule is out of force", async || {
        let answer = payer.transfer(&from, &to, 7_700, "USD").await;
        (answer.status == 201).then_some(())
    })
    .await;
    let versions = author
        .get("/api/v1/fraud/rules/round_amount/versions")
        .await
        .must_be(200);
    let enabled: Vec<bool> = versions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["enabled"].as_bool().unwrap())
        .collect();
    assert_eq!(enabled, [false, true], "{versions}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_too_wants_a_test_and_a_second_person() {
    let platform = Platform::start().await;
    let author = platform.register_with_role("author", Role::Compliance).await;
    for (expression, told) in [
        (
            "amount > 5",
            "expression, column 8: `>` cannot compare an amount with a number.",
        ),
        ("mood > 5", "expression, column 1: there is no `mood`;"),
    ] {
        let refused = author.post(PROPOSALS, rule(expression)).await;
        let problem = refused.must_be_problem(422, "invalid_expression");
        assert!(problem["detail"].as_str().unwrap().starts_with(told), "{problem}");
    }
    let proposal = propose(&author, "amount == 77 major").await;
    author
        .post(&format!("{proposal}/test"), json!({ "days": 365 }))
        .await
        .must_be_problem(422, "nothing_tried");
    let sql = platform.sql().await;
    for statement in [
        "UPDATE ml.rule_proposals SET status = 'active', decided_by = proposed_by, decided_at = now()",
        "UPDATE ml.rule_proposals SET status = 'active', decided_by = gen_random_uuid(), decided_at = now()",
        "UPDATE ml.rule_proposals SET status = 'active', decided_by = proposed_by, decided_at = now(), tested_at = now(), test = '{}'",
        "INSERT INTO ml.rules (code, kind, params, points, proposal_id)
         SELECT code, 'expression', '{\"expression\": \"true\", \"sentence\": \"x\", \"action\": \"allow\"}', points, id
         FROM ml.rule_proposals",
    ] {
        let error = sql.execute(statement, &[]).await.unwrap_err();
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("23514"), "{statement}: {error}");
    }
    platform.stop().await.unwrap();
}
