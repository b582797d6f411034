//! `/api/v1/ledger/…`: the checkpoints, for whoever wants to keep one, and the keys that verify them.

use actix_web::{get, web};
use flowlet_verify::note::PublishedKeys;
use serde::Serialize;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal};
use utoipa::ToSchema;

use super::queries::{self, CheckpointRow};
use crate::state::State;

/// What stands for everything that was committed up to a moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint)]
pub struct CheckpointRecord {
    number: i64,
    /// SHA-256 of the text, in hexadecimal: the next checkpoint has it.
    hash: String,
    /// A signed note (c2sp.org/signed-note). Keep it as it is to compare with later.
    note: String,
}

impl TryFrom<CheckpointRow> for CheckpointRecord {
    type Error = ApiError;

    fn try_from(row: CheckpointRow) -> Result<Self, ApiError> {
        Ok(Self {
            number: row.number,
            hash: row.checkpoint()?.hash().to_string(),
            note: row.note,
        })
    }
}

/// The last checkpoint.
///
/// Whoever keeps it can show later that nothing up to it was changed: an export must have the very same one.
#[utoipa::path(
    tag = "ledger",
    responses(
        (status = 200, description = "The last checkpoint", body = CheckpointRecord),
        (status = 404, description = "`not_found`: nothing was committed yet", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/ledger/checkpoints/latest")]
pub async fn get_latest_checkpoint(
    _: Principal,
    state: web::Data<State>,
) -> Result<web::Json<CheckpointRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = queries::last(&mut conn).await?;
    let row = row.ok_or_else(|| ApiError::not_found("There is no checkpoint yet."))?;
    Ok(web::Json(row.try_into()?))
}

/// The checkpoint with a number: 1, 2, 3 …
#[utoipa::path(
    tag = "ledger",
    responses(
        (status = 200, description = "The checkpoint", body = CheckpointRecord),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/ledger/checkpoints/{number}")]
pub async fn get_checkpoint(
    _: Principal,
    number: web::Path<i64>,
    state: web::Data<State>,
) -> Result<web::Json<CheckpointRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *number).await?;
    Ok(web::Json(row.try_into()?))
}

/// The public keys of all checkpoints, those that no longer sign included.
///
/// Keep them from a moment when you trusted them: a proof is as good as the keys it is checked with.
#[utoipa::path(
    tag = "ledger",
    responses(
        (status = 200, description = "The keys, as `flowlet-verify` takes them", body = Object),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/ledger/keys")]
pub async fn list_checkpoint_keys(
    _: Principal,
    state: web::Data<State>,
) -> Result<web::Json<PublishedKeys>, ApiError> {
    let mut conn = state.db.connection().await?;
    let keys = queries::keys(&mut conn).await?;
    Ok(web::Json(PublishedKeys { keys }))
}
