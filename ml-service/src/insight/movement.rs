//! A holder's side of a transfer: money that came in or went out ([`logged`] tells of which transfers).

pub mod logged;

use std::collections::BTreeSet;

use chrono::NaiveDate;
use shared::Currency;
use shared::clients::transactions::Direction;
use shared::id::{AccountId, TransferId, UserId};

use super::category::{Category, CategorySource};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub transfer_id: TransferId,
    /// The holder's account.
    pub account_id: AccountId,
    pub counterparty_id: AccountId,
    /// A debit is money that went out.
    pub direction: Direction,
    /// What was not given back, in minor units; positive.
    pub amount: i64,
    /// The day in the holder's time zone.
    pub on: NaiveDate,
    pub description: String,
    /// What stays the same in the description from one payment to the next.
    pub label: String,
    pub category: Category,
    pub source: CategorySource,
}

impl Movement {
    pub fn is_spending(&self) -> bool {
        self.direction == Direction::Debit
    }

    /// What it does to a balance.
    pub fn net(&self) -> i64 {
        if self.is_spending() {
            -self.amount
        } else {
            self.amount
        }
    }

    /// How a sentence calls the other side: the words of the description, or its account.
    pub fn counterparty(&self) -> String {
        let words = self.description.trim();
        if words.is_empty() {
            return format!("the account {}", self.counterparty_id);
        }
        let short: String = words.chars().take(60).collect();
        format!("“{short}”")
    }
}

/// What one holder did in one currency, until today.
#[derive(Clone, Debug)]
pub struct History {
    pub holder: UserId,
    pub currency: Currency,
    /// The day in the holder's time zone.
    pub today: NaiveDate,
    /// Oldest first.
    pub movements: Vec<Movement>,
    /// The holder's accounts that are in the log.
    pub accounts: BTreeSet<AccountId>,
}

impl History {
    /// Of somebody who has done nothing yet.
    pub fn empty(holder: UserId, currency: Currency, today: NaiveDate) -> Self {
        Self {
            holder,
            currency,
            today,
            movements: Vec::new(),
            accounts: BTreeSet::new(),
        }
    }

    /// Days that are known, today included.
    pub fn days(&self) -> i64 {
        let first = self.movements.first().map_or(self.today, |movement| movement.on);
        (self.today - first).num_days() + 1
    }

    pub fn spending(&self) -> impl Iterator<Item = &Movement> {
        self.movements.iter().filter(|movement| movement.is_spending())
    }

    /// How many days ago it was.
    pub fn age(&self, on: NaiveDate) -> i64 {
        (self.today - on).num_days()
    }
}
