//! Running the checks, and what the runs found.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use shared::{ApiError, Db};
use tokio::sync::mpsc;

use super::{CHECKS, Check, CheckResult, PROOFS, samples};
use crate::schema::integrity_runs;

/// Of the transaction.
const NAME: &str = "check_integrity";
/// How many violations of one check are shown.
const SHOWN: usize = 10;

/// The checks read whole tables, and a plan that was made for a small one would look up each row of a large one. They join by
/// nothing but equality: anything else would be a nested loop all the same, and its price would hide what the rest costs.
const WHOLE_TABLES: &str = "SET LOCAL enable_nestloop = off; SET LOCAL enable_seqscan = on";
const SINGLE_ROWS: &str = "SET LOCAL enable_nestloop = on; SET LOCAL enable_seqscan = off";

/// Runs all checks, and remembers the result. Returns `false` while another run goes on.
pub async fn run_checks(db: &Db) -> Result<bool, ApiError> {
    let checks = db
        .transaction(NAME, async |conn| check_alone(conn, None).await)
        .await?;
    log_violations(checks.iter().flatten());
    Ok(checks.is_some())
}

/// The same, and `begun` is told the moment whose books are checked: again, should the database want the transaction anew.
pub async fn run_checks_and_tell(db: &Db, begun: mpsc::Sender<DateTime<Utc>>) -> Result<bool, ApiError> {
    let checks = db
        .transaction(NAME, async |conn| check_alone(conn, Some(&begun)).await)
        .await?;
    log_violations(checks.iter().flatten());
    Ok(checks.is_some())
}

/// What each check finds in one snapshot, one replica at a time.
async fn check_alone(
    conn: &mut AsyncPgConnection,
    begun: Option<&mpsc::Sender<DateTime<Utc>>>,
) -> Result<Option<Vec<CheckResult>>, ApiError> {
    let Some(checked_at) = begin_alone(conn).await? else {
        return Ok(None);
    };
    if let Some(begun) = begun {
        // Nobody listens any more for a second time.
        _ = begun.try_send(checked_at);
    }
    let mut checks = Vec::with_capacity(CHECKS.len());
    conn.batch_execute(WHOLE_TABLES).await?;
    for check in &CHECKS {
        checks.push(run_check(conn, check).await?);
    }
    conn.batch_execute(SINGLE_ROWS).await?;
    if let Some(proofs) = checks.iter_mut().find(|check| check.code == PROOFS) {
        proofs.add(samples::violations(conn).await?);
    }
    remember(conn, checked_at, &checks).await?;
    Ok(Some(checks))
}

/// Which checks do not hold, and not what they found: violations tell amounts, which are for whoever may ask for the report.
fn log_violations<'a>(checks: impl Iterator<Item = &'a CheckResult>) {
    for check in checks.filter(|check| !check.ok) {
        let (code, title) = (check.code, check.title);
        tracing::error!(code, title, "the books do not balance: see GET /api/v1/integrity");
    }
}

/// The moment of the snapshot that the transaction sees from here on.
async fn begin_alone(conn: &mut AsyncPgConnection) -> QueryResult<Option<DateTime<Utc>>> {
    conn.batch_execute(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL statement_timeout = '10min'",
    )
    .await?;
    let now =
        sql_query("SELECT now() AS now, pg_try_advisory_xact_lock(hashtext('check integrity')) AS alone");
    let start: Start = now.get_result(conn).await?;
    Ok(start.alone.then_some(start.now))
}

async fn run_check(conn: &mut AsyncPgConnection, check: &Check) -> QueryResult<CheckResult> {
    let query = format!(
        "SELECT text FROM ({}) AS violation (text) LIMIT {SHOWN}",
        check.violations
    );
    let found: Vec<Violation> = sql_query(query).load(conn).await?;
    let violations: Vec<String> = found.into_iter().map(|violation| violation.text).collect();
    Ok(CheckResult {
        code: check.code,
        title: check.title,
        ok: violations.is_empty(),
        violations,
    })
}

impl CheckResult {
    fn add(&mut self, violations: impl IntoIterator<Item = String>) {
        self.violations.extend(violations);
        self.violations.truncate(SHOWN);
        self.ok = self.violations.is_empty();
    }
}

async fn remember(
    conn: &mut AsyncPgConnection,
    checked_at: DateTime<Utc>,
    checks: &[CheckResult],
) -> Result<(), ApiError> {
    let (mut failed, mut violations) = (Vec::new(), BTreeMap::new());
    for check in checks.iter().filter(|check| !check.ok) {
        failed.push(Some(check.code));
        violations.insert(check.code, &check.violations);
    }
    let violations = serde_json::to_value(violations).map_err(ApiError::internal)?;
    diesel::insert_into(integrity_runs::table)
        .values((
            integrity_runs::checked_at.eq(checked_at),
            integrity_runs::failed.eq(failed),
            integrity_runs::violations.eq(violations),
            integrity_runs::duration_ms.eq(sql::<Nullable<BigInt>>(
                "(extract(epoch FROM clock_timestamp() - now()) * 1000)::bigint",
            )),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// What is remembered of the last run.
#[derive(Debug, HasQuery)]
#[diesel(table_name = integrity_runs)]
pub struct LastRun {
    pub checked_at: DateTime<Utc>,
    /// The codes of the checks that did not hold.
    pub failed: Vec<Option<String>>,
    /// `None`, like the violations, of a run that is older than they are.
    pub duration_ms: Option<i64>,
    violations: Option<serde_json::Value>,
}

impl LastRun {
    pub fn holds(&self, check: &Check) -> bool {
        self.failed.iter().flatten().all(|code| code != check.code)
    }

    /// What each check found.
    pub fn results(&self) -> Result<Vec<CheckResult>, ApiError> {
        let found: Option<BTreeMap<String, Vec<String>>> = self
            .violations
            .clone()
            .map(serde_json::from_value)
            .transpose()
            .map_err(ApiError::internal)?;
        let mut found = found.unwrap_or_default();
        let result = |check: &Check| CheckResult {
            code: check.code,
            title: check.title,
            ok: self.holds(check),
            violations: found.remove(check.code).unwrap_or_default(),
        };
        Ok(CHECKS.iter().map(result).collect())
    }
}

pub async fn last_run(conn: &mut AsyncPgConnection) -> QueryResult<Option<LastRun>> {
    LastRun::query()
        .order(integrity_runs::id.desc())
        .first(conn)
        .await
        .optional()
}

/// Whether a run goes on, in whichever replica: then it has the lock, whose key is in two halves here.
pub async fn is_running(conn: &mut AsyncPgConnection) -> QueryResult<bool> {
    let has_lock = sql::<Bool>(
        "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32) | objid::bigint = hashtext('check integrity'))",
    );
    diesel::select(has_lock).get_result(conn).await
}

/// Whether the last run was longer ago than this, by the database's clock.
pub async fn is_due(conn: &mut AsyncPgConnection, interval_s: f64) -> QueryResult<bool> {
    let query = sql_query(
        "SELECT coalesce(max(checked_at) <= now() - make_interval(secs => $1), true) AS due FROM integrity_runs",
    );
    let answer: Due = query.bind::<Double, _>(interval_s).get_result(conn).await?;
    Ok(answer.due)
}

#[derive(QueryableByName)]
struct Start {
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
    #[diesel(sql_type = Bool)]
    alone: bool,
}

#[derive(QueryableByName)]
struct Violation {
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Bool)]
    due: bool,
}
