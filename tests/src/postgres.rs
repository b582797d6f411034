//! A private PostgreSQL for `cargo dev` and `cargo test`: it finds or installs the server's programs, makes a cluster,
//! starts it on a loopback port, and leaves nothing running however this process ends. Works as root, which PostgreSQL
//! refuses to be, and as an ordinary user.
//!
//! Deliberately absent: databases, roles and migrations, which belong to whoever uses the cluster; sharing one running
//! server between processes; unix sockets, because their paths have a length limit and their permissions depend on uids.

mod binaries;
mod home;
mod processes;
pub mod server_user;
#[cfg(test)]
mod tests;
mod watchdog;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

pub use binaries::ensure_binaries;
use home::Home;
use watchdog::{OnEnd, Watchdog};

use crate::programs;

const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(120);
/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Everything, as in production: for `cargo dev`, fault tests and benchmarks.
    Durable,
    /// Nothing is promised: for tests that never kill the server.
    Fast,
    /// Acknowledged commits are lost when the server is killed: the control that shows a fault test can fail. Whatever
    /// must survive, such as the schema, needs a `CHECKPOINT` statement after it.
    Lossy,
}

impl Durability {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Durable => &["fsync=on", "synchronous_commit=on"],
            Self::Fast => &[
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "wal_level=minimal",
                "max_wal_senders=0",
                "autovacuum=off",
                "checkpoint_timeout=1h",
                "max_wal_size=4GB",
            ],
            // Whoever writes a page first flushes the log up to it, so the background writers must stay idle too.
            Self::Lossy => &[
                "fsync=on",
                "synchronous_commit=off",
                "wal_writer_delay=10s",
                "wal_writer_flush_after=1GB",
                "bgwriter_lru_maxpages=0",
                "autovacuum=off",
                "checkpoint_timeout=1h",
            ],
        }
    }
}

/// A running private PostgreSQL; dropping it stops the server.
pub struct Cluster {
    home: Home,
    port: u16,
    password: String,
    server: Mutex<Child>,
    watchdog: Watchdog,
}

impl Cluster {
    /// Starts the cluster whose data lives in `directory`, making it the first time; port 0 means any free one.
    pub async fn persistent(directory: &Path, port: u16, progress: impl Fn(&str)) -> anyhow::Result<Cluster> {
        let home = Home {
            binaries: ensure_binaries(&progress).await?,
            directory: std::path::absolute(directory)?,
            durability: Durability::Durable,
            settings: Vec::new(),
        };
        server_user::private_directory(&home.directory)?;
        let lock = programs::lock(&home.directory.join("lock"), Duration::from_secs(10))
            .await
            .with_context(|| format!("another running process uses the data in {}", directory.display()))?;
        home.stop_leftover().await?;
        if !home.data().exists() {
            progress("making a new PostgreSQL cluster");
            home.initialise().await?;
        }
        progress("starting PostgreSQL");
        let watchdog = Watchdog::start(&home.directory, OnEnd::Keep(lock))?;
        Cluster::launch(home, port, watchdog).await
    }

    /// Starts a new cluster that is removed when this value is dropped or this process ends.
    pub async fn throwaway(durability: Durability) -> anyhow::Result<Cluster> {
        Self::throwaway_with(durability, Vec::new()).await
    }

    /// The same with more of PostgreSQL's settings, as `name=value`.
    pub async fn throwaway_with(durability: Durability, settings: Vec<String>) -> anyhow::Result<Cluster> {
        let binaries = ensure_binaries(programs::tell).await?;
        let pristine = home::pristine(&binaries).await?;
        let directory = throwaway_parent(durability)
            .await
            .join(format!("flowlet-{}", random_name()));
        let home = Home {
            binaries,
            directory,
            durability,
            settings,
        };
        server_user::private_directory(&home.directory)?;
        let watchdog = Watchdog::start(&home.directory, OnEnd::Remove)?;

        let mut copy = server_user::command("cp")?;
        copy.arg("-R").arg(pristine.data()).arg(home.data());
        programs::finish(copy).await?;
        fs::copy(pristine.password_file(), home.password_file())?;
        Cluster::launch(home, 0, watchdog).await
    }

    /// Starts a second cluster, with the same password and settings, on `directory`/data, which was restored from a backup of
    /// this one. The directory is removed with it.
    pub async fn start_restored(&self, directory: &Path) -> anyhow::Result<Cluster> {
        let home = Home {
            binaries: self.home.binaries.clone(),
            directory: directory.to_owned(),
            durability: self.home.durability,
            settings: self.home.settings.clone(),
        };
        let watchdog = Watchdog::start(&home.directory, OnEnd::Remove)?;
        fs::copy(self.home.password_file(), home.password_file())?;
        Cluster::launch(home, 0, watchdog).await
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.home.directory
    }

    /// The loopback port the server listens on; it stays the same over `restart_after_kill`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the postmaster, the parent of every process of this cluster.
    pub fn process_id(&self) -> u32 {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// The address of `database` for the superuser.
    pub fn superuser_url(&self, database: &str) -> String {
        self.url("postgres", &self.password, database)
    }

    /// The address of `database` for `role`; the three are used as they are, so they must need no escaping.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Stops the server, ending its connections, and waits until it is gone.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Cluster {
            home,
            server,
            mut watchdog,
            ..
        } = self;
        let mut server = server.into_inner().unwrap_or_else(PoisonError::into_inner);
        watchdog.dismiss();
        let cleaned_up = loop {
            // The server is our child: until we collect it, the watchdog sees it as running.
            server.try_wait()?;
            if let Some(status) = watchdog.ended()? {
                break status.success();
            }
            sleep(POLL).await;
        };
        ensure!(cleaned_up, "cannot clean up {}", home.directory.display());
        Ok(())
    }

    /// Kills every process of this cluster with SIGKILL, as a machine out of memory would, and waits until they are gone.
    pub async fn kill_9(&self) -> anyhow::Result<()> {
        let children = self.kill_all()?;
        self.watchdog.forget()?;
        // A server does not start while a process of the one before still has its shared memory.
        let gone = || {
            children
                .iter()
                .all(|child| processes::command_line(*child).is_none())
        };
        wait_until(gone)
            .await
            .context("killed PostgreSQL processes are still there")
    }

    /// Kills the server and removes its data, as the loss of a machine with its disk would.
    pub async fn lose(&self) -> anyhow::Result<()> {
        self.kill_9().await?;
        Ok(fs::remove_dir_all(self.home.data())?)
    }

    /// Starts the server again after `kill_9`, on the same data and port, and waits until it accepts connections.
    pub async fn restart_after_kill(&self) -> anyhow::Result<()> {
        let server = self.home.start(self.port, &self.watchdog).await?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }

    async fn launch(home: Home, port: u16, watchdog: Watchdog) -> anyhow::Result<Cluster> {
        let (port, server) = home.start_on(port, &watchdog).await?;
        let password =
            fs::read_to_string(home.password_file()).context("the cluster's password is missing")?;
        Ok(Cluster {
            home,
            port,
            password,
            server: Mutex::new(server),
            watchdog,
        })
    }

    fn kill_all(&self) -> anyhow::Result<HashSet<Pid>> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(server.try_wait()?.is_none(), "PostgreSQL is not running");
        let postmaster = Pid::from_child(&server);
        // Paused first: a postmaster that sees a child die tells the others to end and starts new ones.
        kill_process(postmaster, Signal::STOP)?;
        let mut killed = HashSet::new();
        // Listed until nothing is new, because it may have been starting one when it was paused.
        while let Some(child) = processes::children(postmaster)?
            .into_iter()
            .find(|child| killed.insert(*child))
        {
            match kill_process(child, Signal::KILL) {
                Err(error) if error != Errno::SRCH => return Err(error.into()),
                _ => {}
            }
        }
        server.kill()?;
        server.wait()?;
        Ok(killed)
    }
}

/// A directory of the user that runs servers, which is removed when this value is dropped or this process ends.
pub struct ScratchDirectory {
    pub path: PathBuf,
    _watchdog: Watchdog,
}

impl ScratchDirectory {
    pub fn new(name: &str) -> anyhow::Result<ScratchDirectory> {
        let path = Path::new("/var/tmp").join(format!("flowlet-{name}-{}", random_name()));
        server_user::private_directory(&path)?;
        let _watchdog = Watchdog::start(&path, OnEnd::Remove)?;
        Ok(ScratchDirectory { path, _watchdog })
    }
}

/// Where `cargo dev` keeps the data called `name` of this work tree.
pub fn data_directory(name: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work_tree = package.parent().unwrap_or(package);
    if rustix::process::geteuid().is_root() {
        // Root's own directories are closed to the user that runs the server.
        PathBuf::from(format!("/var/tmp/flowlet-{name}-{:016x}", hash_of(work_tree)))
    } else {
        work_tree.join("target").join(name)
    }
}

/// Memory where there is enough of it; a durable cluster goes to a disk, for what a commit costs there is what it shows.
async fn throwaway_parent(durability: Durability) -> &'static Path {
    let (memory, disk) = (Path::new("/dev/shm"), Path::new("/var/tmp"));
    let roomy = free_kilobytes(memory)
        .await
        .is_some_and(|free| free >= 1024 * 1024);
    if roomy && durability != Durability::Durable {
        memory
    } else {
        disk
    }
}

async fn free_kilobytes(directory: &Path) -> Option<u64> {
    let mut df = server_user::command("df").ok()?;
    df.arg("-Pk").arg(directory);
    let table = programs::finish(df).await.ok()?;
    table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

async fn wait_until(condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition() {
        ensure!(
            started.elapsed() < PATIENCE,
            "waited for {} s",
            PATIENCE.as_secs()
        );
        sleep(POLL).await;
    }
    Ok(())
}

fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a directory name or a password, which no test depends on"
)]
fn random_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
