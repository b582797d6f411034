//! What we compare with: the usual way to write a ledger, a transaction per transfer that locks both accounts. It records
//! the idempotency key with its answer, the transfer, two postings, two balances, and an outbox row. Once as an application
//! would, statement by statement, and once as one call of a function inside the database, the least that it can be.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use platform::Platform;
use platform::postgres::ensure_binaries;
use tokio::process::Command;

use super::Workload;
use super::load::Measured;

const SCHEMA: &str = "
    CREATE TABLE account (id bigint PRIMARY KEY, currency text NOT NULL, status text NOT NULL, balance bigint NOT NULL CHECK (balance >= 0), version bigint NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE idempotency (key uuid PRIMARY KEY DEFAULT gen_random_uuid(), fingerprint bytea NOT NULL, status smallint NOT NULL, body text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE transfer (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), debit bigint NOT NULL, credit bigint NOT NULL, amount bigint NOT NULL, currency text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE posting (account bigint NOT NULL, sequence bigint NOT NULL, transfer uuid NOT NULL, direction text NOT NULL, amount bigint NOT NULL, balance_after bigint NOT NULL, PRIMARY KEY (account, sequence));
    CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, payload jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    CREATE FUNCTION transfer(debit_id bigint, credit_id bigint, minor bigint, answer text) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        transfer_id uuid;
        debited account;
        credited account;
    BEGIN
        INSERT INTO idempotency (fingerprint, status, body)
            VALUES (decode('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'hex'), 201, answer);
        PERFORM FROM account WHERE id = least(debit_id, credit_id) FOR NO KEY UPDATE;
        PERFORM FROM account WHERE id = greatest(debit_id, credit_id) FOR NO KEY UPDATE;
        INSERT INTO transfer (debit, credit, amount, currency) VALUES (debit_id, credit_id, minor, 'USD') RETURNING id INTO transfer_id;
        UPDATE account SET balance = balance - minor, version = version + 1 WHERE id = debit_id RETURNING * INTO debited;
        UPDATE account SET balance = balance + minor, version = version + 1 WHERE id = credit_id RETURNING * INTO credited;
        INSERT INTO posting VALUES (debit_id, debited.version, transfer_id, 'debit', minor, debited.balance),
            (credit_id, credited.version, transfer_id, 'credit', minor, credited.balance);
        INSERT INTO outbox (kind, payload) VALUES ('transfer.posted', answer::jsonb);
    END $$;";

/// The answer that is stored with the key, as long as ours.
const BODY: &str = r#"{"id":"xfer_01h455vb4pex5vsknk084sn02q","kind":"transfer","status":"posted","debit_account_id":"acct_01h455vb4pex5vsknk084sn02q","credit_account_id":"acct_01h455vb4pex5vsknk084sn02q","amount":100,"currency":"USD","created_at":"2026-11-21T00:00:00.000000Z","completed_at":"2026-11-21T00:00:00.000000Z"}"#;

/// How the transfer is written.
#[derive(Clone, Copy)]
pub enum Writing {
    Statements,
    OneCall,
}

pub struct Baseline {
    pgbench: PathBuf,
    url: String,
    accounts: usize,
    scripts: PathBuf,
}

impl Baseline {
    pub async fn prepare(platform: &Platform, accounts: usize) -> anyhow::Result<Self> {
        let bin = ensure_binaries(|_| ()).await?;
        let pgbench = Some(bin.join("pgbench"))
            .filter(|path| path.exists())
            .unwrap_or_else(|| "pgbench".into());
        let cluster = &platform.server.cluster;
        platform
            .sql()
            .await
            .batch_execute("CREATE DATABASE baseline")
            .await?;
        let sql = platform.server.connect("baseline").await?;
        sql.batch_execute(SCHEMA).await?;
        sql.execute(
            "INSERT INTO account SELECT n, 'USD', 'open', 1000000000, 0 FROM generate_series(1, $1::bigint) AS n",
            &[&i64::try_from(accounts)?],
        )
        .await?;
        sql.batch_execute("VACUUM ANALYZE").await?;
        let scripts = std::env::temp_dir().join(format!("flowlet-baseline-{}", std::process::id()));
        std::fs::create_dir_all(&scripts)?;
        Ok(Self {
            pgbench,
            url: cluster.superuser_url("baseline"),
            accounts,
            scripts,
        })
    }

    pub async fn best_client_count(
        &self,
        workload: Workload,
        writing: Writing,
        counts: &[usize],
        duration: Duration,
    ) -> anyhow::Result<usize> {
        let mut best = (0.0, counts[0]);
        for count in counts {
            let measured = self.run(workload, writing, *count, duration).await?;
            if measured.per_second > best.0 {
                best = (measured.per_second, *count);
            }
        }
        Ok(best.1)
    }

    pub async fn run(
        &self,
        workload: Workload,
        writing: Writing,
        clients: usize,
        duration: Duration,
    ) -> anyhow::Result<Measured> {
        let script = self.scripts.join("transfer.sql");
        std::fs::write(&script, script_text(workload, writing, self.accounts))?;
        let output = Command::new(&self.pgbench)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={clients}"))
            .arg(format!("--time={}", duration.as_secs().max(1)))
            .arg(format!("--define=body={BODY}"))
            .arg(format!("--file={}", script.display()))
            .arg(&self.url)
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| {
                format!(
                    "{} cannot be run: install PostgreSQL's contrib programs",
                    self.pgbench.display()
                )
            })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(
            output.status.success(),
            "pgbench: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let number = |prefix: &str| -> anyhow::Result<f64> {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(prefix))
                .with_context(|| text.clone())?;
            Ok(line.split([' ', '/']).next().unwrap_or_default().parse()?)
        };
        let failed = number("number of failed transactions: ")?;
        anyhow::ensure!(failed == 0.0, "pgbench transactions failed: {text}");
        let average_ms = number("latency average = ")?;
        Ok(Measured {
            count: number("number of transactions actually processed: ")? as u64,
            per_second: number("tps = ")?,
            p50_ms: average_ms,
            p99_ms: f64::NAN,
        })
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.scripts));
    }
}

fn script_text(workload: Workload, writing: Writing, accounts: usize) -> String {
    let debit = match workload {
        Workload::Uniform => format!("random(1, {accounts})"),
        Workload::Hot => "1".to_owned(),
    };
    let transfer = match writing {
        Writing::Statements => STATEMENTS,
        Writing::OneCall => "SELECT transfer(:debit, :credit, :amount, :body);\n",
    };
    format!(
        "\\set debit {debit}
\\set credit 1 + (:debit + random(0, {accounts} - 2)) % {accounts}
\\set first least(:debit, :credit)
\\set second greatest(:debit, :credit)
\\set amount random(1, 100)
{transfer}"
    )
}

/// Locks in id order, like any ledger that does not want to deadlock.
const STATEMENTS: &str = "BEGIN;
INSERT INTO idempotency (fingerprint, status, body) VALUES (decode('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'hex'), 201, :body);
SELECT id, currency, status, balance, version FROM account WHERE id = :first FOR NO KEY UPDATE;
SELECT id, currency, status, balance, version FROM account WHERE id = :second FOR NO KEY UPDATE;
INSERT INTO transfer (debit, credit, amount, currency) VALUES (:debit, :credit, :amount, 'USD') RETURNING id \\gset
UPDATE account SET balance = balance - :amount, version = version + 1 WHERE id = :debit RETURNING version AS debit_version, balance AS debit_balance \\gset
UPDATE account SET balance = balance + :amount, version = version + 1 WHERE id = :credit RETURNING version AS credit_version, balance AS credit_balance \\gset
INSERT INTO posting VALUES (:debit, :debit_version, :id, 'debit', :amount, :debit_balance), (:credit, :credit_version, :id, 'credit', :amount, :credit_balance);
INSERT INTO outbox (kind, payload) VALUES ('transfer.posted', :body);
COMMIT;
";
