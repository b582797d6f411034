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

use crate::approval::Approvals;
use crate::hold::{CaptureOrder, HoldOrder, IncrementOrder, LockedHold};
use crate::ledger_account::{AccountKind, ExceededLimit, LockedAccount};
use crate::leg::{LegOrder, Legs};
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
    approvals: Approvals,
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
            approvals: Approvals::default(),
            undo: Vec::new(),
        }
    }

    pub fn with_approvals(self, approvals: Approvals) -> Self {
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
            Decision::Allow if asked_for_now && self.approvals.are_needed_for(&order.legs) => {
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
            Decision::Allow if self.approvals.are_needed_for(legs) => Err(Refusal::ApprovalRequired),
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

    /// What is held now is posted when somebody approves it, so its conditions are met now or never.
    fn hold_debits(&mut self, order: &TransferOrder, reason: ReviewReason) -> Result<Verdict, Refusal> {
        self.attempt(|book| {
            if order.legs.iter().any(|leg| leg.available_balance.is_some()) {
                let before = book.mark();
                book.post_order(order)?;
                book.undo_to(before);
            }
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
mod tests;
