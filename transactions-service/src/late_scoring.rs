//! Scores for transfers that posted without one because `ml-service` was late or away.
//!
//! What turns out suspicious cannot be stopped any more; it becomes a `transfer.flagged` fact.

use std::collections::HashMap;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Json, Jsonb, SmallInt, Text, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::{Score, ScoreBatch};
use shared::id::{EventId, TransferId};
use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

use crate::lane::{Scorer, decision_word};
use crate::schema::transfers;
use crate::transfer::TransferRecord;
use crate::transfer::queries::TransferRow;

const BATCH: i64 = 256;
const PAUSE: Duration = Duration::from_secs(2);
/// Nobody waits for these scores.
const DEADLINE: Duration = Duration::from_secs(5);

pub async fn run(db: Db, scorer: Scorer, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = score_once(&db, &scorer).await {
            tracing::debug!(error = %error, "late scoring waits for better times");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Scores one batch. Running twice, or on two replicas, stores the same scores and one flag each.
async fn score_once(db: &Db, scorer: &Scorer) -> Result<(), ApiError> {
    let mut conn = db.connection().await?;
    let rows = find_unscored(&mut conn).await?;
    drop(conn);
    if rows.is_empty() {
        return Ok(());
    }
    let mut transfers = Vec::with_capacity(rows.len());
    for row in &rows {
        transfers.extend(row.clone().into_order()?.score_request(row.created_at, None));
    }
    let batch = ScoreBatch {
        transfers,
        dry_run: false,
    };
    let scores = scorer.ml.score(&batch, DEADLINE).await?.scores;
    let mut scores: HashMap<TransferId, Score> = scores
        .into_iter()
        .map(|score| (score.transfer_id, score))
        .collect();
    let mut conn = db.connection().await?;
    for row in rows {
        if let Some(score) = scores.remove(&row.id) {
            store(&mut conn, &row.into_record(false)?, &score).await?;
            metrics::counter!("fraud_late_scores_total").increment(1);
        }
    }
    Ok(())
}

pub async fn find_unscored(conn: &mut AsyncPgConnection) -> QueryResult<Vec<TransferRow>> {
    TransferRow::query()
        // As literals: a partial index serves only what its condition is seen to imply.
        .filter(sql::<Bool>(
            "risk_decision IS NULL AND kind IN ('transfer', 'withdrawal')",
        ))
        .order(transfers::id)
        .limit(BATCH)
        .load(conn)
        .await
}

/// One statement, so the score and the flag are stored together and only by whoever is first.
const STORE: &str = "
    WITH scored AS (
        UPDATE transfers SET risk_score = $2, risk_decision = $3, risk_reasons = $4
        WHERE id = $1 AND risk_decision IS NULL RETURNING id
    )
    INSERT INTO outbox (id, kind, transfer_id, payload, created_at)
    SELECT $5, 'transfer.flagged', id, $6, now() FROM scored WHERE $3 <> 'allow'";

async fn store(conn: &mut AsyncPgConnection, record: &TransferRecord, score: &Score) -> Result<(), ApiError> {
    let reasons = serde_json::to_value(&score.reasons).map_err(ApiError::internal)?;
    let payload = serde_json::to_value(record).map_err(ApiError::internal)?;
    sql_query(STORE)
        .bind::<Uuid, _>(record.id)
        .bind::<SmallInt, _>(i16::try_from(score.score).map_err(ApiError::internal)?)
        .bind::<Text, _>(decision_word(score.decision))
        .bind::<Jsonb, _>(reasons)
        .bind::<Uuid, _>(EventId::new())
        .bind::<Json, _>(payload)
        .execute(conn)
        .await?;
    Ok(())
}
