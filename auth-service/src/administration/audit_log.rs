//! The audit log of this service: reading it, and showing that nobody has altered it.

use actix_web::{get, web};
use diesel::sql_types::{BigInt, Nullable};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::Serialize;
use shared::audit::{self, AuditEntry, ListAuditLog};
use shared::error::Problem;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Page, Principal, Role};
use utoipa::ToSchema;

use crate::state::AppState;

const READERS: [Role; 2] = [Role::Compliance, Role::Superadmin];

/// What staff, and owners of API keys, changed about users and credentials, newest first. For `compliance` and `superadmin`.
#[utoipa::path(
    tag = "audit log",
    params(ListAuditLog),
    responses(
        (status = 200, description = "A page of entries", body = Page<AuditEntry>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/audit-log")]
pub async fn list_auth_audit_log(
    principal: Principal,
    query: web::Query<ListAuditLog>,
    state: web::Data<AppState>,
) -> Result<web::Json<Page<AuditEntry>>, ApiError> {
    principal.require_any(&READERS)?;
    let mut connection = state.db.connection().await?;
    Ok(web::Json(audit::list(&mut connection, query.into_inner()).await?))
}

/// Whether the log is as it was written.
#[derive(Serialize, ToSchema, QueryableByName)]
pub struct AuditVerification {
    #[diesel(sql_type = BigInt)]
    pub entries: i64,
    /// The number of the first entry that was altered, or that does not follow the one before; null when all is well.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub first_broken: Option<i64>,
}

/// Computes all hashes of the log anew. For `compliance` and `superadmin`.
#[utoipa::path(
    tag = "audit log",
    responses(
        (status = 200, description = "What was found", body = AuditVerification),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/audit-log/verification")]
pub async fn verify_auth_audit_log(
    principal: Principal,
    state: web::Data<AppState>,
) -> Result<web::Json<AuditVerification>, ApiError> {
    principal.require_any(&READERS)?;
    let mut connection = state.db.connection().await?;
    let verification = sql_query(
        "SELECT count(*) AS entries, min(number) FILTER (WHERE NOT (own AND follows AND number = place)) AS first_broken
         FROM (
             SELECT entry.number, hash = hash_of_audit_entry(entry.*) AS own, row_number() OVER up AS place,
                 previous_hash = coalesce(lag(hash) OVER up, decode(repeat('00', 32), 'hex')) AS follows
             FROM audit_log AS entry WINDOW up AS (ORDER BY number)
         ) AS chained",
    )
    .get_result(&mut connection)
    .await?;
    Ok(web::Json(verification))
}
