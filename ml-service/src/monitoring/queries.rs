//! What monitoring looks at: scores by time, which their transfers' ids begin with, and never more than a bound of them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Double, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::Currency;
use shared::id::{AccountId, ModelId};

use super::{MAX_SCORES, Scored};
use crate::registered_model::queries::first_id_at;
use crate::score::cost::major;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
    #[diesel(sql_type = Uuid)]
    account_id: AccountId,
    #[diesel(sql_type = Double)]
    probability: f64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    amount: i64,
    #[diesel(sql_type = Text)]
    currency: Currency,
    #[diesel(sql_type = Bool)]
    stopped: bool,
    #[diesel(sql_type = Nullable<Bool>)]
    fraud: Option<bool>,
}

/// The newest scores of a time.
pub async fn scored_between(
    conn: &mut AsyncPgConnection,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> QueryResult<Vec<Scored>> {
    let rows: Vec<Row> = sql_query(format!(
        "SELECT transfers.occurred_at AS at, newest.account_id, newest.probability, transfers.amount, transfers.currency,
             newest.decision <> 'allow' AS stopped,
             (SELECT fraud FROM labels WHERE labels.transfer_id = newest.transfer_id ORDER BY position DESC LIMIT 1) AS fraud
         FROM (
             SELECT transfer_id, account_id, probability, decision FROM scores
             WHERE transfer_id >= $1 AND transfer_id < $2 AND probability IS NOT NULL
             ORDER BY transfer_id DESC LIMIT {MAX_SCORES}
         ) AS newest JOIN transfers ON transfers.transfer_id = newest.transfer_id"
    ))
    .bind::<Uuid, _>(first_id_at(from))
    .bind::<Uuid, _>(first_id_at(until + chrono::TimeDelta::seconds(1)))
    .load(conn)
    .await?;
    let scored = rows.into_iter().map(|row| Scored {
        at: row.at,
        account: row.account_id,
        probability: row.probability,
        amount: major(row.amount, row.currency),
        stopped: row.stopped,
        fraud: row.fraud,
    });
    Ok(scored.collect())
}

/// The share of the newest transfers since then that were posted before they had a score, or have none.
pub async fn missing_rate(conn: &mut AsyncPgConnection, since: DateTime<Utc>) -> QueryResult<Option<f64>> {
    #[derive(QueryableByName)]
    struct Missing {
        #[diesel(sql_type = Nullable<Double>)]
        rate: Option<f64>,
    }
    let missing: Missing = sql_query(format!(
        "SELECT avg((scores.transfer_id IS NULL OR (newest.status = 'posted' AND newest.code IS NULL
             AND scores.created_at > newest.occurred_at))::int)::float8 AS rate
         FROM (
             SELECT transfer_id, status, code, occurred_at FROM transfers
             WHERE occurred_at >= $1 AND kind IN ('transfer', 'withdrawal') ORDER BY occurred_at DESC LIMIT {MAX_SCORES}
         ) AS newest LEFT JOIN scores ON scores.transfer_id = newest.transfer_id"
    ))
    .bind::<Timestamptz, _>(since)
    .get_result(conn)
    .await?;
    Ok(missing.rate)
}

/// What the champion and a shadow said of the newest transfers since then, and whether it was a fraud.
pub async fn shadowed_since(
    conn: &mut AsyncPgConnection,
    id: ModelId,
    since: DateTime<Utc>,
) -> QueryResult<Vec<(f64, f64, bool)>> {
    #[derive(QueryableByName)]
    struct Both {
        #[diesel(sql_type = Double)]
        champion: f64,
        #[diesel(sql_type = Double)]
        shadow: f64,
        #[diesel(sql_type = Bool)]
        fraud: bool,
    }
    let rows: Vec<Both> = sql_query(format!(
        "SELECT scores.probability AS champion, newest.probability AS shadow, coalesce(
             (SELECT fraud FROM labels WHERE labels.transfer_id = newest.transfer_id ORDER BY position DESC LIMIT 1),
             false) AS fraud
         FROM (
             SELECT transfer_id, probability FROM shadow_scores
             WHERE transfer_id >= $1 AND model_id = $2 ORDER BY transfer_id DESC LIMIT {MAX_SCORES}
         ) AS newest JOIN scores ON scores.transfer_id = newest.transfer_id
         WHERE scores.probability IS NOT NULL"
    ))
    .bind::<Uuid, _>(first_id_at(since))
    .bind::<Uuid, _>(id)
    .load(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| (it.champion, it.shadow, it.fraud))
        .collect())
}
