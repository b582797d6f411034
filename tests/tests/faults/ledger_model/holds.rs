//! Holds: set aside, added to, captured in parts and by themselves, released.

use super::transfers::{Kind, ModelTransfer};
use super::{Answer, Leg, Model, POSTED, Refused};
use crate::accounts::Accounts;
use crate::steps::{Change, REVIEWED_ABOVE, approval_is_needed};

#[derive(Clone, Debug)]
pub struct ModelHold {
    from: usize,
    to: usize,
    pub amount: i64,
    pub captured: i64,
    pub released: i64,
    /// What was left when it could not be captured by itself. With so much left it is not tried again.
    refused_at: Vec<i64>,
}

impl ModelHold {
    pub fn left(&self) -> i64 {
        self.amount - self.captured - self.released
    }

    /// What is to be taken of it: so much, or all that is left.
    fn part(&self, amount: Option<i64>) -> Result<i64, Refused> {
        match (self.left(), amount) {
            (0, _) => Err("hold_ended"),
            (left, Some(amount)) if amount > left => Err("hold_exceeded"),
            (left, amount) => Ok(amount.unwrap_or(left)),
        }
    }
}

impl Model {
    pub(super) fn place_hold(&mut self, from: usize, to: usize, amount: i64, accounts: &Accounts) -> Answer {
        let (from, to) = (accounts.place(from), accounts.place(to));
        if from == to {
            return Err("same_account");
        }
        let legs = self.legs_between(from, to, amount);
        self.require_open(&legs)?;
        self.require_cover(&legs)?;
        self.accounts[from].check_limits(amount, amount)?;
        require_no_person(amount, legs[0].currency)?;
        self.accounts[from].held += amount;
        self.holds.push(ModelHold {
            from,
            to,
            amount,
            captured: 0,
            released: 0,
            refused_at: Vec::new(),
        });
        Ok((201, "open"))
    }

    fn legs_between(&self, from: usize, to: usize, amount: i64) -> Vec<Leg> {
        let currency = self.accounts[from].currency;
        let legs = [(from, -amount), (to, amount)].map(|(account, amount)| Leg {
            account,
            amount,
            currency,
        });
        legs.to_vec()
    }

    pub(super) fn change_hold(&mut self, number: usize, change: Change, by_payer: bool) -> Answer {
        let ModelHold { from, to, .. } = self.holds[number];
        let (payer, payee) = (self.accounts[from].owner, self.accounts[to].owner);
        let sender = if by_payer { payer } else { payee };
        match change {
            Change::Increment(_) if sender != payer => Err("not_found"),
            Change::Release(_) if sender != payee => Err("not_found"),
            Change::Release(amount) => self.release(number, amount),
            Change::Increment(amount) => self.increment(number, amount),
            Change::Capture(amount) => self.capture(number, amount, sender),
        }
    }

    fn increment(&mut self, number: usize, amount: i64) -> Answer {
        let ModelHold { from, .. } = self.holds[number];
        self.holds[number].part(None)?;
        let legs = [Leg {
            account: from,
            amount: -amount,
            currency: self.accounts[from].currency,
        }];
        self.require_open(&legs)?;
        self.require_cover(&legs)?;
        // The hold is looked at as a whole.
        let whole = self.holds[number].amount + amount;
        self.accounts[from].check_limits(whole, amount)?;
        require_no_person(whole, legs[0].currency)?;
        self.holds[number].amount = whole;
        self.accounts[from].held += amount;
        Ok((200, "open"))
    }

    fn capture(&mut self, number: usize, amount: Option<i64>, sender: Option<usize>) -> Answer {
        let ModelHold { from, to, .. } = self.holds[number];
        let amount = self.holds[number].part(amount)?;
        let legs = self.legs_between(from, to, amount);
        self.require_open(&legs)?;
        self.holds[number].captured += amount;
        self.accounts[from].held -= amount;
        self.post(Kind::Capture, &legs);
        self.transfers
            .push(ModelTransfer::new(Kind::Capture, legs, sender, POSTED));
        Ok((201, POSTED))
    }

    /// What is left is captured by itself, unless that was refused before.
    pub(super) fn capture_by_itself(&mut self, number: usize) -> Answer {
        let left = self.holds[number].left();
        if self.holds[number].refused_at.contains(&left) {
            return Err("refused before");
        }
        let result = self.capture(number, None, None);
        if result.is_err() {
            self.holds[number].refused_at.push(left);
        }
        result
    }

    pub(super) fn release(&mut self, number: usize, amount: Option<i64>) -> Answer {
        let hold = &mut self.holds[number];
        let amount = hold.part(amount)?;
        hold.released += amount;
        self.accounts[hold.from].held -= amount;
        let word = match (hold.left(), hold.captured) {
            (1.., _) => "open",
            (_, 1..) => "captured",
            _ => "released",
        };
        Ok((200, word))
    }
}

/// A hold is decided at once.
fn require_no_person(amount: i64, currency: &str) -> Result<(), Refused> {
    if amount > REVIEWED_ABOVE {
        return Err("blocked_by_risk");
    }
    match approval_is_needed(amount, currency) {
        true => Err("approval_required"),
        false => Ok(()),
    }
}
