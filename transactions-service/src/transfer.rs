//! A transfer: what was asked for, what became of it, and how it is shown.

pub mod batches;
pub mod handlers;
pub mod queries;
pub mod returns;
pub mod search;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use shared::clients::ml::{Decision, Reason, ScoreRequest};
pub use shared::clients::transactions::{TransferKind, TransferStatus};
use shared::id::{AccountId, HoldId, TransferId, UserId};
use shared::{Amount, Currency, Origin};
use utoipa::ToSchema;

use crate::book::{Refusal, ReviewReason};
use crate::leg::{LegOrder, Legs};

/// Why a transfer was recorded as rejected.
pub const BLOCKED_BY_RISK: &str = "blocked_by_risk";
pub const REJECTED_IN_REVIEW: &str = "rejected_in_review";

/// What somebody wants to move. It cannot be invalid in itself; the lane decides it against the accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOrder {
    pub id: TransferId,
    pub kind: TransferKind,
    pub legs: Legs,
    pub note: Note,
    pub initiated_by: UserId,
    /// Of a capture.
    pub captured_hold_id: Option<HoldId>,
    /// Of a refund or reversal.
    pub original_transfer_id: Option<TransferId>,
}

/// What a client says about its transfer; the ledger keeps it and decides nothing by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
    pub reference: Option<Reference>,
    pub effective_date: Option<NaiveDate>,
}

impl TransferOrder {
    /// What somebody asks for; not a capture, and giving nothing back.
    pub fn new(kind: TransferKind, legs: Legs, note: Note, initiated_by: UserId) -> Self {
        Self {
            id: TransferId::new(),
            kind,
            legs,
            note,
            initiated_by,
            captured_hold_id: None,
            original_transfer_id: None,
        }
    }

    /// As they are kept and shown, unless they are a pair.
    pub fn stored_legs(&self) -> Option<Vec<LegOrder>> {
        let without_condition = |leg: &LegOrder| LegOrder {
            available_balance: None,
            ..leg.clone()
        };
        match self.legs.as_pair() {
            Some(_) => None,
            None => Some(self.legs.iter().map(without_condition).collect()),
        }
    }

    /// What ml-service is told: of several legs the largest on either side, with all that is debited.
    pub fn score_request(
        &self,
        requested_at: DateTime<Utc>,
        origin: Option<&Origin>,
    ) -> Option<ScoreRequest> {
        let (debit, credit) = (self.legs.largest_debit()?, self.legs.largest_credit()?);
        Some(ScoreRequest {
            transfer_id: self.id,
            debit_account_id: debit.account_id,
            credit_account_id: credit.account_id,
            amount: self.legs.total(),
            currency: debit.currency,
            requested_at,
            kind: Some(self.kind),
            initiated_by: Some(self.initiated_by),
            origin: origin.cloned(),
        })
    }
}

/// A posted transfer that is to be given back, under its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedTransfer {
    pub id: TransferId,
    pub posted: bool,
    /// Minor units, like `refunded`.
    pub amount: i64,
    pub refunded: i64,
    pub reversal_id: Option<TransferId>,
}

impl LockedTransfer {
    pub fn require_returnable(&self) -> Result<(), Refusal> {
        match (self.posted, self.reversal_id) {
            (false, _) => Err(Refusal::NotPosted),
            (true, Some(_)) => Err(Refusal::AlreadyReversed),
            (true, None) => Ok(()),
        }
    }
}

/// What a person decided about a transfer in review.
#[derive(Clone, Debug)]
pub struct ReviewDecision {
    /// As it was asked for; this never changes.
    pub order: TransferOrder,
    pub created_at: DateTime<Utc>,
    /// One for each debit.
    pub hold_ids: Vec<HoldId>,
    pub review_reason: Option<ReviewReason>,
    pub approve: bool,
    pub decided_by: UserId,
}

/// A transfer, as clients see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Transfer)]
pub struct TransferRecord {
    pub id: TransferId,
    pub kind: TransferKind,
    pub status: TransferStatus,
    /// The account that pays. Of a deposit, the rail's clearing account. Absent with several legs, like the next three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debit_account_id: Option<AccountId>,
    /// The account that is paid. Of a withdrawal, the rail's clearing account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit_account_id: Option<AccountId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Of a transfer with several debits or credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legs: Option<Vec<LegOrder>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// The day it counts for, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_date: Option<NaiveDate>,
    /// Why it was rejected: `blocked_by_risk` or `rejected_in_review`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection_code: Option<String>,
    /// Why a person decides about it, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_reason: Option<ReviewReason>,
    pub created_at: DateTime<Utc>,
    /// When it was posted or rejected; absent while it is in review.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Of a capture: the hold whose money it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_id: Option<HoldId>,
    /// Of a refund or reversal: the transfer that it gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_transfer_id: Option<TransferId>,
    /// How much of it was refunded, in minor units; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Amount>,
    /// The reversal that undid it, or that waits for a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal_id: Option<TransferId>,
    /// Whether it was only tried: nothing of it was kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How suspicious it looked. Shown to `compliance` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
}

impl TransferRecord {
    /// An order, with what became of it.
    pub fn new(
        order: &TransferOrder,
        status: TransferStatus,
        created_at: DateTime<Utc>,
        completed_at: Option<DateTime<Utc>>,
    ) -> Self {
        let pair = order.legs.as_pair();
        let note = &order.note;
        Self {
            id: order.id,
            kind: order.kind,
            status,
            debit_account_id: pair.map(|(debit, _)| debit.account_id),
            credit_account_id: pair.map(|(_, credit)| credit.account_id),
            amount: pair.map(|(debit, _)| debit.amount),
            currency: pair.map(|(debit, _)| debit.currency),
            legs: order.stored_legs(),
            description: note.description.clone(),
            metadata: note.metadata.clone(),
            reference: note.reference.clone(),
            effective_date: note.effective_date,
            rejection_code: None,
            review_reason: None,
            created_at,
            completed_at,
            hold_id: order.captured_hold_id,
            original_transfer_id: order.original_transfer_id,
            refunded: None,
            reversal_id: None,
            dry_run: false,
            risk: None,
        }
    }

    pub fn rejected_for(mut self, code: &str) -> Self {
        self.rejection_code = Some(code.to_owned());
        self
    }
}

/// The fraud score of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Risk {
    /// 0 to 1000.
    pub score: u16,
    pub decision: Decision,
    pub reasons: Vec<Reason>,
}

/// Free text on a transfer: 1 to 140 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 140, example = "Rent for December")]
pub struct Description(String);

#[derive(Debug, thiserror::Error)]
#[error("expected 1 to 140 characters, none of them a control character")]
pub struct InvalidDescription;

impl TryFrom<String> for Description {
    type Error = InvalidDescription;

    fn try_from(text: String) -> Result<Self, InvalidDescription> {
        let length_is_right = (1..=140).contains(&text.chars().count());
        (length_is_right && !text.chars().any(char::is_control))
            .then_some(Self(text))
            .ok_or(InvalidDescription)
    }
}

impl<'de> Deserialize<'de> for Description {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

impl Description {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The client's own key and value pairs: at most 20; keys of 1 to 40 characters out of `A-Z a-z 0-9 _ . -`, values of at
/// most 500 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, String>, example = json!({"order": "A-1001"}))]
pub struct Metadata(BTreeMap<String, String>);

#[derive(Debug, thiserror::Error)]
#[error(
    "expected at most 20 pairs; keys of 1 to 40 letters, digits, `_`, `.` or `-`; text values of at most 500 characters without control characters"
)]
pub struct InvalidMetadata;

impl TryFrom<BTreeMap<String, String>> for Metadata {
    type Error = InvalidMetadata;

    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, InvalidMetadata> {
        let key_is_right = |key: &str| {
            (1..=40).contains(&key.len())
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let value_is_right =
            |value: &str| value.chars().count() <= 500 && !value.chars().any(char::is_control);
        let valid = pairs.len() <= 20
            && pairs
                .iter()
                .all(|(key, value)| key_is_right(key) && value_is_right(value));
        valid.then_some(Self(pairs)).ok_or(InvalidMetadata)
    }
}

impl Metadata {
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

/// The client's own name for a transfer: 1 to 64 printable characters, to find it again. It need not be unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 64, example = "invoice-2026-1001")]
pub struct Reference(String);

#[derive(Debug, thiserror::Error)]
#[error("expected 1 to 64 characters, none of them a control character")]
pub struct InvalidReference;

impl TryFrom<String> for Reference {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, InvalidReference> {
        let length_is_right = (1..=64).contains(&text.chars().count());
        (length_is_right && !text.chars().any(char::is_control))
            .then_some(Self(text))
            .ok_or(InvalidReference)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

impl Reference {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_short_and_printable() {
        for (text, valid) in [
            ("Rent", true),
            ("Miete für März ☀", true),
            ("", false),
            ("a\nb", false),
            ("\u{0}", false),
        ] {
            assert_eq!(Description::try_from(text.to_owned()).is_ok(), valid, "{text:?}");
        }
        assert!(Description::try_from("x".repeat(141)).is_err());
    }

    #[test]
    fn metadata_is_bounded() {
        let pairs = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(Metadata::try_from(pairs("order.id-1_A", "A-1001")).is_ok());
        assert!(Metadata::try_from(pairs("", "x")).is_err());
        assert!(Metadata::try_from(pairs("a b", "x")).is_err());
        assert!(Metadata::try_from(pairs("a", &"x".repeat(501))).is_err());
        let many = (0..21)
            .map(|number| (number.to_string(), String::new()))
            .collect();
        assert!(Metadata::try_from(BTreeMap::clone(&many)).is_err());
    }
}
