//! One hold that everybody wants at once: captured, released, expired and refunded. Every set of two to four of them is tried
//! at two replicas; every order of them in the evaluator, in `transactions-service/src/book/tests.rs`.

use futures_util::future::join_all;
use platform::client::{Answer, new_key, text_of};
use platform::{Customer, Platform};
use serde_json::json;
use shared::id::HoldId;

use crate::table::Row;

/// What is asked about a hold of 1,000 of which 300 were captured.
#[derive(Clone, Copy, Debug)]
enum Request {
    Capture(i64),
    CaptureAll,
    Release,
    Refund(i64),
    Expire,
}

const REQUESTS: [Request; 6] = [
    Request::Capture(500),
    Request::CaptureAll,
    Request::Release,
    Request::Refund(200),
    Request::Refund(150),
    Request::Expire,
];

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    payee: Customer,
    to: String,
}

impl Scene {
    async fn send(&self, path: &str, body: serde_json::Value) -> Answer {
        let path = format!("/api/v1/{path}");
        self.payee.post_with_key(&path, &new_key(), body).await
    }

    /// All `requests` at once about a new hold. Returns how many were sent, and how many done.
    async fn race(&self, requests: Vec<Request>) -> (usize, usize) {
        let hold = self.payer.place_hold(&self.from, &self.to, 1_000, "USD").await;
        let hold = text_of(&hold.must_be(201), "id");
        let path = |word: &str| format!("holds/{hold}/{word}");
        let capture = self.send(&path("capture"), json!({ "amount": 300 })).await;
        let refunds = format!("transfers/{}/refunds", text_of(&capture.must_be(201), "id"));
        let uuid = hold.parse::<HoldId>().unwrap().uuid();
        let sql = self.platform.sql().await;
        let answers = requests.iter().map(async |request| match request {
            Request::Capture(amount) => Some(self.send(&path("capture"), json!({ "amount": amount })).await),
            Request::CaptureAll => Some(self.send(&path("capture"), json!({})).await),
            Request::Release => Some(self.send(&path("release"), json!({})).await),
            Request::Refund(amount) => Some(self.send(&refunds, json!({ "amount": amount })).await),
            Request::Expire => {
                let due = "UPDATE transactions.holds SET expires_at = now() WHERE id = $1";
                sql.execute(due, &[&uuid]).await.unwrap();
                None
            }
        });
        let answers = join_all(answers).await;
        let (mut done, mut captured, mut refunded, mut released) = (0, 300, 0, false);
        for (request, answer) in requests.iter().zip(&answers) {
            let Some(answer) = answer else { continue };
            match (request, answer.status) {
                (Request::Capture(_) | Request::CaptureAll, 201) => {
                    captured += answer.body["amount"].as_i64().unwrap();
                }
                (Request::Refund(amount), 201) => refunded += amount,
                (Request::Release, 200) => released = true,
                _ => {
                    let codes = ["hold_ended", "hold_expired", "hold_exceeded", "refund_exceeded"];
                    assert!(answer.status == 422 && codes.contains(&answer.code()), "{answer}");
                    continue;
                }
            }
            done += 1;
        }
        let query = "SELECT captured, released FROM transactions.holds WHERE id = $1";
        let row = sql.query_one(query, &[&uuid]).await.unwrap();
        let (taken, given_back): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(taken, captured, "{requests:?}: {answers:?}");
        assert!(refunded <= 300, "{requests:?}: {answers:?}");
        assert!(taken + given_back <= 1_000 && (!released || given_back > 0));
        (answers.iter().flatten().count(), done)
    }
}

/// Every set of two to four of the requests.
fn sets() -> Vec<Vec<Request>> {
    let all = 0..1_usize << REQUESTS.len();
    let chosen = |set: usize| (0..REQUESTS.len()).filter(move |number| set >> number & 1 == 1);
    all.map(|set| chosen(set).map(|number| REQUESTS[number]).collect())
        .filter(|set: &Vec<Request>| (2..=4).contains(&set.len()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_set_of_two_to_four_of_them_at_once_takes_no_more_than_the_hold_has() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let (payer, payee) = (platform.register("payer").await, platform.register("payee").await);
    let from = payer.open_funded_account(100_000, "USD").await;
    let to = payee.open_account("USD").await;
    let scene = Scene {
        platform,
        payer,
        from,
        payee,
        to,
    };
    let mut row = Row::default();
    // Several races at a time, so that their batches mix.
    for sets in sets().chunks(10) {
        let races = sets.iter().map(|set| scene.race(set.clone()));
        for (sent, done) in join_all(races).await {
            row.tried += sent;
            row.acknowledged += done;
            row.refused += sent - done;
        }
    }
    scene.platform.assert_invariants().await;
    row.print("one hold: every 2 to 4 at once, at two replicas");
    scene.platform.stop().await.unwrap();
}
