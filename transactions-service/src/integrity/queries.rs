//! Running the checks, and what the runs found.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Double, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use shared::{ApiError, Db};

use super::{CHECKS, Check, CheckResult, PROOFS, samples};
use crate::schema::integrity_runs;

/// How many violations of one check are shown.
const SHOWN: usize = 10;

/// The checks read whole tables, and a plan that was made for a small one would look up each row of a large one. Where there is no
/// other plan its cost is said to be enormous, for which PostgreSQL would compile it.
const WHOLE_TABLES: &str = "SET LOCAL enable_nestloop = off; SET LOCAL jit = off";
const SINGLE_ROWS: &str = "SET LOCAL enable_nestloop = on";

/// What a run of all checks found.
pub struct Run {
    /// The moment whose books were checked.
    pub checked_at: DateTime<Utc>,
    pub checks: Vec<CheckResult>,
}

/// Runs all checks in one snapshot, one replica at a time, and remembers the result; `None` while another run goes on.
pub async fn run_checks(db: &Db) -> Result<Option<Run>, ApiError> {
    let run = db
        .transaction("check_integrity", async |conn| {
            let Some(checked_at) = begin_alone(conn).await? else {
                return Ok(None);
            };
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
            Ok(Some(Run { checked_at, checks }))
        })
        .await?;
    for check in run.iter().flat_map(|run| &run.checks).filter(|check| !check.ok) {
        // The violations tell amounts, which are for whoever may ask for the report.
        let (code, title) = (check.code, check.title);
        tracing::error!(code, title, "the books do not balance: see GET /api/v1/integrity");
    }
    Ok(run)
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
) -> QueryResult<()> {
    let failed = checks.iter().filter(|check| !check.ok);
    let failed: Vec<Option<&str>> = failed.map(|check| Some(check.code)).collect();
    diesel::insert_into(integrity_runs::table)
        .values((
            integrity_runs::checked_at.eq(checked_at),
            integrity_runs::failed.eq(failed),
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
}

pub async fn last_run(conn: &mut AsyncPgConnection) -> QueryResult<Option<LastRun>> {
    LastRun::query()
        .order(integrity_runs::id.desc())
        .first(conn)
        .await
        .optional()
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
