//! The log of facts: what became of each transfer, in the order in which this service took it in. Whoever reacts to facts
//! follows it by its positions, in a job of its own, and never in the transaction that takes them in.
//!
//! Deliberately absent: holds, which are no transfers yet, and balances, which are the ledger's.

pub mod queries;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use shared::Currency;
use shared::clients::transactions::{TransferKind, TransferStatus};
use shared::id::{AccountId, TransferId, UserId};
use uuid::Uuid;

use crate::schema::transfers;

/// A transfer as it was last told of.
#[derive(Clone, Debug, PartialEq, Eq, HasQuery)]
#[diesel(table_name = transfers)]
pub struct LoggedTransfer {
    /// The order of application; a review that is decided gets a new one.
    pub position: i64,
    pub transfer_id: TransferId,
    pub kind: TransferKind,
    pub status: TransferStatus,
    pub original_transfer_id: Option<TransferId>,
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    /// Absent of a clearing account.
    pub debit_holder_id: Option<UserId>,
    pub credit_holder_id: Option<UserId>,
    /// Minor units.
    pub amount: i64,
    pub currency: Currency,
    pub description: Option<String>,
    /// Why it was rejected, or is or was in review.
    pub code: Option<String>,
    /// Who decided the review.
    pub decided_by: Option<UserId>,
    /// Where the request came from, as `origin` hashes it.
    pub device: Option<Uuid>,
    pub address: Option<Uuid>,
    pub occurred_at: DateTime<Utc>,
}

impl LoggedTransfer {
    /// Whether it tells something about how the debit account pays.
    pub fn is_paid(&self) -> bool {
        self.status == TransferStatus::Posted && self.kind.is_paid()
    }
}
