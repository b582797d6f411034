//! Services and PostgreSQL are killed with SIGKILL under load, as processes of their own. A control with
//! `synchronous_commit=off` shows that the test sees a loss when there is one.

use platform::postgres::Durability;
use platform::{Platform, Service};

use crate::load::Load;

async fn platform_of_processes(durability: Durability) -> Platform {
    Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .own_server(durability)
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_service_loses_nothing_that_was_acknowledged() {
    let platform = platform_of_processes(Durability::Durable).await;
    let load = Load::prepare(&platform).await;
    let clients = load.start();
    for _ in 0..3 {
        load.wait_for(300).await;
        platform.kill_9(Service::Transactions).await.unwrap();
        platform.start_service(Service::Transactions).await.unwrap();
    }
    load.wait_for(300).await;
    load.stop(clients).await;
    load.verify(&platform, "kill -9 transactions-service, 3 times")
        .await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_postgresql_loses_nothing_that_was_acknowledged() {
    let platform = platform_of_processes(Durability::Durable).await;
    let load = Load::prepare(&platform).await;
    let clients = load.start();
    for _ in 0..3 {
        load.wait_for(300).await;
        platform.server.cluster.kill_9().await.unwrap();
        platform.server.cluster.restart_after_kill().await.unwrap();
    }
    load.wait_for(300).await;
    load.stop(clients).await;
    load.verify(&platform, "kill -9 all of PostgreSQL, 3 times").await;
    platform.stop().await.unwrap();
}

/// It would otherwise flush each page of the log soon after it is full, which leaves the loss to chance.
async fn pause_the_wal_writer(platform: &Platform) {
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid: i32 = platform.sql().await.query_one(query, &[]).await.unwrap().get(0);
    let paused = std::process::Command::new("kill")
        .args(["-STOP", &pid.to_string()])
        .status();
    assert!(paused.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_without_synchronous_commit_does_lose_some() {
    let platform = platform_of_processes(Durability::Lossy).await;
    let load = Load::prepare(&platform).await;
    platform.sql().await.batch_execute("CHECKPOINT").await.unwrap();
    pause_the_wal_writer(&platform).await;
    let clients = load.start();
    load.wait_for(500).await;
    platform.server.cluster.kill_9().await.unwrap();
    let stopping = load.stop(clients);
    platform.server.cluster.restart_after_kill().await.unwrap();
    stopping.await;
    let row = load.count(&platform).await;
    row.print("control: the same with synchronous_commit=off");
    assert!(row.lost > 0, "the test does not see a loss");
    platform.stop().await.unwrap();
}
