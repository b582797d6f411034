//! A ledger account: whose it is, in which currency, whether it may move, and its balance.
//!
//! Balances are from the holder's point of view: a credit adds, a debit takes away. What is available is what is posted
//! less what is held; it never falls below the account's floor.

pub mod handlers;
pub mod limits;
pub mod queries;

use chrono::{DateTime, Datelike, Utc};
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
    /// What it is at `now`, having been counted at `last`: a new day and a new month begin at nothing.
    pub fn on(self, now: DateTime<Utc>, last: Option<DateTime<Utc>>) -> Self {
        let (now, last) = (now.date_naive(), last.map(|at| at.date_naive()));
        let if_same = |same: bool, amount| if same { amount } else { 0 };
        Self {
            today: if_same(last == Some(now), self.today),
            this_month: if_same(
                last.is_some_and(|last| (last.year(), last.month()) == (now.year(), now.month())),
                self.this_month,
            ),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_day_and_a_new_month_begin_at_nothing() {
        let spent = Spent {
            today: 5,
            this_month: 9,
        };
        let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
        let last = at("2026-11-29T23:59:59Z");
        for (now, today, this_month) in [
            ("2026-11-29T23:59:59.9Z", 5, 9),
            ("2026-11-30T00:00:00Z", 0, 9),
            ("2026-12-01T00:00:00Z", 0, 0),
            ("2027-11-29T23:59:59Z", 0, 0),
        ] {
            assert_eq!(
                spent.on(at(now), Some(last)),
                Spent { today, this_month },
                "{now}"
            );
        }
        assert_eq!(spent.on(last, None), Spent::default());
    }
}
