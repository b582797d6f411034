//! Giving labels, and learning from them in the same transaction.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{TransferId, UserId};

use super::{Label, LabelSource, Labelled, NewLabel};
use crate::entity_state::{self, event_of_transfer};
use crate::feature::{Event, label, relabel};
use crate::schema::labels;
use crate::transfer_log::LoggedTransfer;
use crate::{fact, transfer_log};

/// Labels transfers, of which each is there once, and lets the feature engine learn what is new: in a transaction of the caller's.
/// It takes the lock of those who take facts in, so the order of facts and labels is that of their positions.
pub async fn add(
    conn: &mut AsyncPgConnection,
    new: &[NewLabel],
    source: LabelSource,
    labelled_by: UserId,
) -> Result<Vec<Labelled>, ApiError> {
    let position = fact::queries::lock_position(conn).await?;
    let ids: Vec<TransferId> = new.iter().map(|label| label.transfer_id).collect();
    let newest = newest(conn, &ids).await?;
    let transfers = transfer_log::queries::find(conn, &ids).await?;
    let transfers: HashMap<TransferId, &LoggedTransfer> =
        transfers.iter().map(|it| (it.transfer_id, it)).collect();
    let mut answers = Vec::with_capacity(new.len());
    let mut added = Vec::new();
    for it in new {
        let transfer = transfers.get(&it.transfer_id).copied();
        let before = newest.get(&it.transfer_id);
        let answer = judge(it, transfer, before, source, labelled_by);
        answers.push(answer);
        if let (Labelled::Added, Some(transfer)) = (answer, transfer) {
            added.push((it, transfer, before));
        }
    }
    if added.is_empty() {
        return Ok(answers);
    }
    let rows = added.iter().map(|(it, transfer, _)| {
        (
            labels::transfer_id.eq(it.transfer_id),
            labels::fraud.eq(it.fraud),
            labels::source.eq(source.word()),
            labels::labelled_by.eq(labelled_by),
            labels::occurred_at.eq(transfer.occurred_at),
        )
    });
    let positions: Vec<i64> = diesel::insert_into(labels::table)
        .values(rows.collect::<Vec<_>>())
        .returning(labels::position)
        .load(conn)
        .await?;
    let learnt: Vec<(Event, bool, Option<i64>)> = added
        .iter()
        .filter(|(_, transfer, _)| transfer.kind.is_scored())
        .map(|(it, transfer, before)| {
            let taken_back = before.map(|before| before.occurred_at.timestamp());
            (event_of_transfer(transfer), it.fraud, taken_back)
        })
        .collect();
    let events: Vec<Event> = learnt.iter().map(|(event, ..)| event.clone()).collect();
    let mut states = entity_state::queries::load(conn, &events).await?.states;
    for (event, fraud, taken_back) in &learnt {
        match taken_back {
            None => label(event, *fraud, &mut states),
            Some(before_at) => relabel(event, *fraud, *before_at, &mut states),
        }
    }
    entity_state::queries::save(conn, &states).await?;
    let applied = positions.into_iter().max().unwrap_or_default();
    fact::queries::set_position(conn, position, Some(applied)).await?;
    Ok(answers)
}

fn judge(
    new: &NewLabel,
    transfer: Option<&LoggedTransfer>,
    before: Option<&Newest>,
    source: LabelSource,
    labelled_by: UserId,
) -> Labelled {
    let Some(transfer) = transfer else {
        return Labelled::UnknownTransfer;
    };
    let holders = [transfer.debit_holder_id, transfer.credit_holder_id];
    let is_party = holders.contains(&Some(labelled_by));
    let is_partner = source == LabelSource::Partner;
    match before {
        _ if is_partner && !is_party => Labelled::UnknownTransfer,
        _ if is_party && !is_partner => Labelled::OwnTransfer,
        Some(before) if before.fraud == new.fraud => Labelled::Unchanged,
        Some(before) if is_partner && before.source.is_ours() => Labelled::Overruled,
        _ => Labelled::Added,
    }
}

/// What counts of a transfer.
struct Newest {
    fraud: bool,
    source: LabelSource,
    /// Of the transfer, as it was known then.
    occurred_at: DateTime<Utc>,
}

async fn newest(
    conn: &mut AsyncPgConnection,
    ids: &[TransferId],
) -> QueryResult<HashMap<TransferId, Newest>> {
    type Row = (TransferId, bool, String, DateTime<Utc>);
    let rows: Vec<Row> = labels::table
        .filter(labels::transfer_id.eq_any(ids))
        .distinct_on(labels::transfer_id)
        .order((labels::transfer_id, labels::position.desc()))
        .select((
            labels::transfer_id,
            labels::fraud,
            labels::source,
            labels::occurred_at,
        ))
        .load(conn)
        .await?;
    let parse = |(id, fraud, word, occurred_at): Row| {
        let source = source_of(&word);
        (
            id,
            Newest {
                fraud,
                source,
                occurred_at,
            },
        )
    };
    Ok(rows.into_iter().map(parse).collect())
}

/// A CHECK keeps the column to the words.
fn source_of(word: &str) -> LabelSource {
    let found = LabelSource::ALL.into_iter().find(|it| it.word() == word);
    found.unwrap_or(LabelSource::Analyst)
}

/// Whether each of these transfers was fraud, by the newest label that it has.
pub async fn newest_of(
    conn: &mut AsyncPgConnection,
    ids: &[TransferId],
) -> QueryResult<HashMap<TransferId, bool>> {
    let newest = newest(conn, ids).await?;
    Ok(newest.into_iter().map(|(id, it)| (id, it.fraud)).collect())
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
        source: source_of(&word),
        known_at,
        labelled_by,
    };
    Ok(rows.into_iter().map(parse).collect())
}
