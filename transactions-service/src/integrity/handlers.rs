//! `GET /api/v1/integrity`: do the books balance?

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal, Role};
use utoipa::ToSchema;

use super::{CheckResult, queries};
use crate::state::State;

#[derive(Debug, Serialize, ToSchema)]
pub struct IntegrityReport {
    /// Whether every check holds.
    ok: bool,
    /// The moment whose books were checked.
    checked_at: DateTime<Utc>,
    checks: Vec<CheckResult>,
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
    let run = queries::run_checks(&state.db).await?;
    let run = run.ok_or_else(|| {
        ApiError::unavailable("busy", "Another check is running. Try again when it is done.")
    })?;
    Ok(web::Json(IntegrityReport {
        ok: run.checks.iter().all(|check| check.ok),
        checked_at: run.checked_at,
        checks: run.checks,
    }))
}
