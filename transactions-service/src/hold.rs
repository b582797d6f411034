//! A hold: money set aside in an account in favour of another, until it is captured, released, or its time is up.
//!
//! It is a promise to the payee. So the payer can place it and set more aside, both sides can capture, and only the payee
//! can release before it expires. Time is the database's clock.

pub mod expiry;
pub mod handlers;
pub mod queries;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::id::{AccountId, HoldId, TransferId, UserId};
use shared::money::MAX_AMOUNT;
use shared::{Amount, Currency};
use utoipa::ToSchema;

use crate::book::Refusal;
use crate::leg::Legs;
use crate::transfer::{Description, Metadata, Note, TransferKind, TransferOrder};

/// What somebody wants to set aside.
#[derive(Clone, Debug)]
pub struct HoldOrder {
    pub id: HoldId,
    pub account_id: AccountId,
    pub credit_account_id: AccountId,
    pub amount: Amount,
    pub currency: Currency,
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
    pub expires_after_s: i32,
    pub capture_after_s: Option<i32>,
    pub initiated_by: UserId,
}

impl HoldOrder {
    /// The hold, once it is placed.
    pub fn placed_at(&self, now: DateTime<Utc>) -> LockedHold {
        LockedHold {
            id: self.id,
            account_id: self.account_id,
            amount: self.amount.minor(),
            captured: 0,
            released: 0,
            expired: false,
            terms: Some(HoldTerms {
                credit_account_id: self.credit_account_id,
                currency: self.currency,
                description: self.description.as_ref().map(|text| text.as_str().to_owned()),
                metadata: self
                    .metadata
                    .as_ref()
                    .and_then(|pairs| serde_json::to_value(pairs).ok()),
                expires_at: now + TimeDelta::seconds(self.expires_after_s.into()),
                capture_at: self
                    .capture_after_s
                    .map(|after| now + TimeDelta::seconds(after.into())),
                created_at: now,
            }),
        }
    }

    /// The transfer that it may become. A hold is scored under its own id, before its money can go anywhere.
    pub fn as_transfer(&self) -> TransferOrder {
        TransferOrder {
            id: TransferId::from_uuid(self.id.uuid()),
            ..TransferOrder::new(
                TransferKind::Transfer,
                Legs::pair(
                    self.account_id,
                    self.credit_account_id,
                    self.amount,
                    self.currency,
                ),
                Note::default(),
                self.initiated_by,
            )
        }
    }
}

/// What is to be done with a hold that is there.
#[derive(Clone, Debug)]
pub enum HoldAction {
    Increment(IncrementOrder),
    Capture(CaptureOrder),
    /// So much, or all that is left.
    Release(Option<Amount>),
    Expire,
}

/// What is to be set aside in addition.
#[derive(Clone, Debug)]
pub struct IncrementOrder {
    pub amount: Amount,
    /// The transfer that the whole hold would then be: scored like one, or a hold would grow past every look at it.
    pub scored_as: TransferOrder,
}

/// What of a hold is to be posted.
#[derive(Clone, Debug)]
pub struct CaptureOrder {
    pub transfer_id: TransferId,
    /// All that is left unless told.
    pub amount: Option<Amount>,
    pub note: Note,
    pub initiated_by: UserId,
}

#[derive(Clone, Debug)]
pub struct HoldCommand {
    pub hold_id: HoldId,
    pub account_id: AccountId,
    pub credit_account_id: AccountId,
    pub action: HoldAction,
}

/// A hold as it stands under the lane's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedHold {
    pub id: HoldId,
    pub account_id: AccountId,
    /// Minor units, like `captured` and `released`, which together are never more.
    pub amount: i64,
    pub captured: i64,
    pub released: i64,
    pub expired: bool,
    /// Of a hold that a customer placed; a hold for a review has none.
    pub terms: Option<HoldTerms>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldTerms {
    pub credit_account_id: AccountId,
    pub currency: Currency,
    pub description: Option<String>,
    pub metadata: Option<serde_json::Value>,
    pub expires_at: DateTime<Utc>,
    pub capture_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

impl LockedHold {
    /// Minor units that are still set aside.
    pub fn remaining(&self) -> i64 {
        self.amount
            .saturating_sub(self.captured)
            .saturating_sub(self.released)
    }

    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.expires_at <= now)
    }

    pub fn require_open(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        if self.remaining() <= 0 {
            return Err(Refusal::HoldEnded);
        }
        if self.is_due(now) {
            return Err(Refusal::HoldExpired);
        }
        Ok(())
    }

    /// The order to set more aside.
    pub fn incremented(&self, by: Amount, initiated_by: UserId) -> Result<IncrementOrder, Refusal> {
        let terms = self.terms.as_ref().ok_or(Refusal::HoldEnded)?;
        let becomes = self.amount.saturating_add(by.minor()).min(MAX_AMOUNT);
        let becomes = Amount::try_from(becomes).map_err(|_| Refusal::HoldEnded)?;
        let legs = Legs::pair(self.account_id, terms.credit_account_id, becomes, terms.currency);
        Ok(IncrementOrder {
            amount: by,
            scored_as: TransferOrder::new(TransferKind::Transfer, legs, Note::default(), initiated_by),
        })
    }

    /// Captures so much, or all that is left, and tells the transfer that takes it.
    pub fn capture(&mut self, capture: &CaptureOrder) -> Result<TransferOrder, Refusal> {
        let terms = self.terms.as_ref().ok_or(Refusal::HoldEnded)?;
        let remaining = self.remaining();
        let amount = capture.amount.map_or(remaining, Amount::minor);
        if amount > remaining {
            return Err(Refusal::HoldExceeded);
        }
        let minor = Amount::try_from(amount).map_err(|_| Refusal::HoldEnded)?;
        let order = TransferOrder {
            id: capture.transfer_id,
            captured_hold_id: Some(self.id),
            ..TransferOrder::new(
                TransferKind::Capture,
                Legs::pair(self.account_id, terms.credit_account_id, minor, terms.currency),
                capture.note.clone(),
                capture.initiated_by,
            )
        };
        self.captured = self.captured.checked_add(amount).ok_or(Refusal::HoldExceeded)?;
        Ok(order)
    }

    /// Releases so much, or all that is left, and tells whose and how much.
    pub fn release(&mut self, amount: Option<Amount>) -> Result<(AccountId, i64), Refusal> {
        let remaining = self.remaining();
        if remaining <= 0 {
            return Err(Refusal::HoldEnded);
        }
        let amount = amount.map_or(remaining, Amount::minor);
        if amount > remaining {
            return Err(Refusal::HoldExceeded);
        }
        self.released = self.released.checked_add(amount).ok_or(Refusal::HoldExceeded)?;
        Ok((self.account_id, amount))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// Something is still set aside.
    Open,
    /// Nothing is left, and something was captured.
    Captured,
    /// Nothing is left, and nothing was captured.
    Released,
    /// Nothing was captured before its time was up.
    Expired,
}

/// A hold, as clients see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Hold)]
pub struct HoldRecord {
    pub id: HoldId,
    pub status: HoldStatus,
    /// The account in which the money is set aside.
    pub account_id: AccountId,
    /// The account that is paid by a capture.
    pub credit_account_id: AccountId,
    /// All that was ever set aside, in minor units.
    #[schema(example = 1050)]
    pub amount: i64,
    /// Minor units that were posted to the payee.
    pub captured: i64,
    /// Minor units that became available again.
    pub released: i64,
    /// Minor units that are still set aside.
    pub remaining: i64,
    pub currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Metadata>)]
    pub metadata: Option<serde_json::Value>,
    pub created_at: DateTime<Utc>,
    /// When what is left is released by itself.
    pub expires_at: DateTime<Utc>,
    /// When what is left is captured by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_at: Option<DateTime<Utc>>,
}

impl HoldRecord {
    /// A hold that a customer placed; a hold for a review is nobody's to see.
    pub fn of(hold: &LockedHold) -> Option<Self> {
        let terms = hold.terms.clone()?;
        let status = match (hold.remaining(), hold.captured, hold.expired) {
            (1.., _, _) => HoldStatus::Open,
            (_, 1.., _) => HoldStatus::Captured,
            (_, _, true) => HoldStatus::Expired,
            (_, _, false) => HoldStatus::Released,
        };
        Some(Self {
            id: hold.id,
            status,
            account_id: hold.account_id,
            credit_account_id: terms.credit_account_id,
            amount: hold.amount,
            captured: hold.captured,
            released: hold.released,
            remaining: hold.remaining(),
            currency: terms.currency,
            description: terms.description,
            metadata: terms.metadata,
            created_at: terms.created_at,
            expires_at: terms.expires_at,
            capture_at: terms.capture_at,
        })
    }
}
