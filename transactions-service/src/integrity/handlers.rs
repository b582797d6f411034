//! `GET /api/v1/integrity`: do the books balance?

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use diesel::sql_types::{Bool, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::Serialize;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal, Role};
use utoipa::ToSchema;

use super::{CHECKS, Check};
use crate::state::State;

/// How many violations of one check are shown.
const SHOWN: usize = 10;

#[derive(Debug, Serialize, ToSchema)]
pub struct IntegrityReport {
    /// Whether every check holds.
    ok: bool,
    /// The moment whose books were checked.
    checked_at: DateTime<Utc>,
    checks: Vec<CheckResult>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CheckResult {
    #[schema(example = "I1")]
    code: &'static str,
    title: &'static str,
    ok: bool,
    /// The first ten, each naming the record.
    violations: Vec<String>,
}

/// Check the invariants of the books over all accounts, in one snapshot. For `compliance` and `admin`.
#[utoipa::path(
    tag = "integrity",
    responses(
        (status = 200, description = "What was checked, and what was found", body = IntegrityReport),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/integrity")]
pub async fn check_integrity(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<IntegrityReport>, ApiError> {
    principal.require_any(&[Role::Compliance, Role::Admin])?;
    let report = state
        .db
        .transaction("check_integrity", async |conn| run_checks(conn).await)
        .await?;
    for check in report.checks.iter().filter(|check| !check.ok) {
        tracing::error!(check = check.code, violations = ?check.violations, "the books do not balance");
    }
    Ok(web::Json(report))
}

async fn run_checks(conn: &mut AsyncPgConnection) -> Result<IntegrityReport, ApiError> {
    conn.batch_execute(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = '10min'",
    )
    .await?;
    let now =
        sql_query("SELECT now() AS now, pg_try_advisory_xact_lock(hashtext('check integrity')) AS alone");
    let start: Start = now.get_result(conn).await?;
    if !start.alone {
        return Err(ApiError::unavailable(
            "busy",
            "Another check is running. Try again when it is done.",
        ));
    }
    let mut checks = Vec::with_capacity(CHECKS.len());
    for check in &CHECKS {
        checks.push(run_check(conn, check).await?);
    }
    let ok = checks.iter().all(|check| check.ok);
    metrics::gauge!("ledger_integrity_ok").set(if ok { 1.0 } else { 0.0 });
    Ok(IntegrityReport {
        ok,
        checked_at: start.now,
        checks,
    })
}

async fn run_check(conn: &mut AsyncPgConnection, check: &Check) -> Result<CheckResult, ApiError> {
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
