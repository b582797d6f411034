//! `/api/v1/integrity`: do the books balance? A run over a large ledger takes longer than a request may, so one is started, and
//! what it found is read when it is over.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::error::Problem;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal, Role};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{CheckResult, queries};
use crate::state::State;

const READERS: [Role; 2] = [Role::Compliance, Role::Admin];

/// What the last run found.
#[derive(Debug, Serialize, ToSchema)]
pub struct IntegrityReport {
    /// Whether every check holds.
    ok: bool,
    /// The moment whose books were checked.
    checked_at: DateTime<Utc>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
    /// Whether another run goes on.
    running: bool,
    checks: Vec<CheckResult>,
}

/// Read what the last check of the books found. For `compliance` and `admin`.
///
/// All invariants are checked over all accounts in one snapshot, now and then and whenever somebody starts a run.
#[utoipa::path(
    tag = "integrity",
    responses(
        (status = 200, description = "What was checked, and what was found", body = IntegrityReport),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`not_checked_yet`: the first run goes on", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/integrity")]
pub async fn get_integrity_report(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<IntegrityReport>, ApiError> {
    principal.require_any(&READERS)?;
    let mut conn = state.db.connection().await?;
    // Before its result is read: when no run goes on any more, the result is there.
    let running = queries::is_running(&mut conn).await?;
    let last = queries::last_run(&mut conn).await?;
    drop(conn);
    let last = last.ok_or_else(|| {
        ApiError::unavailable(
            "not_checked_yet",
            "The books have not been checked yet. Try again shortly.",
        )
    })?;
    let checks = last.results()?;
    Ok(web::Json(IntegrityReport {
        ok: checks.iter().all(|check| check.ok),
        checked_at: last.checked_at,
        duration_ms: last.duration_ms,
        running,
        checks,
    }))
}

/// A run that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct IntegrityRun {
    /// The moment whose books it checks. It is over when the report is of this moment or a later one.
    checked_at: DateTime<Utc>,
}

/// Have the books checked as they are now. For `compliance` and `admin`.
///
/// Ask for the report until its `checked_at` is that of this answer or later. Should the report be older and no run go on, the
/// run was cut off: start another.
#[utoipa::path(
    tag = "integrity",
    responses(
        (status = 202, description = "It has begun", body = IntegrityRun),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`integrity_run_in_progress`: another one goes on", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/integrity/runs")]
pub async fn start_integrity_run(
    principal: Principal,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&READERS)?;
    let (begun, mut begins) = mpsc::channel(1);
    let db = state.db.clone();
    // By itself, because it outlives the request.
    let run = actix_web::rt::spawn(async move {
        let run = queries::run_checks_and_tell(&db, begun).await;
        if let Err(error) = &run {
            tracing::error!(error = %error, "the books could not be checked");
        }
        run
    });
    if let Some(checked_at) = begins.recv().await {
        return Ok(HttpResponse::Accepted().json(IntegrityRun { checked_at }));
    }
    run.await.map_err(ApiError::internal)??;
    Err(ApiError::conflict(
        "integrity_run_in_progress",
        "Another run goes on. Its report is there when it is over.",
    ))
}
