//! Whatever rules, boards and pages ask for, a running platform exports, down to the label and its value: a query for a name
//! that nobody exports looks exactly like one that finds nothing wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use platform::client::{Customer, eventually};
use platform::invariants::integrity_report;
use platform::tools::Tool;
use platform::{Platform, Service};
use regex::Regex;
use reqwest::Method;
use serde_json::json;
use shared::Role;

use super::boards::boards;
use super::promql::{self, Matcher};
use super::{assert_none, blocks, pages, rules, run};

/// Series that our services do not export: of Prometheus itself, and of the scripts in infrastructure/backup, which report
/// through node_exporter.
const OF_OTHERS: [&str; 4] = [
    "up",
    "ALERTS",
    "flowlet_backup_last_success_timestamp_seconds",
    "flowlet_wal_archive_last_success_timestamp_seconds",
];
/// Prometheus gives these to every series that it scrapes.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];
/// It may have a value that no test provokes: there are many statuses.
const OPEN: &str = "status";

/// An expression, and where it is written.
struct Asked {
    place: String,
    expression: String,
}

fn everything_asked() -> Vec<Asked> {
    let asked = |place: &str, expression: &str| Asked {
        place: place.to_owned(),
        expression: expression.to_owned(),
    };
    let mut all = Vec::new();
    for rule in rules() {
        let name = rule.alert.as_ref().or(rule.record.as_ref()).unwrap();
        all.push(asked(name, &rule.expr));
    }
    for board in boards() {
        all.extend(
            board
                .expressions()
                .iter()
                .map(|expression| asked(&board.file, expression)),
        );
    }
    for (name, page) in pages() {
        all.extend(
            blocks(&page, "promql")
                .iter()
                .map(|expression| asked(&name, expression)),
        );
    }
    all
}

/// The labels of each metric, with the values they have, in one service.
type Metrics = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What each service exports.
async fn scrape(platform: &Platform) -> BTreeMap<&'static str, Metrics> {
    let mut exported = BTreeMap::new();
    for service in Service::ALL {
        let page = platform.client_of(service).get("/metrics").await;
        assert_eq!(page.status, 200, "{page}");
        exported.insert(service.name(), read_page(&page.text));
    }
    exported
}

/// Prometheus's text format: `name{label="value",…} 1`.
fn read_page(page: &str) -> Metrics {
    let label = Regex::new(r#"([a-zA-Z_]+)="([^"]*)""#).unwrap();
    let mut metrics = Metrics::new();
    for line in page
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = metrics.entry(name.to_owned()).or_default();
        for found in label.captures_iter(labels) {
            metric
                .entry(found[1].to_owned())
                .or_default()
                .insert(found[2].to_owned());
        }
    }
    metrics
}

/// The labels that each recorded series has: those that its rule sets, and those that are left of what it is made of.
fn recorded() -> BTreeMap<String, BTreeSet<String>> {
    let mut recorded: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in rules() {
        let Some(name) = rule.record else { continue };
        let query = promql::read(&rule.expr);
        let mut labels: BTreeSet<String> = rule.labels.into_keys().collect();
        labels.extend(query.groupings.into_iter().flat_map(|grouping| grouping.labels));
        for selector in query.selectors {
            labels.extend(recorded.get(&selector.metric).cloned().unwrap_or_default());
        }
        recorded.entry(name).or_default().extend(labels);
    }
    recorded
}

/// What is wrong with one expression.
fn problems_of(
    expression: &str,
    exported: &BTreeMap<&'static str, Metrics>,
    recorded: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let query = promql::read(expression);
    let mut problems = Vec::new();
    let ours = |metric: &str| !OF_OTHERS.contains(&metric);
    for selector in query.selectors.iter().filter(|selector| ours(&selector.metric)) {
        let metric = &selector.metric;
        if let Some(labels) = recorded.get(metric) {
            let unknown = selector
                .matchers
                .iter()
                .filter(|matcher| !labels.contains(&matcher.label));
            problems.extend(unknown.map(|matcher| format!("{metric} is recorded without {}", matcher.label)));
            continue;
        }
        let of_service = |service: &str| match selector.matchers.iter().find(|matcher| matcher.label == "job")
        {
            Some(job) => job.value.contains('$') || matches(job, service),
            None => true,
        };
        let exporting: Vec<_> = exported
            .iter()
            .filter(|(service, _)| of_service(service))
            .filter_map(|(_, metrics)| metrics.get(metric))
            .collect();
        if exporting.is_empty() {
            problems.push(format!("nobody exports {metric}"));
            continue;
        }
        for matcher in selector
            .matchers
            .iter()
            .filter(|matcher| !of_the_scrape(&matcher.label))
        {
            let mut values = exporting
                .iter()
                .filter_map(|labels| labels.get(&matcher.label))
                .flatten()
                .peekable();
            if values.peek().is_none() {
                problems.push(format!("{metric} has no label {}", matcher.label));
            } else if matcher.label != OPEN && !values.any(|value| matches(matcher, value)) {
                problems.push(format!("{metric} never has {matcher}"));
            }
        }
    }
    for grouping in &query.groupings {
        for metric in grouping.metrics.iter().filter(|metric| ours(metric)) {
            for label in grouping.labels.iter().filter(|label| !of_the_scrape(label)) {
                let in_recorded = recorded.get(metric).is_some_and(|labels| labels.contains(label));
                let mut services = exported.values();
                let in_exported =
                    services.any(|metrics| metrics.get(metric).is_some_and(|it| it.contains_key(label)));
                if !in_recorded && !in_exported {
                    problems.push(format!("{metric} has no label {label} to group by"));
                }
            }
        }
    }
    problems
}

fn of_the_scrape(label: &str) -> bool {
    OF_THE_SCRAPE.contains(&label)
}

/// Whether the matcher is about this value: also what is excluded must be something that there is.
fn matches(matcher: &Matcher, value: &str) -> bool {
    match matcher.operator.as_str() {
        "=" | "!=" => matcher.value == value,
        _ => Regex::new(&format!("^(?:{})$", matcher.value))
            .unwrap()
            .is_match(value),
    }
}

/// A little of everything that happens.
async fn use_everything(platform: &Platform) {
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let from = ada.open_funded_account(1_000_000_000, "USD").await;
    let to = bob.open_account("USD").await;
    // Far more than a new account pays to somebody it has never paid.
    assert_eq!(
        ada.transfer(&from, &to, 100_000_000, "USD").await.must_be(201)["status"],
        "in_review"
    );
    assert_eq!(
        ada.transfer(&from, &to, 100, "USD").await.must_be(201)["status"],
        "posted"
    );
    ada.withdraw(&from, 100, "USD").await.must_be(201);
    bob.transfer(&to, &from, 1_000_000, "USD")
        .await
        .must_be_problem(422, "insufficient_funds");
    bob.get(&format!("/api/v1/accounts/{from}"))
        .await
        .must_be_problem(404, "not_found");
    bob.get("/api/v1/integrity")
        .await
        .must_be_problem(403, "role_required");
    integrity_report(&officer).await.unwrap();
    let wrong = json!({ "email": ada.email, "password": "not her password" });
    ada.post("/api/v1/auth/login", wrong)
        .await
        .must_be_problem(401, "invalid_credentials");
    refresh_from_two_clients(&bob).await;
    platform
        .client()
        .get("/nowhere")
        .await
        .must_be_problem(404, "not_found");
    platform
        .client()
        .get("/api/v1/accounts")
        .await
        .must_be_problem(401, "missing_token");
    eventually("the limit of a user is met", async || {
        (ada.get("/api/v1/auth/me").await.status == 429).then_some(())
    })
    .await;
}

async fn refresh_from_two_clients(customer: &Customer) {
    let token = json!({ "refresh_token": customer.refresh_token });
    customer
        .post("/api/v1/auth/refresh", token.clone())
        .await
        .must_be(200);
    let elsewhere = customer
        .request(Method::POST, "/api/v1/auth/refresh")
        .json(&token);
    let again = elsewhere.header("user-agent", "somebody else's");
    customer
        .send(again)
        .await
        .must_be_problem(401, "invalid_refresh_token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_platform_exports_whatever_rules_boards_and_pages_ask_for() {
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .set(Service::Gateway, "USER_LIMIT_PER_MINUTE", 60)
        .start()
        .await
        .unwrap();
    let at_the_start = scrape(&platform).await;
    assert_alerts_see_zero_first(&at_the_start);
    use_everything(&platform).await;
    let (all, recorded) = (everything_asked(), recorded());
    // Some of it is exported only once a job has run.
    let mut problems = Vec::new();
    for _ in 0..50 {
        let exported = scrape(&platform).await;
        problems.clear();
        for Asked { place, expression } in &all {
            let found = problems_of(expression, &exported, &recorded);
            problems.extend(found.iter().map(|problem| format!("{place}: {problem}")));
        }
        if problems.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    problems.dedup();
    assert_none(&problems, "No service exports this:");
    assert_pages_ask_for_tables_that_exist(&platform).await;
    platform.stop().await.unwrap();
}

/// `rate` and `increase` see a counter only from its second sample on: one that begins with the first failure hides it.
fn assert_alerts_see_zero_first(exported: &BTreeMap<&'static str, Metrics>) {
    // A request that was never made is no failure.
    let by_request = |metric: &str| metric.starts_with("http_");
    let mut problems = Vec::new();
    for rule in rules().into_iter().filter(|rule| rule.alert.is_some()) {
        for selector in promql::read(&rule.expr).selectors {
            let metric = &selector.metric;
            if metric.ends_with("_total")
                && !by_request(metric)
                && exported.values().all(|metrics| !metrics.contains_key(metric))
            {
                problems.push(format!("{}: {metric}", rule.alert.as_deref().unwrap_or_default()));
            }
        }
    }
    assert_none(
        &problems,
        "Counters of alerts must be exported at zero before anything happens:",
    );
}

async fn assert_pages_ask_for_tables_that_exist(platform: &Platform) {
    let sql = platform.sql().await;
    let mut problems = Vec::new();
    for (name, page) in pages() {
        for query in blocks(&page, "sql") {
            let outcome = if query.starts_with("CREATE FUNCTION pg_temp.") {
                sql.batch_execute(query).await
            } else {
                sql.prepare(query).await.map(drop)
            };
            if let Err(error) = outcome {
                problems.push(format!("{name}: {}\n{query}", shared::db::chain(&error)));
            }
        }
    }
    assert_none(&problems, "PostgreSQL does not understand this:");
    let ids = sql
        .query(
            "SELECT id::text, pg_temp.wire_id('acct', id) FROM accounts.accounts",
            &[],
        )
        .await
        .unwrap();
    for row in ids {
        let (id, on_the_wire): (String, String) = (row.get(0), row.get(1));
        let parsed: shared::id::AccountId = on_the_wire.parse().unwrap();
        assert_eq!(parsed.uuid().to_string(), id);
    }
}

/// promtool reads every query of boards and pages as the rule of a file made for it.
#[tokio::test]
async fn every_query_is_valid_promql() {
    let mut rules = String::from("groups:\n  - name: queries\n    rules:\n");
    for (number, Asked { place, expression }) in everything_asked().iter().enumerate() {
        let expression = serde_json::to_string(expression).unwrap();
        rules.push_str(&format!(
            "      # {place}\n      - record: query_{number}\n        expr: {expression}\n"
        ));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("queries.yml");
    fs::write(&file, rules).unwrap();
    run(Tool::Promtool, &["check", "rules"], &[file]).await;
}
