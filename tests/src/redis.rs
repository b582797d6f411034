//! A Redis of a test's own, which keeps nothing on disk and can be killed.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::platform::free_listener;
use crate::tools::{self, Tool};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Ends when this is dropped, and when the test ends in whatever way: its shell waits for the end of its input.
pub struct Redis {
    shell: Child,
    pub address: SocketAddr,
}

impl Redis {
    pub async fn start() -> anyhow::Result<Self> {
        let address = free_listener()?.local_addr()?;
        Self::start_at(address).await
    }

    /// The same where another one was, for a test that killed it.
    pub async fn start_at(address: SocketAddr) -> anyhow::Result<Self> {
        let program = tools::ensure(Tool::RedisServer).await?;
        let script = "\"$0\" --bind 127.0.0.1 --port $1 --save '' --appendonly no >/dev/null & cat >/dev/null; kill -9 $!";
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(program)
            .arg(address.port().to_string())
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run sh")?;
        let redis = Self { shell, address };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            ensure!(
                started.elapsed() < STARTS_WITHIN,
                "redis-server does not start: what it said is above"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    /// As `REDIS_URL` takes it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}
