//! What `transactions-service` asks of `ml-service`, and tells it, and what `auth-service` has it forget.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clients::transactions::{TransferKind, TransferStatus};
use crate::http_client::{CallError, Retry};
use crate::id::{AccountId, TransferId, UserId};
use crate::{Currency, HttpClient, Origin};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TransferKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<UserId>,
    /// Absent when nobody asks for it just now, such as for a scheduled one, and when it is scored late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
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

/// What became of a transfer: that it was posted, waits for a person, or was rejected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    pub transfer_id: TransferId,
    pub status: TransferStatus,
    pub kind: TransferKind,
    /// Of a refund or reversal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_transfer_id: Option<TransferId>,
    /// Of several legs the largest on either side, like the credit account.
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    /// Absent of a clearing account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debit_holder_id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_holder_id: Option<UserId>,
    /// Minor units.
    pub amount: i64,
    pub currency: Currency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why it was rejected, or is or was in review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Who decided the review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<UserId>,
    /// When that was.
    pub at: DateTime<Utc>,
}

/// `POST /internal/facts`: the facts after `after`, up to and with `next`. Applied only when `after` is where the receiver
/// stands, in one transaction with its new position, so each fact counts exactly once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FactBatch {
    pub after: Position,
    pub next: Position,
    pub facts: Vec<Fact>,
}

/// Where the receiver stands now; the sender goes on from here.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ToldUpTo {
    pub position: Position,
}

/// `POST /internal/erasures`: anonymise what is kept about a user. 409 `open_case` while something about them is investigated.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ErasePerson {
    pub user_id: UserId,
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

    pub async fn tell(&self, batch: &FactBatch) -> Result<ToldUpTo, CallError> {
        self.http.post("/internal/facts", batch, Retry::Idempotent).await
    }

    /// Anonymises what is kept about a user.
    pub async fn erase(&self, person: &ErasePerson) -> Result<(), CallError> {
        self.http
            .post("/internal/erasures", person, Retry::Idempotent)
            .await
    }

    /// Where the facts stand.
    pub async fn told_up_to(&self) -> Result<ToldUpTo, CallError> {
        self.http.get("/internal/facts").await
    }
}
