//! The bill of materials of what we ship, as CycloneDX 1.6: every crate that goes into a service or runs while one is
//! built, with its licence, its checksum and what it depends on. Made from `cargo tree`, which knows what is really built,
//! where `cargo metadata` also names crates of features that nothing turns on.
//!
//! Deliberately absent: what only tests use, Rust's own standard library, and the base image of the containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Service, programs};

/// The systems that our images are made for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// What the document is about; it is made of the services.
const PRODUCT: &str = "flowlet";

/// `name@version`: unique, because everything is either ours or from one registry.
type Reference = String;

struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: String,
    is_ours: bool,
    needs: BTreeSet<Reference>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The document. The same sources and the same `made_at` give the same bytes.
pub async fn document(made_at: DateTime<Utc>) -> anyhow::Result<Value> {
    let crates = crates("normal,build").await?;
    let linked = crates_that_are_linked().await?;
    let checksums = checksums()?;
    let mut components = Vec::new();
    let mut dependencies = vec![json!({ "ref": PRODUCT, "dependsOn": services(&crates) })];
    for (reference, found) in &crates {
        let checksum = checksums.get(reference).and_then(Option::as_deref);
        ensure!(
            found.is_ours || checksum.is_some(),
            "{reference} has no checksum in Cargo.lock"
        );
        ensure!(!found.licence.is_empty(), "{reference} names no licence");
        components.push(component(reference, found, linked.contains(reference), checksum));
        dependencies.push(json!({ "ref": reference, "dependsOn": found.needs }));
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": made_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            "component": {
                "type": "application",
                "bom-ref": PRODUCT,
                "name": PRODUCT,
                "version": env!("CARGO_PKG_VERSION"),
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(reference: &str, found: &Crate, is_linked: bool, checksum: Option<&str>) -> Value {
    let is_service = Service::from_name(&found.name).is_some() && found.is_ours;
    let mut component = json!({
        "type": if is_service { "application" } else { "library" },
        "bom-ref": reference,
        "name": found.name,
        "version": found.version,
        // What is not in the program: procedural macros, build scripts and what these depend on.
        "scope": if is_linked { "required" } else { "excluded" },
        "licenses": [{ "expression": found.licence }],
    });
    // Ours have no package URL: crates of the same names, which are not ours, are in the registry.
    if let (Some(members), Some(checksum)) = (component.as_object_mut(), checksum) {
        let version = found.version.replace('+', "%2B");
        members.insert(
            "purl".to_owned(),
            json!(format!("pkg:cargo/{}@{version}", found.name)),
        );
        members.insert(
            "hashes".to_owned(),
            json!([{ "alg": "SHA-256", "content": checksum }]),
        );
        if !found.repository.is_empty() {
            let repository = json!([{ "type": "vcs", "url": found.repository }]);
            members.insert("externalReferences".to_owned(), repository);
        }
    }
    component
}

fn services(crates: &BTreeMap<Reference, Crate>) -> Vec<&Reference> {
    let is_service = |found: &Crate| found.is_ours && Service::from_name(&found.name).is_some();
    let services = crates.iter().filter(|(_, found)| is_service(found));
    services.map(|(reference, _)| reference).collect()
}

/// Everything that the services need over these kinds of dependencies.
async fn crates(kinds: &str) -> anyhow::Result<BTreeMap<Reference, Crate>> {
    let mut crates: BTreeMap<Reference, Crate> = BTreeMap::new();
    // The crates from the root to the line before.
    let mut path: Vec<Reference> = Vec::new();
    for line in tree(kinds).await?.lines().filter(|line| !line.is_empty()) {
        let (depth, found) = parse(line).with_context(|| format!("cargo tree says {line:?}"))?;
        let reference = format!("{}@{}", found.name, found.version);
        path.truncate(depth);
        let parent = path.last().and_then(|parent| crates.get_mut(parent));
        if let Some(parent) = parent {
            parent.needs.insert(reference.clone());
        }
        crates.entry(reference.clone()).or_insert(found);
        path.push(reference);
    }
    ensure!(
        services(&crates).len() == Service::ALL.len(),
        "a service is missing"
    );
    Ok(crates)
}

async fn crates_that_are_linked() -> anyhow::Result<BTreeSet<Reference>> {
    Ok(crates("normal,no-proc-macro").await?.into_keys().collect())
}

async fn tree(kinds: &str) -> anyhow::Result<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(work_tree())
        .args(["tree", "--locked", "--edges", kinds]);
    cargo.args(["--prefix", "depth", "--format", "{p}\t{l}\t{r}\t"]);
    for service in Service::ALL {
        cargo.args(["--package", service.name()]);
    }
    for target in TARGETS {
        cargo.args(["--target", target]);
    }
    programs::finish(cargo).await
}

/// A line such as `2serde v1.0.228⇥MIT OR Apache-2.0⇥https://…⇥`; ours have a path after the version.
fn parse(line: &str) -> Option<(usize, Crate)> {
    let mut fields = line.split('\t');
    let package = fields.next()?;
    let name = package.trim_start_matches(|character: char| character.is_ascii_digit());
    let depth = package.strip_suffix(name)?.parse().ok()?;
    let mut words = name.splitn(3, ' ');
    let found = Crate {
        name: words.next()?.to_owned(),
        version: words.next()?.strip_prefix('v')?.to_owned(),
        is_ours: words.next().is_some_and(|path| path.starts_with("(/")),
        // Cargo once allowed a slash for OR.
        licence: match fields.next()? {
            "" => licence_in_a_file(name).to_owned(),
            named => named.replace(" / ", "/").replace('/', " OR "),
        },
        repository: fields.next()?.to_owned(),
        needs: BTreeSet::new(),
    };
    Some((depth, found))
}

/// Of those that have a file of their licence and do not name it. `cargo deny` reads the file.
fn licence_in_a_file(package: &str) -> &'static str {
    match package.split(' ').next() {
        Some("forust-ml") => "Apache-2.0",
        _ => "",
    }
}

fn checksums() -> anyhow::Result<BTreeMap<Reference, Option<String>>> {
    let lock: Lock = toml::from_str(&fs::read_to_string(work_tree().join("Cargo.lock"))?)?;
    let packages = lock.package.into_iter();
    Ok(packages
        .map(|package| (format!("{}@{}", package.name, package.version), package.checksum))
        .collect())
}

fn work_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
