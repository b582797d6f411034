//! Giving labels, and learning from them in the same transaction.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{TransferId, UserId};

use super::{Label, LabelSource, Labelled, NewLabel};
use crate::entity_state::{self, event_of_transfer};
use crate::feature::{Event, label};
use crate::schema::labels;
use crate::{fact, transfer_log};

/// Labels transfers, each once, and lets the feature engine learn what is new: in a transaction of the caller's. It takes the
/// lock of those who take facts in, so the order of facts and labels is that of their positions.
pub async fn add(
    conn: &mut AsyncPgConnection,
    new: &[NewLabel],
    source: LabelSource,
    labelled_by: UserId,
) -> Result<Vec<Labelled>, ApiError> {
    let position = fact::queries::lock_position(conn).await?;
    let ids: Vec<TransferId> = new.iter().map(|label| label.transfer_id).collect();
    let mut newest = newest_of(conn, &ids).await?;
    let transfers = transfer_log::queries::find(conn, &ids).await?;
    let events: HashMap<TransferId, (DateTime<Utc>, Event)> = transfers
        .iter()
        .map(|it| (it.transfer_id, (it.occurred_at, event_of_transfer(it))))
        .collect();
    let mut answers = Vec::with_capacity(new.len());
    let mut learnt = Vec::new();
    for it in new {
        let Some((occurred_at, event)) = events.get(&it.transfer_id) else {
            answers.push(Labelled::UnknownTransfer);
            continue;
        };
        if newest.insert(it.transfer_id, it.fraud) == Some(it.fraud) {
            answers.push(Labelled::Unchanged);
            continue;
        }
        answers.push(Labelled::Added);
        learnt.push((it, *occurred_at, event.clone()));
    }
    if learnt.is_empty() {
        return Ok(answers);
    }
    let rows = learnt.iter().map(|(it, occurred_at, _)| {
        (
            labels::transfer_id.eq(it.transfer_id),
            labels::fraud.eq(it.fraud),
            labels::source.eq(source.word()),
            labels::labelled_by.eq(labelled_by),
            labels::occurred_at.eq(*occurred_at),
        )
    });
    let positions: Vec<i64> = diesel::insert_into(labels::table)
        .values(rows.collect::<Vec<_>>())
        .returning(labels::position)
        .load(conn)
        .await?;
    let events: Vec<Event> = learnt.iter().map(|(_, _, event)| event.clone()).collect();
    let mut states = entity_state::queries::load(conn, &events).await?.states;
    for (it, _, event) in &learnt {
        label(event, it.fraud, &mut states);
    }
    entity_state::queries::save(conn, &states).await?;
    let applied = positions.into_iter().max().unwrap_or_default();
    fact::queries::set_position(conn, position, Some(applied)).await?;
    Ok(answers)
}

/// Whether each of these transfers was fraud, by the newest label that it has.
pub async fn newest_of(
    conn: &mut AsyncPgConnection,
    ids: &[TransferId],
) -> QueryResult<HashMap<TransferId, bool>> {
    let rows: Vec<(TransferId, bool)> = labels::table
        .filter(labels::transfer_id.eq_any(ids))
        .distinct_on(labels::transfer_id)
        .order((labels::transfer_id, labels::position.desc()))
        .select((labels::transfer_id, labels::fraud))
        .load(conn)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Those of a transfer, newest first.
pub async fn of_transfer(conn: &mut AsyncPgConnection, id: TransferId) -> QueryResult<Vec<Label>> {
    type Row = (bool, String, DateTime<Utc>, UserId);
    let rows: Vec<Row> = labels::table
        .filter(labels::transfer_id.eq(id))
        .order(labels::position.desc())
        .select((
            labels::fraud,
            labels::source,
            labels::known_at,
            labels::labelled_by,
        ))
        .limit(100)
        .load(conn)
        .await?;
    let parse = |(fraud, word, known_at, labelled_by): Row| Label {
        fraud,
        source: LabelSource::ALL
            .into_iter()
            .find(|source| source.word() == word)
            .unwrap_or(LabelSource::Analyst),
        known_at,
        labelled_by,
    };
    Ok(rows.into_iter().map(parse).collect())
}
