//! What callers see while a part of the platform is away, and that it comes back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use platform::client::{Answer, PASSWORD, eventually, new_key, transfer_body};
use platform::postgres::Durability;
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};

const WITH_A_DATABASE: [Service; 4] = [
    Service::Auth,
    Service::Accounts,
    Service::Transactions,
    Service::Ml,
];

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.must_be_problem(503, answer.code());
    assert!(answer.header("retry-after").is_some(), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_everything_is_503_until_it_is_back() {
    let platform = Platform::builder()
        .own_server(Durability::Durable)
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(1_000, "USD").await,
        ada.open_account("USD").await,
    );
    platform.server.cluster.kill_9().await.unwrap();

    let (key, body) = (new_key(), transfer_body(&one, &other, 100, "USD"));
    let transfer = ada.post_with_key("/api/v1/transfers", &key, body.clone()).await;
    assert_unavailable(&transfer);
    assert!(
        ["none", "unknown"].contains(&transfer.body["outcome"].as_str().unwrap()),
        "{transfer}"
    );
    let login = json!({ "email": ada.email, "password": PASSWORD });
    assert_unavailable(&ada.post("/api/v1/auth/login", login).await);
    assert_unavailable(&ada.get(&format!("/api/v1/accounts/{one}")).await);
    assert_unavailable(&ada.get("/api/v1/transfers").await);
    for service in WITH_A_DATABASE {
        let client = platform.client_of(service);
        assert_eq!(client.get("/readyz").await.status, 503, "{}", service.name());
        assert_eq!(client.get("/livez").await.status, 200, "{}", service.name());
    }

    platform.server.cluster.restart_after_kill().await.unwrap();
    for service in WITH_A_DATABASE {
        eventually("the services are ready again", async || {
            (platform.client_of(service).get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }
    let posted = eventually("the transfer goes through", async || {
        let answer = ada.post_with_key("/api/v1/transfers", &key, body.clone()).await;
        (answer.status == 201).then_some(answer.body)
    })
    .await;
    assert_eq!(posted["status"], "posted");
    assert_eq!(ada.balance(&other).await, (100, 0, 100));
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_told_to_stop_under_load_finishes_what_it_began() {
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(1_000_000, "USD").await,
        ada.open_account("USD").await,
    );
    let stopping = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (ada, stopping) = (ada.clone(), Arc::clone(&stopping));
            let body = transfer_body(&one, &other, 1, "USD");
            tokio::spawn(async move { transfer_until_refused(&ada, &body, &stopping).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stopping.store(true, Ordering::Relaxed);
    platform.stop_service(Service::Transactions).await.unwrap();
    let (mut posted, mut unknown) = (0, Vec::new());
    for client in clients {
        let (acknowledged, lost) = client.await.unwrap();
        posted += acknowledged;
        unknown.extend(lost);
    }
    assert!(posted > 0);
    platform.start_service(Service::Transactions).await.unwrap();
    eventually("the gateway reaches it again", async || {
        (ada.get("/api/v1/transfers").await.status == 200).then_some(())
    })
    .await;
    // A connection that closed before its answer leaves the client in doubt; asking by the key ends it.
    for key in &unknown {
        let answer = ada.get(&format!("/api/v1/idempotency-keys/{key}")).await;
        match answer.status {
            200 => posted += 1,
            _ => drop(answer.must_be(404)),
        }
    }
    assert_eq!(ada.balance(&other).await, (posted, 0, posted));
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

/// Transfers until the service has stopped; returns how many were posted, and the keys of those whose answer was lost.
async fn transfer_until_refused(ada: &Customer, body: &Value, stopping: &AtomicBool) -> (i64, Vec<String>) {
    let (mut posted, mut unknown) = (0, Vec::new());
    loop {
        let key = new_key();
        let answer = ada.post_with_key("/api/v1/transfers", &key, body.clone()).await;
        if answer.status == 201 {
            posted += 1;
            continue;
        }
        assert_unavailable(&answer);
        if answer.body["outcome"] == "unknown" {
            unknown.push(key);
        } else {
            assert_eq!(answer.body["outcome"], "none", "{answer}");
        }
        if stopping.load(Ordering::Relaxed) {
            return (posted, unknown);
        }
    }
}
