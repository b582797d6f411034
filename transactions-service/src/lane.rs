//! The lane: the one way in which money moves.
//!
//! Handlers put requests into a bounded queue. The lane's task takes all that wait, has them scored, and decides and
//! writes them in one database transaction on a connection of its own; while it commits, the next batch gathers. So a
//! lone request is a batch of one, and under load hundreds share one lock and one commit. Nobody gets an answer before
//! COMMIT has replied.
//!
//! Money work runs in this task, never in a handler's future: a client that goes away cannot leave a transaction open.

mod batch;
mod store;

pub use store::decision_word;

use std::time::Duration;

use shared::clients::ml::MlClient;
use shared::request_context::{self, RequestContext};
use shared::{ApiError, Clock, Db, Outcome};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::idempotency_key::Claim;
use crate::lane::batch::process;
use crate::lane::store::Store;
use crate::transfer::{ReviewDecision, TransferOrder};

/// Requests that may wait in one lane. A full queue is a 503 at once, never an unbounded wait.
const QUEUE_LENGTH: usize = 4096;
const MAX_BATCH: usize = 1024;
/// After this long a caller is told that the outcome is unknown. The request is still decided.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What a request wants.
#[derive(Clone, Debug)]
pub enum Work {
    Post(TransferOrder),
    Decide(ReviewDecision),
}

/// The answer to a request, as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Whether an earlier request with the same key got it first.
    pub replayed: bool,
}

struct Job {
    work: Work,
    claim: Claim,
    /// Of the request, for the answers that name it.
    context: Option<RequestContext>,
    reply: oneshot::Sender<Result<Answer, ApiError>>,
}

/// What the lane consults besides the database.
#[derive(Clone)]
pub struct Scorer {
    pub ml: MlClient,
    pub deadline: Duration,
    /// Minor units.
    pub unscored_post_limit: i64,
    pub clock: Clock,
}

/// The lanes of this process. More lanes change the waiting, never the result: the locks are in the database.
#[derive(Clone)]
pub struct Lanes {
    queues: Vec<mpsc::Sender<Job>>,
}

impl Lanes {
    /// Starts the lanes on `tracker`. Each ends when `shutdown` is cancelled and its queue is empty.
    pub fn start(
        count: usize,
        db: &Db,
        scorer: &Scorer,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let queues = (0..count.max(1))
            .map(|number| {
                let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
                let lane = LaneTask {
                    number,
                    receiver,
                    store: Store::new(db.clone()),
                    scorer: scorer.clone(),
                };
                tracker.spawn(lane.run(shutdown.clone()));
                sender
            })
            .collect();
        Self { queues }
    }

    /// Decides `work` durably, or tells that it did not happen, or that this is not known.
    pub async fn submit(&self, work: Work, claim: Claim) -> Result<Answer, ApiError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue_of(&work).ok_or_else(overloaded)?;
        let job = Job {
            work,
            claim,
            context: request_context::current(),
            reply,
        };
        queue.try_send(job).map_err(|_| overloaded())?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(outcome_unknown()),
        }
    }

    /// The same account's requests meet in the same lane, so that lanes of one process do not wait for each other.
    fn queue_of(&self, work: &Work) -> Option<&mpsc::Sender<Job>> {
        let order = match work {
            Work::Post(order) => order,
            Work::Decide(decision) => &decision.order,
        };
        let lanes = u128::try_from(self.queues.len()).ok()?;
        let lane = order.debit_account_id.uuid().as_u128().checked_rem(lanes)?;
        self.queues.get(usize::try_from(lane).ok()?)
    }
}

fn overloaded() -> ApiError {
    ApiError::unavailable("overloaded", "Too many transfers are waiting. Try again shortly.")
        .outcome(Outcome::None)
}

fn outcome_unknown() -> ApiError {
    ApiError::unavailable(
        "outcome_unknown",
        "It is not known whether this was done. Repeat the request with the same Idempotency-Key to learn it.",
    )
    .outcome(Outcome::Unknown)
}

struct LaneTask {
    number: usize,
    receiver: mpsc::Receiver<Job>,
    store: Store,
    scorer: Scorer,
}

impl LaneTask {
    async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let mut jobs = Vec::with_capacity(64);
            tokio::select! {
                biased;
                received = self.receiver.recv_many(&mut jobs, MAX_BATCH) => if received == 0 { break },
                () = shutdown.cancelled() => {
                    // What is queued was accepted and is decided; nothing more is taken in.
                    self.receiver.close();
                    if self.receiver.recv_many(&mut jobs, MAX_BATCH).await == 0 {
                        break;
                    }
                }
            }
            metrics::gauge!("lane_queue_depth", "lane" => self.number.to_string())
                .set(u32::try_from(self.receiver.len()).unwrap_or(u32::MAX));
            process(&mut self.store, &self.scorer, jobs).await;
        }
    }
}
