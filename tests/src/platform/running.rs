//! One running service: a thread with a runtime of its own, as the service's `main` would give it, or a process.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use shared::Clock;
use shared::config::Env;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// Longer than the thirty seconds that a service gives its requests.
const STOPS_WITHIN: Duration = Duration::from_secs(45);

pub enum Running {
    Thread {
        shutdown: CancellationToken,
        ended: oneshot::Receiver<anyhow::Result<()>>,
    },
    /// Its standard input is a pipe from us: the `dev` program ends when the pipe does, so it never outlives us.
    Process(Child),
}

impl Running {
    pub fn thread(
        service: Service,
        environment: HashMap<String, String>,
        clock: Clock,
        listener: TcpListener,
    ) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let (report, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(service.name())
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name(service.name().to_owned())
            .spawn(move || {
                let env = Env::from_pairs(environment);
                let result = runtime.block_on(Box::pin(service.run(env, clock, listener, stop)));
                runtime.shutdown_timeout(Duration::from_secs(1));
                drop(report.send(result));
            })?;
        Ok(Self::Thread { shutdown, ended })
    }

    pub fn process(
        program: &Path,
        service: Service,
        mut environment: HashMap<String, String>,
        log: Stdio,
    ) -> anyhow::Result<Self> {
        let mut env = Env::from_process();
        let log_filter = || env.or("RUST_LOG", "off".to_owned());
        environment
            .entry("RUST_LOG".to_owned())
            .or_insert_with(log_filter);
        let child = Command::new(program)
            .args(["serve", service.name()])
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self::Process(child))
    }

    pub fn process_id(&self) -> Option<u32> {
        match self {
            Self::Thread { .. } => None,
            Self::Process(child) => Some(child.id()),
        }
    }

    /// How it ended, if it did without being asked to.
    pub fn ended(&mut self) -> Option<String> {
        match self {
            Self::Thread { ended, .. } => match ended.try_recv() {
                Ok(Ok(())) => Some("it stopped".to_owned()),
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some("it panicked".to_owned()),
            },
            Self::Process(child) => child.try_wait().ok()?.map(|status| status.to_string()),
        }
    }

    /// Asks it to stop, as SIGTERM does, and waits until it has, which must be without an error.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Thread { shutdown, ended } => {
                shutdown.cancel();
                let ended = tokio::time::timeout(STOPS_WITHIN, ended).await;
                ended.context("it does not stop")?.context("it panicked")?
            }
            Self::Process(child) => {
                kill_process(Pid::from_child(child), Signal::TERM)?;
                let started = Instant::now();
                loop {
                    if let Some(status) = child.try_wait()? {
                        ensure!(status.success(), "it ended with {status}");
                        return Ok(());
                    }
                    ensure!(started.elapsed() < STOPS_WITHIN, "it does not stop");
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    pub async fn kill_9(mut self) -> anyhow::Result<()> {
        let Self::Process(child) = &mut self else {
            bail!("only a process can be killed: start the platform with `processes`");
        };
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Thread { shutdown, .. } => shutdown.cancel(),
            Self::Process(child) => {
                // An error means that it has ended already.
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}
