//! Who runs PostgreSQL, and what that user may read. PostgreSQL refuses to be root and refuses uids that have no name, so
//! as root we borrow `postgres` or `nobody`; as an ordinary user all of this is about ourselves.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;

/// The uid and gid to use instead of root's; nothing when we are not root.
pub fn stand_in() -> anyhow::Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let first = stand_ins()?.into_iter().next();
    Ok(Some(first.context(
        "PostgreSQL refuses root, and /etc/passwd has neither `postgres` nor `nobody`",
    )?))
}

/// A command that runs as that user, away from our directory, our language and our Ctrl-C.
pub fn command(program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    if let Some((uid, gid)) = stand_in()? {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

/// Runs a command to its end and returns what it printed; a failure says what the command said.
pub async fn finish(command: Command) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let output = tokio::process::Command::from(command).output().await;
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{program} failed ({}):\n{}", output.status, tail(&said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of what a program wrote.
pub fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(20))
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

/// Makes a directory that only that user (and root) can enter, or takes one that was made so before.
pub fn private_directory(path: &Path) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            bail!("cannot make {}: {error}", path.display())
        }
        _ => {}
    }
    // Anybody may have put a directory or a link of this name into /var/tmp before us.
    let found = fs::symlink_metadata(path)?;
    ensure!(
        found.is_dir() && is_ours(found.uid())?,
        "{} was not made by us: remove it",
        path.display()
    );
    if let Some((uid, gid)) = stand_in()? {
        chown(path, Some(uid), Some(gid))?;
    }
    Ok(fs::set_permissions(path, Permissions::from_mode(0o700))?)
}

/// Writes a new file that only that user (and root) can read.
pub fn private_file(path: &Path, content: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.as_bytes())?;
    if let Some((uid, gid)) = stand_in()? {
        chown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Waits until no other process holds the lock file; the lock lasts as long as any copy of the returned file is open.
pub async fn lock(path: &Path, patience: Duration) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if started.elapsed() > patience => {
                bail!(
                    "{} is still locked after {} s",
                    path.display(),
                    patience.as_secs()
                )
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// As root, a directory may still be `nobody`'s from before `postgres` was installed.
fn is_ours(owner: u32) -> anyhow::Result<bool> {
    let me = geteuid();
    Ok(owner == me.as_raw() || me.is_root() && stand_ins()?.iter().any(|(uid, _)| *uid == owner))
}

fn stand_ins() -> anyhow::Result<Vec<(u32, u32)>> {
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    Ok(["postgres", "nobody"]
        .iter()
        .filter_map(|name| ids_of(name, &accounts))
        .collect())
}

fn ids_of(name: &str, accounts: &str) -> Option<(u32, u32)> {
    let account = accounts
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = account.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
