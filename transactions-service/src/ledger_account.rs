//! A ledger account: whose it is, in which currency, whether it may move, and its balance.
//!
//! Balances are from the holder's point of view: a credit adds, a debit takes away. What is available is what is posted
//! less what is held; it never falls below the account's floor.

pub mod handlers;
pub mod limits;
pub mod queries;

use serde::{Deserialize, Serialize};
use shared::Currency;
use shared::clients::transactions::{LedgerStatus, Limits};
use shared::id::{AccountId, UserId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// A customer's money.
    Customer,
    /// Where a rail's money enters and leaves the platform; one per rail and currency.
    Clearing,
}

/// An account as it stands under the lane's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedAccount {
    pub id: AccountId,
    pub kind: AccountKind,
    pub holder_id: Option<UserId>,
    pub currency: Currency,
    pub status: LedgerStatus,
    /// Minor units, like `held` and `floor`.
    pub posted: i64,
    pub held: i64,
    /// The least that may be available; `None` for no limit.
    pub floor: Option<i64>,
    /// The number of postings so far, and the sequence of the last one.
    pub version: i64,
    pub limits: Limits,
    /// On the current day.
    pub spent: Spent,
}

/// What was posted of transfers, withdrawals and captures that took from an account, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub today: i64,
    pub this_month: i64,
}

impl Spent {
    pub fn plus(self, amount: i64) -> Self {
        Self {
            today: self.today.saturating_add(amount),
            this_month: self.this_month.saturating_add(amount),
        }
    }
}

impl LockedAccount {
    pub fn available(&self) -> Option<i64> {
        self.posted.checked_sub(self.held)
    }

    /// Whether `amount` can be debited or held without going below the floor.
    pub fn covers(&self, amount: i64) -> bool {
        match self.floor {
            None => true,
            Some(floor) => self
                .available()
                .and_then(|it| it.checked_sub(amount))
                .is_some_and(|left| left >= floor),
        }
    }
}

/// Which of an account's limits a transfer would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceededLimit {
    Transfer,
    Daily,
    Monthly,
}

impl LockedAccount {
    /// Whether so much more can be spent or held, of a transfer or hold that is `whole` then. What is held counts as if it
    /// were spent today: it may be, at any moment, and nobody is asked again.
    pub fn check_limits(&self, whole: i64, more: i64) -> Result<(), ExceededLimit> {
        let within = |limit: Option<i64>, amount: i64| limit.is_none_or(|limit| amount <= limit);
        let with_held = |spent: i64| spent.saturating_add(self.held).saturating_add(more);
        if !within(self.limits.per_transfer, whole) {
            Err(ExceededLimit::Transfer)
        } else if !within(self.limits.daily, with_held(self.spent.today)) {
            Err(ExceededLimit::Daily)
        } else if !within(self.limits.monthly, with_held(self.spent.this_month)) {
            Err(ExceededLimit::Monthly)
        } else {
            Ok(())
        }
    }
}

/// The database's word for a status.
pub fn status_word(status: LedgerStatus) -> &'static str {
    match status {
        LedgerStatus::Open => "open",
        LedgerStatus::Frozen => "frozen",
        LedgerStatus::Closed => "closed",
    }
}

pub fn parse_status(word: &str) -> Option<LedgerStatus> {
    [LedgerStatus::Open, LedgerStatus::Frozen, LedgerStatus::Closed]
        .into_iter()
        .find(|it| status_word(*it) == word)
}
