//! One batch of a lane, from the queue to the replies.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::clients::ml::{Score, ScoreBatch, ScoreRequest};
use shared::id::{AccountId, EventId, HoldId, TransferId, UserId};
use shared::idempotency::key_reused;
use shared::{ApiError, Outcome};

use super::store::{Store, StoreError};
use super::writes::{NewEvent, NewHold, NewKey, NewTransfer, Opened, ReviewOutcome, StoredKey, Writes};
use super::{Answer, Job, Scorer, Subject, Work, outcome_unknown};
use crate::book::{Book, Refusal, Scoring, Verdict};
use crate::hold::{HoldAction, HoldCommand, HoldOrder, HoldRecord, LockedHold};
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
        ask(scorer, transfers).await
    };
    let scored = |job: Job| ScoredJob {
        score: scores.remove(&TransferId::from_uuid(job.work.subject().uuid())),
        job,
    };
    jobs.into_iter().map(scored).collect()
}

fn score_requests(jobs: &[Job], requested_at: DateTime<Utc>) -> Vec<ScoreRequest> {
    jobs.iter()
        .filter_map(|job| job.work.to_score())
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
        match decide_with_retry(store, unscored_post_limit, &jobs).await {
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
        let error = match decide_once(store, unscored_post_limit, jobs).await {
            Ok(answers) => return Ok(answers),
            Err(error) => error,
        };
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
        let book = Book::new(
            std::mem::take(&mut opened.accounts),
            std::mem::take(&mut opened.holds),
            std::mem::take(&mut opened.transfers),
        );
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
        let scoring = || scoring_of(score.as_ref(), unscored_post_limit);
        let result = match &job.work {
            Work::Post(order) if order.kind.is_scored() => self.post(order, scoring()),
            Work::Post(order) => self.post(order, Scoring::Exempt),
            Work::Return(order) => self.give_back(order),
            Work::Decide(decision) => self.review(decision),
            Work::PlaceHold(order) => self.place_hold(order, &scoring()),
            Work::ChangeHold(command) => self.change_hold(command),
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
            subject: job.work.subject(),
            answer: answer.clone(),
        });
        answer
    }

    fn post(&mut self, order: &TransferOrder, scoring: Scoring) -> Result<Answer, ApiError> {
        let verdict = self.book.decide(order, &scoring)?;
        let risk = match scoring {
            Scoring::Scored(risk) => Some(risk),
            Scoring::Missing { .. } | Scoring::Exempt => None,
        };
        self.record(order, verdict, risk)
    }

    fn give_back(&mut self, order: &TransferOrder) -> Result<Answer, ApiError> {
        let original = order.original_transfer_id.ok_or(Refusal::NotPosted)?;
        let verdict = match order.kind {
            TransferKind::Reversal => self.book.propose_reversal(order, original)?,
            _ => self.book.refund(order, original)?,
        };
        self.record(order, verdict, None)
    }

    /// What was decided about a new transfer, to be written: the transfer, its legs or its hold, and the fact.
    fn record(
        &mut self,
        order: &TransferOrder,
        verdict: Verdict,
        risk: Option<Risk>,
    ) -> Result<Answer, ApiError> {
        let now = self.opened.now;
        let (status, completed_at) = match verdict {
            Verdict::Posted { .. } => (TransferStatus::Posted, Some(now)),
            Verdict::InReview => (TransferStatus::InReview, None),
            Verdict::Blocked => (TransferStatus::Rejected, Some(now)),
        };
        let mut record = TransferRecord::new(order, status, now, completed_at);
        let mut hold_id = None;
        match verdict {
            Verdict::Posted { debit, credit } => self.writes.add_legs(order, debit, credit),
            Verdict::InReview => hold_id = Some(self.hold_for_review(order)),
            Verdict::Blocked => record = record.rejected_for(BLOCKED_BY_RISK),
        }
        let answer = json_answer(201, &record)?;
        self.add_transfer_event(&record, &answer);
        self.writes.transfers.push(NewTransfer {
            order: order.clone(),
            record,
            debit_holder_id: self.holder_of(order.debit_account_id),
            credit_holder_id: self.holder_of(order.credit_account_id),
            hold_id,
            risk,
        });
        match verdict_refusal(status) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }

    fn hold_for_review(&mut self, order: &TransferOrder) -> HoldId {
        let hold = LockedHold {
            id: HoldId::new(),
            account_id: order.debit_account_id,
            amount: order.amount.minor(),
            captured: 0,
            released: 0,
            expired: false,
            terms: None,
        };
        let id = hold.id;
        self.writes.holds.push(NewHold {
            hold,
            transfer_id: Some(order.id),
            debit_holder_id: None,
            credit_holder_id: None,
        });
        id
    }

    fn review(&mut self, decision: &ReviewDecision) -> Result<Answer, ApiError> {
        let now = self.opened.now;
        let order = &decision.order;
        let mut record = TransferRecord::new(order, TransferStatus::Posted, decision.created_at, Some(now));
        if decision.approve {
            if let Verdict::Posted { debit, credit } = self.book.approve(order, decision.hold_id)? {
                self.writes.add_legs(order, debit, credit);
            }
        } else {
            self.book.reject(order, decision.hold_id)?;
            record.status = TransferStatus::Rejected;
            record = record.rejected_for(REJECTED_IN_REVIEW);
        }
        let answer = json_answer(200, &record)?;
        self.add_transfer_event(&record, &answer);
        self.writes.reviews.push(ReviewOutcome {
            record,
            decided_by: decision.decided_by,
        });
        Ok(answer)
    }

    fn place_hold(&mut self, order: &HoldOrder, scoring: &Scoring) -> Result<Answer, ApiError> {
        let now = self.opened.now;
        self.book.place_hold(order, scoring)?;
        let hold = order.placed_at(now);
        let answer = hold_answer(201, &hold)?;
        self.add_event("hold.placed", Subject::Hold(hold.id), &answer);
        self.writes.holds.push(NewHold {
            hold,
            transfer_id: None,
            debit_holder_id: self.holder_of(order.account_id),
            credit_holder_id: self.holder_of(order.credit_account_id),
        });
        Ok(answer)
    }

    fn change_hold(&mut self, command: &HoldCommand) -> Result<Answer, ApiError> {
        let (id, now) = (command.hold_id, self.opened.now);
        let mut transfer = None;
        let kind = match &command.action {
            HoldAction::Increment(amount) => {
                self.book.increment_hold(id, *amount, now)?;
                "hold.incremented"
            }
            HoldAction::Capture(capture) => {
                let (order, verdict) = self.book.capture_hold(id, capture, now)?;
                transfer = Some(self.record(&order, verdict, None)?);
                "hold.captured"
            }
            HoldAction::Release(amount) => {
                self.book.release_hold(id, *amount)?;
                "hold.released"
            }
            HoldAction::Expire => {
                self.book.expire_hold(id, now)?;
                "hold.expired"
            }
        };
        let hold = self.book.hold(id).ok_or(Refusal::HoldEnded)?;
        let answer = hold_answer(200, hold)?;
        self.add_event(kind, Subject::Hold(id), &answer);
        Ok(transfer.unwrap_or(answer))
    }

    fn holder_of(&self, account: AccountId) -> Option<UserId> {
        self.book.account(account).and_then(|account| account.holder_id)
    }

    fn add_transfer_event(&mut self, record: &TransferRecord, answer: &Answer) {
        let kind = match record.status {
            TransferStatus::Posted => "transfer.posted",
            TransferStatus::InReview => "transfer.in_review",
            TransferStatus::Rejected => "transfer.rejected",
        };
        self.add_event(kind, Subject::Transfer(record.id), answer);
    }

    fn add_event(&mut self, kind: &'static str, subject: Subject, answer: &Answer) {
        self.writes.events.push(NewEvent {
            id: EventId::new(),
            kind,
            subject,
            payload: answer.body.clone(),
        });
    }

    fn into_writes(mut self) -> Writes {
        let changes = self.book.changes();
        self.writes.accounts = changes.accounts.into_iter().cloned().collect();
        self.writes.hold_changes = changes.holds.into_iter().cloned().collect();
        self.writes.returned = changes.transfers.into_iter().cloned().collect();
        self.writes
    }
}

fn scoring_of(score: Option<&Score>, unscored_post_limit: i64) -> Scoring {
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

fn hold_answer(status: u16, hold: &LockedHold) -> Result<Answer, ApiError> {
    let record = HoldRecord::of(hold).ok_or(Refusal::HoldEnded)?;
    json_answer(status, &record)
}

fn json_answer(status: u16, record: &impl Serialize) -> Result<Answer, ApiError> {
    let body = serde_json::to_string(record).map_err(ApiError::internal)?;
    Ok(Answer {
        status,
        body: body.into(),
        replayed: false,
    })
}

fn problem_answer(job: &Job, error: &ApiError) -> Answer {
    let mut problem = error.problem();
    if let Some(context) = &job.context {
        problem.instance = Some(context.path.clone());
        problem.request_id = Some(context.request_id.clone());
    }
    let body = serde_json::to_string(&problem).unwrap_or_default();
    Answer {
        status: error.status().as_u16(),
        body: body.into(),
        replayed: false,
    }
}
