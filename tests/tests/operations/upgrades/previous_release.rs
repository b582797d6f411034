//! The release before this one: its files, exported from the history, and its services, built beside ours.
//!
//! They are built where ours are, with the features that `cargo test --workspace` has, so that what both depend on is
//! compiled once. Our own crates must not be mistaken for its crates of the same names: these have another profile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use platform::programs;

/// Holds the id of its commit, and nothing else.
const NAMED_IN: &str = "infrastructure/previous-release";
const CRATES: [&str; 7] = [
    "accounts-service",
    "auth-service",
    "gateway",
    "ml-service",
    "platform",
    "shared",
    "transactions-service",
];

pub struct PreviousRelease {
    pub commit: String,
    directory: PathBuf,
}

impl PreviousRelease {
    /// Exports its files, unless that was done before. None, and loudly so, in a copy of the files without their history,
    /// such as a source archive or a shallow clone.
    pub async fn get() -> anyhow::Result<Option<Self>> {
        let commit = fs::read_to_string(super::root().join(NAMED_IN)).context(NAMED_IN)?;
        let commit = commit.trim().to_owned();
        ensure!(
            commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{NAMED_IN} does not hold the full id of a commit"
        );
        let releases = target().join("previous");
        fs::create_dir_all(&releases)?;
        let release = Self {
            directory: releases.join(&commit),
            commit,
        };
        let _alone = programs::lock(&releases.join("lock"), Duration::from_secs(600)).await?;
        if !release.source().exists() {
            if !has_whole_history().await? {
                programs::tell(
                    "UPGRADES NOT CHECKED: there is no history here to take the previous release from. \
                     Clone it with its whole history: `git fetch --unshallow`",
                );
                return Ok(None);
            }
            release.export().await?;
        }
        Ok(Some(release))
    }

    pub fn source(&self) -> PathBuf {
        self.directory.join("source")
    }

    async fn export(&self) -> anyhow::Result<()> {
        for other in fs::read_dir(target().join("previous"))?.flatten() {
            if other.path().is_dir() {
                fs::remove_dir_all(other.path())?;
            }
        }
        let unfinished = self.directory.join("unfinished");
        fs::create_dir_all(&unfinished)?;
        let archive = self.directory.join("source.tar");
        let mut git = git();
        git.args(["archive", "--format=tar", "--output"])
            .arg(&archive)
            .arg(&self.commit);
        programs::finish(git).await.with_context(|| {
            format!(
                "{NAMED_IN} names {}, which cannot be had from the history of this work tree. \
                 Clone it with its whole history: `git fetch --unshallow`",
                self.commit
            )
        })?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&archive).arg("-C").arg(&unfinished);
        programs::finish(tar).await?;
        fs::remove_file(archive)?;
        Ok(fs::rename(unfinished, self.source())?)
    }

    /// Builds its `dev` program, which is each of its services.
    pub async fn build(&self) -> anyhow::Result<PathBuf> {
        let program = self.directory.join("target/debug/dev");
        if !program.exists() {
            programs::tell(&format!("building the previous release, {}", self.commit));
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--no-run", "--quiet", "--locked", "--workspace"])
            // The smallest test that needs the program.
            .args(["--test", "tidy"])
            .arg("--config=build.incremental=false")
            .args(CRATES.map(|name| format!("--config=profile.dev.package.{name}.debug=false")))
            .arg("--manifest-path")
            .arg(self.source().join("Cargo.toml"))
            .env("CARGO_BUILD_BUILD_DIR", target())
            .env("CARGO_TARGET_DIR", self.directory.join("target"));
        programs::finish(cargo).await?;
        Ok(program)
    }
}

async fn has_whole_history() -> anyhow::Result<bool> {
    if !super::root().join(".git").exists() {
        return Ok(false);
    }
    if programs::find_on_path("git").is_none() && programs::can_install_with_apt() {
        programs::install_with_apt("git").await?;
    }
    let shallow = git().args(["rev-parse", "--is-shallow-repository"]).output()?;
    Ok(shallow.stdout.trim_ascii() == b"false")
}

fn git() -> Command {
    let mut git = Command::new("git");
    // Whoever may run this test may read the history, whoever owns its files.
    git.args(["-c", "safe.directory=*"]).current_dir(super::root());
    git
}

/// Where Cargo builds us.
fn target() -> &'static Path {
    let program = Path::new(env!("CARGO_BIN_EXE_dev"));
    program.parent().and_then(Path::parent).unwrap()
}
