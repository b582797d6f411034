//! Redis, where there is one: it makes things faster or sooner, and nothing needs it.
//!
//! So no function here returns an error. What does not come in time does not come, and after a failure nobody asks again for a
//! second, so that a Redis that is down costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisResult};
use secrecy::{ExposeSecret, SecretString};

/// Longer than this, and the database is faster.
const TIMEOUT: Duration = Duration::from_millis(50);
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

pub struct Redis {
    client: Client,
    connection: ConnectionManager,
    started: Instant,
    /// Milliseconds after `started` until which nobody asks.
    paused_until_ms: AtomicU64,
}

impl Redis {
    /// `url` is `redis://` or `rediss://`. Connects when it is first needed, from within a Tokio runtime.
    pub fn new(url: &SecretString) -> anyhow::Result<Self> {
        let client = Client::open(url.expose_secret()).context("REDIS_URL is not the URL of a Redis")?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_number_of_retries(1);
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client.clone(), config)?,
            client,
            started: Instant::now(),
            paused_until_ms: AtomicU64::new(0),
        })
    }

    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.ask::<Option<Vec<u8>>>(redis::cmd("GET").arg(key))
            .await
            .flatten()
    }

    pub async fn set(&self, key: &str, value: &[u8], lifetime: Duration) {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let mut command = redis::cmd("SET");
        self.ask::<()>(command.arg(key).arg(value).arg("PX").arg(lifetime_ms))
            .await;
    }

    /// Wakes whoever listens.
    pub async fn publish(&self, channel: &str) {
        self.ask::<()>(redis::cmd("PUBLISH").arg(channel).arg("")).await;
    }

    /// Calls `heard` for each message of a channel, and once when it begins to listen: something may have been missed.
    pub async fn listen(&self, channel: &str, heard: impl Fn()) {
        loop {
            if let Ok(messages) = self.subscribe(channel).await {
                heard();
                messages.into_on_message().for_each(async |_| heard()).await;
            }
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }

    async fn subscribe(&self, channel: &str) -> RedisResult<redis::aio::PubSub> {
        let mut messages = self.client.get_async_pubsub().await?;
        messages.subscribe(channel).await?;
        Ok(messages)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms < self.paused_until_ms.load(Ordering::Relaxed) {
            return None;
        }
        let mut connection = self.connection.clone();
        match tokio::time::timeout(TIMEOUT, command.query_async(&mut connection)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%error, "Redis refused, or is away"),
            Err(_) => tracing::debug!("Redis is too slow"),
        }
        metrics::counter!("redis_failures_total").increment(1);
        let pause_ms = u64::try_from(PAUSE_AFTER_FAILURE.as_millis()).unwrap_or_default();
        self.paused_until_ms
            .store(now_ms.saturating_add(pause_ms), Ordering::Relaxed);
        None
    }
}
