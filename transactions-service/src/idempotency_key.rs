//! Idempotency keys, as the ledger keeps them, and what became of a request for a client that lost the answer.
//!
//! A key is claimed in the transaction of its effect, together with the answer, so there is never one without the other.
//! The keys of different users do not meet.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use shared::id::{HoldId, TransferId, UserId};
use shared::idempotency::{self, IdempotencyKey};
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal};
use utoipa::ToSchema;

use crate::schema::idempotency_keys;
use crate::state::State;

/// For how long a repetition is recognised.
pub const KEPT_DAYS: i32 = 30;

/// A request's name, and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub owner_id: UserId,
    pub key: IdempotencyKey,
    pub fingerprint: [u8; 32],
}

impl Claim {
    pub fn new(
        owner_id: UserId,
        key: IdempotencyKey,
        operation: &str,
        body: &impl Serialize,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            owner_id,
            key,
            fingerprint: idempotency::fingerprint(operation, body)?,
        })
    }
}

/// The answer that a request got.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdempotencyKey)]
pub struct IdempotencyKeyRecord {
    key: String,
    /// The HTTP status of the answer.
    #[schema(example = 201)]
    status: i16,
    /// The body of the answer.
    #[schema(value_type = Object)]
    body: serde_json::Value,
    /// The transfer that the request made or would have made; there is none with this id when the answer is a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer_id: Option<TransferId>,
    /// The same of a request about a hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_id: Option<HoldId>,
    created_at: DateTime<Utc>,
}

/// Learn what became of one of your requests.
///
/// 404 means that no request with this key has taken effect; it may still be on its way if you sent it just now.
#[utoipa::path(
    tag = "idempotency keys",
    params(("key" = String, Path, description = "The `Idempotency-Key` that was sent")),
    responses(
        (status = 200, description = "The answer that the request got", body = IdempotencyKeyRecord),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/idempotency-keys/{key}")]
pub async fn get_idempotency_key(
    principal: Principal,
    key: web::Path<String>,
    state: web::Data<State>,
) -> Result<web::Json<IdempotencyKeyRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = find(&mut conn, principal.user_id, &key).await?;
    let body = serde_json::from_str(&row.body).map_err(ApiError::internal)?;
    let is_hold = row.subject == "hold";
    Ok(web::Json(IdempotencyKeyRecord {
        key: row.key,
        status: row.status,
        body,
        transfer_id: (!is_hold).then_some(row.transfer_id),
        hold_id: is_hold.then_some(HoldId::from_uuid(row.transfer_id.uuid())),
        created_at: row.created_at,
    }))
}

#[derive(HasQuery)]
#[diesel(table_name = idempotency_keys)]
struct KeyRow {
    key: String,
    transfer_id: TransferId,
    status: i16,
    body: String,
    created_at: DateTime<Utc>,
    subject: String,
}

async fn find(conn: &mut AsyncPgConnection, owner: UserId, key: &str) -> QueryResult<KeyRow> {
    KeyRow::query()
        .filter(idempotency_keys::owner_id.eq(owner))
        .filter(idempotency_keys::key.eq(key))
        .first(conn)
        .await
}
