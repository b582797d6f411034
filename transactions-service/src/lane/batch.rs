//! One batch of a lane, from the queue to the replies.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use shared::clients::ml::{Score, ScoreBatch, ScoreRequest};
use shared::id::{EventId, HoldId, TransferId};
use shared::idempotency::key_reused;
use shared::trace::Span;
use shared::{ApiError, Outcome};

use super::store::{Store, StoreError};
use super::writes::{
    HoldChange, NewEvent, NewHold, NewKey, NewTransfer, Opened, ReviewOutcome, StoredKey, Writes,
};
use super::{Answer, Job, Scorer, Work, outcome_unknown};
use crate::book::{Book, Refusal, Scoring, Verdict};
use crate::transfer::{
    BLOCKED_BY_RISK, REJECTED_IN_REVIEW, ReviewDecision, Risk, TransferKind, TransferOrder, TransferRecord,
    TransferStatus,
};

/// How often a batch is tried when its connection breaks or another lane claims one of its keys first.
const MAX_ATTEMPTS: u32 = 4;

/// A request with its fraud score, if one was asked for and came in time.
pub(super) struct ScoredJob {
    job: Job,
    score: Option<Score>,
}

/// One call for the whole batch. Without an answer in time there are no scores, and the fallback policy decides.
pub(super) async fn score(scorer: &Scorer, jobs: Vec<Job>) -> Vec<ScoredJob> {
    let transfers: Vec<ScoreRequest> = score_requests(&jobs, scorer.clock.now());
    let mut scores = if transfers.is_empty() {
        HashMap::new()
    } else {
        let span = Span::of_batch("score_batch", jobs.iter().filter_map(|job| job.context.as_ref()));
        span.run(ask(scorer, transfers)).await
    };
    let scored = |job: Job| ScoredJob {
        score: scores.remove(&job.work.order().id),
        job,
    };
    jobs.into_iter().map(scored).collect()
}

fn score_requests(jobs: &[Job], requested_at: DateTime<Utc>) -> Vec<ScoreRequest> {
    let to_score = jobs.iter().filter_map(|job| match &job.work {
        Work::Post(order) if order.kind != TransferKind::Deposit => Some(order),
        Work::Post(_) | Work::Decide(_) => None,
    });
    to_score
        .map(|order| ScoreRequest {
            transfer_id: order.id,
            debit_account_id: order.debit_account_id,
            credit_account_id: order.credit_account_id,
            amount: order.amount.minor(),
            currency: order.currency,
            requested_at,
        })
        .collect()
}

async fn ask(scorer: &Scorer, transfers: Vec<ScoreRequest>) -> HashMap<TransferId, Score> {
    let started = Instant::now();
    let answer = scorer.ml.score(&ScoreBatch { transfers }, scorer.deadline).await;
    metrics::histogram!("lane_score_duration_seconds").record(started.elapsed());
    match answer {
        Ok(scores) => scores
            .scores
            .into_iter()
            .map(|score| (score.transfer_id, score))
            .collect(),
        Err(error) => {
            metrics::counter!("lane_scores_missed_total").increment(1);
            tracing::warn!(error = %error, "no fraud scores in time; the fallback policy decides");
            HashMap::new()
        }
    }
}

/// Decides a batch. One that the database rejects is split in halves until the culprit stands alone, so that a single
/// bad request harms nobody else.
pub(super) async fn decide_all(store: &mut Store, unscored_post_limit: i64, jobs: Vec<ScoredJob>) {
    metrics::histogram!("lane_batch_size").record(f64::from(u32::try_from(jobs.len()).unwrap_or(u32::MAX)));
    let mut waiting = vec![jobs];
    while let Some(mut jobs) = waiting.pop() {
        let requests = jobs.iter().filter_map(|scored| scored.job.context.as_ref());
        let mut span = Span::of_batch("lane_batch", requests);
        span.set("batch.size", || i64::try_from(jobs.len()).unwrap_or(i64::MAX));
        let decided = span
            .run(decide_with_retry(store, unscored_post_limit, &jobs))
            .await;
        drop(span);
        match decided {
            Ok(answers) => {
                for (ScoredJob { job, .. }, answer) in jobs.into_iter().zip(answers) {
                    // A caller that has gone away is no reason to stop: its answer is stored under its key.
                    drop(job.reply.send(Ok(answer)));
                }
            }
            Err(StoreError::Rejected(error)) if jobs.len() > 1 => {
                tracing::warn!(error = %error, size = jobs.len(), "the database rejected a batch; splitting it");
                let second_half = jobs.split_off(jobs.len() / 2);
                waiting.push(second_half);
                waiting.push(jobs);
            }
            Err(error) => {
                tracing::error!(error = %error, size = jobs.len(), "a batch was not decided");
                for ScoredJob { job, .. } in jobs {
                    drop(job.reply.send(Err(failure(&error))));
                }
            }
        }
    }
}

fn failure(error: &StoreError) -> ApiError {
    match error {
        StoreError::Unknown(_) => outcome_unknown(),
        StoreError::Connection(_) | StoreError::Conflict(_) => {
            shared::error::database_unavailable(anyhow::anyhow!("{error}")).outcome(Outcome::None)
        }
        StoreError::Rejected(_) => ApiError::internal(anyhow::anyhow!("{error}")).outcome(Outcome::None),
    }
}

async fn decide_with_retry(
    store: &mut Store,
    unscored_post_limit: i64,
    jobs: &[ScoredJob],
) -> Result<Vec<Answer>, StoreError> {
    let mut attempt = 1;
    loop {
        let span = Span::work("post_batch");
        let error = match span.run(decide_once(store, unscored_post_limit, jobs)).await {
            Ok(answers) => return Ok(answers),
            Err(error) => error,
        };
        drop(span);
        if !error.is_retryable() || attempt == MAX_ATTEMPTS {
            return Err(error);
        }
        metrics::counter!("lane_batch_retries_total").increment(1);
        tracing::warn!(error = %error, attempt, "deciding a batch again");
        tokio::time::sleep(Duration::from_millis(20) * attempt * attempt).await;
        attempt += 1;
    }
}

async fn decide_once(
    store: &mut Store,
    unscored_post_limit: i64,
    jobs: &[ScoredJob],
) -> Result<Vec<Answer>, StoreError> {
    let opened = store.open(jobs.iter().map(|scored| &scored.job)).await?;
    let mut batch = Batch::new(opened);
    let answers = jobs
        .iter()
        .map(|job| batch.answer(job, unscored_post_limit))
        .collect();
    let writes = batch.into_writes();
    let started = Instant::now();
    store.commit(&writes).await?;
    metrics::histogram!("lane_commit_duration_seconds").record(started.elapsed());
    for transfer in &writes.transfers {
        metrics::counter!("transfers_total", "kind" => transfer.order.kind.word(), "status" => transfer.record.status.word())
            .increment(1);
    }
    Ok(answers)
}

/// A batch while it is being decided: the locked rows on one side, what is to be written on the other.
struct Batch {
    opened: Opened,
    book: Book,
    writes: Writes,
}

impl Batch {
    fn new(mut opened: Opened) -> Self {
        let book = Book::new(std::mem::take(&mut opened.accounts));
        let writes = Writes {
            xid: opened.xid,
            ..Writes::default()
        };
        Self { opened, book, writes }
    }

    fn answer(&mut self, ScoredJob { job, score }: &ScoredJob, unscored_post_limit: i64) -> Answer {
        let key = (job.claim.owner_id, job.claim.key.clone());
        if let Some(stored) = self.opened.keys.get(&key) {
            if stored.fingerprint == job.claim.fingerprint {
                return Answer {
                    replayed: true,
                    ..stored.answer.clone()
                };
            }
            return problem_answer(job, &key_reused());
        }
        let (transfer_id, result) = match &job.work {
            Work::Post(order) => (
                order.id,
                self.post(order, scoring_of(order, score.as_ref(), unscored_post_limit)),
            ),
            Work::Decide(decision) => (decision.order.id, self.review(decision)),
        };
        let answer = result.unwrap_or_else(|error| problem_answer(job, &error));
        // A repetition later in this batch finds the key like any other repetition.
        let stored = StoredKey {
            fingerprint: job.claim.fingerprint.to_vec(),
            answer: answer.clone(),
        };
        self.opened.keys.insert(key, stored);
        self.writes.keys.push(NewKey {
            claim: job.claim.clone(),
            transfer_id,
            answer: answer.clone(),
        });
        answer
    }

    fn post(&mut self, order: &TransferOrder, scoring: Scoring) -> Result<Answer, ApiError> {
        let now = self.opened.now;
        let verdict = self.book.decide(order, &scoring)?;
        let (status, completed_at) = match verdict {
            Verdict::Posted { .. } => (TransferStatus::Posted, Some(now)),
            Verdict::InReview => (TransferStatus::InReview, None),
            Verdict::Blocked => (TransferStatus::Rejected, Some(now)),
        };
        let mut record = TransferRecord::new(order, status, now, completed_at);
        let mut hold_id = None;
        match verdict {
            Verdict::Posted { debit, credit } => self.writes.add_legs(order, debit, credit),
            Verdict::InReview => {
                let hold = NewHold {
                    id: HoldId::new(),
                    account_id: order.debit_account_id,
                    transfer_id: order.id,
                    amount: order.amount.minor(),
                };
                hold_id = Some(hold.id);
                self.writes.holds.push(hold);
            }
            Verdict::Blocked => record = record.rejected_for(BLOCKED_BY_RISK),
        }
        let answer = record_answer(&record)?;
        self.add_event(&record, &answer);
        let holder = |id| self.book.account(id).and_then(|account| account.holder_id);
        let (debit_holder_id, credit_holder_id) =
            (holder(order.debit_account_id), holder(order.credit_account_id));
        let risk = match scoring {
            Scoring::Scored(risk) => Some(risk),
            Scoring::Missing { .. } | Scoring::Exempt => None,
        };
        self.writes.transfers.push(NewTransfer {
            order: order.clone(),
            record,
            debit_holder_id,
            credit_holder_id,
            hold_id,
            risk,
        });
        match verdict_refusal(status) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }

    fn review(&mut self, decision: &ReviewDecision) -> Result<Answer, ApiError> {
        let now = self.opened.now;
        let order = &decision.order;
        let hold = self
            .opened
            .holds
            .get_mut(&decision.hold_id)
            .filter(|hold| hold.is_untouched());
        let hold = hold.ok_or(Refusal::NotInReview)?;
        let amount = hold.amount;
        let mut record = TransferRecord::new(order, TransferStatus::Posted, decision.created_at, Some(now));
        if decision.approve {
            let (debit, credit) = self.book.approve(order)?;
            self.writes.add_legs(order, debit, credit);
        } else {
            self.book.release(order.debit_account_id, amount)?;
            record.status = TransferStatus::Rejected;
            record = record.rejected_for(REJECTED_IN_REVIEW);
        }
        hold.taken = amount;
        let (captured, released) = if decision.approve {
            (amount, 0)
        } else {
            (0, amount)
        };
        self.writes.hold_changes.push(HoldChange {
            id: decision.hold_id,
            captured,
            released,
        });
        let answer = record_answer(&record)?;
        self.add_event(&record, &answer);
        self.writes.reviews.push(ReviewOutcome {
            record,
            decided_by: decision.decided_by,
        });
        Ok(Answer {
            status: 200,
            ..answer
        })
    }

    fn add_event(&mut self, record: &TransferRecord, answer: &Answer) {
        let kind = match record.status {
            TransferStatus::Posted => "transfer.posted",
            TransferStatus::InReview => "transfer.in_review",
            TransferStatus::Rejected => "transfer.rejected",
        };
        self.writes.events.push(NewEvent {
            id: EventId::new(),
            kind,
            transfer_id: record.id,
            payload: answer.body.clone(),
        });
    }

    fn into_writes(mut self) -> Writes {
        self.writes.accounts = self.book.changed_accounts().into_iter().cloned().collect();
        self.writes
    }
}

fn scoring_of(order: &TransferOrder, score: Option<&Score>, unscored_post_limit: i64) -> Scoring {
    if order.kind == TransferKind::Deposit {
        return Scoring::Exempt;
    }
    match score {
        Some(score) => Scoring::Scored(Risk {
            score: score.score,
            decision: score.decision,
            reasons: score.reasons.clone(),
        }),
        None => Scoring::Missing {
            post_limit: unscored_post_limit,
        },
    }
}

/// A transfer that the score blocks is recorded as rejected, and refused to the client without telling why.
fn verdict_refusal(status: TransferStatus) -> Option<ApiError> {
    (status == TransferStatus::Rejected).then(|| {
        ApiError::unprocessable(
            BLOCKED_BY_RISK,
            "This transfer cannot be made. Contact support if you think it should.",
        )
        .outcome(Outcome::None)
    })
}

fn record_answer(record: &TransferRecord) -> Result<Answer, ApiError> {
    let body = serde_json::to_string(record).map_err(ApiError::internal)?;
    Ok(Answer {
        status: 201,
        body: body.into(),
        replayed: false,
    })
}

fn problem_answer(job: &Job, error: &ApiError) -> Answer {
    let mut problem = error.problem();
    // Not of the request whose trace the batch is in.
    let context = job.context.as_ref();
    problem.instance = context.map(|context| context.path.to_string());
    problem.request_id = context.map(|context| context.request_id.to_string());
    let body = serde_json::to_string(&problem).unwrap_or_default();
    Answer {
        status: error.status().as_u16(),
        body: body.into(),
        replayed: false,
    }
}
