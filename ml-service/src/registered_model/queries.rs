//! The registry in the database.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::{ModelId, TransferId, UserId};
use shared::{ApiError, Currency, Page};
use uuid::Uuid;

use super::gate::{Decided, Gate};
use super::{ModelStatus, Promotion, RegisteredModel};
use crate::label;
use crate::model::Model;
use crate::schema::{model_promotions, models, scores, transfers};
use crate::score::vector;

type ModelRow = (ModelId, String, String, serde_json::Value, UserId, DateTime<Utc>);

fn parse_status(word: String) -> Result<ModelStatus, ApiError> {
    serde_json::from_value(word.into()).map_err(ApiError::internal)
}

fn parse(
    (id, sha256, status, card, registered_by, registered_at): ModelRow,
) -> Result<RegisteredModel, ApiError> {
    Ok(RegisteredModel {
        id,
        sha256,
        status: parse_status(status)?,
        card,
        registered_by,
        registered_at,
    })
}

/// A page of the registry, newest first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    after: Option<ModelId>,
    limit: shared::page::Limit,
) -> Result<Page<RegisteredModel>, ApiError> {
    let mut query = models::table
        .select((
            models::id,
            models::sha256,
            models::status,
            models::card,
            models::registered_by,
            models::registered_at,
        ))
        .order(models::id.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(models::id.lt(after));
    }
    let rows: Vec<ModelRow> = query.load(conn).await?;
    let rows = rows.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::new(rows, limit, |model| model.id))
}

pub async fn find(conn: &mut AsyncPgConnection, id: ModelId) -> Result<RegisteredModel, ApiError> {
    let row: Option<ModelRow> = models::table
        .find(id)
        .select((
            models::id,
            models::sha256,
            models::status,
            models::card,
            models::registered_by,
            models::registered_at,
        ))
        .first(conn)
        .await
        .optional()?;
    row.map_or_else(|| Err(ApiError::not_found("There is no such model.")), parse)
}

/// The same, locked until the transaction ends: its status may be changed.
pub async fn lock(conn: &mut AsyncPgConnection, id: ModelId) -> Result<RegisteredModel, ApiError> {
    let locked: Option<ModelId> = models::table
        .find(id)
        .select(models::id)
        .for_update()
        .first(conn)
        .await
        .optional()?;
    locked.ok_or_else(|| ApiError::not_found("There is no such model."))?;
    find(conn, id).await
}

/// Puts a model into the registry, unless it is there; tells its id.
pub async fn insert(
    conn: &mut AsyncPgConnection,
    model: &Model,
    artefact: &[u8],
    registered_by: UserId,
) -> Result<(ModelId, bool), ApiError> {
    let card = serde_json::to_value(model.card()).map_err(ApiError::internal)?;
    let inserted: Option<ModelId> = diesel::insert_into(models::table)
        .values((
            models::id.eq(ModelId::new()),
            models::sha256.eq(model.hash()),
            models::artefact.eq(artefact),
            models::card.eq(card),
            models::registered_by.eq(registered_by),
        ))
        .on_conflict(models::sha256)
        .do_nothing()
        .returning(models::id)
        .get_result(conn)
        .await
        .optional()?;
    if let Some(id) = inserted {
        return Ok((id, true));
    }
    let known = models::table
        .filter(models::sha256.eq(model.hash()))
        .select(models::id)
        .first(conn)
        .await?;
    Ok((known, false))
}

pub async fn artefact(conn: &mut AsyncPgConnection, id: ModelId) -> QueryResult<Vec<u8>> {
    models::table.find(id).select(models::artefact).first(conn).await
}

/// The model itself, checked as when it was brought.
pub async fn load(conn: &mut AsyncPgConnection, id: ModelId) -> Result<Model, ApiError> {
    Model::load(&artefact(conn, id).await?).map_err(ApiError::internal)
}

/// The champion and the shadows.
pub async fn in_use(conn: &mut AsyncPgConnection) -> Result<Vec<(ModelId, ModelStatus)>, ApiError> {
    let rows: Vec<(ModelId, String)> = models::table
        .filter(models::status.eq_any(["champion", "shadow"]))
        .order(models::id)
        .select((models::id, models::status))
        .load(conn)
        .await?;
    rows.into_iter()
        .map(|(id, status)| Ok((id, parse_status(status)?)))
        .collect()
}

pub async fn champion(conn: &mut AsyncPgConnection) -> QueryResult<Option<ModelId>> {
    models::table
        .filter(models::status.eq("champion"))
        .select(models::id)
        .first(conn)
        .await
        .optional()
}

/// How many models watch.
pub async fn shadows(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    models::table
        .filter(models::status.eq(ModelStatus::Shadow.word()))
        .count()
        .get_result(conn)
        .await
}

pub async fn set_status(conn: &mut AsyncPgConnection, id: ModelId, status: ModelStatus) -> QueryResult<()> {
    diesel::update(models::table.find(id))
        .set(models::status.eq(status.word()))
        .execute(conn)
        .await?;
    Ok(())
}

type PromotionRow = (
    i64,
    ModelId,
    serde_json::Value,
    UserId,
    DateTime<Utc>,
    Option<UserId>,
    Option<DateTime<Utc>>,
);

fn parse_promotion(row: PromotionRow) -> Result<(i64, Promotion), ApiError> {
    let (number, model_id, gate, proposed_by, proposed_at, approved_by, approved_at) = row;
    let promotion = Promotion {
        model_id,
        gate: serde_json::from_value(gate).map_err(ApiError::internal)?,
        proposed_by,
        proposed_at,
        approved_by,
        approved_at,
    };
    Ok((number, promotion))
}

/// Lets one change of the champion in at a time, until the transaction ends. It comes before the lock of a model.
pub async fn lock_champion(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock(hashtext('ml.champion'))")
        .execute(conn)
        .await?;
    Ok(())
}

/// The promotion of a model that waits for a second person.
pub async fn open_promotion(
    conn: &mut AsyncPgConnection,
    id: ModelId,
) -> Result<Option<(i64, Promotion)>, ApiError> {
    let row: Option<PromotionRow> = model_promotions::table
        .filter(model_promotions::model_id.eq(id))
        .filter(model_promotions::approved_by.is_null())
        .select((
            model_promotions::number,
            model_promotions::model_id,
            model_promotions::gate,
            model_promotions::proposed_by,
            model_promotions::proposed_at,
            model_promotions::approved_by,
            model_promotions::approved_at,
        ))
        .for_update()
        .first(conn)
        .await
        .optional()?;
    row.map(parse_promotion).transpose()
}

pub async fn propose(
    conn: &mut AsyncPgConnection,
    id: ModelId,
    gate: &Gate,
    proposed_by: UserId,
) -> Result<(), ApiError> {
    let gate = serde_json::to_value(gate).map_err(ApiError::internal)?;
    diesel::insert_into(model_promotions::table)
        .values((
            model_promotions::model_id.eq(id),
            model_promotions::gate.eq(gate),
            model_promotions::proposed_by.eq(proposed_by),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn approve(
    conn: &mut AsyncPgConnection,
    number: i64,
    replaced: Option<ModelId>,
    approved_by: UserId,
) -> QueryResult<Promotion> {
    diesel::update(model_promotions::table.find(number))
        .set((
            model_promotions::replaced.eq(replaced),
            model_promotions::approved_by.eq(approved_by),
            model_promotions::approved_at.eq(diesel::dsl::now),
        ))
        .execute(conn)
        .await?;
    let row: PromotionRow = model_promotions::table
        .find(number)
        .select((
            model_promotions::number,
            model_promotions::model_id,
            model_promotions::gate,
            model_promotions::proposed_by,
            model_promotions::proposed_at,
            model_promotions::approved_by,
            model_promotions::approved_at,
        ))
        .first(conn)
        .await?;
    parse_promotion(row)
        .map(|(_, promotion)| promotion)
        .map_err(|error| diesel::result::Error::DeserializationError(error.to_string().into()))
}

/// Notes that the newest promotion in force is undone; tells which model decided before it.
pub async fn take_back(conn: &mut AsyncPgConnection, champion: ModelId) -> QueryResult<Option<ModelId>> {
    let (number, replaced): (i64, Option<ModelId>) = model_promotions::table
        .filter(model_promotions::model_id.eq(champion))
        .filter(model_promotions::approved_by.is_not_null())
        .filter(model_promotions::rolled_back_at.is_null())
        .order(model_promotions::number.desc())
        .select((model_promotions::number, model_promotions::replaced))
        .for_update()
        .first(conn)
        .await?;
    diesel::update(model_promotions::table.find(number))
        .set(model_promotions::rolled_back_at.eq(diesel::dsl::now))
        .execute(conn)
        .await?;
    Ok(replaced)
}

/// When the newest transfer happened of those that were labelled lately.
pub async fn newest_labelled(conn: &mut AsyncPgConnection) -> QueryResult<Option<DateTime<Utc>>> {
    #[derive(QueryableByName)]
    struct Newest {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        at: Option<DateTime<Utc>>,
    }
    let newest: Newest = sql_query(
        "SELECT max(occurred_at) AS at FROM (SELECT occurred_at FROM labels ORDER BY position DESC LIMIT 1000) AS newest",
    )
    .get_result(conn)
    .await?;
    Ok(newest.at)
}

/// The smallest id of a transfer that was made at that time: ids begin with it.
pub fn first_id_at(at: DateTime<Utc>) -> TransferId {
    let milliseconds = u128::try_from(at.timestamp_millis()).unwrap_or(0);
    TransferId::from_uuid(Uuid::from_u128(milliseconds << 80))
}

/// What was decided in a time with the vectors of these features, and whether it was fraud: of the newest up to `limit`, which begin
/// at the moment that is told too.
pub async fn decided_between(
    conn: &mut AsyncPgConnection,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<(DateTime<Utc>, Vec<Decided>), ApiError> {
    const PAGE: i64 = 10_000;
    let first = first_id_at(from);
    let mut before = first_id_at(until + chrono::TimeDelta::seconds(1));
    let mut decided = Vec::new();
    let mut left = limit;
    while left > 0 {
        type Row = (TransferId, Option<Vec<u8>>, i64, Currency);
        let rows: Vec<Row> = scores::table
            .inner_join(transfers::table.on(transfers::transfer_id.eq(scores::transfer_id)))
            .filter(scores::transfer_id.ge(first))
            .filter(scores::transfer_id.lt(before))
            .order(scores::transfer_id.desc())
            .limit(PAGE.min(left))
            .select((
                scores::transfer_id,
                scores::vector,
                transfers::amount,
                transfers::currency,
            ))
            .load(conn)
            .await?;
        let Some((last, ..)) = rows.last() else {
            return Ok((from, decided));
        };
        before = *last;
        left = left.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let ids: Vec<TransferId> = rows.iter().map(|(id, ..)| *id).collect();
        let labels = label::queries::newest_of(conn, &ids).await?;
        decided.extend(rows.into_iter().filter_map(|(id, bytes, amount, currency)| {
            Some(Decided {
                vector: vector::decode(bytes.as_deref()?)?,
                amount,
                currency,
                fraud: labels.get(&id).copied().unwrap_or(false),
            })
        }));
    }
    Ok((time_of_id(before).unwrap_or(from), decided))
}

fn time_of_id(id: TransferId) -> Option<DateTime<Utc>> {
    let milliseconds = i64::try_from(id.uuid().as_u128() >> 80).ok()?;
    DateTime::from_timestamp_millis(milliseconds)
}

/// What a shadow said about a transfer.
pub async fn shadow_scores_of(
    conn: &mut AsyncPgConnection,
    transfer: TransferId,
) -> QueryResult<Vec<(ModelId, f64)>> {
    use crate::schema::shadow_scores;
    shadow_scores::table
        .filter(shadow_scores::transfer_id.eq(transfer))
        .order(shadow_scores::model_id)
        .select((shadow_scores::model_id, shadow_scores::probability))
        .load(conn)
        .await
}
