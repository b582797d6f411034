//! Clients that transfer one cent after another while something is done to the platform, and remember what they were told.
//!
//! Every acknowledged transfer is appended to a file before it is counted. Afterwards each must be in the books with the
//! answer that was given, a request that was told it had no effect must have none, each request without an answer is repeated
//! under its key, and the balance must be exactly the transfers that exist.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::client::{Answer, eventually, new_key, transfer_body};
use platform::{Customer, Platform};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::table::Row;

const TRANSFERS: &str = "/api/v1/transfers";
const CLIENTS: usize = 32;
/// Acknowledged requests that are sent again in the end.
const REPEATED: usize = 50;

pub struct Load {
    payer: Customer,
    from: String,
    to: String,
    acknowledged: Mutex<File>,
    path: PathBuf,
    count: AtomicU64,
    tried: AtomicU64,
    told: Mutex<Told>,
    stop: CancellationToken,
}

/// What clients heard, beside what is in the file.
#[derive(Default)]
struct Told {
    /// Keys whose answer was that nothing happened.
    no_effect: Vec<String>,
    /// Keys without a definite answer.
    unknown: Vec<String>,
    /// The first answers, as they came.
    answers: Vec<(String, String)>,
}

enum Reply {
    Posted(Answer),
    NoEffect,
    Unknown,
}

impl Load {
    pub async fn prepare(platform: &Platform) -> Arc<Self> {
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
            tried: AtomicU64::new(0),
            told: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    pub fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        (0..CLIENTS)
            .map(|_| tokio::spawn(Arc::clone(self).transfer_until_stopped()))
            .collect()
    }

    pub async fn stop(&self, clients: Vec<JoinHandle<()>>) {
        self.stop.cancel();
        for client in clients {
            client.await.unwrap();
        }
    }

    async fn transfer_until_stopped(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let key = new_key();
            self.tried.fetch_add(1, Ordering::Relaxed);
            match self.send(&key).await {
                Reply::Posted(answer) => {
                    let id = answer.body["id"].as_str().unwrap();
                    writeln!(self.acknowledged.lock().unwrap(), "{key} {id}").unwrap();
                    let mut told = self.told.lock().unwrap();
                    if told.answers.len() < REPEATED {
                        told.answers.push((key, answer.text));
                    }
                    self.count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Reply::NoEffect => self.told.lock().unwrap().no_effect.push(key),
                Reply::Unknown => self.told.lock().unwrap().unknown.push(key),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn send(&self, key: &str) -> Reply {
        let body = transfer_body(&self.from, &self.to, 1, "USD");
        let answer = self.payer.try_post_with_key(TRANSFERS, key, &body).await;
        match answer {
            Ok(answer) if answer.status == 201 => Reply::Posted(answer),
            Ok(answer) => {
                let tells_when = answer.header("retry-after").is_some();
                assert!(
                    (answer.status == 503 && tells_when) || answer.status == 504,
                    "{answer}"
                );
                match answer.body["outcome"].as_str() {
                    Some("none") => Reply::NoEffect,
                    Some("unknown") => Reply::Unknown,
                    _ => panic!("it does not say what became of the money: {answer}"),
                }
            }
            Err(_) => Reply::Unknown,
        }
    }

    /// Waits until so many more transfers were acknowledged.
    pub async fn wait_for(&self, more: u64) {
        let goal = self.count.load(Ordering::Relaxed) + more;
        eventually("transfers are acknowledged", async || {
            (self.count.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Waits until so many requests in all were not answered with a transfer.
    pub async fn wait_for_refusals(&self, count: usize) {
        eventually("requests are refused", async || {
            let told = self.told.lock().unwrap();
            (told.no_effect.len() + told.unknown.len() >= count).then_some(())
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

    /// Key and transfer id of everything that the books have.
    async fn booked(&self, platform: &Platform) -> BTreeSet<(String, String)> {
        let query =
            "SELECT key, body::jsonb ->> 'id' FROM transactions.idempotency_keys JOIN transactions.transfers
                 ON id = transfer_id WHERE transfers.status = 'posted' AND kind = 'transfer'";
        let rows = platform.sql().await.query(query, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// What became of it all so far.
    pub async fn count(&self, platform: &Platform) -> Row {
        let (acknowledged, booked) = (self.acknowledged(), self.booked(platform).await);
        let told = self.told.lock().unwrap();
        Row {
            tried: usize::try_from(self.tried.load(Ordering::Relaxed)).unwrap(),
            acknowledged: acknowledged.len(),
            refused: told.no_effect.len(),
            unknown: told.unknown.len(),
            lost: acknowledged.difference(&booked).count(),
        }
    }

    /// Nothing acknowledged is lost, what was said to have had no effect has none, each request without an answer is repeated
    /// to one effect, and the balances tell as much.
    pub async fn verify(&self, platform: &Platform, fault: &str) {
        let row = self.count(platform).await;
        row.print(fault);
        assert_eq!(row.lost, 0);
        let Told {
            no_effect,
            unknown,
            answers,
        } = std::mem::take(&mut *self.told.lock().unwrap());
        let booked: BTreeSet<String> = self
            .booked(platform)
            .await
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let misinformed: Vec<&String> = no_effect.iter().filter(|key| booked.contains(*key)).collect();
        assert!(
            misinformed.is_empty(),
            "these took effect, and their clients were told otherwise: {misinformed:?}"
        );
        for key in no_effect.iter().chain(&unknown) {
            self.repeat(key).await;
        }
        for (key, text) in &answers {
            let again = self.repeat(key).await;
            assert_eq!(
                (&again.text, again.header("idempotent-replayed")),
                (text, Some("true"))
            );
        }
        let expected = row.acknowledged + no_effect.len() + unknown.len();
        let (received, ..) = self.payer.balance(&self.to).await;
        assert_eq!(usize::try_from(received).unwrap(), expected);
        platform.assert_invariants().await;
    }

    async fn repeat(&self, key: &str) -> Answer {
        eventually("a repeated request is answered", async || {
            match self.send(key).await {
                Reply::Posted(answer) => Some(answer),
                Reply::NoEffect | Reply::Unknown => None,
            }
        })
        .await
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}
