//! Two replicas of each service behind what a Kubernetes Service is: restarted one after another, killed and paused under
//! load. No request fails that a client would not send again, and what was acknowledged is in the books once.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use platform::client::{Answer, eventually, new_key, transfer_body};
use platform::platform::Replica;
use platform::traffic::{Report, Traffic};
use platform::{Client, Customer, Platform, Service};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dev");
const TRANSFERS: &str = "/api/v1/transfers";
const REPLICAS: usize = 2;

async fn two_of_each() -> Platform {
    let mut builder = Platform::builder().processes(PROGRAM).replicas(REPLICAS);
    for service in Service::ALL {
        // Longer than the balancer takes to notice, as an operator would set it for theirs.
        builder = builder.set(service, "SHUTDOWN_DELAY_S", 1);
    }
    builder.start().await.unwrap()
}

fn every_replica() -> impl Iterator<Item = Replica> {
    let numbered = |service| (0..REPLICAS).map(move |number| Replica { service, number });
    Service::ALL.into_iter().flat_map(numbered)
}

fn print(what: &str, report: &Report) {
    println!("{what}: {report}");
    for why in &report.repeated {
        println!("repeated because: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_everything_fails_no_request() {
    let platform = two_of_each().await;
    let traffic = Traffic::start(&platform).await;
    traffic.wait_for(20).await;
    for replica in every_replica() {
        platform.stop_service(replica).await.unwrap();
        traffic.wait_for(5).await;
        platform.start_service(replica).await.unwrap();
        traffic.wait_for(5).await;
    }
    let report = traffic.finish(&platform).await;
    print("ten processes restarted", &report);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_costs_a_repetition_at_most() {
    let platform = two_of_each().await;
    let traffic = Traffic::start(&platform).await;
    traffic.wait_for(20).await;
    for service in Service::ALL {
        let replica = Replica { service, number: 1 };
        platform.kill_9(replica).await.unwrap();
        traffic.wait_for(20).await;
        platform.start_service(replica).await.unwrap();
        traffic.wait_for(20).await;
    }
    let report = traffic.finish(&platform).await;
    print("five processes killed", &report);
    platform.stop().await.unwrap();
}

/// The same customer at each replica of transactions-service, past gateway and balancer.
fn at_each_replica(platform: &Platform, customer: &Customer) -> [Client; REPLICAS] {
    [0, 1].map(|number| {
        let service = Service::Transactions;
        Client {
            base_url: platform.url_of(Replica { service, number }),
            ..customer.client.clone()
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sent_to_both_replicas_at_once_has_one_effect() {
    const KEYS: usize = 120;
    let platform = two_of_each().await;
    let payer = platform.register("payer").await;
    let (from, to) = (
        payer.open_funded_account(100_000, "USD").await,
        payer.open_account("USD").await,
    );
    let [one, other] = at_each_replica(&platform, &payer);
    // All of them want the same two accounts, in both directions.
    let requests = (0..KEYS).map(|number| {
        let body = match number % 2 {
            0 => transfer_body(&from, &to, 2, "USD"),
            _ => transfer_body(&to, &from, 1, "USD"),
        };
        let (one, other, key) = (one.clone(), other.clone(), new_key());
        tokio::spawn(async move {
            join(
                one.post_with_key(TRANSFERS, &key, body.clone()),
                other.post_with_key(TRANSFERS, &key, body),
            )
            .await
        })
    });
    let (mut posted, mut refused) = (0, 0);
    for answers in join_all(requests).await {
        let (one, other) = answers.unwrap();
        assert_eq!(
            (one.status, &one.body),
            (other.status, &other.body),
            "{one}\n{other}"
        );
        let replayed = [&one, &other].map(|answer| answer.header("idempotent-replayed").is_some());
        assert!(
            replayed[0] != replayed[1],
            "one of two answers is a repetition: {one}\n{other}"
        );
        match one.status {
            201 => posted += 1,
            // The other account was still empty.
            _ => {
                assert_eq!((one.status, one.code()), (422, "insufficient_funds"), "{one}");
                refused += 1;
            }
        }
    }
    println!("{KEYS} keys sent twice: {posted} posted, {refused} refused");
    let booked = "SELECT count(*) FROM transactions.transfers WHERE kind = 'transfer' AND status = 'posted'";
    let booked: i64 = platform.sql().await.query_one(booked, &[]).await.unwrap().get(0);
    assert_eq!(booked, posted);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

fn signal(platform: &Platform, replica: Replica, signal: Signal) {
    let id = i32::try_from(platform.process_id(replica).unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// Waits until a session of transactions-service is as `condition` says, and returns the id of its server process.
async fn session_that(sql: &tokio_postgres::Client, condition: &str) -> i32 {
    let query = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()
             AND application_name LIKE 'transactions%' AND {condition}"
    );
    eventually(condition, async || {
        let row = sql.query_opt(&query, &[]).await.unwrap()?;
        Some(row.get(0))
    })
    .await
}

/// Sends the request to the first replica, and pauses that when it has locked the accounts. The answer is still to come.
async fn pause_with_locks(
    platform: &Platform,
    payer: &Customer,
    key: &str,
    body: &Value,
) -> JoinHandle<Answer> {
    // Accounts are locked in the order of their ids: a lane that waits for the newer one has locked the other.
    let blocker = platform.sql().await;
    blocker
        .batch_execute(
            "BEGIN; SELECT FROM transactions.ledger_accounts WHERE kind = 'customer' ORDER BY id DESC LIMIT 1 FOR UPDATE",
        )
        .await
        .unwrap();
    let [one, _] = at_each_replica(platform, payer);
    let (key, body) = (key.to_owned(), body.clone());
    let answer = tokio::spawn(async move { one.post_with_key(TRANSFERS, &key, body).await });
    let sql = platform.sql().await;
    let session = session_that(&sql, "wait_event_type = 'Lock'").await;
    signal(platform, PAUSED, Signal::STOP);
    blocker.batch_execute("ROLLBACK").await.unwrap();
    session_that(
        &sql,
        &format!("pid = {session} AND state = 'idle in transaction'"),
    )
    .await;
    answer
}

const PAUSED: Replica = Replica {
    service: Service::Transactions,
    number: 0,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_paused_with_locks_in_its_hands_does_not_stop_the_other() {
    let platform = two_of_each().await;
    let payer = platform.register("payer").await;
    let (from, to) = (
        payer.open_funded_account(1_000, "USD").await,
        payer.open_account("USD").await,
    );
    let [_, other] = at_each_replica(&platform, &payer);
    let body = transfer_body(&from, &to, 1, "USD");
    for paused_for in [Duration::from_secs(1), Duration::from_secs(8)] {
        let before = payer.balance(&to).await.0;
        let key = new_key();
        let first = pause_with_locks(&platform, &payer, &key, &body).await;
        let started = Instant::now();
        // One of them repeats what the paused replica has begun.
        let keys = [key.clone(), new_key(), new_key(), new_key()];
        let others = keys.map(|key| {
            let (other, body) = (other.clone(), body.clone());
            tokio::spawn(async move {
                let answer = other.post_with_key(TRANSFERS, &key, body).await;
                (answer, Instant::now())
            })
        });
        tokio::time::sleep(paused_for).await;
        signal(&platform, PAUSED, Signal::CONT);
        let first = first.await.unwrap();
        let mut others = join_all(others).await.into_iter().map(Result::unwrap);
        let (repetition, answered) = others.next().unwrap();
        println!(
            "paused for {paused_for:.0?} with locks: the other replica answered after {:.1?}",
            answered - started
        );
        assert_eq!(
            (repetition.status, &repetition.body),
            (201, &first.body),
            "{repetition}\n{first}"
        );
        for (answer, at) in others.chain([(first, answered), (repetition, answered)]) {
            assert_eq!(answer.status, 201, "{answer}");
            assert!(at - started < Duration::from_secs(5), "{:?}", at - started);
        }
        assert_eq!(payer.balance(&to).await.0, before + 4);
    }
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}
