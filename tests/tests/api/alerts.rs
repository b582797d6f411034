//! Alerts: a transfer in review is claimed by one person, decided through the ledger, and its label kept; whatever is decided
//! elsewhere, or killed in between, alert and ledger say the same in the end.

use platform::client::{eventually, new_key};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

const ALERTS: &str = "/api/v1/fraud/alerts";

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    payee: Customer,
    to: String,
    analyst: Customer,
}

async fn scene() -> Scene {
    scene_of(Platform::start().await).await
}

async fn scene_of(platform: Platform) -> Scene {
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000_000).await;
    let analyst = platform.register_with_role("analyst", Role::Compliance).await;
    Scene {
        platform,
        payer,
        from,
        payee,
        to,
        analyst,
    }
}

impl Scene {
    /// A first payment that is very large, and its alert.
    async fn alert(&self) -> (String, Value) {
        let transfer = self
            .payer
            .transfer(&self.from, &self.to, 1_000_000, "USD")
            .await
            .must_be(201);
        assert_eq!(transfer["status"], "in_review", "{transfer}");
        let id = transfer["id"].as_str().unwrap().to_owned();
        (id.clone(), self.alert_of(&id).await)
    }

    async fn alert_of(&self, transfer_id: &str) -> Value {
        eventually("the alert is open", async || {
            let page = self
                .analyst
                .get(&format!("{ALERTS}?limit=100"))
                .await
                .must_be(200);
            let alerts = page["data"].as_array().unwrap();
            alerts
                .iter()
                .find(|it| it["transfer_id"] == *transfer_id)
                .cloned()
        })
        .await
    }

    async fn status_of(&self, transfer_id: &str) -> Value {
        let path = format!("/api/v1/transfers/{transfer_id}");
        self.payer.get(&path).await.must_be(200)["status"].clone()
    }
}

fn path(alert: &Value, verb: &str) -> String {
    format!("{ALERTS}/{}/{verb}", alert["id"].as_str().unwrap())
}

fn decision(outcome: &str, fraud: bool) -> Value {
    json!({ "outcome": outcome, "fraud": fraud, "reason": "Called the payer." })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analyst_refuses_one_and_releases_another() {
    let scene = scene().await;
    let (transfer, alert) = scene.alert().await;
    let sentence = alert["sentence"].as_str().unwrap();
    assert!(sentence.contains("a large amount"), "{alert}");
    let analyst = &scene.analyst;
    let refuse = decision("refuse", true);
    analyst
        .post(&path(&alert, "decide"), refuse.clone())
        .await
        .must_be_problem(409, "not_claimed");
    analyst.post_empty(&path(&alert, "claim")).await.must_be(200);
    analyst
        .post(&path(&alert, "notes"), json!({ "text": "The payer says no." }))
        .await
        .must_be(204);
    let found = json!({ "text": "A call", "reference": "ticket 4711" });
    analyst.post(&path(&alert, "evidence"), found).await.must_be(204);
    let without = json!({ "fraud": true, "reason": "x" });
    analyst
        .post(&path(&alert, "decide"), without)
        .await
        .must_be_problem(422, "outcome_required");
    let closed = analyst
        .post(&path(&alert, "decide"), refuse.clone())
        .await
        .must_be(200);
    assert_eq!(
        (&closed["status"], &closed["decision"]["fraud"]),
        (&json!("closed"), &json!(true))
    );
    assert_eq!(scene.status_of(&transfer).await, "rejected");
    // The same again is the same; something else is too late.
    assert_eq!(
        analyst.post(&path(&alert, "decide"), refuse).await.must_be(200),
        closed
    );
    let late = analyst
        .post(&path(&alert, "decide"), decision("release", false))
        .await;
    late.must_be_problem(409, "alert_closed");

    let whole = analyst
        .get(&format!("{ALERTS}/{}", alert["id"].as_str().unwrap()))
        .await
        .must_be(200);
    let actions: Vec<&str> = whole["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        ["opened", "claimed", "note", "evidence", "deciding", "closed"]
    );
    let case = analyst
        .get(&format!(
            "/api/v1/fraud/cases/{}",
            alert["case_id"].as_str().unwrap()
        ))
        .await
        .must_be(200);
    assert_eq!(case["subject"], json!(scene.payer.user_id), "{case}");
    assert_ne!(case["closed_at"], Value::Null, "{case}");

    // What the ledger refuses once is no answer for ever.
    let (transfer, alert) = scene.alert().await;
    analyst.post_empty(&path(&alert, "claim")).await.must_be(200);
    let freeze = async |verb: &str| {
        let path = format!("/api/v1/accounts/{}/{verb}", scene.to);
        scene.payee.post_empty(&path).await.must_be(200)
    };
    freeze("freeze").await;
    analyst
        .post(&path(&alert, "decide"), decision("release", false))
        .await
        .must_be_problem(422, "account_frozen");
    assert_eq!(scene.alert_of(&transfer).await["status"], "claimed");
    freeze("unfreeze").await;
    let released = analyst
        .post(&path(&alert, "decide"), decision("release", false))
        .await
        .must_be(200);
    assert_eq!(released["decision"]["outcome"], "release");
    assert_eq!(scene.status_of(&transfer).await, "posted");
    let log = analyst.get("/api/v1/fraud/audit-log").await.must_be(200);
    assert_eq!(log["data"][0]["action"], "alert.decided", "{log}");
    let sql = scene.platform.sql().await;
    let labels = "SELECT fraud, source FROM ml.labels ORDER BY position";
    let labels = sql.query(labels, &[]).await.unwrap();
    let labels: Vec<(bool, String)> = labels.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(
        labels,
        [(true, "decision".to_owned()), (false, "decision".to_owned())]
    );
    scene.platform.assert_invariants().await;
    scene.platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_claim_one_gets_it_and_what_is_escalated_an_admin() {
    let scene = scene().await;
    let (_, alert) = scene.alert().await;
    let mut analysts = Vec::new();
    for number in 0..6 {
        let name = format!("analyst{number}");
        analysts.push(scene.platform.register_with_role(&name, Role::Compliance).await);
    }
    let claim = path(&alert, "claim");
    let answers = futures_util::future::join_all(analysts.iter().map(|it| it.post_empty(&claim))).await;
    let winners: Vec<usize> = (0..answers.len())
        .filter(|place| answers[*place].status == 200)
        .collect();
    let [winner] = winners[..] else {
        panic!("{winners:?} have claimed it");
    };
    for (place, answer) in answers.into_iter().enumerate() {
        if place != winner {
            answer.must_be_problem(409, "claimed_by_another");
        }
    }
    let loser = &analysts[(winner + 1) % analysts.len()];
    loser
        .post(&path(&alert, "decide"), decision("release", false))
        .await
        .must_be_problem(409, "claimed_by_another");
    loser
        .post_empty(&path(&alert, "release"))
        .await
        .must_be_problem(409, "claimed_by_another");
    let holder = &analysts[winner];
    assert_eq!(holder.post_empty(&claim).await.must_be(200)["status"], "claimed");
    let mine = holder.get(&format!("{ALERTS}?assignee=me")).await.must_be(200);
    assert_eq!(mine["data"].as_array().unwrap().len(), 1, "{mine}");

    let reason = json!({ "reason": "I know the payer." });
    holder.post(&path(&alert, "escalate"), reason).await.must_be(200);
    loser.post_empty(&claim).await.must_be_problem(403, "escalated");
    let admin = scene.platform.register_with_role("admin", Role::Admin).await;
    assert_eq!(
        admin.post_empty(&claim).await.must_be(200)["claimed_by"],
        json!(admin.user_id)
    );
    admin
        .post(&path(&alert, "decide"), decision("release", false))
        .await
        .must_be(200);
    scene.platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_at_the_ledger_closes_the_alert_and_a_party_decides_nothing() {
    let scene = scene().await;
    let (transfer, alert) = scene.alert().await;
    // Whoever pays or is paid cannot decide, whatever their role, and nor can who comes to know of it only when it was claimed.
    let [payer, payee] = [&scene.payer, &scene.payee];
    for party in [payer, payee] {
        scene
            .platform
            .grant_role(&party.email, Role::Compliance)
            .await
            .unwrap();
        let party = party.log_in_again().await;
        let claim = party.post_empty(&path(&alert, "claim")).await;
        claim.must_be_problem(403, "separation_of_duties");
        let sql = scene.platform.sql().await;
        let user: shared::id::UserId = party.user_id.parse().unwrap();
        let claimed = "UPDATE ml.alerts SET status = 'claimed', claimed_by = $1, claimed_at = now()";
        sql.execute(claimed, &[&user.uuid()]).await.unwrap();
        let refused = party
            .post(&path(&alert, "decide"), decision("release", false))
            .await;
        refused.must_be_problem(403, "separation_of_duties");
        assert_eq!(scene.alert_of(&transfer).await["status"], "claimed");
        party.post_empty(&path(&alert, "release")).await.must_be(200);
    }

    let approve = format!("/api/v1/transfers/{transfer}/approve");
    scene
        .analyst
        .post_with_key(&approve, &new_key(), json!(null))
        .await
        .must_be(200);
    let closed = eventually("the alert is closed", async || {
        let alert = scene
            .analyst
            .get(&format!("{ALERTS}/{}", alert["id"].as_str().unwrap()))
            .await
            .must_be(200);
        (alert["status"] == "closed").then_some(alert)
    })
    .await;
    assert_eq!(closed["decision"], Value::Null, "{closed}");
    scene.platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_ledger_a_decision_waits_and_the_same_request_carries_it_out() {
    let program = env!("CARGO_BIN_EXE_dev");
    let platform = Platform::builder().processes(program).start().await.unwrap();
    let scene = scene_of(platform).await;
    let admin = scene.platform.register_with_role("admin", Role::Admin).await;
    let ((transfer, alert), (_, left_alone)) = (scene.alert().await, scene.alert().await);
    let analyst = &scene.analyst;
    let refuse = decision("refuse", true);
    for alert in [&alert, &left_alone] {
        analyst.post_empty(&path(alert, "claim")).await.must_be(200);
    }
    scene.platform.stop_service(Service::Transactions).await.unwrap();
    for alert in [&alert, &left_alone] {
        let unreached = analyst.post(&path(alert, "decide"), refuse.clone()).await;
        unreached.must_be_problem(503, "service_unavailable");
    }
    assert_eq!(scene.alert_of(&transfer).await["status"], "deciding");
    // Who decided may never come back: after ten minutes an admin takes the decision back.
    let give_back = path(&left_alone, "release");
    admin
        .post_empty(&give_back)
        .await
        .must_be_problem(409, "already_decided");
    let sql = scene.platform.sql().await;
    let earlier = "UPDATE ml.alerts SET decided_at = decided_at - interval '10 minutes' WHERE id = $1";
    let id: shared::id::AlertId = left_alone["id"].as_str().unwrap().parse().unwrap();
    sql.execute(earlier, &[&id.uuid()]).await.unwrap();
    let open = admin.post_empty(&give_back).await.must_be(200);
    assert_eq!(
        (&open["status"], &open["decision"]),
        (&json!("open"), &Value::Null),
        "{open}"
    );
    scene.platform.kill_9(Service::Ml).await.unwrap();
    scene.platform.start_service(Service::Ml).await.unwrap();
    scene.platform.start_service(Service::Transactions).await.unwrap();
    let closed = eventually("the decision is carried out", async || {
        let answer = scene.analyst.post(&path(&alert, "decide"), refuse.clone()).await;
        (answer.status == 200).then(|| answer.must_be(200))
    })
    .await;
    assert_eq!(closed["status"], "closed", "{closed}");
    assert_eq!(scene.status_of(&transfer).await, "rejected");
    scene.platform.assert_invariants().await;
    scene.platform.stop().await.unwrap();
}
