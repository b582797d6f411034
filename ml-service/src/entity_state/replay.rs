//! Making the states anew from the log: what shows that training, which replays the past, sees what serving saw.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::TransferId;

use super::{event_of_transfer, learn};
use crate::feature::{States, label, relabel};
use crate::schema::labels;
use crate::transfer_log::{LoggedTransfer, queries};

const PAGE: i64 = 5000;

#[derive(HasQuery)]
#[diesel(table_name = labels)]
struct LabelRow {
    position: i64,
    transfer_id: TransferId,
    fraud: bool,
    occurred_at: chrono::DateTime<chrono::Utc>,
}

/// The states as the log makes them, up to and with `position`.
pub async fn states_at(conn: &mut AsyncPgConnection, position: i64) -> Result<States, ApiError> {
    let mut given: Vec<LabelRow> = LabelRow::query()
        .filter(labels::position.le(position))
        .order(labels::position)
        .load(conn)
        .await?;
    let ids: Vec<TransferId> = given.iter().map(|row| row.transfer_id).collect();
    let labelled = queries::find(conn, &ids).await?;
    let labelled: HashMap<TransferId, LoggedTransfer> =
        labelled.into_iter().map(|it| (it.transfer_id, it)).collect();
    given.reverse();
    let mut states = States::default();
    let mut known: HashMap<TransferId, i64> = HashMap::new();
    let mut learn_labels_before = |position: i64, states: &mut States| {
        while let Some(row) = given.pop_if(|row| row.position < position) {
            let transfer = labelled.get(&row.transfer_id);
            if let Some(transfer) = transfer.filter(|it| it.kind.is_scored()) {
                let then = LoggedTransfer {
                    occurred_at: row.occurred_at,
                    ..transfer.clone()
                };
                let event = event_of_transfer(&then);
                match known.insert(row.transfer_id, event.at) {
                    None => label(&event, row.fraud, states),
                    Some(before_at) => relabel(&event, row.fraud, before_at, states),
                }
            }
        }
    };
    let mut at = 0;
    loop {
        let page = queries::after_position(conn, at, PAGE).await?;
        for transfer in page.iter().take_while(|transfer| transfer.position <= position) {
            learn_labels_before(transfer.position, &mut states);
            learn([transfer], &mut states);
        }
        match page.last() {
            Some(last) if last.position < position => at = last.position,
            _ => break,
        }
    }
    learn_labels_before(i64::MAX, &mut states);
    Ok(states)
}
