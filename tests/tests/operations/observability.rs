//! Rules, alerts, pages and boards of infrastructure/observability: that they are valid, complete, and ask only for what a
//! running platform exports.

mod boards;
mod exported;
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use platform::programs;
use platform::tools::{self, Tool};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
struct RuleGroup {
    rules: Vec<Rule>,
}

/// It records a series or raises an alert.
#[derive(Deserialize)]
struct Rule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A file of promtool's unit tests.
#[derive(Deserialize)]
struct TestFile {
    tests: Vec<RuleTest>,
}

#[derive(Deserialize)]
struct RuleTest {
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Deserialize)]
struct ExpectedAlert {
    exp_labels: BTreeMap<String, String>,
}

/// infrastructure/observability.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infrastructure/observability")
}

/// The files of a directory with this extension, in order.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no .{extension}", directory.display());
    files
}

fn yaml<T: DeserializeOwned>(file: &Path) -> T {
    let text = fs::read_to_string(file).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn rules() -> Vec<Rule> {
    let files = files(&directory().join("prometheus/rules"), "yml");
    let groups = files.iter().flat_map(|file| yaml::<RuleFile>(file).groups);
    groups.flat_map(|group| group.rules).collect()
}

fn alerts() -> Vec<(String, Rule)> {
    let alerts = rules().into_iter();
    alerts
        .filter_map(|rule| Some((rule.alert.clone()?, rule)))
        .collect()
}

/// The pages that people read, slo.md, README.md and the runbooks, with their names.
fn pages() -> Vec<(String, String)> {
    let mut paths = files(&directory(), "md");
    paths.extend(files(&directory().join("runbooks"), "md"));
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let pages = paths
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()));
    pages.collect()
}

/// What a page has between ```` ```language ```` and ```` ``` ````.
fn blocks<'page>(page: &'page str, language: &str) -> Vec<&'page str> {
    let fence = format!("```{language}\n");
    let bodies = page.split(&fence).skip(1);
    bodies
        .map(|body| body.split("```").next().unwrap().trim())
        .collect()
}

fn assert_none(problems: &[String], rule: &str) {
    assert!(problems.is_empty(), "{rule}\n\n{}\n", problems.join("\n"));
}

async fn run(tool: Tool, arguments: &[&str], files: &[PathBuf]) {
    let mut command = Command::new(tools::ensure(tool).await.unwrap());
    command.args(arguments).args(files);
    let printed = programs::finish(command).await;
    printed.unwrap_or_else(|error| panic!("{tool:?} {}: {error:#}", arguments.join(" ")));
}

#[tokio::test]
async fn prometheus_and_alertmanager_accept_their_configuration() {
    // This also checks the rules that the file names.
    run(
        Tool::Promtool,
        &["check", "config"],
        &[directory().join("prometheus/prometheus.yml")],
    )
    .await;
    run(
        Tool::Amtool,
        &["check-config"],
        &[directory().join("alertmanager/alertmanager.yml")],
    )
    .await;
}

#[tokio::test]
async fn alerts_fire_when_they_must_and_only_then() {
    let tests = files(&directory().join("prometheus/tests"), "yml");
    run(Tool::Promtool, &["test", "rules"], &tests).await;
}

#[test]
fn every_alert_is_tried_both_ways_at_every_severity() {
    let files = files(&directory().join("prometheus/tests"), "yml");
    let tests: Vec<AlertTest> = files
        .iter()
        .flat_map(|file| yaml::<TestFile>(file).tests)
        .flat_map(|test| test.alert_rule_test)
        .collect();
    let mut problems = Vec::new();
    for (name, rule) in alerts() {
        let mut of_alert = tests.iter().filter(|test| test.alertname == name);
        let severity = &rule.labels["severity"];
        let fires = of_alert.clone().any(|test| {
            let mut expected = test.exp_alerts.iter();
            expected.any(|alert| alert.exp_labels.get("severity") == Some(severity))
        });
        if !fires {
            problems.push(format!("{name} never fires as {severity}"));
        }
        if !of_alert.any(|test| test.exp_alerts.is_empty()) {
            problems.push(format!("{name} always fires"));
        }
    }
    assert_none(
        &problems,
        "Add a case to infrastructure/observability/prometheus/tests:",
    );
}

#[test]
fn every_alert_says_what_it_is_about_and_has_a_page() {
    let mut problems = Vec::new();
    for (name, rule) in alerts() {
        let severity = rule.labels.get("severity").map(String::as_str);
        if !matches!(severity, Some("critical" | "warning")) {
            problems.push(format!(
                "{name}: severity is {severity:?}, not critical or warning"
            ));
        }
        for text in ["summary", "description"] {
            if rule.annotations.get(text).is_none_or(String::is_empty) {
                problems.push(format!("{name} has no {text}"));
            }
        }
        let page = format!("infrastructure/observability/runbooks/{name}.md");
        if rule.annotations.get("runbook") != Some(&page) {
            problems.push(format!("{name}: runbook is not {page}"));
        }
    }
    let alerts: BTreeSet<String> = alerts().into_iter().map(|(name, _)| name).collect();
    let pages = files(&directory().join("runbooks"), "md");
    let pages: BTreeSet<String> = pages
        .iter()
        .map(|page| page.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    problems.extend(
        alerts
            .difference(&pages)
            .map(|name| format!("{name} has no page")),
    );
    problems.extend(
        pages
            .difference(&alerts)
            .map(|name| format!("{name}.md is about no alert")),
    );
    assert_none(
        &problems,
        "An alert has a severity, a summary, a description and a page:",
    );
}

#[test]
fn every_page_has_the_same_headings() {
    let mut problems = Vec::new();
    for file in files(&directory().join("runbooks"), "md") {
        let page = fs::read_to_string(&file).unwrap();
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
        let name = format!("# {}", file.file_stem().unwrap().to_string_lossy());
        if headings
            != [
                &name,
                "## Impact",
                "## Look",
                "## Act",
                "## Over when",
                "## Escalate",
            ]
        {
            problems.push(format!("{}: {headings:?}", file.display()));
        }
    }
    assert_none(&problems, "At night one looks where it always is:");
}

/// Where a page says what to type, it says what exists.
#[test]
fn pages_name_operations_and_variables_that_exist() {
    let mut problems = Vec::new();
    for (name, page) in pages() {
        let paths = page.replace("$API/", "/api/v1/");
        for path in paths.split("/api/v1/").skip(1) {
            let end = |next: char| !(next.is_ascii_alphanumeric() || "-_/${}".contains(next));
            let path = path.split(end).next().unwrap();
            // `/api/v1/(transfers|payments)` is a pattern of a query, and `/api/v1` the base of all.
            if !path.is_empty() && !is_operation(&format!("/api/v1/{path}")) {
                problems.push(format!("{name}: there is no /api/v1/{path}"));
            }
        }
        for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
            let Some((_, arguments)) = line.split_once("set env deploy/") else {
                continue;
            };
            let (service, assignment) = arguments.split_once(' ').unwrap();
            let variable = assignment.split('=').next().unwrap();
            let config = directory().join(format!("../../{service}/src/config.rs"));
            if !fs::read_to_string(&config)
                .unwrap()
                .contains(&format!("`{variable}`"))
            {
                problems.push(format!("{name}: {service} has no {variable}"));
            }
        }
    }
    assert_none(&problems, "Somebody would type this at night:");
}

/// Whether some operation of the public API is at this path; a part that begins with `$` or `{` stands for any.
fn is_operation(path: &str) -> bool {
    let any = |part: &str| part.starts_with(['$', '{']);
    platform::contract::operations().any(|(operation, _)| {
        let (_, template) = operation.split_once(' ').unwrap();
        template.split('/').count() == path.split('/').count()
            && template
                .split('/')
                .zip(path.split('/'))
                .all(|(expected, part)| expected == part || any(expected) && any(part))
    })
}

#[test]
fn what_is_silenced_are_alerts_of_ours() {
    let alerts: BTreeSet<String> = alerts().into_iter().map(|(name, _)| name).collect();
    let config: Value = yaml(&directory().join("alertmanager/alertmanager.yml"));
    let mut problems = Vec::new();
    for rule in config["inhibit_rules"].as_array().unwrap() {
        let matchers = ["source_matchers", "target_matchers"].map(|side| rule[side].as_array().unwrap());
        let named = matchers.into_iter().flatten().filter_map(Value::as_str);
        for matcher in named.filter(|matcher| matcher.starts_with("alertname")) {
            let names = matcher.split('"').nth(1).unwrap().split('|');
            problems.extend(names.filter(|name| !alerts.contains(*name)).map(str::to_owned));
        }
    }
    assert_none(&problems, "alertmanager.yml names alerts that there are not:");
}
