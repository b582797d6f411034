//! What fraud scoring keeps of a decision, how it is explained, and what people say afterwards.

use std::time::Duration;

use ml_service::entity_state::{event_of_transfer, replay};
use ml_service::feature::{State, features};
use ml_service::score::vector;
use ml_service::transfer_log::{self, LoggedTransfer};
use platform::client::{eventually, new_key, text_of, transfer_body};
use platform::platform::Replica;
use platform::{Customer, Platform, Service};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::db::DbConfig;
use shared::id::{AccountId, TransferId};
use shared::{Db, Role, ServiceTokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

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
        let other = json!({ "labels": [{ "transfer_id": made.last().unwrap(), "fraud": round % 2 == 1 }] });
        analyst.post(LABELS, other).await.must_be(200);
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
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000_000).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    platform.grant_role(&payee.email, Role::Partner).await.unwrap();
    let partner = payee.log_in_again().await;
    let stranger = platform.register_with_role("stranger", Role::Partner).await;
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
    for outsider in [&payer, &partner] {
        outsider.get(&path).await.must_be_problem(403, "role_required");
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

    let told = async |teller: &Customer, labels: &Value| {
        let answer = teller.post(LABELS, labels.clone()).await.must_be(200);
        answer["results"][0]["result"].as_str().unwrap().to_owned()
    };
    let mut twice = label(true);
    twice["labels"] = json!([twice["labels"][0], { "transfer_id": transfer, "fraud": false }]);
    partner
        .post(LABELS, twice)
        .await
        .must_be_problem(422, "invalid_labels");
    assert_eq!(told(&stranger, &label(true)).await, "unknown_transfer");
    assert_eq!(told(&partner, &label(true)).await, "added");
    assert_eq!(told(&officer, &label(false)).await, "added");
    assert_eq!(told(&partner, &label(true)).await, "overruled");
    // Of a deposit nothing is learnt: it was never scored.
    let learnt = async || {
        let states = "SELECT md5(string_agg(state, '' ORDER BY entity)) FROM ml.entity_states";
        sql.query_one(states, &[]).await.unwrap().get::<_, String>(0)
    };
    let before = learnt().await;
    let deposit = "SELECT transfer_id FROM ml.transfers WHERE kind = 'deposit'";
    let deposit: uuid::Uuid = sql.query_one(deposit, &[]).await.unwrap().get(0);
    let deposit = json!({ "labels": [{ "transfer_id": TransferId::from_uuid(deposit), "fraud": true }] });
    assert_eq!(told(&officer, &deposit).await, "added");
    assert_eq!(learnt().await, before);
    platform.grant_role(&payer.email, Role::Compliance).await.unwrap();
    let party = payer.log_in_again().await;
    assert_eq!(told(&party, &label(true)).await, "own_transfer");
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

/// How many payments the feature engine remembers of an account.
async fn remembered(sql: &tokio_postgres::Client, account: &str) -> u64 {
    let id: AccountId = account.parse().unwrap();
    let entity = [b"a".as_slice(), id.uuid().as_bytes()].concat();
    let query = "SELECT state FROM ml.entity_states WHERE entity = $1";
    let Some(row) = sql.query_opt(query, &[&entity]).await.unwrap() else {
        return 0;
    };
    match State::from_bytes(row.get(0)).unwrap() {
        State::Profile(profile) => profile.amounts.count,
        State::Pair(_) => panic!("an account has a profile"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_of_ml_service_loses_and_doubles_nothing() {
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .replicas(2)
        .start()
        .await
        .unwrap();
    let sql = platform.sql().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 1_000_000).await;
    let first = Replica::from(Service::Ml);
    let second = Replica { number: 1, ..first };
    let mut made = 0;
    for killed in [first, second] {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (payer, body) = (payer.clone(), transfer_body(&from, &to, 1, "USD"));
                tokio::spawn(async move {
                    for _ in 0..15 {
                        let made = payer
                            .post_with_key("/api/v1/transfers", &new_key(), body.clone())
                            .await;
                        made.must_be(201);
                    }
                })
            })
            .collect();
        made += 60;
        tokio::time::sleep(Duration::from_millis(300)).await;
        platform.kill_9(killed).await.unwrap();
        for client in clients {
            client.await.unwrap();
        }
        platform.start_service(killed).await.unwrap();
    }
    learnt(&sql, made + 1).await;
    assert_eq!(remembered(&sql, &from).await, 120);
    let posted = "SELECT count(*) FROM transactions.transfers AS made
                  JOIN ml.transfers AS told ON told.transfer_id = made.id AND told.status = made.status";
    let told: i64 = sql.query_one(posted, &[]).await.unwrap().get(0);
    assert_eq!(told, 121);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

/// Answers every request at `address`, and how long after, as it was last told; until it is dropped.
async fn answer_everything(
    address: &str,
    answers: watch::Receiver<(&'static str, Duration)>,
) -> AbortOnDropHandle<()> {
    let listener = TcpListener::bind(address).await.unwrap();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answer, after) = *answers.borrow();
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                // A request of these tests comes in one piece or a few; what is answered does not depend on it.
                drop(stream.read(&mut request).await);
                tokio::time::sleep(after).await;
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            });
        }
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ml_service_that_is_slow_or_wrong_leads_to_the_fallback_and_late_scoring() {
    let platform = Platform::builder()
        .without(Service::Ml)
        .set(Service::Transactions, "UNSCORED_POST_LIMIT", 1_000)
        .set(Service::Transactions, "SCORE_DEADLINE_MS", 200)
        .start()
        .await
        .unwrap();
    let sql = platform.sql().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 1_000_000).await;
    let url = platform.url(Service::Ml);
    let address = url.trim_start_matches("http://");
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let leak =
        |body: &str| -> &'static str { format!("{ok}content-length: {}\r\n\r\n{body}", body.len()).leak() };
    let other = format!(
        r#"{{"scores": [{{"transfer_id": "{}", "score": 0, "decision": "allow", "reasons": []}}]}}"#,
        TransferId::new()
    );
    let mut small = Vec::new();
    let (answers, told) = watch::channel(("", Duration::ZERO));
    let wrong = answer_everything(address, told).await;
    for (what, answer, after) in [
        ("slow", leak(r#"{"scores": []}"#), Duration::from_secs(2)),
        ("no JSON", leak("<html>"), Duration::ZERO),
        ("nothing", leak(r#"{"scores": []}"#), Duration::ZERO),
        ("of another transfer", leak(&other), Duration::ZERO),
        (
            "another shape",
            leak(r#"{"scores": [{"score": 70000}]}"#),
            Duration::ZERO,
        ),
        (
            "cut short",
            "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"scores\"",
            Duration::ZERO,
        ),
        (
            "broken",
            "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            Duration::ZERO,
        ),
    ] {
        answers.send((answer, after)).unwrap();
        let posted = payer.transfer(&from, &to, 1_000, "USD").await.must_be(201);
        assert_eq!(posted["status"], "posted", "{what}: {posted}");
        small.push(text_of(&posted, "id"));
        let large = payer.transfer(&from, &to, 1_001, "USD").await.must_be(201);
        assert_eq!(large["status"], "in_review", "{what}: {large}");
    }
    drop(wrong);
    platform.start_service(Service::Ml).await.unwrap();
    learnt(&sql, 15).await;
    eventually("all that posted is scored", async || {
        let query = "SELECT count(*) FROM transactions.transfers WHERE status = 'posted' AND risk_decision IS NOT NULL";
        let scored: i64 = sql.query_one(query, &[]).await.unwrap().get(0);
        (scored == 7).then_some(())
    })
    .await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let path = format!("/api/v1/fraud/decisions/{}", small[0]);
    let decision = officer.get(&path).await.must_be(200);
    assert_eq!(
        (&decision["fallback"], &decision["status"]),
        (&json!(true), &json!("posted")),
        "{decision}"
    );
    assert_eq!(decision["score"]["decision"], "allow", "{decision}");
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_absurd_has_no_score_and_the_others_of_its_batch_have_theirs_once_and_for_all() {
    let platform = Platform::start().await;
    let secret = platform.server.secrets.service_secret.as_str();
    let tokens = ServiceTokens::new("transactions-service", &[secret.into()], platform.clock.clone());
    let token = tokens.unwrap().issue("ml-service").unwrap();
    let ledger = platform.client_of(Service::Ml).with_token(&token);
    let accounts = [AccountId::new(), AccountId::new()];
    let request = |id: TransferId, amount: i64| {
        json!({
            "transfer_id": id, "debit_account_id": accounts[0], "credit_account_id": accounts[1],
            "amount": amount, "currency": "USD", "requested_at": platform.clock.now(),
        })
    };
    let (good, large) = (TransferId::new(), TransferId::new());
    let absurd = [0, -1, i64::MAX].map(|amount| request(TransferId::new(), amount));
    let mut batch = absurd.to_vec();
    let mut strange = request(TransferId::new(), 1_000);
    strange["currency"] = json!("dollars");
    batch.extend([
        strange,
        json!({ "transfer_id": TransferId::new() }),
        json!(7),
        Value::Null,
    ]);
    batch.insert(1, request(good, 1_000));
    batch.push(request(large, 2_000_000));
    let ask = async |transfers: &[Value]| {
        let answer = ledger
            .post("/internal/scores", json!({ "transfers": transfers }))
            .await
            .must_be(200);
        answer["scores"].as_array().unwrap().clone()
    };
    let scores = ask(&batch).await;
    let of: Vec<(&Value, &Value)> = scores
        .iter()
        .map(|score| (&score["transfer_id"], &score["decision"]))
        .collect();
    let (good, large) = (json!(good), json!(large));
    assert_eq!(of, [(&good, &json!("allow")), (&large, &json!("review"))]);
    // What was answered stays, whatever is asked under the same id later.
    let again = ask(&[request(serde_json::from_value(large).unwrap(), 1)]).await;
    assert_eq!(again[0], scores[1]);
    let sql = platform.sql().await;
    let kept: i64 = sql
        .query_one("SELECT count(*) FROM ml.scores", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(kept, 2);
    platform.stop().await.unwrap();
}
