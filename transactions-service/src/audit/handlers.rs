//! `GET /api/v1/audit-log`: what was changed by hand, and by whom.

use actix_web::{get, web};
use shared::audit::{self, AuditEntry, ListAuditLog};
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Page, Principal, Role};

use crate::state::State;

const READERS: [Role; 2] = [Role::Compliance, Role::Admin];

/// What was changed in the ledger by hand, newest first. For `compliance` and `admin`.
#[utoipa::path(
    tag = "audit log",
    params(ListAuditLog),
    responses(
        (status = 200, description = "A page of entries", body = Page<AuditEntry>),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/audit-log")]
pub async fn list_audit_log(
    principal: Principal,
    query: web::Query<ListAuditLog>,
    state: web::Data<State>,
) -> Result<web::Json<Page<AuditEntry>>, ApiError> {
    principal.require_any(&READERS)?;
    let mut connection = state.db.connection().await?;
    Ok(web::Json(audit::list(&mut connection, query.into_inner()).await?))
}
