//! The rules of the ledger: pure decisions over accounts, holds and transfers that are locked, in the order the requests
//! arrived.
//!
//! Nothing here reads a clock, a database or the network, so the same code decides in the lane, in a dry run, and in the
//! property tests.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::clients::ml::Decision;
use shared::clients::transactions::{Direction, LedgerStatus};
use shared::id::{AccountId, HoldId, TransferId};
use shared::money::MAX_AMOUNT;
use shared::{Amount, ApiError, Currency, Outcome};
use utoipa::ToSchema;

use crate::hold::{CaptureOrder, HoldOrder, IncrementOrder, LockedHold};
use crate::ledger_account::{AccountKind, ExceededLimit, LockedAccount};
use crate::leg::{LegOrder, Legs};
use crate::threshold::Thresholds;
use crate::transfer::{LockedTransfer, Risk, TransferKind, TransferOrder};

/// One leg that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub account_id: AccountId,
    pub direction: Direction,
    pub amount: i64,
    pub currency: Currency,
    pub sequence: i64,
    pub balance_after: i64,
}

/// What becomes of an order that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Posted(Vec<Leg>),
    /// What is debited is held until a person decides.
    InReview(ReviewReason),
    /// The fraud score blocks it: recorded, nothing moves.
    Blocked,
}

/// A rule of the ledger says no: definite, without effect, and remembered with the request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The condition on the leg at {0} does not hold.")]
    ConditionFailed(Pointer),
    #[error("The account at {0} does not exist, or is not yours.")]
    AccountNotFound(Pointer),
    #[error("The account at {0} is in another currency.")]
    CurrencyMismatch(Pointer),
    #[error("The account at {0} is frozen.")]
    AccountFrozen(Pointer),
    #[error("The account at {0} is closed.")]
    AccountClosed(Pointer),
    #[error("The available balance does not cover the amount.")]
    InsufficientFunds,
    #[error("It is more than one transfer out of the account at {0} may be.")]
    TransferLimitExceeded(Pointer),
    #[error("It is more than may leave the account at {0} in one day, with what is held.")]
    DailyLimitExceeded(Pointer),
    #[error("It is more than may leave the account at {0} in one month, with what is held.")]
    MonthlyLimitExceeded(Pointer),
    #[error("A second person must approve this amount, so it cannot be held. Make a transfer.")]
    ApprovalRequired,
    #[error("The balance of the account at {0} would leave the range that can be represented.")]
    BalanceLimit(Pointer),
    #[error("The transfer is not in review any more.")]
    NotInReview,
    #[error("The fraud score does not allow it.")]
    BlockedByRisk,
    #[error("Nothing is left of the hold.")]
    HoldEnded,
    #[error("The hold has expired.")]
    HoldExpired,
    #[error("The hold has not expired yet.")]
    HoldNotExpired,
    #[error("More than what is left of the hold.")]
    HoldExceeded,
    #[error("Only a posted transfer can be given back.")]
    NotPosted,
    #[error("The transfer was reversed, or its reversal waits for a decision.")]
    AlreadyReversed,
    #[error("The transfer was refunded in part or in full, so it cannot be reversed.")]
    AlreadyRefunded,
    #[error("More than what is left to refund.")]
    RefundExceeded,
}

impl Refusal {
    pub fn code(self) -> &'static str {
        match self {
            Self::AccountNotFound(_) => "account_not_found",
            Self::CurrencyMismatch(_) => "currency_mismatch",
            Self::AccountFrozen(_) => "account_frozen",
            Self::AccountClosed(_) => "account_closed",
            Self::InsufficientFunds => "insufficient_funds",
            Self::TransferLimitExceeded(_) => "transfer_limit_exceeded",
            Self::DailyLimitExceeded(_) => "daily_limit_exceeded",
            Self::MonthlyLimitExceeded(_) => "monthly_limit_exceeded",
            Self::ApprovalRequired => "approval_required",
            Self::BalanceLimit(_) => "balance_limit_exceeded",
            Self::ConditionFailed(_) => "condition_failed",
            Self::NotInReview => "not_in_review",
            Self::BlockedByRisk => crate::transfer::BLOCKED_BY_RISK,
            Self::HoldEnded => "hold_ended",
            Self::HoldExpired => "hold_expired",
            Self::HoldNotExpired => "hold_not_expired",
            Self::HoldExceeded => "hold_exceeded",
            Self::NotPosted => "not_posted",
            Self::AlreadyReversed => "already_reversed",
            Self::AlreadyRefunded => "already_refunded",
            Self::RefundExceeded => "refund_exceeded",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError::unprocessable(refusal.code(), refusal.to_string()).outcome(Outcome::None)
    }
}

/// Where in the request an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    Debit,
    Credit,
    /// Of a hold.
    Account,
    Leg(usize),
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debit => f.write_str("/debit_account_id"),
            Self::Credit => f.write_str("/credit_account_id"),
            Self::Account => f.write_str("/account_id"),
            Self::Leg(index) => write!(f, "/legs/{index}/account_id"),
        }
    }
}

impl TransferOrder {
    /// The legs, each with its place in the request.
    pub fn pointed_legs(&self) -> impl Iterator<Item = (Pointer, &LegOrder)> {
        let pair = self.legs.as_pair().is_some();
        self.legs.iter().enumerate().map(move |(index, leg)| {
            let pointer = match (pair, leg.direction) {
                (true, Direction::Debit) => Pointer::Debit,
                (true, Direction::Credit) => Pointer::Credit,
                (false, _) => Pointer::Leg(index),
            };
            (pointer, leg)
        })
    }
}

/// How an order is treated when the fraud score came, came too late, or is not asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scoring {
    Scored(Risk),
    /// No score in time: small amounts post and are scored later, larger ones wait for a person.
    Missing {
        post_limit: i64,
    },
    /// Money that enters, and money that goes back to where it came from, is not scored.
    Exempt,
}

/// Why a person has to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReviewReason {
    /// The fraud score, or that there is none.
    Risk,
    /// It is above the amount that needs a second person.
    Amount,
    /// It undoes another transfer.
    Reversal,
}

impl ReviewReason {
    pub fn word(self) -> &'static str {
        match self {
            Self::Risk => "risk",
            Self::Amount => "amount",
            Self::Reversal => "reversal",
        }
    }
}

impl Scoring {
    fn decision(&self, amount: i64) -> Decision {
        match self {
            Self::Scored(risk) => risk.decision,
            Self::Missing { post_limit } if amount > *post_limit => Decision::Review,
            Self::Missing { .. } | Self::Exempt => Decision::Allow,
        }
    }
}

/// The rows of a batch, locked, as they stand after each decision.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<AccountId, LockedAccount>,
    holds: HashMap<HoldId, LockedHold>,
    transfers: HashMap<TransferId, LockedTransfer>,
    approvals: Thresholds,
    /// What each change overwrote, newest last.
    undo: Vec<Before>,
}

#[derive(Debug)]
enum Before {
    Account(LockedAccount),
    Hold(LockedHold),
    Transfer(LockedTransfer),
}

/// What decisions have changed, each row once, in id order.
pub struct Changes<'a> {
    pub accounts: Vec<&'a LockedAccount>,
    pub holds: Vec<&'a LockedHold>,
    pub transfers: Vec<&'a LockedTransfer>,
}

impl Book {
    pub fn new(
        accounts: impl IntoIterator<Item = LockedAccount>,
        holds: impl IntoIterator<Item = LockedHold>,
        transfers: impl IntoIterator<Item = LockedTransfer>,
    ) -> Self {
        Self {
            accounts: accounts.into_iter().map(|it| (it.id, it)).collect(),
            holds: holds.into_iter().map(|it| (it.id, it)).collect(),
            transfers: transfers.into_iter().map(|it| (it.id, it)).collect(),
            approvals: Thresholds::default(),
            undo: Vec::new(),
        }
    }

    pub fn with_approvals(self, approvals: Thresholds) -> Self {
        Self { approvals, ..self }
    }

    pub fn account(&self, id: AccountId) -> Option<&LockedAccount> {
        self.accounts.get(&id)
    }

    pub fn hold(&self, id: HoldId) -> Option<&LockedHold> {
        self.holds.get(&id)
    }

    pub fn changes(&self) -> Changes<'_> {
        let (mut accounts, mut holds, mut transfers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for before in &self.undo {
            match before {
                Before::Account(account) => accounts.insert(account.id),
                Before::Hold(hold) => holds.insert(hold.id),
                Before::Transfer(transfer) => transfers.insert(transfer.id),
            };
        }
        Changes {
            accounts: accounts.iter().filter_map(|id| self.accounts.get(id)).collect(),
            holds: holds.iter().filter_map(|id| self.holds.get(id)).collect(),
            transfers: transfers.iter().filter_map(|id| self.transfers.get(id)).collect(),
        }
    }

    /// All that `decide` changes, or nothing when it is refused.
    fn attempt<T>(&mut self, decide: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let before = self.mark();
        let result = decide(self);
        if result.is_err() {
            self.undo_to(before);
        }
        result
    }

    /// Where the book stands, to come back to.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back what was changed since `mark`.
    pub fn undo_to(&mut self, mark: usize) {
        for before in self.undo.drain(mark..).rev() {
            match before {
                Before::Account(account) => drop(self.accounts.insert(account.id, account)),
                Before::Hold(hold) => drop(self.holds.insert(hold.id, hold)),
                Before::Transfer(transfer) => drop(self.transfers.insert(transfer.id, transfer)),
            }
        }
    }

    /// Decides a new transfer or payment.
    pub fn decide(&mut self, order: &TransferOrder, scoring: &Scoring) -> Result<Verdict, Refusal> {
        self.check_parties(order)?;
        self.check_movable(order)?;
        self.check_covered(order)?;
        let asked_for_now = order.kind.is_scored();
        if asked_for_now {
            self.check_limits(order)?;
        }
        match scoring.decision(order.legs.total()) {
            Decision::Block => Ok(Verdict::Blocked),
            Decision::Review => self.hold_debits(order, ReviewReason::Risk),
            Decision::Allow if asked_for_now && self.approvals.are_exceeded_by([&order.legs]) => {
                self.hold_debits(order, ReviewReason::Amount)
            }
            Decision::Allow => self.post_order(order),
        }
    }

    /// Gives back part of a posted transfer, or all of it; together never more than was posted.
    pub fn refund(&mut self, order: &TransferOrder, original: TransferId) -> Result<Verdict, Refusal> {
        self.attempt(|book| {
            book.change_transfer(original, |original| {
                original.require_returnable()?;
                let refunded = original.refunded.checked_add(order.legs.total());
                original.refunded = refunded
                    .filter(|refunded| *refunded <= original.amount)
                    .ok_or(Refusal::RefundExceeded)?;
                Ok(())
            })?;
            book.decide(order, &Scoring::Exempt)
        })
    }

    /// Proposes to undo a posted transfer: its amount is held where it went until a second person decides.
    pub fn propose_reversal(
        &mut self,
        order: &TransferOrder,
        original: TransferId,
    ) -> Result<Verdict, Refusal> {
        self.attempt(|book| {
            book.change_transfer(original, |original| {
                original.require_returnable()?;
                if original.refunded > 0 {
                    return Err(Refusal::AlreadyRefunded);
                }
                original.reversal_id = Some(order.id);
                Ok(())
            })?;
            book.check_movable(order)?;
            book.check_covered(order)?;
            book.hold_debits(order, ReviewReason::Reversal)
        })
    }

    /// Posts a transfer that was held for review.
    pub fn approve(&mut self, order: &TransferOrder, holds: &[HoldId]) -> Result<Verdict, Refusal> {
        self.attempt(|book| {
            book.end_review_holds(holds, |hold| &mut hold.captured)?;
            book.check_movable(order)?;
            book.post_order(order)
        })
    }

    /// Gives back what was held for a review. What a rejected reversal would have undone can be reversed or refunded again.
    pub fn reject(&mut self, order: &TransferOrder, holds: &[HoldId]) -> Result<(), Refusal> {
        self.attempt(|book| {
            if let (TransferKind::Reversal, Some(original)) = (order.kind, order.original_transfer_id) {
                book.change_transfer(original, |original| {
                    original.reversal_id = None;
                    Ok(())
                })?;
            }
            book.end_review_holds(holds, |hold| &mut hold.released)
        })
    }

    fn end_review_holds(
        &mut self,
        holds: &[HoldId],
        taken: fn(&mut LockedHold) -> &mut i64,
    ) -> Result<(), Refusal> {
        if holds.is_empty() {
            return Err(Refusal::NotInReview);
        }
        for id in holds {
            let hold = self.holds.get(id).ok_or(Refusal::NotInReview)?;
            if hold.captured != 0 || hold.released != 0 {
                return Err(Refusal::NotInReview);
            }
            let (account_id, amount) = self.change_hold(*id, |hold| {
                *taken(hold) = hold.amount;
                Ok((hold.account_id, hold.amount))
            })?;
            self.take_from_held(account_id, amount)?;
        }
        Ok(())
    }

    /// Sets money aside in favour of another account. It is decided at once: what a person would have to look at is refused.
    pub fn place_hold(&mut self, order: &HoldOrder, scoring: &Scoring) -> Result<(), Refusal> {
        let transfer = order.as_transfer();
        self.check_parties(&transfer)?;
        self.check_movable(&transfer)?;
        self.check_covered(&transfer)?;
        let amount = order.amount.minor();
        self.check_limits_of(order.account_id, Pointer::Account, amount, amount)?;
        self.require_no_person(&transfer.legs, scoring)?;
        self.add_to_held(order.account_id, amount)
    }

    /// Sets more money aside. The score looks at all that is then set aside.
    pub fn increment_hold(
        &mut self,
        id: HoldId,
        order: &IncrementOrder,
        scoring: &Scoring,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        self.attempt(|book| {
            let by = order.amount.minor();
            let (account_id, amount) = book.change_hold(id, |hold| {
                hold.require_open(now)?;
                let amount = hold.amount.checked_add(by);
                hold.amount = amount
                    .filter(|amount| *amount <= MAX_AMOUNT)
                    .ok_or(Refusal::InsufficientFunds)?;
                Ok((hold.account_id, hold.amount))
            })?;
            let account = book.find(account_id, Pointer::Account)?;
            require_open(account, Pointer::Account)?;
            if !account.covers(by) {
                return Err(Refusal::InsufficientFunds);
            }
            book.check_limits_of(account_id, Pointer::Account, amount, by)?;
            book.require_no_person(&order.scored_as.legs, scoring)?;
            book.add_to_held(account_id, by)
        })
    }

    /// A hold is decided at once, so what a person would have to look at is refused.
    fn require_no_person(&self, legs: &Legs, scoring: &Scoring) -> Result<(), Refusal> {
        match scoring.decision(legs.total()) {
            Decision::Review | Decision::Block => Err(Refusal::BlockedByRisk),
            Decision::Allow if self.approvals.are_exceeded_by([legs]) => Err(Refusal::ApprovalRequired),
            Decision::Allow => Ok(()),
        }
    }

    /// Posts what was set aside, or a part of it.
    pub fn capture_hold(
        &mut self,
        id: HoldId,
        capture: &CaptureOrder,
        now: DateTime<Utc>,
    ) -> Result<(TransferOrder, Verdict), Refusal> {
        self.attempt(|book| {
            let order = book.change_hold(id, |hold| {
                hold.require_open(now)?;
                hold.capture(capture)
            })?;
            book.check_movable(&order)?;
            for debit in order.legs.debits() {
                book.take_from_held(debit.account_id, debit.amount.minor())?;
            }
            let verdict = book.post_order(&order)?;
            Ok((order, verdict))
        })
    }

    /// Makes what was set aside available again: `amount` of it, or all that is left.
    pub fn release_hold(&mut self, id: HoldId, amount: Option<Amount>) -> Result<(), Refusal> {
        self.attempt(|book| {
            let (account_id, amount) = book.change_hold(id, |hold| hold.release(amount))?;
            book.take_from_held(account_id, amount)
        })
    }

    /// Releases what is left of a hold whose time is up.
    pub fn expire_hold(&mut self, id: HoldId, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.attempt(|book| {
            let (account_id, amount) = book.change_hold(id, |hold| {
                if !hold.is_due(now) {
                    return Err(Refusal::HoldNotExpired);
                }
                hold.expired = true;
                hold.release(None)
            })?;
            book.take_from_held(account_id, amount)
        })
    }

    fn find(&self, id: AccountId, pointer: Pointer) -> Result<&LockedAccount, Refusal> {
        self.accounts.get(&id).ok_or(Refusal::AccountNotFound(pointer))
    }

    fn add_to_held(&mut self, id: AccountId, amount: i64) -> Result<(), Refusal> {
        self.change_account(id, |account| {
            let held = account.held.checked_add(amount);
            account.held = held
                .filter(|held| *held <= MAX_AMOUNT)
                .ok_or(Refusal::InsufficientFunds)?;
            Ok(())
        })
    }

    fn take_from_held(&mut self, id: AccountId, amount: i64) -> Result<(), Refusal> {
        self.change_account(id, |account| {
            let held = account.held.checked_sub(amount);
            account.held = held.filter(|held| *held >= 0).ok_or(Refusal::HoldEnded)?;
            Ok(())
        })
    }

    fn hold_debits(&mut self, order: &TransferOrder, reason: ReviewReason) -> Result<Verdict, Refusal> {
        self.attempt(|book| {
            for debit in order.legs.debits() {
                book.add_to_held(debit.account_id, debit.amount.minor())?;
            }
            Ok(Verdict::InReview(reason))
        })
    }

    /// All legs, or none; and none unless every condition holds afterwards.
    fn post_order(&mut self, order: &TransferOrder) -> Result<Verdict, Refusal> {
        self.attempt(|book| {
            let legs = order.pointed_legs();
            let spends = order.kind.is_paid();
            let legs = legs.map(|(pointer, leg)| book.post_leg(leg, pointer, spends));
            let legs = legs.collect::<Result<Vec<_>, _>>()?;
            book.check_conditions(order)?;
            Ok(Verdict::Posted(legs))
        })
    }

    fn post_leg(&mut self, leg: &LegOrder, pointer: Pointer, spends: bool) -> Result<Leg, Refusal> {
        self.change_account(leg.account_id, |account| {
            if spends && leg.direction == Direction::Debit {
                account.spent = account.spent.plus(leg.amount.minor());
            }
            let leg = next_leg(account, leg).ok_or(Refusal::BalanceLimit(pointer))?;
            account.posted = leg.balance_after;
            account.version = leg.sequence;
            Ok(leg)
        })
    }

    /// Who may move what: the payer's holder pays, and a rail's clearing account is only ever the other side of a payment.
    fn check_parties(&self, order: &TransferOrder) -> Result<(), Refusal> {
        for (pointer, leg) in order.pointed_legs() {
            let account = self.find(leg.account_id, pointer)?;
            let (own, kind) = match (order.kind, leg.direction) {
                (TransferKind::Deposit, Direction::Debit) => (false, AccountKind::Clearing),
                (TransferKind::Deposit, Direction::Credit) => (true, AccountKind::Customer),
                (TransferKind::Withdrawal, Direction::Credit) => (false, AccountKind::Clearing),
                (_, Direction::Debit) => (true, AccountKind::Customer),
                (_, Direction::Credit) => (false, AccountKind::Customer),
            };
            let is_own = account.holder_id == Some(order.initiated_by);
            // A condition on another's account would tell its balance.
            let needs_own = own || leg.available_balance.is_some();
            if account.kind != kind || (needs_own && !is_own) {
                return Err(Refusal::AccountNotFound(pointer));
            }
        }
        Ok(())
    }

    fn check_movable(&self, order: &TransferOrder) -> Result<(), Refusal> {
        for (pointer, leg) in order.pointed_legs() {
            let account = self.find(leg.account_id, pointer)?;
            require_open(account, pointer)?;
            if account.currency != leg.currency {
                return Err(Refusal::CurrencyMismatch(pointer));
            }
        }
        Ok(())
    }

    fn check_covered(&self, order: &TransferOrder) -> Result<(), Refusal> {
        let covered = order.legs.debits().all(|leg| {
            let account = self.accounts.get(&leg.account_id);
            account.is_some_and(|account| account.covers(leg.amount.minor()))
        });
        covered.then_some(()).ok_or(Refusal::InsufficientFunds)
    }

    fn check_limits(&self, order: &TransferOrder) -> Result<(), Refusal> {
        for (pointer, leg) in order.pointed_legs() {
            if leg.direction == Direction::Debit {
                let amount = leg.amount.minor();
                self.check_limits_of(leg.account_id, pointer, amount, amount)?;
            }
        }
        Ok(())
    }

    fn check_limits_of(&self, id: AccountId, pointer: Pointer, whole: i64, more: i64) -> Result<(), Refusal> {
        let account = self.find(id, pointer)?;
        account
            .check_limits(whole, more)
            .map_err(|exceeded| match exceeded {
                ExceededLimit::Transfer => Refusal::TransferLimitExceeded(pointer),
                ExceededLimit::Daily => Refusal::DailyLimitExceeded(pointer),
                ExceededLimit::Monthly => Refusal::MonthlyLimitExceeded(pointer),
            })
    }

    fn check_conditions(&self, order: &TransferOrder) -> Result<(), Refusal> {
        for (pointer, leg) in order.pointed_legs() {
            let Some(condition) = leg.available_balance else {
                continue;
            };
            let available = self.find(leg.account_id, pointer)?.available();
            if !available.is_some_and(|available| condition.holds_for(available)) {
                return Err(Refusal::ConditionFailed(pointer));
            }
        }
        Ok(())
    }

    /// `change` changes the account, or refuses and leaves it as it is.
    fn change_account<T>(
        &mut self,
        id: AccountId,
        change: impl FnOnce(&mut LockedAccount) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let account = self
            .accounts
            .get_mut(&id)
            .ok_or(Refusal::AccountNotFound(Pointer::Debit))?;
        self.undo.push(Before::Account(account.clone()));
        change(account)
    }

    fn change_hold<T>(
        &mut self,
        id: HoldId,
        change: impl FnOnce(&mut LockedHold) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let hold = self.holds.get_mut(&id).ok_or(Refusal::HoldEnded)?;
        self.undo.push(Before::Hold(hold.clone()));
        change(hold)
    }

    fn change_transfer<T>(
        &mut self,
        id: TransferId,
        change: impl FnOnce(&mut LockedTransfer) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let transfer = self.transfers.get_mut(&id).ok_or(Refusal::NotPosted)?;
        self.undo.push(Before::Transfer(transfer.clone()));
        change(transfer)
    }
}

fn next_leg(account: &LockedAccount, leg: &LegOrder) -> Option<Leg> {
    let amount = leg.amount.minor();
    let balance_after = match leg.direction {
        Direction::Debit => account.posted.checked_sub(amount),
        Direction::Credit => account.posted.checked_add(amount),
    };
    let balance_after = balance_after.filter(|balance| (-MAX_AMOUNT..=MAX_AMOUNT).contains(balance))?;
    Some(Leg {
        account_id: account.id,
        direction: leg.direction,
        amount,
        currency: account.currency,
        sequence: account.version.checked_add(1)?,
        balance_after,
    })
}

fn require_open(account: &LockedAccount, pointer: Pointer) -> Result<(), Refusal> {
    match account.status {
        LedgerStatus::Open => Ok(()),
        LedgerStatus::Frozen => Err(Refusal::AccountFrozen(pointer)),
        LedgerStatus::Closed => Err(Refusal::AccountClosed(pointer)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::Amount;
    use shared::clients::transactions::Limits;
    use shared::id::{TransferId, UserId};

    use super::*;
    use crate::ledger_account::Spent;
    use crate::leg::{Condition, Legs};
    use crate::transfer::Note;

    fn holder(number: u128) -> UserId {
        UserId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn account_id(number: u128) -> AccountId {
        AccountId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn customer(number: u128, posted: i64) -> LockedAccount {
        LockedAccount {
            id: account_id(number),
            kind: AccountKind::Customer,
            holder_id: Some(holder(number)),
            currency: "USD".parse().unwrap(),
            status: LedgerStatus::Open,
            posted,
            held: 0,
            floor: Some(0),
            version: 0,
            limits: Limits::default(),
            spent: Spent::default(),
        }
    }

    fn clearing(posted: i64) -> LockedAccount {
        LockedAccount {
            kind: AccountKind::Clearing,
            holder_id: None,
            floor: None,
            ..customer(0, posted)
        }
    }

    fn pair(debit: u128, credit: u128, minor: i64) -> Legs {
        Legs::pair(
            account_id(debit),
            account_id(credit),
            amount(minor),
            "USD".parse().unwrap(),
        )
    }

    fn order(kind: TransferKind, debit: u128, credit: u128, amount: i64) -> TransferOrder {
        let own = if kind == TransferKind::Deposit {
            credit
        } else {
            debit
        };
        TransferOrder::new(kind, pair(debit, credit, amount), Note::default(), holder(own))
    }

    fn book(accounts: impl IntoIterator<Item = LockedAccount>) -> Book {
        Book::new(accounts, [], [])
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn amount(minor: i64) -> Amount {
        Amount::try_from(minor).unwrap()
    }

    /// Of account 1 in favour of account 2, for a minute.
    fn hold_order(minor: i64) -> HoldOrder {
        HoldOrder {
            id: HoldId::new(),
            account_id: account_id(1),
            credit_account_id: account_id(2),
            amount: amount(minor),
            currency: "USD".parse().unwrap(),
            description: None,
            metadata: None,
            expires_after_s: 60,
            capture_after_s: None,
            initiated_by: holder(1),
        }
    }

    fn capture_order(minor: Option<i64>) -> CaptureOrder {
        CaptureOrder {
            transfer_id: TransferId::new(),
            amount: minor.map(amount),
            note: Note::default(),
            initiated_by: holder(2),
        }
    }

    fn more(book: &Book, hold: HoldId, by: i64) -> IncrementOrder {
        let hold = book.hold(hold).unwrap();
        hold.incremented(amount(by), holder(1)).unwrap()
    }

    /// A book with such a hold, placed at second 0 out of 100.
    fn book_with_hold(minor: i64) -> (Book, HoldId) {
        let order = hold_order(minor);
        let mut payer = customer(1, 100);
        payer.held = minor;
        let book = Book::new([payer, customer(2, 0)], [order.placed_at(at(0))], []);
        (book, order.id)
    }

    /// A posted transfer of 40 from account 1 to account 2, and the order that gives some of it back.
    fn posted_transfer() -> (Book, TransferOrder, LockedTransfer) {
        let original = LockedTransfer {
            id: TransferId::new(),
            posted: true,
            amount: 40,
            refunded: 0,
            reversal_id: None,
        };
        let book = Book::new([customer(1, 60), customer(2, 40)], [], [original.clone()]);
        (book, original_order(&original), original)
    }

    fn original_order(original: &LockedTransfer) -> TransferOrder {
        TransferOrder {
            kind: TransferKind::Refund,
            original_transfer_id: Some(original.id),
            ..order(TransferKind::Transfer, 2, 1, 40)
        }
    }

    fn scored(decision: Decision) -> Scoring {
        Scoring::Scored(Risk {
            score: 0,
            decision,
            reasons: vec![],
        })
    }

    /// The debit and the credit.
    fn posted(verdict: Verdict) -> [Leg; 2] {
        match verdict {
            Verdict::Posted(legs) => legs.try_into().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn transfer(amount: i64) -> TransferOrder {
        order(TransferKind::Transfer, 1, 2, amount)
    }

    fn refused(accounts: [LockedAccount; 2], order: &TransferOrder) -> Option<Refusal> {
        let mut book = book(accounts.clone());
        let refusal = book.decide(order, &scored(Decision::Allow)).err();
        let unchanged = accounts
            .iter()
            .all(|account| book.account(account.id) == Some(account));
        assert!(refusal.is_none() || unchanged, "a refusal changed something");
        refusal
    }

    #[test]
    fn a_transfer_posts_two_legs_with_the_balances_after_them() {
        let mut book = book([customer(1, 100), customer(2, 5)]);
        let verdict = book.decide(&transfer(30), &scored(Decision::Allow)).unwrap();
        let [debit, credit] = posted(verdict);
        assert_eq!((debit.balance_after, debit.sequence), (70, 1));
        assert_eq!((credit.balance_after, credit.sequence), (35, 1));
    }

    #[test]
    fn each_rule_refuses_with_its_own_code_and_changes_nothing() {
        let with = |number, change: fn(&mut LockedAccount)| {
            let mut account = customer(number, 100);
            change(&mut account);
            account
        };
        let (payer, payee) = (customer(1, 100), customer(2, 0));
        let frozen: fn(&mut LockedAccount) = |it| it.status = LedgerStatus::Frozen;
        let closed: fn(&mut LockedAccount) = |it| it.status = LedgerStatus::Closed;
        let yen: fn(&mut LockedAccount) = |it| it.currency = "JPY".parse().unwrap();
        let full: fn(&mut LockedAccount) = |it| it.posted = MAX_AMOUNT;
        let holding: fn(&mut LockedAccount) = |it| it.held = 1;
        let stranger: fn(&mut LockedAccount) = |it| it.holder_id = Some(holder(9));
        let cases = [
            (
                [payer.clone(), payee.clone()],
                101,
                Some(Refusal::InsufficientFunds),
            ),
            ([payer.clone(), payee.clone()], 100, None),
            (
                [with(1, holding), payee.clone()],
                100,
                Some(Refusal::InsufficientFunds),
            ),
            (
                [with(1, stranger), payee.clone()],
                1,
                Some(Refusal::AccountNotFound(Pointer::Debit)),
            ),
            (
                [payer.clone(), customer(3, 0)],
                1,
                Some(Refusal::AccountNotFound(Pointer::Credit)),
            ),
            (
                [with(1, frozen), payee.clone()],
                1,
                Some(Refusal::AccountFrozen(Pointer::Debit)),
            ),
            (
                [payer.clone(), with(2, frozen)],
                1,
                Some(Refusal::AccountFrozen(Pointer::Credit)),
            ),
            (
                [with(1, closed), payee.clone()],
                1,
                Some(Refusal::AccountClosed(Pointer::Debit)),
            ),
            (
                [payer.clone(), with(2, closed)],
                1,
                Some(Refusal::AccountClosed(Pointer::Credit)),
            ),
            (
                [with(1, yen), payee.clone()],
                1,
                Some(Refusal::CurrencyMismatch(Pointer::Debit)),
            ),
            (
                [payer.clone(), with(2, yen)],
                1,
                Some(Refusal::CurrencyMismatch(Pointer::Credit)),
            ),
            (
                [payer.clone(), with(2, full)],
                1,
                Some(Refusal::BalanceLimit(Pointer::Credit)),
            ),
        ];
        for (accounts, amount, expected) in cases {
            assert_eq!(
                refused(accounts.clone(), &transfer(amount)),
                expected,
                "{accounts:?}"
            );
        }
    }

    #[test]
    fn nobody_moves_money_out_of_or_into_a_clearing_account_but_by_a_payment() {
        let accounts = || [clearing(-100), customer(1, 100)];
        for order in [
            order(TransferKind::Transfer, 1, 0, 10),
            order(TransferKind::Transfer, 0, 1, 10),
        ] {
            assert!(matches!(
                refused(accounts(), &order),
                Some(Refusal::AccountNotFound(_))
            ));
        }
        for order in [
            order(TransferKind::Withdrawal, 1, 0, 10),
            order(TransferKind::Deposit, 0, 1, 10),
        ] {
            assert_eq!(refused(accounts(), &order), None);
        }
        let to_another = TransferOrder {
            initiated_by: holder(7),
            ..order(TransferKind::Deposit, 0, 1, 10)
        };
        assert_eq!(
            refused(accounts(), &to_another),
            Some(Refusal::AccountNotFound(Pointer::Credit))
        );
    }

    #[test]
    fn the_score_decides_and_its_absence_falls_back_by_amount() {
        let decide = |amount, scoring: Scoring| {
            book([customer(1, 100), customer(2, 0)])
                .decide(&transfer(amount), &scoring)
                .unwrap()
        };
        assert_eq!(decide(10, scored(Decision::Block)), Verdict::Blocked);
        assert_eq!(
            decide(10, scored(Decision::Review)),
            Verdict::InReview(ReviewReason::Risk)
        );
        assert!(matches!(
            decide(10, Scoring::Missing { post_limit: 10 }),
            Verdict::Posted(_)
        ));
        assert_eq!(
            decide(11, Scoring::Missing { post_limit: 10 }),
            Verdict::InReview(ReviewReason::Risk)
        );
    }

    #[test]
    fn what_is_held_for_review_cannot_be_spent_and_approval_posts_it() {
        let hold = review_hold(1, 60);
        let mut payer = customer(1, 100);
        payer.held = 60;
        let mut book = Book::new([payer, customer(2, 0)], [hold.clone()], []);
        assert_eq!(
            book.decide(&transfer(41), &scored(Decision::Allow)),
            Err(Refusal::InsufficientFunds)
        );
        let verdict = book.approve(&transfer(60), &[hold.id]).unwrap();
        let [debit, credit] = posted(verdict);
        assert_eq!((debit.balance_after, credit.balance_after), (40, 60));
        assert_eq!(book.account(account_id(1)).unwrap().held, 0);
        assert_eq!(book.approve(&transfer(60), &[hold.id]), Err(Refusal::NotInReview));
        assert_eq!(book.reject(&transfer(60), &[hold.id]), Err(Refusal::NotInReview));
    }

    fn review_hold(account: u128, amount: i64) -> LockedHold {
        LockedHold {
            id: HoldId::new(),
            account_id: account_id(account),
            amount,
            captured: 0,
            released: 0,
            expired: false,
            terms: None,
        }
    }

    #[test]
    fn a_hold_is_captured_in_parts_and_the_rest_released_never_more_than_it_has() {
        let (mut book, hold) = book_with_hold(60);
        let (order, verdict) = book.capture_hold(hold, &capture_order(Some(25)), at(1)).unwrap();
        assert_eq!((order.legs.total(), order.captured_hold_id), (25, Some(hold)));
        assert_eq!(posted(verdict).map(|leg| leg.balance_after), [75, 25]);
        assert_eq!(
            book.capture_hold(hold, &capture_order(Some(36)), at(1)),
            Err(Refusal::HoldExceeded)
        );
        assert_eq!(
            book.release_hold(hold, Some(amount(36))),
            Err(Refusal::HoldExceeded)
        );
        book.release_hold(hold, None).unwrap();
        let account = book.account(account_id(1)).unwrap();
        assert_eq!((account.posted, account.held), (75, 0));
        for refused in [
            book.release_hold(hold, None).err(),
            book.capture_hold(hold, &capture_order(None), at(1)).err(),
            book.increment_hold(hold, &more(&book, hold, 1), &Scoring::Exempt, at(1))
                .err(),
        ] {
            assert_eq!(refused, Some(Refusal::HoldEnded));
        }
    }

    #[test]
    fn a_hold_ends_when_its_time_is_up_and_not_before() {
        let (mut book, hold) = book_with_hold(60);
        assert_eq!(book.expire_hold(hold, at(59)), Err(Refusal::HoldNotExpired));
        assert_eq!(
            book.capture_hold(hold, &capture_order(None), at(60)),
            Err(Refusal::HoldExpired)
        );
        assert_eq!(
            book.increment_hold(hold, &more(&book, hold, 1), &Scoring::Exempt, at(60)),
            Err(Refusal::HoldExpired)
        );
        book.expire_hold(hold, at(60)).unwrap();
        assert_eq!(book.account(account_id(1)).unwrap().available(), Some(100));
        assert!(book.hold(hold).unwrap().expired);
    }

    #[test]
    fn more_can_be_held_only_of_what_is_available() {
        let (mut book, hold) = book_with_hold(60);
        assert_eq!(
            book.increment_hold(hold, &more(&book, hold, 41), &Scoring::Exempt, at(1)),
            Err(Refusal::InsufficientFunds)
        );
        assert_eq!(book.hold(hold).unwrap().amount, 60);
        book.increment_hold(hold, &more(&book, hold, 40), &Scoring::Exempt, at(1))
            .unwrap();
        assert_eq!(book.account(account_id(1)).unwrap().available(), Some(0));
        let transfer = book.decide(&transfer(1), &scored(Decision::Allow));
        assert_eq!(transfer, Err(Refusal::InsufficientFunds));
    }

    #[test]
    fn a_hold_does_not_grow_past_a_look_at_it() {
        let at_most = |post_limit| Scoring::Missing { post_limit };
        for (scoring, expected) in [
            (scored(Decision::Review), Err(Refusal::BlockedByRisk)),
            (scored(Decision::Block), Err(Refusal::BlockedByRisk)),
            // What counts is the whole hold, not what is added to it.
            (at_most(89), Err(Refusal::BlockedByRisk)),
            (at_most(90), Ok(())),
        ] {
            let (mut book, hold) = book_with_hold(60);
            assert_eq!(
                book.increment_hold(hold, &more(&book, hold, 30), &scoring, at(1)),
                expected
            );
            let held = book.account(account_id(1)).unwrap().held;
            assert_eq!(held, if expected.is_ok() { 90 } else { 60 });
        }
    }

    fn limited(per_transfer: Option<i64>, daily: Option<i64>, monthly: Option<i64>) -> LockedAccount {
        LockedAccount {
            limits: Limits {
                per_transfer,
                daily,
                monthly,
            },
            ..customer(1, 1_000)
        }
    }

    #[test]
    fn limits_count_what_was_spent_and_what_is_held() {
        let mut account = limited(None, Some(100), Some(150));
        account.spent = Spent {
            today: 30,
            this_month: 90,
        };
        let mut book = book([account, customer(2, 0)]);
        let pay = |book: &mut Book, minor| book.decide(&transfer(minor), &Scoring::Exempt).map(drop);
        let pointer = Pointer::Debit;
        assert_eq!(pay(&mut book, 71), Err(Refusal::DailyLimitExceeded(pointer)));
        assert_eq!(pay(&mut book, 61), Err(Refusal::MonthlyLimitExceeded(pointer)));
        let hold = hold_order(40);
        book.place_hold(&hold, &Scoring::Exempt).unwrap();
        assert_eq!(pay(&mut book, 21), Err(Refusal::MonthlyLimitExceeded(pointer)));
        pay(&mut book, 20).unwrap();
        let spent = book.account(account_id(1)).unwrap().spent;
        assert_eq!((spent.today, spent.this_month), (50, 110));
        assert_eq!(
            book.place_hold(&hold_order(1), &Scoring::Exempt),
            Err(Refusal::MonthlyLimitExceeded(Pointer::Account))
        );
    }

    #[test]
    fn a_capture_was_counted_when_it_was_held() {
        let (mut book, hold) = book_with_hold(60);
        let account = book.accounts.get_mut(&account_id(1)).unwrap();
        account.limits.daily = Some(60);
        book.capture_hold(hold, &capture_order(Some(45)), at(1)).unwrap();
        let account = book.account(account_id(1)).unwrap();
        assert_eq!((account.spent.today, account.held), (45, 15));
        assert_eq!(account.check_limits(1, 1), Err(ExceededLimit::Daily));
        book.release_hold(hold, None).unwrap();
        assert_eq!(book.account(account_id(1)).unwrap().check_limits(15, 15), Ok(()));
    }

    #[test]
    fn one_transfer_or_hold_has_a_limit_of_its_own() {
        let mut book = book([limited(Some(50), None, None), customer(2, 0)]);
        assert_eq!(
            book.decide(&transfer(51), &scored(Decision::Review)),
            Err(Refusal::TransferLimitExceeded(Pointer::Debit))
        );
        let order = hold_order(50);
        book.place_hold(&order, &Scoring::Exempt).unwrap();
        book.holds.insert(order.id, order.placed_at(at(0)));
        assert_eq!(
            book.increment_hold(order.id, &more(&book, order.id, 1), &Scoring::Exempt, at(1)),
            Err(Refusal::TransferLimitExceeded(Pointer::Account))
        );
        book.decide(&transfer(50), &Scoring::Exempt).unwrap();
    }

    #[test]
    fn what_goes_back_and_what_comes_in_is_not_spent() {
        let mut book = book([limited(Some(1), Some(1), Some(1)), customer(2, 100), clearing(0)]);
        book.decide(&order(TransferKind::Deposit, 0, 1, 50), &Scoring::Exempt)
            .unwrap();
        let refund = TransferOrder {
            kind: TransferKind::Refund,
            ..transfer(40)
        };
        book.decide(&refund, &Scoring::Exempt).unwrap();
        assert_eq!(book.account(account_id(1)).unwrap().spent, Spent::default());
    }

    #[test]
    fn above_an_amount_a_second_person_decides() {
        let approvals: Thresholds = "USD=50".parse().unwrap();
        let mut book = book([customer(1, 1_000), customer(2, 0), clearing(0)]).with_approvals(approvals);
        let mut decide = |order: &TransferOrder, decision| book.decide(order, &scored(decision)).unwrap();
        assert!(matches!(
            decide(&transfer(50), Decision::Allow),
            Verdict::Posted(_)
        ));
        for (order, decision, expected) in [
            (
                transfer(51),
                Decision::Allow,
                Verdict::InReview(ReviewReason::Amount),
            ),
            (
                transfer(51),
                Decision::Review,
                Verdict::InReview(ReviewReason::Risk),
            ),
            (transfer(51), Decision::Block, Verdict::Blocked),
            (
                order(TransferKind::Withdrawal, 1, 0, 51),
                Decision::Allow,
                Verdict::InReview(ReviewReason::Amount),
            ),
        ] {
            assert_eq!(decide(&order, decision), expected);
        }
        let deposit = order(TransferKind::Deposit, 0, 1, 51);
        assert!(matches!(
            book.decide(&deposit, &Scoring::Exempt),
            Ok(Verdict::Posted(_))
        ));
        assert_eq!(
            book.place_hold(&hold_order(51), &Scoring::Exempt),
            Err(Refusal::ApprovalRequired)
        );
    }

    #[test]
    fn what_a_person_would_have_to_look_at_cannot_be_held() {
        for (decision, expected) in [
            (Decision::Allow, Ok(())),
            (Decision::Review, Err(Refusal::BlockedByRisk)),
            (Decision::Block, Err(Refusal::BlockedByRisk)),
        ] {
            let mut book = book([customer(1, 100), customer(2, 0)]);
            assert_eq!(book.place_hold(&hold_order(60), &scored(decision)), expected);
        }
    }

    #[test]
    fn refunds_together_are_never_more_than_was_posted() {
        let (mut book, order, original) = posted_transfer();
        let part = |minor| TransferOrder {
            legs: pair(2, 1, minor),
            ..order.clone()
        };
        book.refund(&part(15), original.id).unwrap();
        assert_eq!(book.refund(&part(26), original.id), Err(Refusal::RefundExceeded));
        book.refund(&part(25), original.id).unwrap();
        assert_eq!(book.refund(&part(1), original.id), Err(Refusal::RefundExceeded));
        assert_eq!(book.account(account_id(1)).unwrap().posted, 100);
        assert_eq!(
            book.propose_reversal(&order, original.id),
            Err(Refusal::AlreadyRefunded)
        );
    }

    #[test]
    fn a_refund_that_cannot_be_paid_uses_nothing_up() {
        let (mut book, order, original) = posted_transfer();
        book.change_account(account_id(2), |account| {
            account.held = 30;
            Ok(())
        })
        .unwrap();
        assert_eq!(book.refund(&order, original.id), Err(Refusal::InsufficientFunds));
        assert_eq!(book.transfers[&original.id].refunded, 0);
    }

    #[test]
    fn a_reversal_happens_once_and_can_be_proposed_again_only_when_rejected() {
        let (mut book, order, original) = posted_transfer();
        let reversal = TransferOrder {
            kind: TransferKind::Reversal,
            ..order.clone()
        };
        assert_eq!(
            book.propose_reversal(&reversal, original.id),
            Ok(Verdict::InReview(ReviewReason::Reversal))
        );
        assert_eq!(book.account(account_id(2)).unwrap().available(), Some(0));
        for refused in [
            book.propose_reversal(&reversal, original.id),
            book.refund(&order, original.id),
        ] {
            assert_eq!(refused, Err(Refusal::AlreadyReversed));
        }
        let hold = review_hold(2, 40);
        book.holds.insert(hold.id, hold.clone());
        book.reject(&reversal, &[hold.id]).unwrap();
        assert_eq!(book.account(account_id(2)).unwrap().available(), Some(40));
        book.propose_reversal(&reversal, original.id).unwrap();
        let hold = review_hold(2, 40);
        book.holds.insert(hold.id, hold.clone());
        book.approve(&reversal, &[hold.id]).unwrap();
        assert_eq!(book.account(account_id(1)).unwrap().posted, 100);
        assert_eq!(
            book.propose_reversal(&reversal, original.id),
            Err(Refusal::AlreadyReversed)
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Decide {
            kind: TransferKind,
            debit: u128,
            credit: u128,
            amount: i64,
            decision: Decision,
        },
        /// Of account 1 to the three others.
        Several {
            amounts: [i64; 3],
            least: Option<i64>,
            decision: Decision,
        },
        Settle {
            index: usize,
            approve: bool,
        },
        Place {
            debit: u128,
            credit: u128,
            amount: i64,
        },
        Change {
            index: usize,
            action: Action,
            second: i64,
        },
        GiveBack {
            index: usize,
            amount: i64,
            reverse: bool,
        },
    }

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Increment(i64),
        Capture(Option<i64>),
        Release(Option<i64>),
        Expire,
    }

    fn step() -> impl Strategy<Value = Step> {
        let decision =
            prop_oneof![4 => Just(Decision::Allow), 1 => Just(Decision::Review), 1 => Just(Decision::Block)];
        let kind = prop_oneof![
            Just(TransferKind::Transfer),
            Just(TransferKind::Deposit),
            Just(TransferKind::Withdrawal)
        ];
        let action = prop_oneof![
            (1..50_i64).prop_map(Action::Increment),
            prop::option::of(1..100_i64).prop_map(Action::Capture),
            prop::option::of(1..100_i64).prop_map(Action::Release),
            Just(Action::Expire),
        ];
        prop_oneof![
            5 => (kind, 1..5_u128, 1..5_u128, 1..200_i64, decision.clone())
                .prop_map(|(kind, debit, credit, amount, decision)| match kind {
                    TransferKind::Deposit => Step::Decide { kind, debit: 0, credit, amount, decision },
                    TransferKind::Withdrawal => Step::Decide { kind, debit, credit: 0, amount, decision },
                    _ => Step::Decide { kind, debit, credit, amount, decision },
                }),
            2 => (prop::array::uniform3(1..60_i64), prop::option::of(0..100_i64), decision)
                .prop_map(|(amounts, least, decision)| Step::Several { amounts, least, decision }),
            1 => (0..8_usize, any::<bool>()).prop_map(|(index, approve)| Step::Settle { index, approve }),
            2 => (1..5_u128, 1..5_u128, 1..100_i64)
                .prop_map(|(debit, credit, amount)| Step::Place { debit, credit, amount }),
            3 => (0..8_usize, action, 0..90_i64)
                .prop_map(|(index, action, second)| Step::Change { index, action, second }),
            2 => (0..8_usize, 1..100_i64, any::<bool>())
                .prop_map(|(index, amount, reverse)| Step::GiveBack { index, amount, reverse }),
        ]
    }

    /// What a batch writes besides the book, kept between steps as the database keeps it.
    #[derive(Default)]
    struct Written {
        in_review: Vec<(TransferOrder, Vec<HoldId>)>,
        placed: Vec<HoldId>,
        posted: Vec<TransferOrder>,
    }

    impl Written {
        fn record(&mut self, book: &mut Book, order: TransferOrder, verdict: Verdict) -> Vec<Leg> {
            match verdict {
                Verdict::Posted(legs) => {
                    let original = LockedTransfer {
                        id: order.id,
                        posted: true,
                        amount: order.legs.total(),
                        refunded: 0,
                        reversal_id: None,
                    };
                    book.transfers.insert(order.id, original);
                    self.posted.push(order);
                    legs
                }
                Verdict::InReview(_) => {
                    let mut holds = Vec::new();
                    for debit in order.legs.debits() {
                        let hold = LockedHold {
                            account_id: debit.account_id,
                            ..review_hold(0, debit.amount.minor())
                        };
                        holds.push(hold.id);
                        book.holds.insert(hold.id, hold);
                    }
                    self.in_review.push((order, holds));
                    vec![]
                }
                Verdict::Blocked => vec![],
            }
        }

        /// The legs that the step posts.
        fn take(&mut self, book: &mut Book, step: Step) -> Vec<Leg> {
            match step {
                Step::Decide {
                    kind,
                    debit,
                    credit,
                    amount,
                    decision,
                } if debit != credit => {
                    let order = order(kind, debit, credit, amount);
                    let verdict = book.decide(&order, &scored(decision));
                    verdict.map_or(vec![], |verdict| self.record(book, order, verdict))
                }
                Step::Several {
                    amounts,
                    least,
                    decision,
                } => {
                    let leg = |account: u128, direction, minor: i64| LegOrder {
                        account_id: account_id(account),
                        direction,
                        amount: amount(minor),
                        currency: "USD".parse().unwrap(),
                        available_balance: None,
                    };
                    let mut legs = vec![leg(1, Direction::Debit, amounts.iter().sum())];
                    legs[0].available_balance = least.map(|least| Condition {
                        gte: Some(least),
                        lte: None,
                    });
                    for (account, minor) in (2..5).zip(amounts) {
                        legs.push(leg(account, Direction::Credit, minor));
                    }
                    let legs = Legs::parse(legs).unwrap();
                    let order = TransferOrder::new(TransferKind::Transfer, legs, Note::default(), holder(1));
                    let verdict = book.decide(&order, &scored(decision));
                    let legs = verdict.map_or(vec![], |verdict| self.record(book, order, verdict));
                    if let (Some(least), false) = (least, legs.is_empty()) {
                        assert!(book.account(account_id(1)).unwrap().available().unwrap() >= least);
                    }
                    legs
                }
                Step::Settle { index, approve } if index < self.in_review.len() => {
                    let (order, holds) = self.in_review.remove(index);
                    if !approve {
                        book.reject(&order, &holds).unwrap();
                        return vec![];
                    }
                    match book.approve(&order, &holds) {
                        Ok(verdict) => self.record(book, order, verdict),
                        // What it asked for may not hold any more. Then it is still in review.
                        Err(refusal) => {
                            assert!(matches!(refusal, Refusal::ConditionFailed(_)), "{refusal:?}");
                            self.in_review.push((order, holds));
                            vec![]
                        }
                    }
                }
                Step::Place {
                    debit,
                    credit,
                    amount: minor,
                } if debit != credit => {
                    let order = HoldOrder {
                        account_id: account_id(debit),
                        credit_account_id: account_id(credit),
                        initiated_by: holder(debit),
                        ..hold_order(minor)
                    };
                    if book.place_hold(&order, &scored(Decision::Allow)).is_ok() {
                        self.placed.push(order.id);
                        book.holds.insert(order.id, order.placed_at(at(0)));
                    }
                    vec![]
                }
                Step::Change {
                    index,
                    action,
                    second,
                } if index < self.placed.len() => {
                    let (id, now) = (self.placed[index], at(second));
                    match action {
                        Action::Increment(by) => {
                            _ = book
                                .increment_hold(id, &more(book, id, by), &Scoring::Exempt, now)
                                .ok()
                        }
                        Action::Release(part) => drop(book.release_hold(id, part.map(amount))),
                        Action::Expire => drop(book.expire_hold(id, now)),
                        Action::Capture(part) => {
                            let captured = book.capture_hold(id, &capture_order(part), now);
                            return captured
                                .map_or(vec![], |(order, verdict)| self.record(book, order, verdict));
                        }
                    }
                    vec![]
                }
                Step::GiveBack {
                    index,
                    amount: minor,
                    reverse,
                } if index < self.posted.len() => {
                    let original = self.posted[index].clone();
                    let (kind, legs) = match (reverse, original.legs.as_pair()) {
                        (false, Some((debit, credit))) => {
                            let legs = (credit.account_id, debit.account_id, amount(minor), debit.currency);
                            (TransferKind::Refund, Legs::pair(legs.0, legs.1, legs.2, legs.3))
                        }
                        _ => (TransferKind::Reversal, original.legs.reversed()),
                    };
                    let payer = legs.debits().next().unwrap().account_id;
                    let payer = book.account(payer).unwrap().holder_id.unwrap_or(holder(9));
                    let back = TransferOrder {
                        original_transfer_id: Some(original.id),
                        ..TransferOrder::new(kind, legs, Note::default(), payer)
                    };
                    let reverse = kind == TransferKind::Reversal;
                    let verdict = if reverse {
                        book.propose_reversal(&back, original.id)
                    } else {
                        book.refund(&back, original.id)
                    };
                    verdict.map_or(vec![], |verdict| self.record(book, back, verdict))
                }
                _ => vec![],
            }
        }
    }

    /// Who wants a hold of 60.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Actor {
        Capture(Option<i64>),
        Release(Option<i64>),
        Expire,
        /// Of what was captured last.
        Refund(i64),
    }

    const ACTORS: [Actor; 7] = [
        Actor::Capture(None),
        Actor::Capture(Some(40)),
        Actor::Release(None),
        Actor::Release(Some(40)),
        Actor::Expire,
        Actor::Refund(30),
        Actor::Refund(40),
    ];

    /// Every order of `count` different ones of `actors`.
    fn orders_of(actors: &[Actor], count: usize) -> Vec<Vec<Actor>> {
        if count == 0 {
            return vec![vec![]];
        }
        let mut orders = Vec::new();
        for (index, actor) in actors.iter().enumerate() {
            let others = [&actors[..index], &actors[index + 1..]].concat();
            let rest = orders_of(&others, count - 1);
            orders.extend(rest.into_iter().map(|rest| [vec![*actor], rest].concat()));
        }
        orders
    }

    impl Actor {
        fn act(self, book: &mut Book, written: &mut Written, id: HoldId, now: DateTime<Utc>) -> bool {
            match self {
                Self::Capture(part) => {
                    let captured = book.capture_hold(id, &capture_order(part), now);
                    let captured = captured.map(|(order, verdict)| written.record(book, order, verdict));
                    captured.is_ok()
                }
                Self::Release(part) => book.release_hold(id, part.map(amount)).is_ok(),
                Self::Expire => book.expire_hold(id, now).is_ok(),
                Self::Refund(minor) => written.posted.last().is_some_and(|original| {
                    let back = TransferOrder {
                        kind: TransferKind::Refund,
                        original_transfer_id: Some(original.id),
                        ..order(TransferKind::Transfer, 2, 1, minor)
                    };
                    book.refund(&back, original.id).is_ok()
                }),
            }
        }
    }

    #[test]
    fn one_hold_is_taken_once_in_every_order_of_two_to_four_who_want_it() {
        let orders = (2..=4).flat_map(|count| orders_of(&ACTORS, count));
        for order in orders {
            // Its time is up before the first of them, before the second, ..., or after the last.
            for due in 0..=order.len() {
                let (mut book, id) = book_with_hold(60);
                let mut written = Written::default();
                for (index, actor) in order.iter().enumerate() {
                    let now = at(if index < due { 1 } else { 60 });
                    let done = actor.act(&mut book, &mut written, id, now);
                    let is_late = matches!(actor, Actor::Capture(_)) && index >= due;
                    let is_early = *actor == Actor::Expire && index < due;
                    assert!(!(done && (is_late || is_early)), "{order:?}");

                    let hold = book.hold(id).unwrap();
                    assert!(
                        hold.captured >= 0 && hold.released >= 0 && hold.remaining() >= 0,
                        "{order:?}"
                    );
                    let transfers = || book.transfers.values();
                    let captured: i64 = transfers().map(|it| it.amount).sum();
                    let refunded: i64 = transfers().map(|it| it.refunded).sum();
                    assert!(transfers().all(|it| it.refunded <= it.amount), "{order:?}");
                    let [payer, payee] = [1, 2].map(|number| book.account(account_id(number)).unwrap());
                    assert_eq!(
                        (hold.captured, hold.remaining()),
                        (captured, payer.held),
                        "{order:?}"
                    );
                    assert_eq!(
                        (payer.posted, payee.posted),
                        (100 - captured + refunded, captured - refunded),
                        "{order:?}"
                    );
                }
            }
        }
    }

    proptest! {
        /// Whatever is asked in whatever order: money is neither made nor lost, nobody spends what is not available,
        /// postings are numbered without a gap, what is held is what open holds have left, and nothing is given back
        /// twice.
        #[test]
        fn the_books_balance_after_every_step(steps in prop::collection::vec(step(), 1..80)) {
            let mut book = book((1..5).map(|number| customer(number, 0)).chain([clearing(0)]));
            let mut written = Written::default();
            let mut sequences: HashMap<AccountId, i64> = HashMap::new();
            for step in steps {
                for leg in written.take(&mut book, step) {
                    let last = sequences.entry(leg.account_id).or_default();
                    prop_assert_eq!(leg.sequence, *last + 1);
                    *last = leg.sequence;
                    prop_assert_eq!(book.account(leg.account_id).unwrap().posted, leg.balance_after);
                }
                let accounts: Vec<&LockedAccount> = (0..5).map(|number| book.account(account_id(number)).unwrap()).collect();
                prop_assert_eq!(accounts.iter().map(|it| it.posted).sum::<i64>(), 0);
                for account in accounts {
                    prop_assert!(account.floor.is_none_or(|floor| account.available().unwrap() >= floor));
                    let holds = book.holds.values().filter(|hold| hold.account_id == account.id);
                    prop_assert_eq!(account.held, holds.map(LockedHold::remaining).sum::<i64>());
                }
                for hold in book.holds.values() {
                    prop_assert!(hold.captured >= 0 && hold.released >= 0 && hold.remaining() >= 0);
                }
                for transfer in book.transfers.values() {
                    prop_assert!((0..=transfer.amount).contains(&transfer.refunded));
                    prop_assert!(transfer.refunded == 0 || transfer.reversal_id.is_none());
                }
            }
        }
    }
}
