//! What fraud scoring keeps of a decision, how it is explained, and what people say afterwards.

use ml_service::entity_state::{event_of_transfer, replay};
use ml_service::feature::features;
use ml_service::score::vector;
use ml_service::transfer_log::{self, LoggedTransfer};
use platform::client::{eventually, new_key, text_of, transfer_body};
use platform::{Customer, Platform, Service};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::db::DbConfig;
use shared::id::TransferId;
use shared::{Db, Role};

use crate::parties::payer_and_payee;

const LABELS: &str = "/api/v1/fraud/labels";

async fn pay(payer: &Customer, from: &str, to: &str, amount: i64, device: &str) -> String {
    let body = transfer_body(from, to, amount, "USD");
    let request = payer
        .request(Method::POST, "/api/v1/transfers")
        .header("idempotency-key", new_key())
        .header("x-device-id", device)
        .json(&body);
    text_of(&payer.send(request).await.must_be(201), "id")
}

/// Waits until `count` transfers were told of and learnt from.
async fn learnt(sql: &tokio_postgres::Client, count: i64) {
    eventually("the facts are learnt", async || {
        let query = "SELECT count(*), max(position) <= (SELECT applied FROM ml.observation_position) FROM ml.transfers";
        let row = sql.query_one(query, &[]).await.unwrap();
        (row.get::<_, i64>(0) == count && row.get::<_, Option<bool>>(1) == Some(true)).then_some(())
    })
    .await;
}

/// As ml-service is connected.
fn database_of_ml(platform: &Platform) -> Db {
    let url = platform
        .server
        .runtime_url(Service::Ml, &platform.database)
        .unwrap();
    let config = DbConfig {
        url: SecretString::from(url),
        max_connections: 1,
    };
    Db::new(ml_service::SCHEMA, &config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_the_log_sees_what_scoring_saw_bit_for_bit() {
    let platform = Platform::start().await;
    let sql = platform.sql().await;
    let (payer, from, payee, to) = payer_and_payee(&platform, 1_000_000).await;
    let other = payee.open_account("USD").await;
    let analyst = platform.register_with_role("analyst", Role::Compliance).await;
    let mut made = Vec::new();
    for round in 1..=4 {
        for (place, account) in [&to, &other].into_iter().enumerate() {
            let device = if place == 0 { "phone" } else { "laptop" };
            made.push(pay(&payer, &from, account, 500 * round, device).await);
        }
        learnt(&sql, 1 + 2 * round).await;
        let label = json!({ "labels": [{ "transfer_id": made.last().unwrap(), "fraud": round % 2 == 0 }] });
        let answer = analyst.post(LABELS, label.clone()).await.must_be(200);
        assert_eq!(answer["results"][0]["result"], "added", "{answer}");
        let again = analyst.post(LABELS, label).await.must_be(200);
        assert_eq!(again["results"][0]["result"], "unchanged", "{again}");
    }

    let db = database_of_ml(&platform);
    let mut conn = db.connection().await.unwrap();
    let ids: Vec<TransferId> = made.iter().map(|id| id.parse().unwrap()).collect();
    let transfers = transfer_log::queries::find(&mut conn, &ids).await.unwrap();
    assert_eq!(transfers.len(), ids.len());
    let mut most: f64 = 0.0;
    for transfer in transfers {
        let query = "SELECT applied, requested_at, vector FROM ml.scores WHERE transfer_id = $1";
        let row = sql
            .query_one(query, &[&transfer.transfer_id.uuid()])
            .await
            .unwrap();
        let served = vector::decode(row.get("vector")).unwrap();
        let states = replay::states_at(&mut conn, row.get("applied")).await.unwrap();
        let asked = LoggedTransfer {
            occurred_at: row.get("requested_at"),
            ..transfer
        };
        let replayed = features(&event_of_transfer(&asked), &states);
        assert!(served.is_identical(&replayed), "{served:?}\n{replayed:?}");
        most = most.max(served.get("account_count").unwrap());
    }
    // Had scoring seen nothing, a replay of nothing would have seen the same.
    assert!(most >= 6.0, "{most}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_explained_and_labelled_by_those_who_may_and_nobody_chooses_when_it_was_known() {
    let platform = Platform::start().await;
    let sql = platform.sql().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000_000).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let partner = platform.register_with_role("partner", Role::Partner).await;
    let transfer = pay(&payer, &from, &to, 2_000_000, "phone").await;
    learnt(&sql, 2).await;

    let path = format!("/api/v1/fraud/decisions/{transfer}");
    let decision = officer.get(&path).await.must_be(200);
    assert_eq!(decision["status"], "in_review", "{decision}");
    assert_eq!(decision["fallback"], false, "{decision}");
    let score = &decision["score"];
    assert_eq!(score["decision"], "review", "{decision}");
    assert_eq!(
        (&score["device_known"], &score["address_known"]),
        (&json!(true), &json!(true))
    );
    assert!(
        score["reasons"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("large amount"),
        "{decision}"
    );
    assert_eq!(score["features"]["amount"], 20_000.0, "{decision}");
    assert_eq!(score["features"]["account_idle_days"], Value::Null, "{decision}");
    assert_eq!(decision["labels"], json!([]), "{decision}");
    for stranger in [&payer, &partner] {
        stranger.get(&path).await.must_be_problem(403, "role_required");
    }
    let nothing = format!("/api/v1/fraud/decisions/{}", TransferId::new());
    officer.get(&nothing).await.must_be_problem(404, "not_found");

    let label = |fraud: bool| json!({ "labels": [{ "transfer_id": transfer, "fraud": fraud }] });
    payer
        .post(LABELS, label(true))
        .await
        .must_be_problem(403, "role_required");
    for earlier in [
        json!({ "labels": [{ "transfer_id": transfer, "fraud": true, "known_at": "2020-01-01T00:00:00Z" }] }),
        json!({ "labels": [{ "transfer_id": transfer, "fraud": true }], "known_at": "2020-01-01T00:00:00Z" }),
    ] {
        officer
            .post(LABELS, earlier)
            .await
            .must_be_problem(400, "invalid_body");
    }
    let mut named = label(true);
    named["source"] = json!("analyst");
    partner
        .post(LABELS, named)
        .await
        .must_be_problem(422, "invalid_labels");
    officer
        .post(LABELS, json!({ "labels": [] }))
        .await
        .must_be_problem(422, "invalid_labels");
    let unknown = json!({ "labels": [{ "transfer_id": TransferId::new(), "fraud": true }] });
    let answer = officer.post(LABELS, unknown).await.must_be(200);
    assert_eq!(answer["results"][0]["result"], "unknown_transfer", "{answer}");

    partner.post(LABELS, label(true)).await.must_be(200);
    officer.post(LABELS, label(false)).await.must_be(200);
    let labels = officer.get(&path).await.must_be(200)["labels"].clone();
    let said: Vec<(&Value, &Value)> = labels
        .as_array()
        .unwrap()
        .iter()
        .map(|label| (&label["fraud"], &label["source"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!(false), &json!("analyst")),
            (&json!(true), &json!("partner"))
        ]
    );
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}
