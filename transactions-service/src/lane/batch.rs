//! One batch of a lane, from the queue to the replies.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::Serialize;
use shared::clients::ml::{Score, ScoreBatch, ScoreRequest};
use shared::id::{AccountId, EventId, HoldId, TransferId, UserId};
use shared::idempotency::key_reused;
use shared::trace::Span;
use shared::{ApiError, Outcome};

use super::store::{Store, StoreError};
use super::writes::{
    NewEvent, NewHold, NewKey, NewParty, NewTransfer, Opened, ReviewOutcome, StoredKey, Writes,
};
use super::{Answer, Item, Job, Mode, Policy, Scorer, Subject, Work, outcome_unknown};
use crate::book::{Book, Refusal, Scoring, Verdict};
use crate::hold::{HoldAction, HoldCommand, HoldOrder, HoldRecord, LockedHold};
use crate::transfer::{
    BLOCKED_BY_RISK, REJECTED_IN_REVIEW, ReviewDecision, Risk, TransferKind, TransferOrder, TransferRecord,
    TransferStatus,
};

/// How often a batch is tried when its connection breaks or another lane claims one of its keys first.
const MAX_ATTEMPTS: u32 = 4;

/// What ml-service takes in one call.
const MAX_SCORED_AT_ONCE: usize = 1024;

/// A request with its fraud scores, where they were asked for and came in time.
pub(super) struct ScoredJob {
    job: Job,
    /// One for each item.
    scores: Vec<Option<Score>>,
}

/// One call for the whole batch, and another if something of it is only tried. Without an answer in time there are no
/// scores, and the fallback policy decides.
pub(super) async fn score(scorer: &Scorer, jobs: Vec<Job>) -> Vec<ScoredJob> {
    let now = scorer.clock.now();
    let mut scores = HashMap::new();
    for dry_run in [false, true] {
        let jobs = jobs.iter().filter(|job| job.mode.is_dry_run() == dry_run);
        let transfers: Vec<ScoreRequest> = jobs
            .clone()
            .flat_map(|job| job.items.iter().map(|item| (item, job.origin())))
            .filter_map(|(item, origin)| item.work.scored_as()?.score_request(now, origin))
            .collect();
        for transfers in transfers.chunks(MAX_SCORED_AT_ONCE) {
            let span = Span::of_batch("score_batch", jobs.clone().filter_map(|job| job.context.as_ref()));
            let batch = ScoreBatch {
                transfers: transfers.to_vec(),
                dry_run,
            };
            scores.extend(span.run(ask(scorer, &batch)).await);
        }
    }
    let scored = |job: Job| ScoredJob {
        scores: job
            .items
            .iter()
            .map(|item| scores.remove(&item.work.scored_as()?.id))
            .collect(),
        job,
    };
    jobs.into_iter().map(scored).collect()
}

async fn ask(scorer: &Scorer, batch: &ScoreBatch) -> HashMap<TransferId, Score> {
    let started = Instant::now();
    let answer = scorer.ml.score(batch, scorer.deadline).await;
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
pub(super) async fn decide_all(store: &mut Store, policy: &Policy, jobs: Vec<ScoredJob>) {
    metrics::histogram!("lane_batch_size").record(f64::from(u32::try_from(jobs.len()).unwrap_or(u32::MAX)));
    let mut waiting = vec![jobs];
    while let Some(mut jobs) = waiting.pop() {
        let requests = jobs.iter().filter_map(|scored| scored.job.context.as_ref());
        let mut span = Span::of_batch("lane_batch", requests);
        span.set("batch.size", || i64::try_from(jobs.len()).unwrap_or(i64::MAX));
        let decided = span.run(decide_with_retry(store, policy, &jobs)).await;
        drop(span);
        match decided {
            Ok(answers) => {
                for (ScoredJob { job, .. }, answers) in jobs.into_iter().zip(answers) {
                    // A caller that has gone away is no reason to stop: its answer is stored under its key.
                    drop(job.reply.send(Ok(answers)));
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
    policy: &Policy,
    jobs: &[ScoredJob],
) -> Result<Vec<Vec<Answer>>, StoreError> {
    let mut attempt = 1;
    loop {
        let span = Span::work("post_batch");
        let error = match span.run(decide_once(store, policy, jobs)).await {
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
    policy: &Policy,
    jobs: &[ScoredJob],
) -> Result<Vec<Vec<Answer>>, StoreError> {
    let opened = store.open(jobs.iter().map(|scored| &scored.job)).await?;
    let mut batch = Batch::new(opened, policy);
    let answers = jobs.iter().map(|job| batch.answer(job, policy)).collect();
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
    /// Whether what is being decided is only tried.
    dry_run: bool,
}

impl Batch {
    fn new(mut opened: Opened, policy: &Policy) -> Self {
        let book = Book::new(
            std::mem::take(&mut opened.accounts),
            std::mem::take(&mut opened.holds),
            std::mem::take(&mut opened.transfers),
        )
        .with_approvals(policy.approvals.clone());
        let writes = Writes {
            xid: opened.xid,
            posted_at: opened.posted_at,
            ..Writes::default()
        };
        Self {
            opened,
            book,
            writes,
            dry_run: false,
        }
    }

    /// One answer for each item of a request.
    fn answer(&mut self, ScoredJob { job, scores }: &ScoredJob, policy: &Policy) -> Vec<Answer> {
        let scored = || {
            let scoring = |score: &Option<Score>| scoring_of(score.as_ref(), policy);
            job.items.iter().zip(scores.iter().map(scoring))
        };
        match (job.mode, job.items.as_slice()) {
            (Mode::DryRun { atomic: true }, _) => self.try_out(|batch| batch.decide_together(job, scored())),
            (Mode::DryRun { atomic: false }, _) => self.try_out(|batch| batch.decide_items(job, scored())),
            (Mode::Atomic, [item]) => {
                let known = self.known_answer(job, item);
                vec![known.unwrap_or_else(|| {
                    let answers = self.decide_items(job, scored());
                    let answer = answers
                        .into_iter()
                        .next()
                        .unwrap_or_else(|| problem_answer(job, &not_decided()));
                    self.claim(item, answer)
                })]
            }
            (Mode::Atomic, items) => {
                let known: Vec<Option<Answer>> =
                    items.iter().map(|item| self.known_answer(job, item)).collect();
                if known.iter().any(Option::is_some) {
                    return replayed(job, known);
                }
                let answers = self.decide_together(job, scored());
                items
                    .iter()
                    .zip(answers)
                    .map(|(item, answer)| self.claim(item, answer))
                    .collect()
            }
        }
    }

    /// What was answered under the item's key before, in an earlier batch or in this one.
    fn known_answer(&self, job: &Job, Item { claim, .. }: &Item) -> Option<Answer> {
        let stored = self.opened.keys.get(&(claim.owner_id, claim.key.clone()))?;
        if stored.fingerprint != claim.fingerprint {
            return Some(problem_answer(job, &key_reused()));
        }
        Some(Answer {
            replayed: true,
            ..stored.answer.clone()
        })
    }

    /// Stores the answer under the item's key. A repetition later in this batch finds it like any other repetition.
    fn claim(&mut self, Item { work, claim, audit }: &Item, answer: Answer) -> Answer {
        let stored = StoredKey {
            fingerprint: claim.fingerprint.to_vec(),
            answer: answer.clone(),
        };
        self.opened
            .keys
            .insert((claim.owner_id, claim.key.clone()), stored);
        self.writes.keys.push(NewKey {
            claim: claim.clone(),
            subject: work.subject(),
            answer: answer.clone(),
        });
        let happened = answer.status < 400;
        self.writes
            .audit
            .extend(audit.iter().filter(|_| happened).cloned());
        answer
    }

    fn decide_items<'a>(
        &mut self,
        job: &Job,
        items: impl Iterator<Item = (&'a Item, Scoring)>,
    ) -> Vec<Answer> {
        let decide = |(item, scoring): (&Item, Scoring)| {
            let result = match &item.work {
                Work::Post(order) if order.kind.is_scored() => self.post(order, scoring),
                Work::Post(order) => self.post(order, Scoring::Exempt),
                Work::Return(order) => self.give_back(order),
                Work::Decide(decision) => self.review(decision),
                Work::PlaceHold(order) => self.place_hold(order, &scoring),
                Work::ChangeHold(command) => self.change_hold(command, &scoring),
            };
            result.unwrap_or_else(|error| problem_answer(job, &error))
        };
        items.map(decide).collect()
    }

    /// All items, or none when one is refused.
    fn decide_together<'a>(
        &mut self,
        job: &Job,
        items: impl Iterator<Item = (&'a Item, Scoring)>,
    ) -> Vec<Answer> {
        let before = self.book.mark();
        let earlier = std::mem::take(&mut self.writes);
        let mut answers = self.decide_items(job, items);
        let decided = std::mem::replace(&mut self.writes, earlier);
        let Some(culprit) = answers.iter().position(|answer| answer.status >= 400) else {
            self.writes.append(decided);
            return answers;
        };
        self.book.undo_to(before);
        let refused = problem_answer(job, &super::batch_refused(culprit));
        for (index, answer) in answers.iter_mut().enumerate() {
            if index != culprit {
                *answer = refused.clone();
            }
        }
        answers
    }

    /// What `decide` answers, and nothing of what it does.
    fn try_out(&mut self, decide: impl FnOnce(&mut Self) -> Vec<Answer>) -> Vec<Answer> {
        let before = self.book.mark();
        let earlier = std::mem::take(&mut self.writes);
        self.dry_run = true;
        let answers = decide(self);
        self.dry_run = false;
        self.writes = earlier;
        self.book.undo_to(before);
        answers
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
            Verdict::Posted(_) => (TransferStatus::Posted, Some(now)),
            Verdict::InReview(_) => (TransferStatus::InReview, None),
            Verdict::Blocked => (TransferStatus::Rejected, Some(now)),
        };
        let mut record = TransferRecord::new(order, status, now, completed_at);
        record.dry_run = self.dry_run;
        let mut hold_id = None;
        match verdict {
            Verdict::Posted(legs) => self.writes.add_legs(order.id, legs),
            Verdict::InReview(reason) => {
                record.review_reason = Some(reason);
                hold_id = self.hold_for_review(order);
            }
            Verdict::Blocked => record = record.rejected_for(BLOCKED_BY_RISK),
        }
        let answer = json_answer(if self.dry_run { 200 } else { 201 }, &record)?;
        self.add_transfer_event(&record, &answer);
        let (debit_holder_id, credit_holder_id) = self.holders_of(order);
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

    /// One hold for each debit; the transfer names the first.
    fn hold_for_review(&mut self, order: &TransferOrder) -> Option<HoldId> {
        let mut first = None;
        for debit in order.legs.debits() {
            let hold = LockedHold {
                id: HoldId::new(),
                account_id: debit.account_id,
                amount: debit.amount.minor(),
                captured: 0,
                released: 0,
                expired: false,
                terms: None,
            };
            first.get_or_insert(hold.id);
            self.writes.holds.push(NewHold {
                hold,
                transfer_id: Some(order.id),
                debit_holder_id: None,
                credit_holder_id: None,
            });
        }
        first
    }

    /// Who pays, and who is paid. Of several payees each is written down as a party instead.
    fn holders_of(&mut self, order: &TransferOrder) -> (Option<UserId>, Option<UserId>) {
        let debit = order.legs.largest_debit();
        let debit = debit.and_then(|leg| self.holder_of(leg.account_id));
        if let Some((_, credit)) = order.legs.as_pair() {
            return (debit, self.holder_of(credit.account_id));
        }
        let payees: BTreeSet<UserId> = order
            .legs
            .credits()
            .filter_map(|leg| self.holder_of(leg.account_id))
            .collect();
        let parties = payees.into_iter().map(|holder_id| NewParty {
            holder_id,
            transfer_id: order.id,
        });
        self.writes.parties.extend(parties);
        (debit, None)
    }

    fn review(&mut self, decision: &ReviewDecision) -> Result<Answer, ApiError> {
        let now = self.opened.now;
        let order = &decision.order;
        let mut record = TransferRecord::new(order, TransferStatus::Posted, decision.created_at, Some(now));
        record.review_reason = decision.review_reason;
        if decision.approve {
            if let Verdict::Posted(legs) = self.book.approve(order, &decision.hold_ids)? {
                self.writes.add_legs(order.id, legs);
            }
        } else {
            self.book.reject(order, &decision.hold_ids)?;
            record.status = TransferStatus::Rejected;
            record = record.rejected_for(REJECTED_IN_REVIEW);
        }
        let answer = json_answer(200, &record)?;
        self.add_transfer_event(&record, &answer);
        self.writes.reviews.push(ReviewOutcome {
            order: order.clone(),
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

    fn change_hold(&mut self, command: &HoldCommand, scoring: &Scoring) -> Result<Answer, ApiError> {
        let (id, now) = (command.hold_id, self.opened.now);
        let mut transfer = None;
        let kind = match &command.action {
            HoldAction::Increment(order) => {
                self.book.increment_hold(id, order, scoring, now)?;
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

fn scoring_of(score: Option<&Score>, policy: &Policy) -> Scoring {
    match score {
        Some(score) => Scoring::Scored(Risk {
            score: score.score,
            decision: score.decision,
            reasons: score.reasons.clone(),
        }),
        None => Scoring::Missing {
            post_limit: policy.unscored_post_limit,
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

fn replayed(job: &Job, known: Vec<Option<Answer>>) -> Vec<Answer> {
    let others = problem_answer(job, &batch_partly_done());
    let all_known = known
        .iter()
        .all(|answer| answer.as_ref().is_some_and(|answer| answer.replayed));
    let answers = known.into_iter().map(|answer| match answer {
        Some(answer) if all_known || !answer.replayed => answer,
        _ => others.clone(),
    });
    answers.collect()
}

fn batch_partly_done() -> ApiError {
    ApiError::unprocessable(
        "batch_partly_done",
        "A key of this atomic batch was used before, in another request. Use new keys for a new batch.",
    )
    .outcome(Outcome::None)
}

fn not_decided() -> ApiError {
    ApiError::internal(anyhow::anyhow!("an item was not decided"))
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
