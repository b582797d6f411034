//! What `transactions-service` asks of `ml-service`, and tells it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http_client::{CallError, Retry};
use crate::id::{AccountId, TransferId};
use crate::{Currency, HttpClient};

pub const SERVICE: &str = "ml-service";

/// How transfers are to be treated, by ascending severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    /// A person decides; the funds are held meanwhile.
    Review,
    Block,
}

/// A transfer that wants to be posted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreRequest {
    pub transfer_id: TransferId,
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    /// Minor units.
    pub amount: i64,
    pub currency: Currency,
    pub requested_at: DateTime<Utc>,
}

/// `POST /internal/scores`: at most 1,024 transfers. Scoring the same transfer again answers the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreBatch {
    pub transfers: Vec<ScoreRequest>,
    /// Whether they are only tried: then the scores are forgotten.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// Stable.
    #[schema(example = "amount_over_history")]
    pub code: String,
    /// For a person.
    #[schema(example = "9.4 times this account's usual amount")]
    pub detail: String,
    /// What it adds to the score.
    pub points: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    pub transfer_id: TransferId,
    /// 0 to 1000.
    pub score: u16,
    pub decision: Decision,
    pub reasons: Vec<Reason>,
}

/// In the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scores {
    pub scores: Vec<Score>,
}

/// A place in the outbox of `transactions-service`: facts in commit order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The database transaction that wrote the fact.
    pub xid: i64,
    pub sequence: i64,
}

/// A transfer that was posted, to learn an account's habits from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observation {
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    /// Minor units.
    pub amount: i64,
    pub currency: Currency,
    pub posted_at: DateTime<Utc>,
}

/// `POST /internal/observations`: the posted transfers after `after`, up to and with `next`. Applied only when `after` is
/// where the receiver stands, in one transaction with its new position, so each fact counts exactly once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObservationBatch {
    pub after: Position,
    pub next: Position,
    pub observations: Vec<Observation>,
}

/// Where the receiver stands now; the sender goes on from here.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ObservedUpTo {
    pub position: Position,
}

#[derive(Clone)]
pub struct MlClient {
    http: HttpClient,
}

impl MlClient {
    pub fn new(http: HttpClient) -> Self {
        Self { http }
    }

    /// Scores within `deadline`, or not at all: the caller has a fallback policy.
    pub async fn score(&self, batch: &ScoreBatch, deadline: Duration) -> Result<Scores, CallError> {
        self.http
            .call(
                reqwest::Method::POST,
                "/internal/scores",
                Some(batch),
                Retry::Never,
                deadline,
            )
            .await
    }

    pub async fn observe(&self, batch: &ObservationBatch) -> Result<ObservedUpTo, CallError> {
        self.http
            .post("/internal/observations", batch, Retry::Idempotent)
            .await
    }

    /// Where the observations stand.
    pub async fn observed_up_to(&self) -> Result<ObservedUpTo, CallError> {
        self.http.get("/internal/observations").await
    }
}
