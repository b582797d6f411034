//! One restore: the script, a PostgreSQL and the platform on what it made, and what a client and an officer are told there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use platform::client::{PASSWORD, new_key};
use platform::database::Server;
use platform::invariants::integrity_report;
use platform::postgres::server_user;
use platform::{Client, Customer, Platform};
use reqwest::Method;
use serde_json::{Value, json};
use shared::idempotency::REPLAYED_HEADER;

use super::backups::Backups;
use super::comparison::{self, Comparison, Target};
use super::load::{Acknowledged, Load};
use super::{OFFICER, progress, start_platform};

/// How many acknowledged requests are sent again.
const REPEATED: usize = 50;

/// What a restore brought back.
pub struct Restored {
    pub target: String,
    pub comparison: Comparison,
    pub restored_in: Duration,
    pub answered_in: Duration,
    pub integrity_checks: usize,
    pub repeated: usize,
    pub problems: Vec<String>,
}

pub async fn restore(
    target: &Target,
    backups: &Backups,
    lost_server: &Server,
    load: &Load,
    acknowledged: &[Acknowledged],
) -> anyhow::Result<Restored> {
    progress(&format!("restoring to {target}"));
    let directory = backups.directory().join(match target {
        Target::Latest => "latest",
        Target::Moment(_) => "moment",
    });
    server_user::private_directory(&directory)?;
    let data = directory.join("data").display().to_string();
    let started = Instant::now();
    backups
        .run("restore-backup.sh", &["--to", &target.to_string(), &data])
        .await?;
    let restored_in = started.elapsed();

    progress("starting PostgreSQL and the platform on it");
    let server = Arc::new(lost_server.start_restored(&directory).await?);
    let platform = start_platform(Arc::clone(&server)).await?;
    let books = read_books(&platform).await?;
    let payer = load.log_in(&platform).await;
    load.transfer(&payer, &new_key()).await?.success()?;
    let answered_in = started.elapsed();

    progress("checking the books and comparing them with what was acknowledged");
    let mut problems = platform.broken_rules().await?;
    let integrity_checks = check_integrity(&platform, &mut problems).await?;
    let repeated = repeat(load, &payer, &books, acknowledged, &mut problems).await?;
    let balance = payer.balance(&load.to).await.0;
    let transfers = read_books(&platform).await?.len();
    // The one transfer above is new, and none of the repeated ones.
    if transfers != books.len() + 1 || i64::try_from(transfers) != Ok(balance) {
        problems.push(format!(
            "{} transfers, then one more, make {transfers} transfers and a balance of {balance}",
            books.len()
        ));
    }
    platform.stop().await?;
    let server = Arc::into_inner(server).context("somebody still uses the restored server")?;
    server.cluster.stop().await?;

    Ok(Restored {
        target: target.to_string(),
        comparison: comparison::compare(target, acknowledged, &load.sent(), &books),
        restored_in,
        answered_in,
        integrity_checks,
        repeated,
        problems,
    })
}

/// The answers to the transfers of clients that are in the books, by their idempotency keys.
async fn read_books(platform: &Platform) -> anyhow::Result<BTreeMap<String, String>> {
    let query = "SELECT key, body FROM transactions.idempotency_keys
                 JOIN transactions.transfers ON transfers.id = transfer_id
                 WHERE transfers.status = 'posted' AND kind = 'transfer'";
    let sql = platform.server.connect(&platform.database).await?;
    let rows = sql.query(query, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Asks the platform for its own account of the books; the number of its checks.
async fn check_integrity(platform: &Platform, problems: &mut Vec<String>) -> anyhow::Result<usize> {
    let officer = log_in(&platform.client(), &format!("{OFFICER}@example.com")).await?;
    let report = integrity_report(&officer).await?;
    if report.get("ok") != Some(&json!(true)) {
        problems.push(format!("GET /api/v1/integrity reports {report:#}"));
    }
    let checks = report.get("checks").and_then(Value::as_array).map(Vec::len);
    ensure!(
        checks > Some(0),
        "GET /api/v1/integrity checked nothing: {report}"
    );
    Ok(checks.unwrap_or_default())
}

async fn log_in(client: &Client, email: &str) -> anyhow::Result<Client> {
    let credentials = json!({ "email": email, "password": PASSWORD });
    let request = client.request(Method::POST, "/api/v1/auth/login");
    let login = client.try_send(request.json(&credentials)).await?.success()?;
    let token = login.get("access_token").and_then(Value::as_str);
    Ok(client.with_token(token.context("a login without a token")?))
}

/// Sends some of the acknowledged requests again: each must get the answer that it got before the machine was lost.
async fn repeat(
    load: &Load,
    payer: &Customer,
    books: &BTreeMap<String, String>,
    acknowledged: &[Acknowledged],
    problems: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let there = acknowledged
        .iter()
        .filter(|transfer| books.contains_key(&transfer.key));
    let there: Vec<_> = there.collect();
    let step = there.len().div_ceil(REPEATED).max(1);
    let sample: Vec<_> = there.into_iter().step_by(step).collect();
    for transfer in &sample {
        let answer = load.transfer(payer, &transfer.key).await?;
        let replayed = answer.header(REPLAYED_HEADER) == Some("true");
        if !replayed || answer.status != 201 || answer.text != transfer.body {
            problems.push(format!(
                "{} was answered {} and is now answered {answer}",
                transfer.key, transfer.body
            ));
        }
    }
    Ok(sample.len())
}
