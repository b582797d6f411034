//! Two replicas, many clients, and few rows that they all want.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use platform::client::{Answer, new_key, transfer_body};
use platform::platform::Replica;
use platform::{Client, Customer, Platform, Service};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::model::{self, funded, take_at_once};
use crate::steps::{Step, steps};
use crate::table::Row;
use crate::world::World;

const REPLICAS: usize = 2;

async fn two_replicas() -> Platform {
    Platform::builder().replicas(REPLICAS).start().await.unwrap()
}

/// The customer at the replica of transactions-service that `number` means, past gateway and balancer.
fn at_replica(platform: &Platform, customer: &Customer, number: usize) -> Client {
    let replica = Replica {
        service: Service::Transactions,
        number: number % REPLICAS,
    };
    Client {
        base_url: platform.url_of(replica),
        ..customer.client.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_two_replicas_drain_an_account_of_n_units_exactly_n_times() {
    const UNITS: i64 = 300;
    const CLIENTS: usize = 200;
    const EACH: usize = 3;
    let platform = two_replicas().await;
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(UNITS, "USD").await;
    let payee = platform.register("payee").await;
    let to = payee.open_account("USD").await;
    let clients = (0..CLIENTS).map(|number| {
        let client = at_replica(&platform, &payer, number);
        let body = transfer_body(&from, &to, 1, "USD");
        tokio::spawn(async move {
            let mut successes = 0;
            for _ in 0..EACH {
                let answer = client
                    .post_with_key("/api/v1/transfers", &new_key(), body.clone())
                    .await;
                match answer.status {
                    201 => successes += 1,
                    _ => drop(answer.must_be_problem(422, "insufficient_funds").clone()),
                }
            }
            successes
        })
    });
    let successes: usize = join_all(clients).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(i64::try_from(successes).unwrap(), UNITS);
    assert_eq!(payer.balance(&from).await, (0, 0, 0));
    assert_eq!(payee.balance(&to).await.0, UNITS);
    platform.assert_invariants().await;
    Row {
        tried: CLIENTS * EACH,
        acknowledged: successes,
        refused: CLIENTS * EACH - successes,
        ..Row::default()
    }
    .print("200 clients drain one account at two replicas");
    platform.stop().await.unwrap();
}

/// What became of the copies of one request.
struct Copies {
    sent: usize,
    created: bool,
    /// What the copy that took the key moved or held.
    amount: i64,
}

/// Sends a request so many times at once, each third time altered, to both replicas in turn. However they meet, one of them
/// happens, and the others are told so or are told that the key is another's.
async fn send_copies(clients: [Client; REPLICAS], path: String, body: Value, copies: usize) -> Copies {
    let key = new_key();
    let requests = (0..copies).map(|number| {
        let mut body = body.clone();
        if number % 3 == 2 {
            body["amount"] = json!(body["amount"].as_i64().unwrap() + 1);
        }
        clients[number % REPLICAS].post_with_key(&path, &key, body)
    });
    let answers = join_all(requests).await;
    let is_reuse = |answer: &&Answer| answer.code() == "idempotency_key_reused";
    let decided: Vec<&Answer> = answers.iter().filter(|answer| !is_reuse(answer)).collect();
    for reuse in answers.iter().filter(is_reuse) {
        reuse.must_be_problem(422, "idempotency_key_reused");
    }
    let first = decided[0];
    for other in &decided {
        assert_eq!((other.status, &other.text), (first.status, &first.text));
    }
    let fresh = decided
        .iter()
        .filter(|it| it.header("idempotent-replayed").is_none());
    assert_eq!(fresh.count(), 1, "{answers:?}");
    assert!(
        first.status == 201 || (first.status, first.code()) == (422, "insufficient_funds"),
        "{first}"
    );
    Copies {
        sent: copies,
        created: first.status == 201,
        amount: first.body["amount"].as_i64().unwrap_or_default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_duplicates_at_two_replicas_has_one_effect_for_each_key() {
    const KEYS: usize = 200;
    let platform = two_replicas().await;
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(2_000, "USD").await;
    let to = payer.open_account("USD").await;
    let storms = (0..KEYS).map(|number| {
        let clients = [0, 1].map(|replica| at_replica(&platform, &payer, replica + number));
        let amount = i64::try_from(number % 20 + 10).unwrap();
        let (path, body) = match number % 3 {
            0 => (
                "holds",
                json!({ "account_id": from, "credit_account_id": to, "amount": amount, "currency": "USD" }),
            ),
            _ => ("transfers", transfer_body(&from, &to, amount, "USD")),
        };
        let copies = send_copies(clients, format!("/api/v1/{path}"), body, number % 5 + 1);
        async move { (path, copies.await) }
    });
    let (mut row, mut moved, mut held) = (Row::default(), 0, 0);
    for (path, copies) in join_all(storms).await {
        row.tried += copies.sent;
        row.acknowledged += usize::from(copies.created);
        row.refused += usize::from(!copies.created);
        match (path, copies.created) {
            (_, false) => {}
            ("holds", true) => held += copies.amount,
            (_, true) => moved += copies.amount,
        }
    }
    assert_eq!(
        payer.balance(&from).await,
        (2_000 - moved, held, 2_000 - moved - held)
    );
    assert_eq!(payer.balance(&to).await.0, moved);
    platform.assert_invariants().await;
    row.print("each request 1 to 5 times at once at two replicas");
    platform.stop().await.unwrap();
}

/// The steps of one client of the hunt, the same in every run.
fn hunt(runner: &mut TestRunner) -> Vec<Step> {
    let steps = steps(40).new_tree(runner).unwrap().current();
    // An account that is closed or frozen would leave the others less to meet at.
    let keeps_open = |step: &Step| !matches!(step, Step::SetStatus { .. });
    steps.into_iter().filter(keeps_open).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_two_replicas_never_deadlock() {
    const CLIENTS: usize = 64;
    // Of two lanes one waits for the other; it takes a third to wait for each other.
    let platform = model::platform(3).await;
    let accounts: Vec<(usize, &str)> = (0..8).map(|number| (number % 4, "USD")).collect();
    let world = Arc::new(World::open(&platform, "hunter", &accounts).await);
    let mut runner = TestRunner::deterministic();
    let steps: Vec<Step> = (0..CLIENTS).flat_map(|_| hunt(&mut runner)).collect();
    let steps = funded(accounts.len(), &steps);
    let row = take_at_once(&world, steps, CLIENTS, &platform).await;
    // A session reports what it counts once a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let deadlocks: i64 = platform.sql().await.query_one(query, &[]).await.unwrap().get(0);
    assert_eq!(deadlocks, 0);
    platform.assert_invariants().await;
    row.print("64 clients, 8 accounts, two replicas: deadlocks are hunted");
    platform.stop().await.unwrap();
}
