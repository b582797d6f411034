//! Which crate may know which, and what every crate has in common.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{assert_none, read, root};

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn a_service_knows_shared_and_no_other_service() {
    let packages = packages();
    let name = |package: &Value| package["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| name(package) != "platform") {
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = name(dependency);
            let is_form_of_proofs = dependency == "flowlet-verify" && name(package) == "transactions-service";
            if ours.contains(&dependency) && dependency != "shared" && !is_form_of_proofs {
                problems.push(format!("{} depends on {dependency}", name(package)));
            }
        }
    }
    assert_none(
        &problems,
        "A crate depends on `shared` and on none other of ours; only `platform` sees all. Call the other service through a \
         client in shared::clients, or move what both need to `shared`.",
    );
}

#[test]
fn every_crate_inherits_the_lints_and_the_package_data_of_the_workspace() {
    let mut problems = Vec::new();
    for package in packages() {
        let path = package["manifest_path"].as_str().unwrap().to_owned();
        let manifest = read(path.as_ref());
        let needed = ["version", "edition", "rust-version", "license", "publish"];
        let mut missing: Vec<String> = needed
            .iter()
            .map(|key| format!("{key}.workspace = true"))
            .filter(|line| !manifest.contains(line.as_str()))
            .collect();
        if !manifest.contains("[lints]\nworkspace = true") {
            missing.push("[lints] workspace = true".to_owned());
        }
        problems.extend(missing.iter().map(|line| format!("{path}: {line}")));
    }
    assert_none(&problems, "These lines are missing:");
}

#[test]
fn versions_of_dependencies_are_chosen_in_one_place() {
    let mut problems = Vec::new();
    for package in packages() {
        let path = package["manifest_path"].as_str().unwrap().to_owned();
        let manifest = read(path.as_ref());
        let sections = manifest
            .split("\n[")
            .filter(|section| section.contains("dependencies]\n"));
        let lines = sections.flat_map(|section| section.lines().skip(1));
        let own = lines.filter(|line| line.contains('=') && !line.contains("workspace = true"));
        problems.extend(own.map(|line| format!("{path}: {line}")));
    }
    assert_none(
        &problems,
        "Write the version into [workspace.dependencies] and `workspace = true` here:",
    );
}
