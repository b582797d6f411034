//! Whether a large ledger is slower than a small one: the same load before and after ten million postings were written
//! straight into the tables, and a page in the middle of a list beside its first.

use std::time::{Duration, Instant};

use anyhow::Context;
use platform::{Customer, Platform, Service};
use shared::Cursor;
use shared::id::{AccountId, TransferId};

use super::load::Load;
use super::{CONNECTIONS, Cell, ROUND, ROUNDS, Workload, measured, median};

const POSTINGS: i64 = 10_000_000;
/// Each has one posting of every account: half of them pay the other half, and next time the other way round.
const TURNS: i64 = POSTINGS / super::ACCOUNTS as i64;

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
    // Writing them took longer than a token lasts.
    let payer = &payer.log_in_again().await;
    let load = Load::new(
        &platform.url(Service::Transactions),
        &payer.access_token,
        accounts,
    )?;
    let large = rate(platform, &load).await?;
    print_row("with 10 million postings", &large, small.measured.per_second);
    let (transfer, posting) = middle(&sql, accounts).await?;
    let account = accounts.first().context("no accounts")?;
    for (list, middle) in [
        ("/api/v1/transfers?limit=50".to_owned(), transfer),
        (format!("/api/v1/accounts/{account}/postings?limit=50"), posting),
    ] {
        let first = page_time(platform, payer, &list).await?;
        let deep = page_time(platform, payer, &format!("{list}&after={middle}")).await?;
        println!(
            "{list}: first page {:.2} ms, in the middle of all {:.2} ms, {:.1}×",
            first.as_secs_f64() * 1e3,
            deep.as_secs_f64() * 1e3,
            deep.as_secs_f64() / first.as_secs_f64()
        );
    }
    Ok(())
}

/// The cursors that half of all transfers come before, and half of the first account's postings.
async fn middle(sql: &tokio_postgres::Client, accounts: &[String]) -> anyhow::Result<(String, String)> {
    let account: AccountId = accounts.first().context("no accounts")?.parse()?;
    let transfer = "SELECT id FROM transactions.transfers ORDER BY id OFFSET $1 LIMIT 1";
    let transfer: uuid::Uuid = sql.query_one(transfer, &[&(POSTINGS / 4)]).await?.get(0);
    let posting = "SELECT max(sequence) / 2 FROM transactions.postings WHERE account_id = $1";
    let posting: i64 = sql.query_one(posting, &[&account.uuid()]).await?.get(0);
    let transfer = Cursor(TransferId::from_uuid(transfer)).to_string();
    Ok((transfer, Cursor(posting).to_string()))
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

/// The median time of a page.
async fn page_time(platform: &Platform, payer: &Customer, path: &str) -> anyhow::Result<Duration> {
    let client = platform
        .client_of(Service::Gateway)
        .with_token(&payer.access_token);
    let mut times = Vec::new();
    for _ in 0..21 {
        let started = Instant::now();
        client.get(path).await.success()?;
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
