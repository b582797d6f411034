//! A private PostgreSQL for `cargo dev` and `cargo test`: it finds or installs the server's programs, makes a cluster,
//! starts it on a loopback port, and leaves nothing running however this process ends. Works as root, which PostgreSQL
//! refuses to be, and as an ordinary user.
//!
//! Deliberately absent: databases, roles and migrations, which belong to whoever uses the cluster; sharing one running
//! server between processes; unix sockets, because their paths have a length limit and their permissions depend on uids.

mod binaries;
mod processes;
mod server_user;
#[cfg(test)]
mod tests;
mod watchdog;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

pub use binaries::ensure_binaries;
use watchdog::{OnEnd, Watchdog};

const POLL: Duration = Duration::from_millis(5);
const START_LIMIT: Duration = Duration::from_secs(120);
const INITDB_OPTIONS: [&str; 6] = [
    "--no-sync",
    "--no-instructions",
    "--locale=C",
    "--encoding=UTF8",
    "--auth=scram-sha-256",
    "--username=postgres",
];

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
            directory: directory.to_owned(),
            durability: Durability::Durable,
        };
        server_user::private_directory(directory)?;
        let lock = server_user::lock(&directory.join("lock"), Duration::from_secs(10))
            .await
            .with_context(|| format!("another running process uses the data in {}", directory.display()))?;
        home.stop_leftover().await?;
        if !home.data().exists() {
            progress("making a new PostgreSQL cluster");
            home.initialise().await?;
        }
        progress("starting PostgreSQL");
        let watchdog = Watchdog::start(&home, OnEnd::Keep(lock))?;
        home.launch(port, watchdog).await
    }

    /// Starts a new cluster that is removed when this value is dropped or this process ends.
    pub async fn throwaway(durability: Durability) -> anyhow::Result<Cluster> {
        // Test harnesses capture `eprintln!`, and a silent minute of installing looks like a hang.
        let binaries = ensure_binaries(|line| drop(writeln!(io::stderr(), "{line}"))).await?;
        let pristine = pristine(&binaries).await?;
        let directory = throwaway_parent(durability)
            .await
            .join(format!("flowlet-{}", random_name()));
        let home = Home {
            binaries,
            directory,
            durability,
        };
        server_user::private_directory(&home.directory)?;
        let watchdog = Watchdog::start(&home, OnEnd::Remove)?;

        let mut copy = server_user::command("cp")?;
        copy.arg("-R").arg(pristine.data()).arg(home.data());
        server_user::finish(copy).await?;
        fs::copy(pristine.password_file(), home.password_file())?;
        home.launch(0, watchdog).await
    }

    /// The loopback port the server listens on; it stays the same over `restart_after_kill`.
    pub fn port(&self) -> u16 {
        self.port
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

    /// Kills every process of this cluster with SIGKILL, as a power cut would, and waits until they are gone.
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

    /// Starts the server again after `kill_9`, on the same data and port, and waits until it accepts connections.
    pub async fn restart_after_kill(&self) -> anyhow::Result<()> {
        let server = self.home.start(self.port, &self.watchdog).await?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }

    fn kill_all(&self) -> anyhow::Result<Vec<Pid>> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(server.try_wait()?.is_none(), "PostgreSQL is not running");
        let postmaster = Pid::from_child(&server);
        // Paused first: a postmaster that sees a child die tells the others to end and starts new ones.
        kill_process(postmaster, Signal::STOP)?;
        let children = processes::children(postmaster)?;
        for child in &children {
            kill_process(*child, Signal::KILL)?;
        }
        server.kill()?;
        server.wait()?;
        Ok(children)
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

/// A cluster's directory and the programs for it, running or not.
struct Home {
    binaries: PathBuf,
    directory: PathBuf,
    durability: Durability,
}

impl Home {
    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn password_file(&self) -> PathBuf {
        self.directory.join("password")
    }

    async fn initialise(&self) -> anyhow::Result<()> {
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
        server_user::finish(initdb).await?;
        fs::rename(partial, self.data())?;
        Ok(())
    }

    /// Stops a server whose launcher and watchdog were both killed, and removes a pid file that names nobody of ours:
    /// PostgreSQL would take any process that has got that pid since for a running server.
    async fn stop_leftover(&self) -> anyhow::Result<()> {
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

    async fn launch(self, port: u16, watchdog: Watchdog) -> anyhow::Result<Cluster> {
        let (port, server) = self.start_on(port, &watchdog).await?;
        let password =
            fs::read_to_string(self.password_file()).context("the cluster's password is missing")?;
        Ok(Cluster {
            home: self,
            port,
            password,
            server: Mutex::new(server),
            watchdog,
        })
    }

    async fn start_on(&self, port: u16, watchdog: &Watchdog) -> anyhow::Result<(u16, Child)> {
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

    async fn start(&self, port: u16, watchdog: &Watchdog) -> anyhow::Result<Child> {
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
        let mut server = postgres.spawn().context("cannot run postgres")?;
        let ready = match watchdog.watch(&server) {
            Ok(()) => self.wait_until_ready(&mut server).await,
            Err(error) => Err(error),
        };
        if ready.is_err() {
            server.kill()?;
            server.wait()?;
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
            if ended.is_some() || started.elapsed() > START_LIMIT {
                let log = fs::read(self.log()).unwrap_or_default();
                bail!(
                    "PostgreSQL did not start; its log ends with:\n{}",
                    server_user::tail(&log)
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
async fn pristine(binaries: &Path) -> anyhow::Result<Home> {
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
    };
    if finished.directory.exists() {
        return Ok(finished);
    }

    let directory = cache.join(format!("building-{}", random_name()));
    let building = Home {
        binaries: binaries.to_owned(),
        directory,
        durability: Durability::Fast,
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
    let table = server_user::finish(df).await.ok()?;
    table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

async fn wait_until(condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition() {
        ensure!(
            started.elapsed() < START_LIMIT,
            "waited for {} s",
            START_LIMIT.as_secs()
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
