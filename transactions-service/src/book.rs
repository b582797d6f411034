//! The rules of the ledger: pure decisions over accounts that are locked, in the order the requests arrived.
//!
//! Nothing here reads a clock, a database or the network, so the same code decides in the lane and in the property tests.

use std::collections::HashMap;

use shared::clients::ml::Decision;
use shared::clients::transactions::{Direction, LedgerStatus};
use shared::id::{AccountId, HoldId};
use shared::money::MAX_AMOUNT;
use shared::{ApiError, Outcome};

use crate::ledger_account::{AccountKind, LockedAccount};
use crate::transfer::{Risk, TransferKind, TransferOrder};

/// One leg that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub account_id: AccountId,
    pub direction: Direction,
    pub amount: i64,
    pub sequence: i64,
    pub balance_after: i64,
}

/// What becomes of an order that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Posted {
        debit: Leg,
        credit: Leg,
    },
    /// The amount is held on the debit account until a person decides.
    InReview,
    /// The fraud score blocks it: recorded, nothing moves.
    Blocked,
}

/// A rule of the ledger says no: definite, without effect, and remembered with the request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The account at {0} does not exist, or is not yours.")]
    AccountNotFound(&'static str),
    #[error("The account at {0} is in another currency.")]
    CurrencyMismatch(&'static str),
    #[error("The account at {0} is frozen.")]
    AccountFrozen(&'static str),
    #[error("The account at {0} is closed.")]
    AccountClosed(&'static str),
    #[error("The available balance does not cover the amount.")]
    InsufficientFunds,
    #[error("The balance of the account at {0} would leave the range that can be represented.")]
    BalanceLimit(&'static str),
    #[error("The transfer is not in review any more.")]
    NotInReview,
}

impl Refusal {
    pub fn code(self) -> &'static str {
        match self {
            Self::AccountNotFound(_) => "account_not_found",
            Self::CurrencyMismatch(_) => "currency_mismatch",
            Self::AccountFrozen(_) => "account_frozen",
            Self::AccountClosed(_) => "account_closed",
            Self::InsufficientFunds => "insufficient_funds",
            Self::BalanceLimit(_) => "balance_limit_exceeded",
            Self::NotInReview => "not_in_review",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError::unprocessable(refusal.code(), refusal.to_string()).outcome(Outcome::None)
    }
}

const DEBIT: &str = "/debit_account_id";
const CREDIT: &str = "/credit_account_id";

/// How an order is treated when the fraud score came, came too late, or is not asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scoring {
    Scored(Risk),
    /// No score in time: small amounts post and are scored later, larger ones wait for a person.
    Missing {
        post_limit: i64,
    },
    /// Money that enters is not scored.
    Exempt,
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

/// The accounts of a batch, locked, as they stand after each decision.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<AccountId, LockedAccount>,
    changed: Vec<AccountId>,
}

impl Book {
    pub fn new(accounts: impl IntoIterator<Item = LockedAccount>) -> Self {
        let accounts = accounts
            .into_iter()
            .map(|account| (account.id, account))
            .collect();
        Self {
            accounts,
            changed: Vec::new(),
        }
    }

    pub fn account(&self, id: AccountId) -> Option<&LockedAccount> {
        self.accounts.get(&id)
    }

    /// The accounts that decisions have changed, each once, in id order.
    pub fn changed_accounts(&mut self) -> Vec<&LockedAccount> {
        self.changed.sort_unstable();
        self.changed.dedup();
        self.changed
            .iter()
            .filter_map(|id| self.accounts.get(id))
            .collect()
    }

    /// Decides a new order.
    pub fn decide(&mut self, order: &TransferOrder, scoring: &Scoring) -> Result<Verdict, Refusal> {
        let debit = self.find(order.debit_account_id, DEBIT)?;
        let credit = self.find(order.credit_account_id, CREDIT)?;
        check_parties(order, debit, credit)?;
        check_movable(order, debit, credit)?;
        let amount = order.amount.minor();
        if !debit.covers(amount) {
            return Err(Refusal::InsufficientFunds);
        }
        match scoring.decision(amount) {
            Decision::Block => Ok(Verdict::Blocked),
            Decision::Review => {
                self.hold(order.debit_account_id, amount)?;
                Ok(Verdict::InReview)
            }
            Decision::Allow => {
                let (debit, credit) = self.post(order.debit_account_id, order.credit_account_id, amount)?;
                Ok(Verdict::Posted { debit, credit })
            }
        }
    }

    /// Posts a transfer that was held for review.
    pub fn approve(&mut self, order: &TransferOrder) -> Result<(Leg, Leg), Refusal> {
        let debit = self.find(order.debit_account_id, DEBIT)?;
        let credit = self.find(order.credit_account_id, CREDIT)?;
        check_movable(order, debit, credit)?;
        let amount = order.amount.minor();
        let legs = self.post(order.debit_account_id, order.credit_account_id, amount)?;
        self.release(order.debit_account_id, amount)?;
        Ok(legs)
    }

    /// Gives back what was held.
    pub fn release(&mut self, account_id: AccountId, amount: i64) -> Result<(), Refusal> {
        self.add_to_held(
            account_id,
            amount.checked_neg().ok_or(Refusal::NotInReview)?,
            Refusal::NotInReview,
        )
    }

    fn hold(&mut self, account_id: AccountId, amount: i64) -> Result<(), Refusal> {
        self.add_to_held(account_id, amount, Refusal::InsufficientFunds)
    }

    fn add_to_held(&mut self, account_id: AccountId, amount: i64, refusal: Refusal) -> Result<(), Refusal> {
        let account = self
            .accounts
            .get_mut(&account_id)
            .ok_or(Refusal::AccountNotFound(DEBIT))?;
        account.held = account
            .held
            .checked_add(amount)
            .filter(|held| *held >= 0)
            .ok_or(refusal)?;
        self.changed.push(account_id);
        Ok(())
    }

    fn find(&self, id: AccountId, pointer: &'static str) -> Result<&LockedAccount, Refusal> {
        self.accounts.get(&id).ok_or(Refusal::AccountNotFound(pointer))
    }

    /// Both legs, or neither: nothing is changed before both balances are known to be representable.
    fn post(
        &mut self,
        debit_id: AccountId,
        credit_id: AccountId,
        amount: i64,
    ) -> Result<(Leg, Leg), Refusal> {
        let debit = next_leg(self.find(debit_id, DEBIT)?, Direction::Debit, amount)
            .ok_or(Refusal::BalanceLimit(DEBIT))?;
        let credit = next_leg(self.find(credit_id, CREDIT)?, Direction::Credit, amount)
            .ok_or(Refusal::BalanceLimit(CREDIT))?;
        for leg in [&debit, &credit] {
            if let Some(account) = self.accounts.get_mut(&leg.account_id) {
                account.posted = leg.balance_after;
                account.version = leg.sequence;
                self.changed.push(leg.account_id);
            }
        }
        Ok((debit, credit))
    }
}

fn next_leg(account: &LockedAccount, direction: Direction, amount: i64) -> Option<Leg> {
    let balance_after = match direction {
        Direction::Debit => account.posted.checked_sub(amount),
        Direction::Credit => account.posted.checked_add(amount),
    };
    let balance_after = balance_after.filter(|balance| (-MAX_AMOUNT..=MAX_AMOUNT).contains(balance))?;
    let sequence = account.version.checked_add(1)?;
    Some(Leg {
        account_id: account.id,
        direction,
        amount,
        sequence,
        balance_after,
    })
}

/// Who may move what: the payer's holder pays, and a rail's clearing account is only ever the other side of a payment.
fn check_parties(
    order: &TransferOrder,
    debit: &LockedAccount,
    credit: &LockedAccount,
) -> Result<(), Refusal> {
    let (debit_kind, credit_kind) = match order.kind {
        TransferKind::Transfer => (AccountKind::Customer, AccountKind::Customer),
        TransferKind::Deposit => (AccountKind::Clearing, AccountKind::Customer),
        TransferKind::Withdrawal => (AccountKind::Customer, AccountKind::Clearing),
    };
    let (own, pointer) = match order.kind {
        TransferKind::Deposit => (credit, CREDIT),
        TransferKind::Transfer | TransferKind::Withdrawal => (debit, DEBIT),
    };
    if own.holder_id != Some(order.initiated_by) {
        return Err(Refusal::AccountNotFound(pointer));
    }
    if debit.kind != debit_kind {
        return Err(Refusal::AccountNotFound(DEBIT));
    }
    if credit.kind != credit_kind {
        return Err(Refusal::AccountNotFound(CREDIT));
    }
    Ok(())
}

fn check_movable(
    order: &TransferOrder,
    debit: &LockedAccount,
    credit: &LockedAccount,
) -> Result<(), Refusal> {
    for (account, pointer) in [(debit, DEBIT), (credit, CREDIT)] {
        match account.status {
            LedgerStatus::Open => {}
            LedgerStatus::Frozen => return Err(Refusal::AccountFrozen(pointer)),
            LedgerStatus::Closed => return Err(Refusal::AccountClosed(pointer)),
        }
        if account.currency != order.currency {
            return Err(Refusal::CurrencyMismatch(pointer));
        }
    }
    Ok(())
}

/// A hold that is wholly open, under its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedHold {
    pub id: HoldId,
    /// Minor units.
    pub amount: i64,
    pub taken: i64,
}

impl LockedHold {
    pub fn is_untouched(self) -> bool {
        self.taken == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::Amount;
    use shared::id::{TransferId, UserId};

    use super::*;

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

    fn order(kind: TransferKind, debit: u128, credit: u128, amount: i64) -> TransferOrder {
        let own = if kind == TransferKind::Deposit {
            credit
        } else {
            debit
        };
        TransferOrder {
            id: TransferId::new(),
            kind,
            debit_account_id: account_id(debit),
            credit_account_id: account_id(credit),
            amount: Amount::try_from(amount).unwrap(),
            currency: "USD".parse().unwrap(),
            description: None,
            metadata: None,
            initiated_by: holder(own),
        }
    }

    fn scored(decision: Decision) -> Scoring {
        Scoring::Scored(Risk {
            score: 0,
            decision,
            reasons: vec![],
        })
    }

    fn transfer(amount: i64) -> TransferOrder {
        order(TransferKind::Transfer, 1, 2, amount)
    }

    fn refused(accounts: [LockedAccount; 2], order: &TransferOrder) -> Option<Refusal> {
        let mut book = Book::new(accounts);
        let refusal = book.decide(order, &scored(Decision::Allow)).err();
        assert!(
            refusal.is_none() || book.changed_accounts().is_empty(),
            "a refusal changed something"
        );
        refusal
    }

    #[test]
    fn a_transfer_posts_two_legs_with_the_balances_after_them() {
        let mut book = Book::new([customer(1, 100), customer(2, 5)]);
        let verdict = book.decide(&transfer(30), &scored(Decision::Allow)).unwrap();
        let Verdict::Posted { debit, credit } = verdict else {
            panic!("{verdict:?}")
        };
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
                Some(Refusal::AccountNotFound(DEBIT)),
            ),
            (
                [payer.clone(), customer(3, 0)],
                1,
                Some(Refusal::AccountNotFound(CREDIT)),
            ),
            (
                [with(1, frozen), payee.clone()],
                1,
                Some(Refusal::AccountFrozen(DEBIT)),
            ),
            (
                [payer.clone(), with(2, frozen)],
                1,
                Some(Refusal::AccountFrozen(CREDIT)),
            ),
            (
                [with(1, closed), payee.clone()],
                1,
                Some(Refusal::AccountClosed(DEBIT)),
            ),
            (
                [payer.clone(), with(2, closed)],
                1,
                Some(Refusal::AccountClosed(CREDIT)),
            ),
            (
                [with(1, yen), payee.clone()],
                1,
                Some(Refusal::CurrencyMismatch(DEBIT)),
            ),
            (
                [payer.clone(), with(2, yen)],
                1,
                Some(Refusal::CurrencyMismatch(CREDIT)),
            ),
            (
                [payer.clone(), with(2, full)],
                1,
                Some(Refusal::BalanceLimit(CREDIT)),
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
            Some(Refusal::AccountNotFound(CREDIT))
        );
    }

    #[test]
    fn the_score_decides_and_its_absence_falls_back_by_amount() {
        let decide = |amount, scoring: Scoring| {
            Book::new([customer(1, 100), customer(2, 0)])
                .decide(&transfer(amount), &scoring)
                .unwrap()
        };
        assert_eq!(decide(10, scored(Decision::Block)), Verdict::Blocked);
        assert_eq!(decide(10, scored(Decision::Review)), Verdict::InReview);
        assert!(matches!(
            decide(10, Scoring::Missing { post_limit: 10 }),
            Verdict::Posted { .. }
        ));
        assert_eq!(decide(11, Scoring::Missing { post_limit: 10 }), Verdict::InReview);
    }

    #[test]
    fn what_is_held_for_review_cannot_be_spent_and_approval_posts_it() {
        let mut book = Book::new([customer(1, 100), customer(2, 0)]);
        assert_eq!(
            book.decide(&transfer(60), &scored(Decision::Review)),
            Ok(Verdict::InReview)
        );
        assert_eq!(
            book.decide(&transfer(41), &scored(Decision::Allow)),
            Err(Refusal::InsufficientFunds)
        );
        let (debit, credit) = book.approve(&transfer(60)).unwrap();
        assert_eq!((debit.balance_after, credit.balance_after), (40, 60));
        assert_eq!(book.account(account_id(1)).unwrap().held, 0);
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
        Settle {
            index: usize,
            approve: bool,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let decision =
            prop_oneof![4 => Just(Decision::Allow), 1 => Just(Decision::Review), 1 => Just(Decision::Block)];
        let kind = prop_oneof![
            Just(TransferKind::Transfer),
            Just(TransferKind::Deposit),
            Just(TransferKind::Withdrawal)
        ];
        prop_oneof![
            5 => (kind, 1..5_u128, 1..5_u128, 1..200_i64, decision)
                .prop_map(|(kind, debit, credit, amount, decision)| match kind {
                    TransferKind::Deposit => Step::Decide { kind, debit: 0, credit, amount, decision },
                    TransferKind::Withdrawal => Step::Decide { kind, debit, credit: 0, amount, decision },
                    TransferKind::Transfer => Step::Decide { kind, debit, credit, amount, decision },
                }),
            1 => (any::<prop::sample::Index>(), any::<bool>())
                .prop_map(|(index, approve)| Step::Settle { index: index.index(8), approve }),
        ]
    }

    proptest! {
        /// Whatever is asked in whatever order: money is neither made nor lost, nobody spends what is not available,
        /// postings are numbered without a gap, and what is held is what waits for review.
        #[test]
        fn the_books_balance_after_every_step(steps in prop::collection::vec(step(), 1..60)) {
            let mut book = Book::new((1..5).map(|number| customer(number, 0)).chain([clearing(0)]));
            let mut in_review: Vec<TransferOrder> = Vec::new();
            let mut sequences: HashMap<AccountId, i64> = HashMap::new();
            for step in steps {
                let legs = match step {
                    Step::Decide { debit, credit, .. } if debit == credit => continue,
                    Step::Decide { kind, debit, credit, amount, decision } => {
                        let order = order(kind, debit, credit, amount);
                        match book.decide(&order, &scored(decision)) {
                            Ok(Verdict::Posted { debit, credit }) => vec![debit, credit],
                            Ok(Verdict::InReview) => { in_review.push(order); vec![] }
                            Ok(Verdict::Blocked) | Err(_) => vec![],
                        }
                    }
                    Step::Settle { index, .. } if index >= in_review.len() => continue,
                    Step::Settle { index, approve } => {
                        let order = in_review.remove(index);
                        if approve {
                            let (debit, credit) = book.approve(&order).unwrap();
                            vec![debit, credit]
                        } else {
                            book.release(order.debit_account_id, order.amount.minor()).unwrap();
                            vec![]
                        }
                    }
                };
                for leg in legs {
                    let last = sequences.entry(leg.account_id).or_default();
                    prop_assert_eq!(leg.sequence, *last + 1);
                    *last = leg.sequence;
                    prop_assert_eq!(book.account(leg.account_id).unwrap().posted, leg.balance_after);
                }
                let accounts: Vec<&LockedAccount> = (0..5).map(|number| book.account(account_id(number)).unwrap()).collect();
                prop_assert_eq!(accounts.iter().map(|it| it.posted).sum::<i64>(), 0);
                for account in accounts {
                    prop_assert!(account.floor.is_none_or(|floor| account.available().unwrap() >= floor));
                    let waiting: i64 = in_review.iter().filter(|it| it.debit_account_id == account.id).map(|it| it.amount.minor()).sum();
                    prop_assert_eq!(account.held, waiting);
                }
            }
        }
    }
}
