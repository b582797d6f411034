//! Clients that transfer one cent after another, and the record of what they were promised: a line for each acknowledged
//! transfer, with when it was sent, when the answer came, and the answer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use platform::client::{new_key, transfer_body};
use platform::{Answer, Customer, Platform};
use shared::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const CLIENTS: usize = 16;
const TRANSFERS: &str = "/api/v1/transfers";

pub struct Load {
    payer: Customer,
    from: String,
    pub to: String,
    path: PathBuf,
    file: Mutex<File>,
    /// When each request was sent, also of those that got no answer.
    sent: Mutex<HashMap<String, DateTime<Utc>>>,
    clock: Clock,
    stop: CancellationToken,
}

/// A transfer that its client believes to be posted.
pub struct Acknowledged {
    pub key: String,
    pub sent: DateTime<Utc>,
    pub at: DateTime<Utc>,
    /// The answer, as it came.
    pub body: String,
}

impl Load {
    pub async fn prepare(platform: &Platform, path: PathBuf) -> anyhow::Result<Arc<Self>> {
        let payer = platform.register("payer").await;
        let from = payer.open_funded_account(100_000_000, "USD").await;
        let to = payer.open_account("USD").await;
        let file = Mutex::new(File::create_new(&path)?);
        Ok(Arc::new(Self {
            payer,
            from,
            to,
            path,
            file,
            sent: Mutex::default(),
            clock: Clock::system(),
            stop: CancellationToken::new(),
        }))
    }

    pub fn start(self: &Arc<Self>) -> Vec<JoinHandle<anyhow::Result<()>>> {
        (0..CLIENTS)
            .map(|_| tokio::spawn(Arc::clone(self).transfer_until_stopped()))
            .collect()
    }

    pub async fn stop(&self, clients: Vec<JoinHandle<anyhow::Result<()>>>) -> anyhow::Result<()> {
        self.stop.cancel();
        for client in clients {
            client.await??;
        }
        Ok(())
    }

    /// The payer on a platform that has been restored.
    pub async fn log_in(&self, platform: &Platform) -> Customer {
        Customer::log_in(&platform.client(), &self.payer.email).await
    }

    /// The request of a client, once more or for the first time.
    pub async fn transfer(&self, payer: &Customer, key: &str) -> anyhow::Result<Answer> {
        let body = transfer_body(&self.from, &self.to, 1, "USD");
        payer.try_post_with_key(TRANSFERS, key, &body).await
    }

    /// When each request was sent, by its key.
    pub fn sent(&self) -> HashMap<String, DateTime<Utc>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn acknowledged(&self) -> anyhow::Result<Vec<Acknowledged>> {
        let text = fs::read_to_string(&self.path)?;
        text.lines()
            .map(|line| parse(line).with_context(|| format!("the record has the line {line}")))
            .collect()
    }

    async fn transfer_until_stopped(self: Arc<Self>) -> anyhow::Result<()> {
        while !self.stop.is_cancelled() {
            let (key, sent) = (new_key(), self.clock.now());
            self.sent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key.clone(), sent);
            match self.transfer(&self.payer, &key).await {
                Ok(answer) if answer.status == 201 => {
                    let (at, body) = (self.clock.now(), answer.text);
                    let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                    writeln!(
                        file,
                        "{key} {} {} {body}",
                        sent.timestamp_micros(),
                        at.timestamp_micros()
                    )?;
                }
                Ok(answer) if !matches!(answer.status, 502..=504) => bail!("{answer}"),
                // No definite answer: nothing was promised.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Ok(())
    }
}

fn parse(line: &str) -> Option<Acknowledged> {
    let mut fields = line.splitn(4, ' ');
    let key = fields.next()?.to_owned();
    let mut time = || DateTime::from_timestamp_micros(fields.next()?.parse().ok()?);
    let (sent, at) = (time()?, time()?);
    Some(Acknowledged {
        key,
        sent,
        at,
        body: fields.next()?.to_owned(),
    })
}
