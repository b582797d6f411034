//! An event: a fact about a transfer or a hold, as it concerns one account. Whoever holds the account reads it with
//! `GET /api/v1/events`.
//!
//! A fact is written to the outbox by the transaction that makes it one. [`feed`] copies it from there, in the order of the
//! commits, for each account that it concerns: for both sides once money has moved or is set aside, and for those who pay
//! until then. What an event says is what was true then, and never changes.

pub mod feed;
pub mod handlers;
pub mod queries;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::ApiError;
use shared::clients::transactions::Direction;
use shared::id::{AccountId, EventId};
use utoipa::ToSchema;

use crate::hold::HoldRecord;
use crate::leg::LegOrder;
use crate::transfer::TransferRecord;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum EventType {
    /// The money moved.
    #[serde(rename = "transfer.posted")]
    TransferPosted,
    /// The money is held and a person decides.
    #[serde(rename = "transfer.in_review")]
    TransferInReview,
    /// Nothing moved.
    #[serde(rename = "transfer.rejected")]
    TransferRejected,
    #[serde(rename = "hold.placed")]
    HoldPlaced,
    /// More is set aside.
    #[serde(rename = "hold.incremented")]
    HoldIncremented,
    /// Something of it was posted; `transfer.posted` tells what.
    #[serde(rename = "hold.captured")]
    HoldCaptured,
    /// Something of it is available again.
    #[serde(rename = "hold.released")]
    HoldReleased,
    /// Its time is up, and what was left is available again.
    #[serde(rename = "hold.expired")]
    HoldExpired,
}

impl EventType {
    pub const ALL: [Self; 8] = [
        Self::TransferPosted,
        Self::TransferInReview,
        Self::TransferRejected,
        Self::HoldPlaced,
        Self::HoldIncremented,
        Self::HoldCaptured,
        Self::HoldReleased,
        Self::HoldExpired,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::TransferPosted => "transfer.posted",
            Self::TransferInReview => "transfer.in_review",
            Self::TransferRejected => "transfer.rejected",
            Self::HoldPlaced => "hold.placed",
            Self::HoldIncremented => "hold.incremented",
            Self::HoldCaptured => "hold.captured",
            Self::HoldReleased => "hold.released",
            Self::HoldExpired => "hold.expired",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether those who are paid see it too. A payee learns of a transfer once it is posted.
    fn concerns_payees(self) -> bool {
        !matches!(self, Self::TransferInReview | Self::TransferRejected)
    }
}

/// What happened to an account of yours.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Event {
    pub id: EventId,
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it became a fact.
    pub created_at: DateTime<Utc>,
    /// Your account that it concerns. A transfer between two accounts of yours is two events.
    pub account_id: AccountId,
    /// 1, 2, 3 … for each account.
    #[schema(example = 1)]
    pub account_sequence: i64,
    /// The transfer or the hold, as it was then.
    #[schema(value_type = EventData)]
    pub data: serde_json::Value,
}

/// What an event is about, as its `type` says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EventData {
    Transfer(TransferRecord),
    Hold(HoldRecord),
}

/// The accounts in the payload of a fact; the rest is skipped without being built.
#[derive(Deserialize)]
struct Parties {
    /// Of a hold.
    account_id: Option<AccountId>,
    debit_account_id: Option<AccountId>,
    credit_account_id: Option<AccountId>,
    #[serde(default)]
    legs: Vec<LegOrder>,
}

/// The accounts that a fact concerns, whether they are a customer's or not; each once.
fn accounts_of(kind: EventType, payload: &str) -> Result<Vec<AccountId>, ApiError> {
    let parties: Parties = serde_json::from_str(payload).map_err(ApiError::internal)?;
    let debits = parties
        .legs
        .iter()
        .filter(|leg| leg.direction == Direction::Debit);
    let mut accounts: Vec<AccountId> = debits.map(|leg| leg.account_id).collect();
    accounts.extend(parties.account_id);
    accounts.extend(parties.debit_account_id);
    if kind.concerns_payees() {
        let credits = parties
            .legs
            .iter()
            .filter(|leg| leg.direction == Direction::Credit);
        accounts.extend(credits.map(|leg| leg.account_id));
        accounts.extend(parties.credit_account_id);
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use shared::clients::transactions::Direction::{Credit, Debit};

    use super::*;

    #[test]
    fn the_wire_and_the_database_use_the_same_words() {
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
            assert_eq!(EventType::of_word(kind.word()), Some(kind));
        }
    }

    #[test]
    fn every_fact_that_the_lane_writes_is_an_event() {
        let lane = include_str!("lane/batch.rs");
        let literals = lane.split('"').skip(1).step_by(2);
        let facts: Vec<&str> = literals
            .filter(|text| text.starts_with("transfer.") || text.starts_with("hold."))
            .collect();
        assert!(facts.len() >= EventType::ALL.len(), "{facts:?}");
        for fact in facts {
            assert!(EventType::of_word(fact).is_some(), "{fact}");
        }
    }

    #[test]
    fn a_payee_learns_of_what_is_posted_or_held_and_of_nothing_else() {
        let (payer, payee, other) = (AccountId::new(), AccountId::new(), AccountId::new());
        let pair = serde_json::json!({ "debit_account_id": payer, "credit_account_id": payee }).to_string();
        let hold = serde_json::json!({ "account_id": payer, "credit_account_id": payee }).to_string();
        let leg = |account_id, direction| {
            let direction = serde_json::to_value(direction).unwrap();
            serde_json::json!({ "account_id": account_id, "direction": direction, "amount": 5, "currency": "USD" })
        };
        let legs = serde_json::json!({ "legs": [leg(payee, Credit), leg(payer, Debit), leg(other, Credit)] })
            .to_string();
        for (kind, payload, expected) in [
            (EventType::TransferPosted, &pair, vec![payer, payee]),
            (EventType::TransferInReview, &pair, vec![payer]),
            (EventType::TransferRejected, &pair, vec![payer]),
            (EventType::HoldPlaced, &hold, vec![payer, payee]),
            (EventType::HoldExpired, &hold, vec![payer, payee]),
            (EventType::TransferPosted, &legs, vec![payer, payee, other]),
            (EventType::TransferRejected, &legs, vec![payer]),
        ] {
            assert_eq!(
                accounts_of(kind, payload).unwrap(),
                expected,
                "{kind:?} {payload}"
            );
        }
    }
}
