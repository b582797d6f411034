//! The scores that were given: written once, never changed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Binary, Double, Int2, Int8, Jsonb, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::{Decision, Score, ScoreRequest};
use shared::id::{AccountId, TransferId};

use super::vector;
use crate::feature::Vector;
use crate::origin::HashedOrigin;
use crate::schema::scores;

/// What decisions were made from: the requests, and a vector for each.
pub struct Evidence<'a> {
    pub requests: &'a [ScoreRequest],
    pub vectors: &'a [Vector],
    pub probabilities: Vec<f64>,
    /// The SHA-256 of the model that gave them.
    pub model: &'a str,
    /// The position in the log that they stand at.
    pub applied: i64,
}

/// Stores the scores of transfers, each with its debit account and origin, and tells how many were new.
///
/// The commit does not wait for the disk, since this is in the path of every payment. A transfer that relied on a score
/// commits after it, and while both are in one PostgreSQL server that commit brings the score to the disk with it.
pub async fn insert(
    conn: &mut AsyncPgConnection,
    rules_version: i64,
    accounts: Vec<AccountId>,
    origins: &[HashedOrigin],
    scores: &[Score],
    evidence: Evidence<'_>,
) -> QueryResult<usize> {
    let decision = |score: &Score| match score.decision {
        Decision::Allow => "allow",
        Decision::Review => "review",
        Decision::Block => "block",
    };
    let reasons = scores.iter().map(|score| serde_json::to_value(&score.reasons));
    InsertScores {
        rules_version,
        accounts,
        transfers: scores.iter().map(|score| score.transfer_id).collect(),
        scores: scores
            .iter()
            .map(|score| i16::try_from(score.score).unwrap_or(i16::MAX))
            .collect(),
        decisions: scores.iter().map(decision).collect(),
        reasons: reasons
            .collect::<Result<_, _>>()
            .map_err(|error| diesel::result::Error::SerializationError(Box::new(error)))?,
        devices: origins.iter().map(|origin| origin.device).collect(),
        addresses: origins.iter().map(|origin| origin.address).collect(),
        applied: evidence.applied,
        model: evidence.model.to_owned(),
        probabilities: evidence.probabilities,
        vectors: evidence.vectors.iter().map(vector::encode).collect(),
        times: evidence
            .requests
            .iter()
            .map(|request| request.requested_at)
            .collect(),
    }
    .execute(conn)
    .await
}

/// One statement whatever the number of rows, so that it is prepared once: diesel's own batch insert and `sql_query` are
/// prepared each time.
#[derive(QueryId)]
struct InsertScores {
    rules_version: i64,
    transfers: Vec<TransferId>,
    accounts: Vec<AccountId>,
    scores: Vec<i16>,
    decisions: Vec<&'static str>,
    reasons: Vec<serde_json::Value>,
    devices: Vec<Option<uuid::Uuid>>,
    addresses: Vec<Option<uuid::Uuid>>,
    applied: i64,
    model: String,
    probabilities: Vec<f64>,
    vectors: Vec<Vec<u8>>,
    times: Vec<DateTime<Utc>>,
}

impl QueryFragment<Pg> for InsertScores {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH unflushed AS (SELECT set_config('synchronous_commit', 'off', true)) \
             INSERT INTO scores (rules_version, transfer_id, account_id, score, decision, reasons, device, \
             address, vector, requested_at, probability, applied, model) \
             SELECT ",
        );
        out.push_bind_param::<Int8, _>(&self.rules_version)?;
        out.push_sql(", batch.*, ");
        out.push_bind_param::<Int8, _>(&self.applied)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.model)?;
        out.push_sql(" FROM unflushed, unnest(");
        out.push_bind_param::<Array<Uuid>, _>(&self.transfers)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.accounts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Int2>, _>(&self.scores)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.decisions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&self.reasons)?;
        for column in [&self.devices, &self.addresses] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Uuid>>, _>(column)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.vectors)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Double>, _>(&self.probabilities)?;
        // In one order everywhere, so that two batches with the same transfers wait for each other and do not deadlock.
        out.push_sql(
            ") AS batch (transfer_id) ORDER BY batch.transfer_id ON CONFLICT (transfer_id) DO NOTHING",
        );
        Ok(())
    }
}

/// The scores of those transfers that were scored before.
pub async fn find(
    conn: &mut AsyncPgConnection,
    transfer_ids: &[TransferId],
) -> QueryResult<HashMap<TransferId, Score>> {
    type Row = (TransferId, i16, String, serde_json::Value);
    let rows: Vec<Row> = scores::table
        .filter(scores::transfer_id.eq_any(transfer_ids))
        .select((
            scores::transfer_id,
            scores::score,
            scores::decision,
            scores::reasons,
        ))
        .load(conn)
        .await?;
    let parse = |(transfer_id, score, decision, reasons): Row| {
        let score = Score {
            transfer_id,
            score: u16::try_from(score)?,
            decision: serde_json::from_value(decision.into())?,
            reasons: serde_json::from_value(reasons)?,
        };
        Ok((transfer_id, score))
    };
    rows.into_iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(diesel::result::Error::DeserializationError)
}
