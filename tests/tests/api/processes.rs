//! Every service as a process of its own, configured by its environment as in production.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use platform::{Platform, Service};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dev");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_comes_back_with_everything_it_acknowledged() {
    let platform = Platform::builder().processes(PROGRAM).start().await.unwrap();
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(1_000, "USD").await,
        ada.open_account("USD").await,
    );
    for service in Service::ALL {
        let killed = platform.process_id(service).unwrap();
        platform.kill_9(service).await.unwrap();
        platform.start_service(service).await.unwrap();
        assert_ne!(platform.process_id(service), Some(killed));
        platform::client::eventually("transfers go on", async || {
            (ada.transfer(&one, &other, 100, "USD").await.status == 201).then_some(())
        })
        .await;
    }
    let (posted, ..) = ada.balance(&other).await;
    assert!(posted >= 500, "{posted}");
    platform.assert_invariants().await;
    // SIGTERM ends each of them with success, or this is an error.
    platform.stop().await.unwrap();
}

#[test]
fn a_service_ends_with_whoever_started_it() {
    let mut service = Command::new(PROGRAM)
        .args(["serve", "ml-service"])
        .env_clear()
        // Nobody answers there: it starts and says so in /readyz.
        .env("DATABASE_URL", "postgres://ml_runtime:x@127.0.0.1:1/flowlet")
        .env("AUTH_URL", "http://127.0.0.1:1")
        .env("TRANSACTIONS_URL", "http://127.0.0.1:1")
        .env("ORIGIN_KEYS", "1:ArpK/bJW8VILg7ANAUpnwxxeTC8hUw1W8n/kd8EZf7o=")
        .env("SERVICE_SECRETS", "x".repeat(64))
        .env("FLOWLET_ENV", "development")
        .env("BIND_ADDRESS", "127.0.0.1:0")
        .env("RUST_LOG", "off")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        service.try_wait().unwrap().is_none(),
        "it does not run without its database"
    );
    drop(service.stdin.take());
    let started = Instant::now();
    while service.try_wait().unwrap().is_none() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "it goes on without us"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_wrong_environment_is_told_as_a_whole() {
    for service in Service::ALL {
        let mut process = Command::new(PROGRAM)
            .args(["serve", service.name()])
            .env_clear()
            .env("BIND_ADDRESS", "127.0.0.1:0")
            .env("WORKERS", "many")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closing it would end the process.
        let _input = process.stdin.take();
        let output = process.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        for part in [service.name(), "WORKERS cannot be read", "is not set"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
