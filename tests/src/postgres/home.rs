//! A cluster's files on disk, and how a server is started on them. What is slow or may be interrupted is done under
//! another name and then renamed, so that a directory that exists is always complete.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::watchdog::Watchdog;
use super::{Durability, PATIENCE, POLL, binaries, hash_of, processes, random_name, server_user, wait_until};
use crate::programs;

const INITDB_OPTIONS: [&str; 6] = [
    "--no-sync",
    "--no-instructions",
    "--locale=C",
    "--encoding=UTF8",
    "--auth=scram-sha-256",
    "--username=postgres",
];

/// A cluster's directory and the programs for it, running or not.
pub struct Home {
    pub binaries: PathBuf,
    pub directory: PathBuf,
    pub durability: Durability,
    /// More of PostgreSQL's settings, as `name=value`.
    pub settings: Vec<String>,
}

impl Home {
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub fn password_file(&self) -> PathBuf {
        self.directory.join("password")
    }

    pub async fn initialise(&self) -> anyhow::Result<()> {
        let partial = self.directory.join("data.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        if !self.password_file().exists() {
            server_user::private_file(&self.password_file(), &random_name())?;
        }
        let mut initdb = server_user::command(self.binaries.join("initdb"))?;
        initdb
            .args(INITDB_OPTIONS)
            .arg("--pwfile")
            .arg(self.password_file())
            .arg("--pgdata")
            .arg(&partial);
        programs::finish(initdb).await?;
        fs::rename(partial, self.data())?;
        Ok(())
    }

    /// Stops a server whose launcher and watchdog were both killed, and removes a pid file that names nobody of ours:
    /// PostgreSQL would take any process that has got that pid since for a running server.
    pub async fn stop_leftover(&self) -> anyhow::Result<()> {
        let Some((postmaster, _)) = self.pid_file() else {
            return Ok(());
        };
        let data = self.data().display().to_string();
        let running = || processes::command_line(postmaster).is_some_and(|line| line.contains(&data));
        if running() {
            kill_process(postmaster, Signal::INT)?;
            wait_until(|| !running())
                .await
                .context("a PostgreSQL left from an earlier run does not stop")?;
        }
        match fs::remove_file(self.data().join("postmaster.pid")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Starts the server on `port`, or on any free one where that is 0.
    pub async fn start_on(&self, port: u16, watchdog: &Watchdog) -> anyhow::Result<(u16, Child)> {
        if port != 0 {
            ensure!(
                is_free(port),
                "port {port} on 127.0.0.1 is taken by another program"
            );
            return Ok((port, self.start(port, watchdog).await?));
        }
        for _ in 0..8 {
            let port = free_port()?;
            match self.start(port, watchdog).await {
                Err(_) if !is_free(port) => continue,
                started => return Ok((port, started?)),
            }
        }
        bail!("other programs took every port that was free")
    }

    pub async fn start(&self, port: u16, watchdog: &Watchdog) -> anyhow::Result<Child> {
        let log = File::create(self.log())?;
        let mut postgres = server_user::command(self.binaries.join("postgres"))?;
        postgres
            .arg("-D")
            .arg(self.data())
            .stdout(log.try_clone()?)
            .stderr(log);
        let port = format!("port={port}");
        let common = [
            &port,
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=128MB",
        ];
        for setting in common.iter().chain(self.durability.settings()) {
            postgres.arg("-c").arg(setting);
        }
        for setting in &self.settings {
            postgres.arg("-c").arg(setting);
        }
        let mut server = postgres.spawn().context("cannot run postgres")?;
        let ready = match watchdog.watch(&server) {
            Ok(()) => self.wait_until_ready(&mut server).await,
            Err(error) => Err(error),
        };
        if ready.is_err() {
            server.kill()?;
            server.wait()?;
            watchdog.forget()?;
        }
        ready.map(|()| server)
    }

    async fn wait_until_ready(&self, server: &mut Child) -> anyhow::Result<()> {
        let (postmaster, started) = (Pid::from_child(server), Instant::now());
        loop {
            // A pid file left by a killed server also says "ready".
            if self.pid_file() == Some((postmaster, true)) {
                return Ok(());
            }
            let ended = server.try_wait()?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let log = fs::read(self.log()).unwrap_or_default();
                bail!(
                    "PostgreSQL did not start; its log ends with:\n{}",
                    programs::tail(&log)
                );
            }
            sleep(POLL).await;
        }
    }

    /// The postmaster that the data directory names, and whether it says that it accepts connections.
    fn pid_file(&self) -> Option<(Pid, bool)> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let postmaster = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        Some((
            postmaster,
            text.lines().nth(7).is_some_and(|line| line.trim() == "ready"),
        ))
    }
}

/// A cluster nobody has started yet: copying it takes a fifth of the time of `initdb`.
pub async fn pristine(binaries: &Path) -> anyhow::Result<Home> {
    let cache = binaries::cache_directory()?;
    let key = hash_of(&(
        binaries::version(binaries)?,
        INITDB_OPTIONS,
        server_user::stand_in()?,
    ));
    let directory = cache.join(format!("pristine-{key:016x}"));
    let finished = Home {
        binaries: binaries.to_owned(),
        directory,
        durability: Durability::Fast,
        settings: Vec::new(),
    };
    if finished.directory.exists() {
        return Ok(finished);
    }

    let directory = cache.join(format!("building-{}", random_name()));
    let building = Home {
        binaries: binaries.to_owned(),
        directory,
        durability: Durability::Fast,
        settings: Vec::new(),
    };
    server_user::private_directory(&building.directory)?;
    building.initialise().await?;
    if let Err(error) = fs::rename(&building.directory, &finished.directory) {
        fs::remove_dir_all(&building.directory)?;
        // Another process was faster, which is as good.
        ensure!(
            finished.directory.exists(),
            "cannot keep {}: {error}",
            finished.directory.display()
        );
    }
    Ok(finished)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
