//! The proof of a transfer, and the export of everything.

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, get};
use flowlet_verify::export::Line;
use flowlet_verify::proof::Proof;
use futures_util::stream;
use serde::Deserialize;
use shared::id::TransferId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Db, Principal, Role};
use utoipa::IntoParams;

use super::Unproven;
use super::export::Export;
use crate::checkpoint;
use crate::state::State;
use crate::transfer::handlers::find_visible;

const AUDITORS: [Role; 2] = [Role::Compliance, Role::Admin];

/// A proof that one of your transfers was committed as it is told, and not changed since.
///
/// It leads from what is told of the transfer to a signed checkpoint. `flowlet-verify proof` checks it offline. A transfer that
/// was reviewed has two facts in it. `compliance` can ask for any.
#[utoipa::path(
    tag = "transfers",
    responses(
        (status = 200, description = "The proof, as `flowlet-verify` takes it", body = Object),
        (status = 404, description = "`not_found`: there is none, or it is not yours; `no_proof`: it is older than proofs are", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not_yet_proven`: the next checkpoint, in some seconds, will have it", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfers/{transfer_id}/proof")]
pub async fn get_transfer_proof(
    principal: Principal,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<web::Json<Proof>, ApiError> {
    let mut conn = state.db.connection().await?;
    find_visible(&mut conn, &principal, *transfer_id).await?;
    let proof = super::of_transfer(&mut conn, *transfer_id).await?;
    Ok(web::Json(proof?))
}

impl From<Unproven> for ApiError {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::NoBlock => {
                let detail = "This transfer was committed before proofs were made.";
                ApiError::new(StatusCode::NOT_FOUND, "no_proof", detail)
            }
            Unproven::NotYet => {
                let detail =
                    "The transfer is committed; the next checkpoint will have it. Ask again in some seconds.";
                ApiError::conflict("not_yet_proven", detail).retry_after(checkpoint::PAUSE.as_secs())
            }
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportLedger {
    /// Only what was committed after the checkpoint with this number.
    #[serde(default)]
    #[param(value_type = Option<u64>, default = 0, minimum = 0)]
    after: u32,
}

/// All facts with their blocks and checkpoints, for auditors: `compliance` and `admin`.
///
/// A JSON object a line, oldest first, up to the last checkpoint. `flowlet-verify export` checks it offline and names what was
/// altered, left out or put in. Without its last line, which is `end`, it was cut off.
#[utoipa::path(
    tag = "ledger",
    params(ExportLedger),
    responses(
        (status = 200, description = "The lines", body = String, content_type = "application/x-ndjson"),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/ledger/export")]
pub async fn export_ledger(
    principal: Principal,
    query: web::Query<ExportLedger>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&AUDITORS)?;
    let mut conn = state.db.connection().await?;
    let upto = checkpoint::queries::last(&mut conn)
        .await?
        .map_or(0, |last| last.number);
    drop(conn);
    let export = Export::new(i64::from(query.after), upto);
    let lines = stream::try_unfold((state.db.clone(), export), next_lines);
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .streaming(lines))
}

/// A connection is lent for each block anew, so that a slow reader keeps none.
async fn next_lines((db, mut export): (Db, Export)) -> anyhow::Result<Option<(Bytes, (Db, Export))>> {
    let lines = async {
        let mut conn = db.connection().await?;
        let lines = export.next(&mut conn).await?;
        lines.as_deref().map(text_of).transpose()
    };
    // The answer has begun, so an error can only cut it off; whoever reads it misses the last line.
    let lines = lines
        .await
        .inspect_err(|error| tracing::error!(%error, "an export was cut off"));
    let lines = lines.map_err(ApiError::into_source)?;
    Ok(lines.map(|text| (text, (db, export))))
}

fn text_of(lines: &[Line]) -> Result<Bytes, ApiError> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).map_err(ApiError::internal)?;
        text.push(b'\n');
    }
    Ok(text.into())
}
