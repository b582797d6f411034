//! What we build on: licences, origins and known holes of our dependencies, the bill of materials, and the programs that
//! check all this and more.
//!
//! Deliberately absent: a copy of the advisories. It would be old within days, and would say that all is well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chrono::DateTime;
use platform::tools::{self, Tool};
use platform::{Service, programs, sbom};
use serde_json::Value;

/// The address of the repository that [`policy_with`] makes; nothing answers there.
const COPY: &str = "https://advisories.invalid/copy";

const PLANTED: &str = r#"```toml
[advisory]
id = "RUSTSEC-2026-9999"
package = "serde"
date = "2026-01-01"
[versions]
patched = []
```

# Planted by a test

It is not true.
"#;

#[tokio::test]
async fn tools_are_installed_once_however_many_ask_at_the_same_time() {
    let asking: Vec<_> = (0..4)
        .map(|_| tokio::spawn(tools::ensure(Tool::Shellcheck)))
        .collect();
    for asked in asking {
        let program = asked.await.unwrap().unwrap();
        let said = run(Command::new(program).arg("--version")).unwrap();
        assert!(said.contains("0.11.0"), "{said}");
    }
}

#[tokio::test]
async fn licences_origins_and_bans_are_kept() {
    let check = ["check", "licenses", "bans", "sources"];
    run(cargo_deny(&root().join("deny.toml")).await.args(check)).unwrap();
}

/// The policy's own control: a check that lets everything pass is none.
#[tokio::test]
async fn a_ban_and_a_licence_that_is_not_allowed_are_found() {
    let policy = fs::read_to_string(root().join("deny.toml")).unwrap();
    let strict = policy
        .replace("    \"Unicode-3.0\",\n", "")
        .replace("deny = [\n", "deny = [\n    { crate = \"serde\" },\n");
    let directory = empty_directory("strict-policy");
    let config = directory.join("deny.toml");
    fs::write(&config, strict).unwrap();
    let check = ["check", "licenses", "bans", "sources"];
    let error = run(cargo_deny(&config).await.args(check)).unwrap_err();
    assert!(
        error.contains("bans FAILED, licenses FAILED, sources ok"),
        "{error}"
    );
}

#[tokio::test]
async fn no_dependency_has_a_known_hole() {
    let advisories = programs::variable("ADVISORY_DB").map(PathBuf::from);
    let config = match &advisories {
        Some(advisories) => policy_with(advisories, "advisories").await,
        None => root().join("deny.toml"),
    };
    let fetched = run(cargo_deny(&config).await.args(["fetch", "db", "index"]));
    match (fetched, advisories) {
        (Err(error), Some(advisories)) => panic!("{} cannot be used: {error}", advisories.display()),
        (Err(error), None) => {
            programs::tell(&format!(
                "\nADVISORIES NOT CHECKED: their database cannot be fetched. Unpack a copy, name it in ADVISORY_DB, and \
                 run this again.\n{error}\n"
            ));
            return;
        }
        (Ok(_), _) => {}
    }
    let check = ["--offline", "check", "advisories"];
    run(cargo_deny(&config).await.args(check)).unwrap();
}

/// The control: with an advisory about what we use, the test above fails.
#[tokio::test]
async fn a_known_hole_is_found() {
    let advisories = empty_directory("planted-advisories");
    let about = advisories.join("crates/serde");
    fs::create_dir_all(&about).unwrap();
    fs::write(about.join("RUSTSEC-2026-9999.md"), PLANTED).unwrap();
    let config = policy_with(&advisories, "planted").await;
    run(cargo_deny(&config).await.args(["fetch", "db"])).unwrap();
    let check = ["--offline", "check", "advisories"];
    let error = run(cargo_deny(&config).await.args(check)).unwrap_err();
    assert!(error.contains("RUSTSEC-2026-9999"), "{error}");
}

#[tokio::test]
async fn the_bill_of_materials_has_every_crate_of_every_service() {
    let document = document().await;
    let components: BTreeMap<String, &Value> = document["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| {
            let text = |member: &str| component[member].as_str().unwrap();
            (format!("{} v{}", text("name"), text("version")), component)
        })
        .collect();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut needed = BTreeSet::new();
    for service in Service::ALL {
        needed.extend(built_for(service).await);
    }
    let missing: Vec<&String> = needed
        .iter()
        .filter(|package| !components.contains_key(*package))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let only_tested_with = ["platform v", "proptest v"];
    for package in components.keys() {
        assert!(
            !only_tested_with.iter().any(|name| package.starts_with(name)),
            "{package}"
        );
    }

    for (package, component) in &components {
        let (name, version) = package.split_once(" v").unwrap();
        assert!(
            !component["licenses"][0]["expression"]
                .as_str()
                .unwrap()
                .is_empty()
        );
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"\nsource = ");
        if let Some((_, locked)) = lock.split_once(&locked) {
            let checksum = component["hashes"][0]["content"].as_str().unwrap();
            let line = locked.lines().nth(1).unwrap();
            assert_eq!(line, format!("checksum = \"{checksum}\""), "{package}");
            let url = component["purl"].as_str().unwrap().replace("%2B", "+");
            assert_eq!(url, format!("pkg:cargo/{name}@{version}"));
        } else {
            assert!(is_ours(name), "{package} is in no registry and not ours");
            assert!(component.get("purl").is_none(), "{package} is in no registry");
        }
    }
    let scope_of = |name: &str| {
        let named = components.iter().find(|(package, _)| package.starts_with(name));
        named.unwrap().1["scope"].as_str().unwrap()
    };
    assert_eq!(scope_of("serde v"), "required");
    assert_eq!(scope_of("serde_derive v"), "excluded", "a macro is in no program");
    assert_eq!(scope_of("cc v"), "excluded", "build scripts are in no program");
}

#[tokio::test]
async fn the_bill_of_materials_says_how_everything_hangs_together() {
    let document = document().await;
    let needs: BTreeMap<&str, Vec<&str>> = document["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let needed = entry["dependsOn"].as_array().unwrap().iter();
            let needed = needed.map(|needed| needed.as_str().unwrap()).collect();
            (entry["ref"].as_str().unwrap(), needed)
        })
        .collect();
    let mut reached = BTreeSet::new();
    let mut waiting = vec!["flowlet"];
    while let Some(reference) = waiting.pop() {
        if reached.insert(reference) {
            waiting.extend(&needs[reference]);
        }
    }
    let listed = document["components"].as_array().unwrap().iter();
    let unreached: Vec<&str> = listed
        .map(|component| component["bom-ref"].as_str().unwrap())
        .filter(|reference| !reached.contains(reference))
        .collect();
    assert!(unreached.is_empty(), "nothing depends on {unreached:?}");
    assert_eq!(needs["flowlet"].len(), Service::ALL.len());
}

#[tokio::test]
async fn the_bill_of_materials_is_valid_cyclonedx_and_the_same_every_time() {
    let document = document().await.to_string();
    assert_eq!(document, self::document().await.to_string());
    validate(&document).await.unwrap();
    // The control: the validator is strict.
    let wrong = document.replacen("\"scope\":\"required\"", "\"scope\":\"needed\"", 1);
    let error = validate(&wrong).await.unwrap_err();
    assert!(error.contains("needed"), "{error}");
}

#[tokio::test]
async fn shell_scripts_are_free_of_common_mistakes() {
    let shellcheck = tools::ensure(Tool::Shellcheck).await.unwrap();
    let scripts = shell_scripts(root());
    assert!(scripts.contains(&root().join(".ci/run")), "{scripts:?}");
    run(Command::new(shellcheck).arg("--external-sources").args(scripts)).unwrap();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn is_ours(name: &str) -> bool {
    ["flowlet-verify", "shared"].contains(&name) || Service::from_name(name).is_some()
}

async fn document() -> Value {
    sbom::document(DateTime::UNIX_EPOCH).await.unwrap()
}

/// What cargo compiles for a service on the systems that we ship for, in the words of cargo: `serde v1.0.228`.
async fn built_for(service: Service) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root())
        .args(["tree", "--locked", "--prefix", "none"]);
    cargo.args([
        "--package",
        service.name(),
        "--edges",
        "normal,build",
        "--format",
        "{p}",
    ]);
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        cargo.args(["--target", target]);
    }
    let tree = run(&mut cargo).unwrap();
    let packages = tree.lines().filter(|line| !line.is_empty());
    packages
        .map(|line| line.split(" (").next().unwrap().to_owned())
        .collect()
}

async fn validate(document: &str) -> Result<String, String> {
    let python = tools::ensure(Tool::Cyclonedx).await.unwrap();
    let program = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()))";
    let mut validator = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = validator.stdin.take().unwrap();
    input.write_all(document.as_bytes()).unwrap();
    drop(input);
    let output = validator.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// Every file of the work tree that a shell runs.
fn shell_scripts(directory: &Path) -> Vec<PathBuf> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_symlink() || name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            scripts.extend(shell_scripts(&path));
        } else if is_shell(&path) {
            scripts.push(path);
        }
    }
    scripts
}

fn is_shell(path: &Path) -> bool {
    let text = fs::read(path).unwrap();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    path.extension().is_some_and(|extension| extension == "sh")
        || first.starts_with("#!") && first.trim_end().ends_with("sh")
}

async fn cargo_deny(config: &Path) -> Command {
    let repository = config.parent().unwrap().join("repository");
    let mut deny = Command::new(tools::ensure(Tool::CargoDeny).await.unwrap());
    deny.current_dir(root())
        .args(["--locked", "--color", "never", "--config"])
        .arg(config);
    // cargo-deny refuses the addresses of files, and Git, which it runs, can be told that another one means a file.
    deny.env("GIT_CONFIG_COUNT", "1")
        .env(
            "GIT_CONFIG_KEY_0",
            format!("url.file://{}.insteadOf", repository.display()),
        )
        .env("GIT_CONFIG_VALUE_0", COPY);
    deny
}

/// Our policy, with the advisories of a folder in place of RustSec's. cargo-deny takes them from Git only, so the folder is
/// committed to a repository of its own.
async fn policy_with(advisories: &Path, name: &str) -> PathBuf {
    let crates = advisories.join("crates");
    assert!(crates.is_dir(), "{} is missing", crates.display());
    let directory = empty_directory(name);
    let repository = directory.join("repository");
    fs::create_dir(&repository).unwrap();
    run(Command::new("cp").arg("-R").arg(crates).arg(&repository)).unwrap();
    for arguments in [
        ["init", "--quiet", "--initial-branch", "main"].as_slice(),
        &["add", "."],
        &["commit", "--quiet", "--no-gpg-sign", "--message", "A copy"],
    ] {
        let mut git = Command::new("git");
        git.current_dir(&repository)
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"]);
        run(git.args(arguments)).unwrap();
    }
    let clone = directory.join("clone");
    let ours = format!("[advisories]\ndb-path = {clone:?}\ndb-urls = [\"{COPY}\"]\n");
    let policy = fs::read_to_string(root().join("deny.toml")).unwrap();
    assert!(policy.contains("[advisories]\n"));
    let config = directory.join("deny.toml");
    fs::write(&config, policy.replace("[advisories]\n", &ours)).unwrap();
    config
}

/// An empty directory of this name, for one test.
fn empty_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir_all(&directory).unwrap(),
    }
    directory
}

/// What the command prints; when it fails, all that it says.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(said + &String::from_utf8_lossy(&output.stderr))
}
