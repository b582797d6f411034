//! What is acknowledged survives: services and PostgreSQL are killed with SIGKILL under load, as processes of their own.
//!
//! Every acknowledged transfer is appended to a file before it is counted. After the recovery each must be in the books
//! with the answer that was given, every request whose answer was lost is repeated under its key, and the balance must be
//! exactly the transfers that exist. A control with `synchronous_commit=off` shows that the test sees a loss when there is
//! one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::client::{eventually, new_key, transfer_body};
use platform::postgres::Durability;
use platform::{Customer, Platform, Service};
use tokio_util::sync::CancellationToken;

const TRANSFERS: &str = "/api/v1/transfers";
const CLIENTS: usize = 32;

/// Clients that transfer one cent after another until they are stopped.
struct Load {
    payer: Customer,
    from: String,
    to: String,
    acknowledged: Mutex<File>,
    path: PathBuf,
    count: AtomicU64,
    /// Keys of requests that got no definite answer.
    unknown: Mutex<Vec<String>>,
    stop: CancellationToken,
}

impl Load {
    async fn prepare(platform: &Platform) -> Arc<Self> {
        let payer = platform.register("payer").await;
        let from = payer.open_funded_account(100_000_000, "USD").await;
        let to = payer.open_account("USD").await;
        let path = std::env::temp_dir().join(format!("flowlet-acknowledged-{}", new_key()));
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        Arc::new(Self {
            payer,
            from,
            to,
            acknowledged: Mutex::new(file),
            path,
            count: AtomicU64::new(0),
            unknown: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    fn start(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        (0..CLIENTS)
            .map(|_| tokio::spawn(Arc::clone(self).transfer_until_stopped()))
            .collect()
    }

    async fn transfer_until_stopped(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let key = new_key();
            match self.send(&key).await {
                Some(id) => {
                    writeln!(self.acknowledged.lock().unwrap(), "{key} {id}").unwrap();
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    self.unknown.lock().unwrap().push(key);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// The id of the posted transfer, or `None` when there is no definite answer.
    async fn send(&self, key: &str) -> Option<String> {
        let body = transfer_body(&self.from, &self.to, 1, "USD");
        let answer = self.payer.try_post_with_key(TRANSFERS, key, &body).await.ok()?;
        match answer.status {
            201 => Some(answer.body["id"].as_str().unwrap().to_owned()),
            503 | 504 => {
                assert!(
                    answer.header("retry-after").is_some() || answer.status == 504,
                    "{answer}"
                );
                None
            }
            _ => panic!("{answer}"),
        }
    }

    async fn wait_for(&self, more: u64) {
        let goal = self.count.load(Ordering::Relaxed) + more;
        eventually("transfers are acknowledged", async || {
            (self.count.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Key and transfer id of everything that was acknowledged.
    fn acknowledged(&self) -> BTreeSet<(String, String)> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(key, id)| (key.to_owned(), id.to_owned()))
            .collect()
    }

    /// Those of the acknowledged transfers that the books do not have.
    async fn lost(&self, platform: &Platform) -> Vec<(String, String)> {
        let sql = platform.sql().await;
        let query =
            "SELECT key, body::jsonb ->> 'id' FROM transactions.idempotency_keys JOIN transactions.transfers
                     ON id = transfer_id WHERE transfers.status = 'posted' AND kind = 'transfer'";
        let found: BTreeSet<(String, String)> = sql
            .query(query, &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        self.acknowledged().difference(&found).cloned().collect()
    }

    /// Nothing acknowledged is lost, each unanswered request is repeated to one effect, and the balances tell as much.
    async fn verify(&self, platform: &Platform) {
        assert_eq!(self.lost(platform).await, []);
        let unknown = std::mem::take(&mut *self.unknown.lock().unwrap());
        for key in &unknown {
            eventually("a repeated request is answered", async || self.send(key).await).await;
        }
        let expected = i64::try_from(self.acknowledged().len() + unknown.len()).unwrap();
        assert_eq!(self.payer.balance(&self.to).await.0, expected);
        platform.assert_books().await;
        println!(
            "{} acknowledged, {} repeated after a lost answer",
            self.acknowledged().len(),
            unknown.len()
        );
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

async fn platform_of_processes(durability: Durability) -> Platform {
    Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .own_server(durability)
        .start()
        .await
        .unwrap()
}

async fn stop(load: &Load, clients: Vec<tokio::task::JoinHandle<()>>) {
    load.stop.cancel();
    for client in clients {
        client.await.unwrap();
    }
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
    stop(&load, clients).await;
    load.verify(&platform).await;
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
    stop(&load, clients).await;
    load.verify(&platform).await;
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
    load.stop.cancel();
    platform.server.cluster.restart_after_kill().await.unwrap();
    stop(&load, clients).await;
    let lost = load.lost(&platform).await.len();
    println!(
        "{lost} of {} acknowledged transfers were lost, as they should be here",
        load.acknowledged().len()
    );
    assert!(lost > 0);
    platform.stop().await.unwrap();
}
