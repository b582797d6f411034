//! Being told of facts, and telling how far that has come.

use actix_web::{get, post, web};
use diesel_async::AsyncPgConnection;
use shared::clients::ml::{FactBatch, Position, ToldUpTo};
use shared::{ApiError, ServiceCaller};

use super::{is_paid, learn, queries};
use crate::entity_state::event_of_transfer;
use crate::feature::{Event, observe};
use crate::state::State;
use crate::{account_state, entity_state, transfer_log};

const MAX_FACTS: usize = 4096;

/// Where the facts stand.
#[get("/internal/facts")]
pub async fn get_fact_position(
    caller: ServiceCaller,
    state: web::Data<State>,
) -> Result<web::Json<ToldUpTo>, ApiError> {
    caller.require(&[shared::clients::transactions::SERVICE])?;
    let mut conn = state.db.connection().await?;
    let position = queries::position(&mut conn).await?;
    Ok(web::Json(ToldUpTo { position }))
}

/// Takes in facts, if they follow those that were taken in before, and answers where they stand now.
#[post("/internal/facts")]
pub async fn tell_facts(
    caller: ServiceCaller,
    state: web::Data<State>,
    batch: web::Json<FactBatch>,
) -> Result<web::Json<ToldUpTo>, ApiError> {
    caller.require(&[shared::clients::transactions::SERVICE])?;
    check(&batch)?;
    let position = state
        .db
        .transaction("tell_facts", async |conn| take_in(conn, &batch).await)
        .await?;
    Ok(web::Json(ToldUpTo { position }))
}

fn check(batch: &FactBatch) -> Result<(), ApiError> {
    if batch.facts.len() > MAX_FACTS {
        return Err(ApiError::bad_request(
            "batch_too_large",
            format!("A batch has at most {MAX_FACTS} facts."),
        ));
    }
    // A batch with facts that stayed where it started could be applied again and again.
    let advances = batch.next > batch.after || (batch.next == batch.after && batch.facts.is_empty());
    if !advances || batch.after < Position::default() {
        return Err(ApiError::bad_request(
            "invalid_position",
            "`next` must come after `after`, and neither is negative.",
        ));
    }
    // Not bounded like what may be asked for: the ledger has posted it, and one that was refused would come again for ever.
    match batch.facts.iter().all(|fact| fact.amount > 0) {
        true => Ok(()),
        false => Err(ApiError::bad_request("invalid_amount", "An amount is positive.")),
    }
}

async fn take_in(conn: &mut AsyncPgConnection, batch: &FactBatch) -> Result<Position, ApiError> {
    let position = queries::lock_position(conn).await?;
    if position != batch.after {
        return Ok(position);
    }
    let new = transfer_log::queries::append(conn, &batch.facts).await?;
    let paid: Vec<Event> = new
        .iter()
        .filter(|it| it.is_paid())
        .map(event_of_transfer)
        .collect();
    if !paid.is_empty() {
        let mut states = entity_state::queries::load(conn, &paid).await?.states;
        paid.iter().for_each(|event| observe(event, &mut states));
        entity_state::queries::save(conn, &states).await?;
    }
    let paid = batch.facts.iter().filter(|fact| is_paid(fact));
    let accounts: Vec<_> = paid.map(|fact| fact.debit_account_id).collect();
    let known = account_state::queries::find(conn, &accounts).await?;
    account_state::queries::save(conn, &learn(known, &batch.facts)).await?;
    let applied = new.last().map(|newest| newest.position);
    queries::set_position(conn, batch.next, applied).await?;
    Ok(batch.next)
}
