//! Reading what was answered about a transfer.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{AccountId, TransferId};

use super::ExplainedScore;
use crate::schema::scores;
use crate::score::vector;

#[derive(HasQuery)]
#[diesel(table_name = scores)]
struct ScoreRow {
    account_id: AccountId,
    score: i16,
    decision: String,
    reasons: serde_json::Value,
    rules_version: i64,
    created_at: DateTime<Utc>,
    device: Option<uuid::Uuid>,
    address: Option<uuid::Uuid>,
    probability: Option<f64>,
    model: Option<String>,
    applied: Option<i64>,
    vector: Option<Vec<u8>>,
}

impl ScoreRow {
    fn explain(self) -> anyhow::Result<ExplainedScore> {
        let vector = self.vector.as_deref().and_then(vector::decode);
        let known = |value: f64| (!value.is_nan()).then_some(value);
        Ok(ExplainedScore {
            account_id: self.account_id,
            score: u16::try_from(self.score)?,
            decision: serde_json::from_value(self.decision.into())?,
            reasons: serde_json::from_value(self.reasons)?,
            rules_version: self.rules_version,
            scored_at: self.created_at,
            device_known: self.device.is_some(),
            address_known: self.address.is_some(),
            probability: self.probability,
            model: self.model,
            position: self.applied,
            features: vector.map(|it| it.named().map(|(name, value)| (name, known(value))).collect()),
        })
    }
}

/// The score of a transfer, if it has one.
pub async fn find_score(
    conn: &mut AsyncPgConnection,
    id: TransferId,
) -> Result<Option<ExplainedScore>, ApiError> {
    let row = ScoreRow::query()
        .filter(scores::transfer_id.eq(id))
        .first(conn)
        .await
        .optional()?;
    row.map(ScoreRow::explain).transpose().map_err(ApiError::internal)
}
