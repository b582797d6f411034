//! Other people's programs: finding and installing them, running them to their end, and taking turns with other
//! processes of ours that do the same. Deliberately absent: which programs; [`crate::postgres`] and [`crate::tools`] know.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

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

/// Tells the person in front of a test what takes so long: test harnesses capture `eprintln!`, and a silent minute of
/// installing looks like a hang.
pub fn tell(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Whether [`install_with_apt`] can work.
pub fn can_install_with_apt() -> bool {
    rustix::process::geteuid().is_root() && find_on_path("apt-get").is_some()
}

/// Installs a package of Debian or Ubuntu, without what it merely recommends.
pub async fn install_with_apt(package: &str) -> anyhow::Result<()> {
    let install = ["install", "-y", "--no-install-recommends", package];
    for arguments in [["update"].as_slice(), install.as_slice()] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        finish(apt).await?;
    }
    Ok(())
}

/// The first file of this name in the directories of `PATH`.
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let candidates = search_path().into_iter().map(|directory| directory.join(program));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// The directories of `PATH`.
pub fn search_path() -> Vec<PathBuf> {
    variable("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}

/// An environment variable of whoever started us, not one that configures a service.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness runs before any service has a configuration"
)]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
