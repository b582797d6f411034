//! Who runs PostgreSQL, and what that user may read. PostgreSQL refuses to be root and refuses uids that have no name, so
//! as root we borrow `postgres` or `nobody`; as an ordinary user all of this is about ourselves.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

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
