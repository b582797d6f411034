//! Scoring a batch before it is posted.

use std::collections::HashMap;
use std::time::Instant;

use actix_web::{post, web};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::clients::ml::{Decision, Score, ScoreRequest, Scores};
use shared::id::TransferId;
use shared::{Amount, ApiError, Origin, ServiceCaller, json};

use super::judgement::add_model;
use super::queries::{self, Evidence};
use super::{apply_lists, count_shadow_hits, listed_before, score_batch, subjects};
use crate::entity_state::{Snapshot, event_of_request};
use crate::feature::{Event, Vector, features};
use crate::list;
use crate::state::State;
use crate::{account_state, entity_state};

const MAX_TRANSFERS: usize = 1024;

/// A [`ScoreBatch`](shared::clients::ml::ScoreBatch) whose transfers are read one by one: what is wrong with one is no reason to
/// leave the others without a score.
#[derive(Deserialize)]
pub struct ReceivedBatch {
    transfers: Vec<Box<RawValue>>,
    #[serde(default)]
    dry_run: bool,
}

/// Scores the transfers of a batch before they are posted. Repeating it answers what was answered first.
#[post("/internal/scores")]
pub async fn score_transfers(
    caller: ServiceCaller,
    state: web::Data<State>,
    batch: web::Json<ReceivedBatch>,
) -> Result<web::Json<Scores>, ApiError> {
    caller.require(&[shared::clients::transactions::SERVICE])?;
    let started = Instant::now();
    let ReceivedBatch { transfers, dry_run } = batch.into_inner();
    if transfers.len() > MAX_TRANSFERS {
        return Err(ApiError::bad_request(
            "batch_too_large",
            format!("A batch has at most {MAX_TRANSFERS} transfers."),
        ));
    }
    let transfers = scorable(&transfers);
    let rules = state.rules.in_force()?;
    let accounts: Vec<_> = transfers
        .iter()
        .map(|transfer| transfer.debit_account_id)
        .collect();
    let mut conn = state.db.connection().await?;
    let origins = hash_origins(&transfers, |origin| state.origin_key.hash(origin))?;
    let former = hash_origins(&transfers, |origin| state.origin_key.former_hashes(origin))?;
    let events: Vec<Event> = transfers
        .iter()
        .zip(&origins)
        .map(|(transfer, origin)| event_of_request(transfer, *origin))
        .collect();
    let habits = account_state::queries::find(&mut conn, &accounts).await?;
    let Snapshot { states, applied } = entity_state::queries::load(&mut conn, &events).await?;
    let vectors: Vec<Vector> = events.iter().map(|event| features(event, &states)).collect();
    let in_use = state.models.in_use();
    let mut scores = score_batch(&transfers, &habits, &rules);
    let probabilities = add_model(&mut scores, &transfers, &vectors, &in_use, rules.policy);
    let subjects: Vec<_> = transfers
        .iter()
        .zip(origins.iter().zip(&former))
        .map(|(it, (origin, former))| subjects(it, former.iter().chain([origin]).copied()))
        .collect();
    let listed = list::queries::matching(&mut conn, subjects.iter().flatten().copied()).await?;
    for (score, subjects) in scores.iter_mut().zip(&subjects) {
        apply_lists(score, subjects, &listed, rules.policy);
    }
    if !dry_run {
        let evidence = Evidence {
            requests: &transfers,
            vectors: &vectors,
            probabilities,
            model: in_use.champion.hash(),
            applied,
        };
        let inserted =
            queries::insert(&mut conn, rules.version, accounts, &origins, &scores, evidence).await?;
        if inserted < scores.len() {
            let ids: Vec<_> = scores.iter().map(|score| score.transfer_id).collect();
            answer_as_before(&mut scores, &queries::find(&mut conn, &ids).await?);
        }
        for (origin, former) in origins.iter().zip(&former) {
            for (subject, hash) in listed_before(*origin, former, &listed) {
                list::queries::rehash(&mut conn, subject, hash).await?;
            }
        }
        count_decisions(&scores);
        if !in_use.shadows.is_empty() {
            let ids = transfers.iter().map(|transfer| transfer.transfer_id);
            state.shadows.offer(ids.zip(vectors).collect());
        }
        // Apart from this thread: a proposal of one person slows no payment down.
        if inserted == scores.len() && !rules.shadow.is_empty() {
            tokio::task::spawn_blocking(move || count_shadow_hits(&transfers, &habits, &rules));
        }
    }
    let took = started.elapsed();
    metrics::histogram!("fraud_scoring_duration_seconds").record(took);
    state.latency.record(Instant::now(), took);
    Ok(web::Json(Scores { scores }))
}

/// Nothing absurd reaches the rules or the model. Who gets no score goes by the fallback policy; the others have theirs.
fn scorable(received: &[Box<RawValue>]) -> Vec<ScoreRequest> {
    let parse = |raw: &RawValue| -> Result<ScoreRequest, String> {
        let transfer: ScoreRequest =
            serde_json::from_str(raw.get()).map_err(|error| json::place_of(&error))?;
        let amount = Amount::try_from(transfer.amount);
        amount.map(|_| transfer).map_err(|error| error.to_string())
    };
    let mut transfers = Vec::with_capacity(received.len());
    for raw in received {
        match parse(raw) {
            Ok(transfer) => transfers.push(transfer),
            Err(problem) => {
                metrics::counter!("fraud_unscorable_total").increment(1);
                tracing::error!(%problem, "a transfer that cannot be scored");
            }
        }
    }
    transfers
}

fn hash_origins<T: Default>(
    transfers: &[ScoreRequest],
    hash: impl Fn(&Origin) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    let hash = |transfer: &ScoreRequest| match &transfer.origin {
        Some(origin) => hash(origin),
        None => Ok(T::default()),
    };
    transfers.iter().map(hash).collect()
}

fn answer_as_before(scores: &mut [Score], stored: &HashMap<TransferId, Score>) {
    for score in scores {
        if let Some(stored) = stored.get(&score.transfer_id) {
            score.clone_from(stored);
        }
    }
}

fn count_decisions(scores: &[Score]) {
    for (decision, label) in [
        (Decision::Allow, "allow"),
        (Decision::Review, "review"),
        (Decision::Block, "block"),
    ] {
        let count = scores.iter().filter(|score| score.decision == decision).count();
        metrics::counter!("fraud_decisions_total", "decision" => label)
            .increment(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
