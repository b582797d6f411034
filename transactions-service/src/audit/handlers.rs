//! `GET /api/v1/audit-log`: what was changed by hand, and by whom.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::openapi::{AuthErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, EntryRow};
use crate::state::State;

const READERS: [Role; 2] = [Role::Compliance, Role::Admin];

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAuditLog {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<i64>>,
    /// Only what was done to this: the id of a transfer or an account.
    #[param(max_length = 64)]
    subject: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// 1, 2, 3 … without a gap.
    number: i64,
    at: DateTime<Utc>,
    /// A user's id, or the name of the service that asked.
    #[schema(example = "usr_01h455vb4pex5vsknk084sn02q")]
    actor: String,
    /// The actor's roles at that time.
    roles: Vec<String>,
    #[schema(example = "transfer.approved")]
    action: String,
    /// The id of what it was done to.
    #[schema(example = "xfer_01h455vb4pex5vsknk084sn02q")]
    subject: String,
    /// JSON, as text: its bytes are what was hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// In hexadecimal, like `hash`; of the first entry, zeros.
    previous_hash: String,
    hash: String,
}

impl From<EntryRow> for AuditEntry {
    fn from(row: EntryRow) -> Self {
        let roles = row.roles.split(',').filter(|role| !role.is_empty());
        Self {
            number: row.number,
            at: row.at,
            actor: row.actor,
            roles: roles.map(str::to_owned).collect(),
            action: row.action,
            subject: row.subject,
            before: row.before,
            after: row.after,
            request_id: row.request_id,
            previous_hash: hexadecimal(&row.previous_hash),
            hash: hexadecimal(&row.hash),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

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
    let mut conn = state.db.connection().await?;
    let before = query.after.map(|cursor| cursor.0);
    let rows = queries::list(&mut conn, query.subject.as_deref(), before, query.limit).await?;
    Ok(web::Json(
        Page::new(rows, query.limit, |row| row.number).map(AuditEntry::from),
    ))
}
