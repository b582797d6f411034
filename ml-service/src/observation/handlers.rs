//! Being told of posted transfers, and telling how far that has come.

use actix_web::{get, post, web};
use diesel_async::AsyncPgConnection;
use shared::clients::ml::{ObservationBatch, ObservedUpTo, Position};
use shared::{ApiError, ServiceCaller};

use super::{learn, queries};
use crate::account_state;
use crate::state::State;

const MAX_OBSERVATIONS: usize = 4096;

/// Where the observations stand.
#[get("/internal/observations")]
pub async fn get_observation_position(
    caller: ServiceCaller,
    state: web::Data<State>,
) -> Result<web::Json<ObservedUpTo>, ApiError> {
    caller.require(&[shared::clients::transactions::SERVICE])?;
    let mut conn = state.db.connection().await?;
    let position = queries::position(&mut conn).await?;
    Ok(web::Json(ObservedUpTo { position }))
}

/// Learns from posted transfers, if they follow what was learnt before, and answers where the observations stand now.
#[post("/internal/observations")]
pub async fn observe_transfers(
    caller: ServiceCaller,
    state: web::Data<State>,
    batch: web::Json<ObservationBatch>,
) -> Result<web::Json<ObservedUpTo>, ApiError> {
    caller.require(&[shared::clients::transactions::SERVICE])?;
    check(&batch)?;
    let position = state
        .db
        .transaction("observe_transfers", async |conn| observe(conn, &batch).await)
        .await?;
    Ok(web::Json(ObservedUpTo { position }))
}

fn check(batch: &ObservationBatch) -> Result<(), ApiError> {
    if batch.observations.len() > MAX_OBSERVATIONS {
        return Err(ApiError::bad_request(
            "batch_too_large",
            format!("A batch has at most {MAX_OBSERVATIONS} observations."),
        ));
    }
    // A batch with facts that stayed where it started could be applied again and again.
    let advances = batch.next > batch.after || (batch.next == batch.after && batch.observations.is_empty());
    if !advances || batch.after < Position::default() {
        return Err(ApiError::bad_request(
            "invalid_position",
            "`next` must come after `after`, and neither is negative.",
        ));
    }
    crate::require_amounts(batch.observations.iter().map(|observation| observation.amount))
}

async fn observe(conn: &mut AsyncPgConnection, batch: &ObservationBatch) -> Result<Position, ApiError> {
    let position = queries::lock_position(conn).await?;
    if position != batch.after {
        return Ok(position);
    }
    let accounts: Vec<_> = batch.observations.iter().map(|it| it.debit_account_id).collect();
    let known = account_state::queries::find(conn, &accounts).await?;
    account_state::queries::save(conn, &learn(known, &batch.observations)).await?;
    queries::set_position(conn, batch.next).await?;
    Ok(batch.next)
}
