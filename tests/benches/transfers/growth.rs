//! Whether a large ledger is slower than a small one: the same load before and after ten million postings were written
//! straight into the tables, and a page at either end of a list.

use std::time::{Duration, Instant};

use anyhow::Context;
use platform::{Customer, Platform, Service};

use super::load::Load;
use super::{CONNECTIONS, Cell, ROUND, ROUNDS, Workload, measured, median};

const POSTINGS: i64 = 10_000_000;
/// Each has one posting of every account: half of them pay the other half, and next time the other way round.
const TURNS: i64 = POSTINGS / super::ACCOUNTS as i64;
const PAGES: usize = 50;

pub async fn run(platform: &Platform, payer: &Customer, accounts: &[String]) -> anyhow::Result<()> {
    let load = Load::new(
        &platform.url(Service::Transactions),
        &payer.access_token,
        accounts,
    )?;
    let small = rate(platform, &load).await?;
    println!(
        "\n{:<34}{:>12}{:>8}{:>8}{:>13}",
        "ledger", "transfers/s", "ratio", "µs PG", "µs services"
    );
    print_row("just begun", &small, small.measured.per_second);
    let sql = platform.sql().await;
    sql.batch_execute(BEGIN).await?;
    for turn in 1..=TURNS {
        sql.execute(TURN, &[&turn]).await.context("writing a turn")?;
        if turn % (TURNS / 20) == 0 {
            eprintln!("{} postings …", turn * super::ACCOUNTS as i64);
        }
    }
    sql.execute(END, &[&TURNS]).await?;
    sql.batch_execute("VACUUM ANALYZE").await?;
    sql.batch_execute("CHECKPOINT").await?;
    let large = rate(platform, &load).await?;
    print_row("with 10 million postings", &large, small.measured.per_second);
    let account = accounts.first().context("no accounts")?;
    for list in [
        "/api/v1/transfers?limit=50".to_owned(),
        format!("/api/v1/accounts/{account}/postings?limit=50"),
    ] {
        let first = page_time(platform, payer, &list, 0).await?;
        let deep = page_time(platform, payer, &list, PAGES).await?;
        println!(
            "{list}: first page {:.2} ms, after {PAGES} pages {:.2} ms, {:.1}×",
            first.as_secs_f64() * 1e3,
            deep.as_secs_f64() * 1e3,
            deep.as_secs_f64() / first.as_secs_f64()
        );
    }
    Ok(())
}

async fn rate(platform: &Platform, load: &Load) -> anyhow::Result<Cell> {
    let mut cells = Vec::new();
    for _ in 0..ROUNDS {
        cells.push(measured(platform, load.run(Workload::Uniform, CONNECTIONS, None, ROUND)).await?);
    }
    Ok(median(cells))
}

fn print_row(what: &str, cell: &Cell, reference: f64) {
    println!(
        "{what:<34}{:>12.0}{:>7.2}×{:>8.0}{:>13.0}",
        cell.measured.per_second,
        cell.measured.per_second / reference,
        cell.postgresql_us,
        cell.services_us
    );
}

/// The median time of a page that `pages` others come before.
async fn page_time(
    platform: &Platform,
    payer: &Customer,
    list: &str,
    pages: usize,
) -> anyhow::Result<Duration> {
    let client = platform
        .client_of(Service::Gateway)
        .with_token(&payer.access_token);
    let mut path = list.to_owned();
    for _ in 0..pages {
        let page = client.get(&path).await.success()?;
        let cursor = page["next_cursor"].as_str().context("the list has ended")?;
        path = format!("{list}&after={cursor}");
    }
    let mut times = Vec::new();
    for _ in 0..21 {
        let started = Instant::now();
        client.get(&path).await.success()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no pages")
}

/// For the session: no triggers, and the accounts in two halves that pay each other.
const BEGIN: &str = "
SET search_path = transactions;
SET session_replication_role = replica;
SET synchronous_commit = off;
CREATE TEMP TABLE pairs AS
SELECT one.id AS one, other.id AS other, one.holder_id, one.version AS one_version, other.version AS other_version, one.posted AS one_posted, other.posted AS other_posted
FROM (SELECT *, row_number() OVER (ORDER BY id) AS number FROM ledger_accounts WHERE kind = 'customer') AS one
JOIN (SELECT *, row_number() OVER (ORDER BY id DESC) AS number FROM ledger_accounts WHERE kind = 'customer') AS other USING (number)
WHERE one.id < other.id";

/// One unit goes from one half to the other, and comes back in the next turn.
const TURN: &str = "
WITH made AS (
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text || one), 2, 3)
            || '8' || substr(md5(random()::text || other), 2, 15))::uuid AS id,
        CASE $1::bigint % 2 WHEN 1 THEN one ELSE other END AS debit, CASE $1 % 2 WHEN 1 THEN other ELSE one END AS credit, pairs.*
    FROM pairs
), transferred AS (
    INSERT INTO transfers (id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id, amount,
        currency, initiated_by, risk_score, risk_decision, risk_reasons, created_at, completed_at)
    SELECT id, 'transfer', 'posted', debit, credit, holder_id, holder_id, 1, 'USD', holder_id, 0, 'allow', '[]', now(), now() FROM made
), claimed AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, transfer_id, status, body, subject, created_at)
    SELECT holder_id, md5(random()::text || id), sha256(id::text::bytea), id, 201, repeat('x', 400), 'transfer', now() FROM made
)
INSERT INTO postings (transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at)
SELECT id, one, one_version + $1, CASE $1 % 2 WHEN 1 THEN 'debit' ELSE 'credit' END, 1, 'USD', one_posted - $1 % 2, now() FROM made
UNION ALL
SELECT id, other, other_version + $1, CASE $1 % 2 WHEN 1 THEN 'credit' ELSE 'debit' END, 1, 'USD', other_posted + $1 % 2, now() FROM made";

const END: &str = "
UPDATE ledger_accounts AS account SET version = account.version + $1 FROM pairs WHERE account.id IN (one, other)";
