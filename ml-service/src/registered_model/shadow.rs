//! Shadows: models that score what the champion has scored, after the answer, and decide nothing. What they cannot keep up
//! with is dropped and counted; nobody waits for them.

use std::sync::Arc;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Double, Uuid};
use diesel_async::RunQueryDsl;
use shared::id::{ModelId, TransferId};
use shared::{ApiError, Db};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::book::ModelBook;
use crate::feature::Vector;

/// Batches that may wait.
const QUEUE_LENGTH: usize = 64;

/// What was scored.
pub type Batch = Vec<(TransferId, Vector)>;

#[derive(Clone)]
pub struct ShadowQueue(mpsc::Sender<Batch>);

impl ShadowQueue {
    pub fn new() -> (Self, mpsc::Receiver<Batch>) {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        (Self(sender), receiver)
    }

    /// Has the shadows score it, if they have time.
    pub fn offer(&self, batch: Batch) {
        let size = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if self.0.try_send(batch).is_err() {
            metrics::counter!("fraud_shadow_dropped_total").increment(size);
        }
    }
}

/// Scores what comes until `shutdown`.
pub async fn run(mut waiting: mpsc::Receiver<Batch>, db: Db, book: ModelBook, shutdown: CancellationToken) {
    loop {
        let batch = tokio::select! {
            () = shutdown.cancelled() => return,
            batch = waiting.recv() => batch,
        };
        let Some(batch) = batch else { return };
        let (transfers, vectors): (Vec<TransferId>, Vec<Vector>) = batch.into_iter().unzip();
        let vectors = Arc::new(vectors);
        for (id, model) in &book.in_use().shadows {
            let (model, vectors) = (Arc::clone(model), Arc::clone(&vectors));
            let score = move || {
                vectors
                    .iter()
                    .map(|vector| model.probability(&vector.0))
                    .collect()
            };
            let stored = match tokio::task::spawn_blocking(score).await {
                Ok(probabilities) => store(&db, *id, transfers.clone(), probabilities).await,
                Err(error) => Err(ApiError::internal(error)),
            };
            if let Err(error) = stored {
                tracing::warn!(error = %error, "what a shadow said is not kept");
            }
        }
    }
}

async fn store(
    db: &Db,
    model: ModelId,
    transfers: Vec<TransferId>,
    probabilities: Vec<f64>,
) -> Result<(), ApiError> {
    let mut conn = db.connection().await?;
    let insert = InsertShadowScores {
        model,
        transfers,
        probabilities,
    };
    insert.execute(&mut *conn).await?;
    Ok(())
}

/// One statement whatever the number of rows, so that it is prepared once.
#[derive(QueryId)]
struct InsertShadowScores {
    model: ModelId,
    transfers: Vec<TransferId>,
    probabilities: Vec<f64>,
}

impl QueryFragment<Pg> for InsertShadowScores {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH unflushed AS (SELECT set_config('synchronous_commit', 'off', true)) \
             INSERT INTO shadow_scores (model_id, transfer_id, probability) SELECT ",
        );
        out.push_bind_param::<Uuid, _>(&self.model)?;
        out.push_sql(", batch.* FROM unflushed, unnest(");
        out.push_bind_param::<Array<Uuid>, _>(&self.transfers)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Double>, _>(&self.probabilities)?;
        out.push_sql(") AS batch (transfer_id) ORDER BY batch.transfer_id ON CONFLICT DO NOTHING");
        Ok(())
    }
}
