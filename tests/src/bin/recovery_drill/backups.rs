//! The operator's side: a repository, keys, and the scripts of infrastructure/backup, in a directory of the user that runs
//! PostgreSQL, which may not be able to read the work tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use platform::database::Server;
use platform::postgres::{ScratchDirectory, ensure_binaries, server_user};
use platform::programs;
use platform::tools::{self, Tool};

/// The role that takes backups may replicate and nothing else.
const ROLE: &str = "backup";

pub struct Backups {
    scratch: ScratchDirectory,
    path: String,
    password: String,
    port: std::sync::OnceLock<u16>,
}

impl Backups {
    pub async fn prepare(password: &str) -> anyhow::Result<Self> {
        let scratch = ScratchDirectory::new("drill")?;
        let programs = scratch.path.join("bin");
        for name in ["bin", "repository", "staging", "metrics"] {
            server_user::private_directory(&scratch.path.join(name))?;
        }
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infrastructure/backup");
        for entry in fs::read_dir(&scripts)? {
            let script = entry?.path();
            if script.extension().is_some_and(|extension| extension == "sh") {
                copy_into(&programs, &script)?;
            }
        }
        let age = tools::ensure(Tool::Age).await?;
        copy_into(&programs, &age.with_file_name("age-keygen"))?;
        copy_into(&programs, &age)?;
        copy_into(&programs, &tools::ensure(Tool::Zstd).await?)?;

        let mut path = vec![programs, ensure_binaries(programs::tell).await?];
        path.extend(programs::search_path());
        let path = std::env::join_paths(path)?.into_string();
        let backups = Self {
            scratch,
            path: path.ok().context("PATH is not text")?,
            password: password.to_owned(),
            port: std::sync::OnceLock::new(),
        };
        let identity = backups.directory().join("identity");
        let mut make_key = backups.command("age-keygen")?;
        make_key.arg("-o").arg(&identity);
        programs::finish(make_key).await?;
        let mut show_key = backups.command("age-keygen")?;
        show_key.arg("-y").arg(&identity);
        let recipients = programs::finish(show_key).await?;
        server_user::private_file(&backups.directory().join("recipients"), &recipients)?;
        Ok(backups)
    }

    pub fn directory(&self) -> &Path {
        &self.scratch.path
    }

    pub fn repository(&self) -> PathBuf {
        self.directory().join("repository")
    }

    /// What a server needs that is to archive its log.
    pub fn server_settings(&self, archive_timeout: Duration) -> Vec<String> {
        let environment = self
            .environment()
            .map(|(name, value)| format!("\"{name}={value}\""));
        let environment = environment.into_iter().collect::<Vec<_>>().join(" ");
        let script = self.directory().join("bin/archive-wal.sh");
        vec![
            "archive_mode=on".to_owned(),
            format!("archive_timeout={}", archive_timeout.as_secs()),
            format!(
                "archive_command=env {environment} {} \"%p\" \"%f\"",
                script.display()
            ),
        ]
    }

    /// Makes the role that takes backups.
    pub async fn be_allowed_by(&self, server: &Server) -> anyhow::Result<()> {
        let postgres = server.connect("postgres").await?;
        let statement = format!(
            "CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{}'",
            self.password
        );
        postgres.batch_execute(&statement).await?;
        let known = self.port.set(server.cluster.port());
        ensure!(known.is_ok(), "the backups are of one server");
        Ok(())
    }

    /// Runs one of the scripts and returns what it printed.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(script)?;
        command.args(arguments);
        programs::finish(command).await
    }

    /// A program in the environment of the scripts, as the user that runs PostgreSQL.
    pub fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = server_user::command(self.directory().join("bin").join(program))?;
        command.envs(self.environment()).env("PGHOST", "127.0.0.1");
        command.env("PGUSER", ROLE).env("PGPASSWORD", &self.password);
        if let Some(port) = self.port.get() {
            command.env("PGPORT", port.to_string());
        }
        Ok(command)
    }

    fn environment(&self) -> [(&'static str, String); 6] {
        let place = |name: &str| self.directory().join(name).display().to_string();
        [
            ("PATH", self.path.clone()),
            ("BACKUP_DIRECTORY", place("repository")),
            ("BACKUP_RECIPIENTS_FILE", place("recipients")),
            ("BACKUP_IDENTITY_FILE", place("identity")),
            ("BACKUP_STAGING_DIRECTORY", place("staging")),
            ("BACKUP_METRICS_DIRECTORY", place("metrics")),
        ]
    }

    /// The directory of the only base backup.
    pub fn base_backup(&self) -> anyhow::Result<PathBuf> {
        let mut entries = fs::read_dir(self.repository().join("base"))?;
        Ok(entries.next().context("there is no base backup")??.path())
    }

    /// One of the lines of a base backup's description.
    pub fn base_backup_info(&self, key: &str) -> anyhow::Result<String> {
        let info = fs::read_to_string(self.base_backup()?.join("info"))?;
        let mut lines = info.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(name, _)| *name == key);
        let (_, value) = found.with_context(|| format!("the base backup has no {key}"))?;
        Ok(value.to_owned())
    }

    /// Bytes of the base backup, bytes of the log, and its number of segments.
    pub fn sizes(&self) -> anyhow::Result<(u64, u64, usize)> {
        let base = self.base_backup_info("bytes")?.parse()?;
        let (mut bytes, mut segments) = (0, 0);
        for entry in fs::read_dir(self.repository().join("wal"))? {
            let entry = entry?;
            bytes += entry.metadata()?.len();
            segments += usize::from(
                entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "age"),
            );
        }
        Ok((base, bytes, segments))
    }

    /// What Prometheus would be told.
    pub fn metrics(&self) -> anyhow::Result<Vec<String>> {
        let mut metrics = Vec::new();
        for entry in fs::read_dir(self.directory().join("metrics"))? {
            let text = fs::read_to_string(entry?.path())?;
            metrics.extend(
                text.lines()
                    .filter(|line| !line.starts_with('#'))
                    .map(str::to_owned),
            );
        }
        metrics.sort();
        Ok(metrics)
    }
}

fn copy_into(directory: &Path, file: &Path) -> anyhow::Result<()> {
    let name = file.file_name().context("a program has a name")?;
    fs::copy(file, directory.join(name)).with_context(|| format!("copying {}", file.display()))?;
    Ok(())
}
