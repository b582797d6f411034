//! The lane: the one way in which money moves.
//!
//! Handlers put requests into a bounded queue. A lane takes all that wait, has them scored, and decides and writes them in
//! one database transaction on a connection of its own; while it commits, the next batch gathers and is scored. So a lone
//! request is a batch of one, and under load hundreds share one lock and one commit. Nobody gets an answer before COMMIT
//! has replied.
//!
//! Money work runs in the lane's tasks, never in a handler's future: a client that goes away cannot leave a transaction
//! open.

mod batch;
mod session;
mod store;
pub(crate) mod writes;

pub use writes::decision_word;

use std::borrow::Cow;
use std::time::Duration;

use bytestring::ByteString;
use metrics::Gauge;
use shared::clients::ml::MlClient;
use shared::id::{AccountId, HoldId, TransferId};
use shared::request_context::{self, RequestContext};
use shared::{ApiError, Clock, Db, Origin, Outcome};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit;
use crate::hold::{HoldAction, HoldCommand, HoldOrder};
use crate::idempotency_key::Claim;
use crate::lane::batch::{ScoredJob, decide_all, score};
use crate::lane::store::Store;
use crate::sandbox::{self, AnswerFault};
use crate::threshold::Thresholds;
use crate::transfer::{ReviewDecision, TransferOrder};

/// Requests that may wait in one lane. A full queue is a 503 at once, never an unbounded wait.
const QUEUE_LENGTH: usize = 4096;
/// Items that are decided together.
const MAX_BATCH: usize = 1024;
/// Batches that may stand between the two halves of a lane.
const SCORED_BATCHES: usize = 2;
/// After this long a caller is told that the outcome is unknown. The request is still decided.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What a request wants.
#[derive(Clone, Debug)]
pub enum Work {
    /// A new transfer or payment.
    Post(TransferOrder),
    /// A refund, or a reversal that is proposed.
    Return(TransferOrder),
    /// A transfer in review, approved or rejected.
    Decide(ReviewDecision),
    PlaceHold(HoldOrder),
    ChangeHold(HoldCommand),
}

/// What a request is about; its answer and its facts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Transfer(TransferId),
    Hold(HoldId),
}

impl Subject {
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Transfer(id) => id.uuid(),
            Self::Hold(id) => id.uuid(),
        }
    }

    /// The database's word for its kind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Transfer(_) => "transfer",
            Self::Hold(_) => "hold",
        }
    }
}

impl Work {
    /// Every account that it is about. Those of what is there already never change.
    fn accounts(&self) -> Vec<AccountId> {
        let of_order = |order: &TransferOrder| order.legs.iter().map(|leg| leg.account_id).collect();
        match self {
            Self::Post(order) | Self::Return(order) => of_order(order),
            Self::Decide(decision) => of_order(&decision.order),
            Self::PlaceHold(order) => vec![order.account_id, order.credit_account_id],
            Self::ChangeHold(command) => vec![command.account_id, command.credit_account_id],
        }
    }

    fn holds(&self) -> &[HoldId] {
        match self {
            Self::Decide(decision) => &decision.hold_ids,
            Self::ChangeHold(command) => std::slice::from_ref(&command.hold_id),
            Self::Post(_) | Self::Return(_) | Self::PlaceHold(_) => &[],
        }
    }

    /// The transfer that is given back.
    fn original(&self) -> Option<TransferId> {
        match self {
            Self::Return(order) => order.original_transfer_id,
            Self::Decide(decision) => decision.order.original_transfer_id,
            Self::Post(_) | Self::PlaceHold(_) | Self::ChangeHold(_) => None,
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Post(order) | Self::Return(order) => Subject::Transfer(order.id),
            Self::Decide(decision) => Subject::Transfer(decision.order.id),
            Self::PlaceHold(order) => Subject::Hold(order.id),
            Self::ChangeHold(command) => match &command.action {
                HoldAction::Capture(capture) => Subject::Transfer(capture.transfer_id),
                _ => Subject::Hold(command.hold_id),
            },
        }
    }

    /// What ml-service is asked about before it is decided.
    fn scored_as(&self) -> Option<Cow<'_, TransferOrder>> {
        match self {
            Self::Post(order) if order.kind.is_scored() => Some(Cow::Borrowed(order)),
            Self::PlaceHold(order) => Some(Cow::Owned(order.as_transfer())),
            Self::ChangeHold(command) => match &command.action {
                HoldAction::Increment(order) => Some(Cow::Borrowed(&order.scored_as)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The answer to a request, as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON; the stored and the sent answer share it.
    pub body: ByteString,
    /// Whether an earlier request with the same key got it first.
    pub replayed: bool,
}

impl Answer {
    /// What a client gets of an error.
    pub fn of_problem(error: &ApiError) -> Result<Self, ApiError> {
        Ok(Self {
            status: error.status().as_u16(),
            body: serde_json::to_string(&error.problem())
                .map_err(ApiError::internal)?
                .into(),
            replayed: false,
        })
    }
}

/// One thing that is asked for, under its key.
#[derive(Clone, Debug)]
pub struct Item {
    pub work: Work,
    pub claim: Claim,
    /// What the audit log is told if it happens.
    pub audit: Option<audit::Entry>,
}

/// How the items of a request belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them happen, or none.
    Atomic,
    /// They are decided as they would be, together or one after the other, and nothing of it is kept, keys included.
    DryRun { atomic: bool },
}

impl Mode {
    fn is_dry_run(self) -> bool {
        matches!(self, Self::DryRun { .. })
    }
}

struct Job {
    items: Vec<Item>,
    mode: Mode,
    /// Of the request, for the answers that name it and the score.
    context: Option<RequestContext>,
    reply: oneshot::Sender<Result<Vec<Answer>, ApiError>>,
}

impl Job {
    fn origin(&self) -> Option<&Origin> {
        self.context.as_ref()?.origin.as_deref()
    }
}

/// What the lane consults besides the database.
#[derive(Clone)]
pub struct Scorer {
    pub ml: MlClient,
    pub deadline: Duration,
    pub clock: Clock,
}

/// What the lane leaves to a person.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Minor units; without a score in time a larger transfer waits.
    pub unscored_post_limit: i64,
    pub approvals: Thresholds,
}

/// The lanes of this process. More lanes change the waiting, never the result: the locks are in the database.
#[derive(Clone)]
pub struct Lanes {
    queues: Vec<Queue>,
    sandbox_faults: bool,
}

#[derive(Clone)]
struct Queue {
    jobs: mpsc::Sender<Job>,
    depth: Gauge,
}

impl Queue {
    fn new(lane: usize) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, waiting) = mpsc::channel(QUEUE_LENGTH);
        let depth = metrics::gauge!("lane_queue_depth", "lane" => lane.to_string());
        (Self { jobs, depth }, waiting)
    }

    /// Also tells how many wait, so that a lane that takes none is seen.
    fn try_send(&self, job: Job) -> Result<(), ApiError> {
        self.jobs.try_send(job).map_err(|_| overloaded())?;
        let waiting = QUEUE_LENGTH.saturating_sub(self.jobs.capacity());
        self.depth.set(u32::try_from(waiting).unwrap_or(u32::MAX));
        Ok(())
    }
}

impl Lanes {
    /// Starts the lanes on `tracker`. Each ends when `shutdown` is cancelled and its queue is empty.
    pub fn start(
        count: usize,
        db: &Db,
        scorer: &Scorer,
        policy: &Policy,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let queues = (0..count.max(1))
            .map(|number| {
                let (queue, waiting) = Queue::new(number);
                let (scored_queue, scored) = mpsc::channel(SCORED_BATCHES);
                tracker.spawn(gather_and_score(
                    queue.depth.clone(),
                    waiting,
                    scored_queue,
                    scorer.clone(),
                    shutdown.clone(),
                ));
                tracker.spawn(decide(Store::new(db.clone()), policy.clone(), scored));
                queue
            })
            .collect();
        Self {
            queues,
            sandbox_faults: false,
        }
    }

    /// Lets the names of keys make things go wrong.
    pub fn with_sandbox_faults(self, sandbox_faults: bool) -> Self {
        Self {
            sandbox_faults,
            ..self
        }
    }

    /// Whether every lane still takes requests. A lane whose task has died never will, so its replica must be replaced.
    pub fn are_running(&self) -> bool {
        self.queues.iter().all(|queue| !queue.jobs.is_closed())
    }

    /// Decides `work` durably, or tells that it did not happen, or that this is not known.
    pub async fn submit(&self, work: Work, claim: Claim) -> Result<Answer, ApiError> {
        self.decide(work, claim, Mode::Atomic).await
    }

    /// The same of what a person of staff does: the audit log is told of it in the same transaction.
    pub async fn submit_audited(
        &self,
        work: Work,
        claim: Claim,
        audit: audit::Entry,
    ) -> Result<Answer, ApiError> {
        let audit = Some(audit);
        self.decide_item(Item { work, claim, audit }, Mode::Atomic).await
    }

    /// Decides one thing.
    pub async fn decide(&self, work: Work, claim: Claim, mode: Mode) -> Result<Answer, ApiError> {
        let audit = None;
        self.decide_item(Item { work, claim, audit }, mode).await
    }

    async fn decide_item(&self, item: Item, mode: Mode) -> Result<Answer, ApiError> {
        let answers = self.submit_all(vec![item], mode).await?;
        answers.into_iter().next().ok_or_else(outcome_unknown)
    }

    /// Decides all `items` together, and answers each in their order.
    pub async fn submit_all(&self, items: Vec<Item>, mode: Mode) -> Result<Vec<Answer>, ApiError> {
        let fault = items.first().and_then(|item| AnswerFault::of(&item.claim.key));
        let fault = fault.filter(|_| self.sandbox_faults);
        let answers = self.enqueue(items, mode).await?;
        let is_first = answers.first().is_some_and(|answer| !answer.replayed);
        match fault.filter(|_| is_first) {
            Some(AnswerFault::Lost) => return Err(outcome_unknown()),
            Some(AnswerFault::Delayed) => sandbox::delay().await,
            None => {}
        }
        Ok(answers)
    }

    async fn enqueue(&self, items: Vec<Item>, mode: Mode) -> Result<Vec<Answer>, ApiError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue_of(&items).ok_or_else(overloaded)?;
        let job = Job {
            items,
            mode,
            context: request_context::current(),
            reply,
        };
        queue.try_send(job)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) | Err(_) => Err(outcome_unknown()),
        }
    }

    /// The same account's requests meet in the same lane, so that lanes of one process do not wait for each other.
    fn queue_of(&self, items: &[Item]) -> Option<&Queue> {
        let lanes = u128::try_from(self.queues.len()).ok()?;
        let first = *items.first()?.work.accounts().first()?;
        let lane = first.uuid().as_u128().checked_rem(lanes)?;
        self.queues.get(usize::try_from(lane).ok()?)
    }
}

fn overloaded() -> ApiError {
    metrics::counter!("lane_rejected_total").increment(1);
    ApiError::unavailable("overloaded", "Too many transfers are waiting. Try again shortly.")
        .outcome(Outcome::None)
}

/// Why the other items of an atomic batch did not happen.
pub fn batch_refused(culprit: usize) -> ApiError {
    ApiError::unprocessable(
        "batch_refused",
        format!("Item {culprit} of this atomic batch was refused, so none of it happened."),
    )
    .outcome(Outcome::None)
}

fn outcome_unknown() -> ApiError {
    metrics::counter!("lane_outcomes_unknown_total").increment(1);
    ApiError::unavailable(
        "outcome_unknown",
        "It is not known whether this was done. Repeat the request with the same Idempotency-Key to learn it.",
    )
    .outcome(Outcome::Unknown)
}

/// The first half of a lane: takes all that waits, and has it scored. Ends when `shutdown` is cancelled and the queue is
/// empty.
async fn gather_and_score(
    depth: Gauge,
    mut waiting: mpsc::Receiver<Job>,
    scored: mpsc::Sender<Vec<ScoredJob>>,
    scorer: Scorer,
    shutdown: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            biased;
            received = waiting.recv() => received,
            () = shutdown.cancelled() => {
                // What is queued was accepted and is decided; nothing more is taken in.
                waiting.close();
                waiting.recv().await
            }
        };
        let Some(first) = first else { break };
        let jobs = gather(first, &mut waiting);
        depth.set(u32::try_from(waiting.len()).unwrap_or(u32::MAX));
        if scored.send(score(&scorer, jobs).await).await.is_err() {
            break;
        }
    }
}

/// `first` and what waits behind it, up to [`MAX_BATCH`] items or the request that goes beyond it.
fn gather(first: Job, waiting: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut items = first.items.len();
    let mut jobs = Vec::with_capacity(64);
    jobs.push(first);
    while items < MAX_BATCH
        && let Ok(job) = waiting.try_recv()
    {
        items = items.saturating_add(job.items.len());
        jobs.push(job);
    }
    jobs
}

/// The second half: decides and commits. While it does, the next batch is gathered and scored; when several have been, they
/// become one.
async fn decide(mut store: Store, policy: Policy, mut scored: mpsc::Receiver<Vec<ScoredJob>>) {
    let mut batches = Vec::new();
    while scored.recv_many(&mut batches, SCORED_BATCHES).await > 0 {
        let jobs: Vec<ScoredJob> = batches.drain(..).flatten().collect();
        decide_all(&mut store, &policy, jobs).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_whose_task_has_died_is_noticed() {
        let (alive, _task) = Queue::new(0);
        let (dead, task) = Queue::new(1);
        let lanes = Lanes {
            queues: vec![alive, dead],
            sandbox_faults: false,
        };
        assert!(lanes.are_running());
        drop(task);
        assert!(!lanes.are_running());
    }
}
