//! What must hold in the books whatever happened before, asked of the database directly, so that a mistake of
//! transactions-service in its own `GET /api/v1/integrity` would show.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::Value;
use shared::Role;

use crate::client::{Client, eventually, new_key, text_of};
use crate::platform::Platform;

/// Each query returns the rows that break the rule, as text.
const RULES: [(&str, &str); 10] = [
    (
        "I1 postings sum to zero per currency",
        "SELECT currency || ': ' || sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END)
         FROM transactions.postings GROUP BY currency
         HAVING sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) <> 0",
    ),
    (
        "I2 a posted transfer has a debit and a credit of its amount and currency, any other has no postings",
        "SELECT transfer.id || ' ' || transfer.status || ' has ' || coalesce(legs.count, 0) || ' postings'
         FROM transactions.transfers transfer
         FULL JOIN (
             SELECT transfer_id, count(*), count(DISTINCT account_id) AS accounts, count(*) FILTER (WHERE direction = 'debit') AS debits,
                 min(amount) AS least, max(amount) AS most, min(currency) AS currency, max(currency) AS other,
                 min(account_id::text) FILTER (WHERE direction = 'debit') AS debit_account,
                 min(account_id::text) FILTER (WHERE direction = 'credit') AS credit_account
             FROM transactions.postings GROUP BY transfer_id
         ) legs ON legs.transfer_id = transfer.id
         WHERE CASE WHEN transfer.status = 'posted' AND transfer.several_legs IS NOT NULL THEN
             legs.count IS DISTINCT FROM jsonb_array_length(transfer.several_legs) OR legs.accounts IS DISTINCT FROM legs.count
             WHEN transfer.status = 'posted' THEN
             (legs.count, legs.debits, legs.least, legs.most, legs.currency, legs.other, legs.debit_account, legs.credit_account)
             IS DISTINCT FROM (2, 1, transfer.amount, transfer.amount, transfer.currency, transfer.currency,
                 transfer.debit_account_id::text, transfer.credit_account_id::text)
             ELSE transfer.id IS NULL OR legs.count IS NOT NULL END",
    ),
    (
        "I2 the postings of a transfer sum to zero in each currency",
        "SELECT transfer_id::text FROM transactions.postings GROUP BY transfer_id, currency
         HAVING sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) <> 0",
    ),
    (
        "I3 a balance is the last balance_after and the sum of its postings",
        "SELECT account.id || ': posted ' || account.posted || ', last ' || coalesce(last.balance_after, 0)
             || ', sum ' || coalesce(total.sum, 0)
         FROM transactions.ledger_accounts account
         LEFT JOIN LATERAL (SELECT balance_after FROM transactions.postings
             WHERE account_id = account.id ORDER BY sequence DESC LIMIT 1) last ON true
         LEFT JOIN LATERAL (SELECT sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END)
             FROM transactions.postings WHERE account_id = account.id) total ON true
         WHERE account.posted <> coalesce(last.balance_after, 0) OR account.posted <> coalesce(total.sum, 0)",
    ),
    (
        "I4 sequence is 1..n without a gap, and version is n",
        "SELECT account.id || ': version ' || account.version || ', ' || count(posting.sequence) || ' postings'
         FROM transactions.ledger_accounts account
         LEFT JOIN transactions.postings posting ON posting.account_id = account.id
         GROUP BY account.id
         HAVING account.version <> count(posting.sequence)
             OR (count(posting.sequence) > 0 AND (min(posting.sequence), max(posting.sequence),
                 count(DISTINCT posting.sequence)) <> (1, account.version, account.version))",
    ),
    (
        "I5 every posting continues the balance of the one before, never below the floor",
        "SELECT account_id || ' at ' || sequence FROM (
             SELECT posting.*, account.floor, coalesce(lag(balance_after) OVER (
                 PARTITION BY account_id ORDER BY sequence), 0) AS before
             FROM transactions.postings posting
             JOIN transactions.ledger_accounts account ON account.id = posting.account_id
         ) chain
         WHERE balance_after <> before + CASE direction WHEN 'credit' THEN amount ELSE -amount END
             OR balance_after < floor",
    ),
    (
        "I6 what is held is what its holds have left",
        "SELECT account.id || ': held ' || account.held || ', holds ' || coalesce(sum(hold.amount - hold.captured - hold.released), 0)
         FROM transactions.ledger_accounts account
         LEFT JOIN transactions.holds hold ON hold.account_id = account.id
         GROUP BY account.id
         HAVING account.held <> coalesce(sum(hold.amount - hold.captured - hold.released), 0)",
    ),
    (
        "I6 what was captured of a hold is the sum of its captures",
        "SELECT hold.id::text FROM transactions.holds hold
         LEFT JOIN transactions.transfers capture ON capture.captured_hold_id = hold.id AND capture.status = 'posted'
         WHERE hold.kind = 'payment'
         GROUP BY hold.id, hold.captured HAVING hold.captured <> coalesce(sum(capture.amount), 0)",
    ),
    (
        "I6 refunds of a transfer sum to what it says was refunded, never more than its amount, and never beside a reversal",
        "SELECT original.id::text FROM transactions.transfers original
         LEFT JOIN transactions.transfers back ON back.original_transfer_id = original.id AND back.status <> 'rejected'
         GROUP BY original.id, original.refunded, original.amount, original.reversal_id
         HAVING original.refunded <> coalesce(sum(back.amount) FILTER (WHERE back.kind = 'refund'), 0)
             OR original.refunded > original.amount
             OR count(back.id) FILTER (WHERE back.kind = 'reversal') > 1
             OR (original.refunded > 0 AND count(back.id) FILTER (WHERE back.kind = 'reversal') > 0)",
    ),
    (
        "a posting is in its account's currency",
        "SELECT posting.transfer_id::text FROM transactions.postings posting
         LEFT JOIN transactions.ledger_accounts account ON account.id = posting.account_id
         WHERE account.currency IS DISTINCT FROM posting.currency",
    ),
];

impl Platform {
    /// Panics with what is wrong unless the books are in order, by our own queries and by the platform's own account.
    pub async fn assert_invariants(&self) {
        self.assert_books().await;
        let auditor = format!("auditor-{}", new_key().get(..8).unwrap_or_default());
        let auditor = self.register_with_role(&auditor, Role::Compliance).await;
        let report = integrity_report(&auditor).await;
        let report = report.unwrap_or_else(|error| panic!("{error:?}"));
        assert!(is_clean(&report), "GET /api/v1/integrity reports {report:#}");
    }

    /// Our own queries alone: also while services are down.
    pub async fn assert_books(&self) {
        let broken = self.broken_rules().await;
        let broken = broken.unwrap_or_else(|error| panic!("{error:?}"));
        assert!(broken.is_empty(), "broken: {}", broken.join("\n"));
    }

    /// Each rule that is broken, and where.
    pub async fn broken_rules(&self) -> anyhow::Result<Vec<String>> {
        let sql = self.server.connect(&self.database).await?;
        let mut broken = Vec::new();
        for (rule, query) in RULES {
            let rows = sql.query(query, &[]).await.context(rule)?;
            let places: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if !places.is_empty() {
                broken.push(format!("{rule}\n{}", places.join("\n")));
            }
        }
        Ok(broken)
    }

    /// Waits until every account that was being opened is open.
    pub async fn wait_until_no_account_is_pending(&self) {
        let sql = self.sql().await;
        eventually("no account is pending", async || {
            let row = sql
                .query_one(
                    "SELECT count(*) FROM accounts.accounts WHERE status = 'pending'",
                    &[],
                )
                .await;
            let pending: i64 = row.unwrap_or_else(|error| panic!("{error:?}")).get(0);
            (pending == 0).then_some(())
        })
        .await;
    }
}

/// Whether the report says that all is well.
fn is_clean(report: &Value) -> bool {
    report.get("ok").and_then(Value::as_bool) == Some(true)
}

/// The platform's own account of the books as they are now or later.
pub async fn integrity_report(officer: &Client) -> anyhow::Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut wanted = None;
    while Instant::now() < deadline {
        if wanted.is_none() {
            let start = officer.request(Method::POST, "/api/v1/integrity/runs");
            let started = officer.try_send(start).await?;
            // The service checks the books by itself too, one at a time.
            if started.status != 409 {
                wanted = Some(checked_at(&started.success()?)?);
            }
        }
        let ask = officer.request(Method::GET, "/api/v1/integrity");
        let answer = officer.try_send(ask).await?;
        if let Some(moment) = wanted.filter(|_| answer.status != 503) {
            let report = answer.success()?;
            if checked_at(&report)? >= moment {
                return Ok(report);
            }
            // A run whose replica was stopped has no report.
            wanted = wanted.filter(|_| report.get("running").and_then(Value::as_bool) == Some(true));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the books were not checked in time")
}

fn checked_at(value: &Value) -> anyhow::Result<DateTime<Utc>> {
    Ok(text_of(value, "checked_at").parse()?)
}
