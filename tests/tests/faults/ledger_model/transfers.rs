//! Transfers, payments, batches, and what goes back.

use super::{Answer, IN_REVIEW, Leg, Model, POSTED, REJECTED, Refused, answered};
use crate::accounts::Accounts;
use crate::ledger_model::Expected;
use crate::steps::{Order, REVIEWED_ABOVE, approval_is_needed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Transfer,
    Deposit,
    Withdrawal,
    Capture,
    Refund,
    Reversal,
}

impl Kind {
    /// Whether the payer asks for it now: it is looked at, and limited.
    fn is_asked_for(self) -> bool {
        matches!(self, Self::Transfer | Self::Withdrawal)
    }

    /// Whether it counts as spent.
    pub fn is_spent(self) -> bool {
        matches!(self, Self::Transfer | Self::Withdrawal | Self::Capture)
    }
}

#[derive(Clone, Debug)]
pub struct ModelTransfer {
    pub kind: Kind,
    pub legs: Vec<Leg>,
    pub sender: Option<usize>,
    pub status: &'static str,
    pub refunded: i64,
    pub is_reversed: bool,
    pub original: Option<usize>,
}

impl ModelTransfer {
    pub fn new(kind: Kind, legs: Vec<Leg>, sender: Option<usize>, status: &'static str) -> Self {
        Self {
            kind,
            legs,
            sender,
            status,
            refunded: 0,
            is_reversed: false,
            original: None,
        }
    }

    /// Payer, payee and amount, where one pays another.
    fn pair(&self) -> Option<(usize, usize, i64)> {
        match self.legs.as_slice() {
            [one, other] if one.amount < 0 => Some((one.account, other.account, other.amount)),
            [one, other] => Some((other.account, one.account, one.amount)),
            _ => None,
        }
    }

    fn require_returnable(&self) -> Result<(), Refused> {
        match (self.status, self.is_reversed) {
            (POSTED, false) => Ok(()),
            (POSTED, true) => Err("already_reversed"),
            _ => Err("not_posted"),
        }
    }
}

impl Model {
    pub(super) fn pay(&mut self, kind: Kind, account: usize, amount: i64, mover: usize) -> Answer {
        let currency = self.accounts[account].currency;
        let clearing = self.clearing(currency);
        let leg = |account, amount| Leg {
            account,
            amount,
            currency,
        };
        let mut legs = vec![leg(account, amount), leg(clearing, -amount)];
        legs.sort_by_key(|leg| leg.amount);
        self.maybe(false, |model| model.move_money(kind, legs, Some(mover), None))
    }

    /// The legs of an order, if no account is in two of them.
    pub fn legs(&self, order: &Order, accounts: &Accounts) -> Result<Vec<Leg>, Refused> {
        let from = accounts.place(order.from);
        let currency = self.accounts[from].currency;
        let total: i64 = order.to.iter().map(|(_, amount)| amount).sum();
        let mut legs = vec![Leg {
            account: from,
            amount: -total,
            currency,
        }];
        legs.extend(order.to.iter().map(|(to, amount)| Leg {
            account: accounts.place(*to),
            amount: *amount,
            currency,
        }));
        if let Some((from, to, amount)) = order.also {
            let currency = self.accounts[accounts.place(from)].currency;
            legs.extend([(from, -amount), (to, amount)].map(|(account, amount)| Leg {
                account: accounts.place(account),
                amount,
                currency,
            }));
        }
        let is_repeated = |leg: &Leg| legs.iter().filter(|it| it.account == leg.account).count() > 1;
        match legs.iter().any(is_repeated) {
            true => Err("same_account"),
            false => Ok(legs),
        }
    }

    pub(super) fn order(&mut self, order: &Order, mover: usize, accounts: &Accounts) -> Answer {
        let legs = self.legs(order, accounts)?;
        self.move_money(Kind::Transfer, legs, Some(mover), order.least)
    }

    /// A new transfer: posted, or what it debits is held until a person decides.
    fn move_money(
        &mut self,
        kind: Kind,
        legs: Vec<Leg>,
        sender: Option<usize>,
        least: Option<i64>,
    ) -> Answer {
        for leg in &legs {
            let account = &self.accounts[leg.account];
            let moves_own = match kind {
                Kind::Deposit => leg.amount > 0,
                _ => leg.amount < 0,
            };
            if moves_own && account.owner != sender {
                return Err("account_not_found");
            }
        }
        self.require_open(&legs)?;
        self.require_cover(&legs)?;
        let mut status = POSTED;
        if kind.is_asked_for() {
            for leg in legs.iter().filter(|leg| leg.amount < 0) {
                self.accounts[leg.account].check_limits(-leg.amount, -leg.amount)?;
            }
            if total(&legs) > REVIEWED_ABOVE || needs_approval(&legs) {
                status = IN_REVIEW;
            }
        }
        let first = legs[0].account;
        match status {
            POSTED => self.post(kind, &legs),
            _ => self.set_aside(&legs),
        }
        if least.is_some_and(|least| self.accounts[first].available() < least) {
            return Err("condition_failed");
        }
        self.transfers
            .push(ModelTransfer::new(kind, legs, sender, status));
        Ok((201, status))
    }

    pub(super) fn batch(
        &mut self,
        orders: &[Order],
        atomic: bool,
        dry_run: bool,
        accounts: &Accounts,
    ) -> Vec<Expected> {
        let before = self.clone();
        let mover = accounts.mover(orders[0].from, orders[0].stranger);
        let mut results = Vec::new();
        for order in orders {
            results.push(self.maybe(false, |model| model.order(order, mover, accounts)));
        }
        // What is wrong in itself is refused before anything is decided.
        let wrong = Err("same_account");
        let culprit = match results.contains(&wrong) {
            true => None,
            false => results.iter().position(Result::is_err),
        };
        if atomic && results.iter().any(Result::is_err) {
            *self = before;
            for (number, result) in results.iter_mut().enumerate() {
                if Some(number) != culprit && *result != wrong {
                    *result = Err("batch_refused");
                }
            }
        } else if dry_run {
            *self = before;
        }
        let status = if dry_run { 200 } else { 201 };
        let results = results.into_iter();
        results
            .map(|result| answered(result.map(|(_, word)| (status, word))))
            .collect()
    }

    pub(super) fn refund(&mut self, number: usize, amount: i64, by_payer: bool) -> Answer {
        let original = self.transfers[number].clone();
        let owner = |account: usize| self.accounts[account].owner;
        let Some((payer, payee, posted)) = original.pair() else {
            return Err("not_found");
        };
        let side = if by_payer { payer } else { payee };
        // The first customer stands in where nobody holds the account.
        let sender = owner(side).or(Some(0));
        let sees = owner(payer) == sender || original.sender == sender || original.status == POSTED;
        if owner(payee) != sender || !sees {
            return Err("not_found");
        }
        if !matches!(original.kind, Kind::Transfer | Kind::Capture) {
            return Err("not_refundable");
        }
        original.require_returnable()?;
        if original.refunded + amount > posted {
            return Err("refund_exceeded");
        }
        let currency = original.legs[0].currency;
        let legs = [(payee, -amount), (payer, amount)].map(|(account, amount)| Leg {
            account,
            amount,
            currency,
        });
        self.move_money(Kind::Refund, legs.to_vec(), sender, None)?;
        self.transfers[number].refunded += amount;
        Ok((201, POSTED))
    }

    pub(super) fn reverse(&mut self, number: usize) -> Answer {
        let original = self.transfers[number].clone();
        if matches!(original.kind, Kind::Refund | Kind::Reversal) {
            return Err("not_reversible");
        }
        original.require_returnable()?;
        if original.refunded > 0 {
            return Err("already_refunded");
        }
        let legs = original.legs.iter().rev().map(|leg| Leg {
            amount: -leg.amount,
            ..*leg
        });
        let legs: Vec<Leg> = legs.collect();
        self.require_open(&legs)?;
        self.require_cover(&legs)?;
        self.set_aside(&legs);
        self.transfers[number].is_reversed = true;
        self.transfers.push(ModelTransfer {
            original: Some(number),
            ..ModelTransfer::new(Kind::Reversal, legs, None, IN_REVIEW)
        });
        Ok((201, IN_REVIEW))
    }

    pub(super) fn decide(&mut self, number: usize, approve: bool) -> Answer {
        let ModelTransfer {
            kind,
            legs,
            status,
            original,
            ..
        } = self.transfers[number].clone();
        if status != IN_REVIEW {
            return Err("not_in_review");
        }
        if approve {
            self.require_open(&legs)?;
            self.post(kind, &legs);
        } else if let Some(original) = original {
            self.transfers[original].is_reversed = false;
        }
        self.give_up(&legs);
        let status = if approve { POSTED } else { REJECTED };
        self.transfers[number].status = status;
        Ok((200, status))
    }
}

/// What is debited in the currency of the largest debit.
fn total(legs: &[Leg]) -> i64 {
    let debits = || legs.iter().filter(|leg| leg.amount < 0);
    let currency = debits().max_by_key(|leg| -leg.amount).unwrap().currency;
    debited(legs, currency)
}

fn needs_approval(legs: &[Leg]) -> bool {
    ["USD", "EUR"]
        .into_iter()
        .any(|currency| approval_is_needed(debited(legs, currency), currency))
}

fn debited(legs: &[Leg], currency: &str) -> i64 {
    let debits = legs
        .iter()
        .filter(|leg| leg.amount < 0 && leg.currency == currency);
    debits.map(|leg| -leg.amount).sum()
}
