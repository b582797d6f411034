//! The ledger again, as simply as it can be told: one thing at a time, in memory, with none of the service's code. What it
//! says a step is answered, and where the books stand afterwards, the service has to say too.

use crate::steps::{Change, Order, REVIEWED_ABOVE, Status, Step};
use crate::world::World;

/// What a step is answered: its HTTP status, and the code of a refusal or the status of what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub status: u16,
    pub word: String,
}

const POSTED: &str = "posted";
const IN_REVIEW: &str = "in_review";
const REJECTED: &str = "rejected";

type Refused = &'static str;

fn answered(result: Result<(u16, &'static str), Refused>) -> Expected {
    let (status, word) = match result {
        Ok(done) => done,
        Err("not_found") => (404, "not_found"),
        Err(code) => (422, code),
    };
    Expected {
        status,
        word: word.to_owned(),
    }
}

#[derive(Clone, Debug)]
pub struct ModelAccount {
    pub owner: Option<usize>,
    pub currency: &'static str,
    pub status: Status,
    pub posted: i64,
    pub held: i64,
}

#[derive(Clone, Debug)]
pub struct ModelHold {
    from: usize,
    to: usize,
    pub amount: i64,
    pub captured: i64,
    pub released: i64,
}

impl ModelHold {
    fn left(&self) -> i64 {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transfer,
    Deposit,
    Withdrawal,
    Capture,
    Refund,
    Reversal,
}

#[derive(Clone, Copy, Debug)]
struct Leg {
    account: usize,
    /// What the account gets, negative for what it gives.
    amount: i64,
    currency: &'static str,
}

#[derive(Clone, Debug)]
pub struct ModelTransfer {
    kind: Kind,
    legs: Vec<Leg>,
    sender: Option<usize>,
    pub status: &'static str,
    pub refunded: i64,
    pub is_reversed: bool,
    original: Option<usize>,
}

impl ModelTransfer {
    /// Payer, payee and amount, where one pays another.
    fn pair(&self) -> Option<(usize, usize, i64)> {
        match self.legs.as_slice() {
            [one, other] if one.amount < 0 => Some((one.account, other.account, other.amount)),
            [one, other] => Some((other.account, one.account, one.amount)),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Those of the world, and behind them the clearing accounts.
    pub accounts: Vec<ModelAccount>,
    pub holds: Vec<ModelHold>,
    pub transfers: Vec<ModelTransfer>,
}

impl Model {
    pub fn of(world: &World) -> Self {
        let account = |owner, currency| ModelAccount {
            owner,
            currency,
            status: Status::Open,
            posted: 0,
            held: 0,
        };
        let customers = world.accounts.iter();
        let customers = customers.map(|it| account(Some(it.owner), it.currency));
        let clearing = ["USD", "EUR"].map(|currency| account(None, currency));
        Self {
            accounts: customers.chain(clearing).collect(),
            ..Self::default()
        }
    }

    /// Takes the step, and says what it is answered: one answer, or one for each item of a batch.
    pub fn take(&mut self, step: &Step, world: &World) -> Vec<Expected> {
        let result = match step {
            Step::Deposit {
                account,
                amount,
                stranger,
            } => self.pay(
                Kind::Deposit,
                *account,
                *amount,
                world.mover(*account, *stranger),
                world,
            ),
            Step::Withdraw {
                account,
                amount,
                stranger,
            } => self.pay(
                Kind::Withdrawal,
                *account,
                -amount,
                world.mover(*account, *stranger),
                world,
            ),
            Step::Transfer { order, dry_run } => {
                let mover = world.mover(order.from, order.stranger);
                self.maybe(*dry_run, |model| model.order(order, mover, world))
            }
            Step::Batch {
                orders,
                atomic,
                dry_run,
            } => return self.batch(orders, *atomic, *dry_run, world),
            Step::PlaceHold { from, to, amount } => self.place_hold(*from, *to, *amount, world),
            Step::ChangeHold {
                hold,
                change,
                by_payer,
            } => self.change_hold(*hold % self.holds.len(), *change, *by_payer),
            Step::Expire { hold } => {
                let hold = *hold % self.holds.len();
                self.release(hold, None)
            }
            Step::Refund {
                transfer,
                amount,
                by_payer,
            } => self.refund(*transfer % self.transfers.len(), *amount, *by_payer),
            Step::Reverse { transfer } => self.reverse(*transfer % self.transfers.len()),
            Step::Decide { transfer, approve } => self.decide(*transfer % self.transfers.len(), *approve),
            Step::SetStatus { account, status } => self.set_status(world.place(*account), *status),
            Step::Repeat { .. } => Ok((201, POSTED)),
        };
        vec![answered(result)]
    }

    /// What `attempt` says; and it happens, unless it is refused or only tried.
    fn maybe(
        &mut self,
        dry_run: bool,
        attempt: impl FnOnce(&mut Self) -> Result<(u16, &'static str), Refused>,
    ) -> Result<(u16, &'static str), Refused> {
        let before = self.clone();
        let result = attempt(self);
        if dry_run || result.is_err() {
            *self = before;
        }
        match dry_run {
            true => result.map(|(_, word)| (200, word)),
            false => result,
        }
    }

    fn pay(
        &mut self,
        kind: Kind,
        account: usize,
        amount: i64,
        mover: usize,
        world: &World,
    ) -> Result<(u16, &'static str), Refused> {
        let account = world.place(account);
        let currency = self.accounts[account].currency;
        let clearing = |it: &ModelAccount| it.owner.is_none() && it.currency == currency;
        let clearing = self.accounts.iter().position(clearing).unwrap();
        let leg = |account, amount| Leg {
            account,
            amount,
            currency,
        };
        let mut legs = vec![leg(account, amount), leg(clearing, -amount)];
        legs.sort_by_key(|leg| leg.amount);
        self.maybe(false, |model| {
            model.move_money(kind, legs, Some(mover), None, kind == Kind::Withdrawal)
        })
    }

    fn order(&mut self, order: &Order, mover: usize, world: &World) -> Result<(u16, &'static str), Refused> {
        let from = world.place(order.from);
        let currency = self.accounts[from].currency;
        let total: i64 = order.to.iter().map(|(_, amount)| amount).sum();
        let mut legs = vec![Leg {
            account: from,
            amount: -total,
            currency,
        }];
        legs.extend(order.to.iter().map(|(to, amount)| Leg {
            account: world.place(*to),
            amount: *amount,
            currency,
        }));
        if let Some((from, to, amount)) = order.also {
            let currency = self.accounts[world.place(from)].currency;
            legs.extend([(from, -amount), (to, amount)].map(|(account, amount)| Leg {
                account: world.place(account),
                amount,
                currency,
            }));
        }
        let is_repeated = |leg: &Leg| legs.iter().filter(|it| it.account == leg.account).count() > 1;
        if legs.iter().any(is_repeated) {
            return Err("same_account");
        }
        self.move_money(Kind::Transfer, legs, Some(mover), order.least, true)
    }

    /// A new transfer: posted, or what it debits is held until a person decides.
    fn move_money(
        &mut self,
        kind: Kind,
        legs: Vec<Leg>,
        sender: Option<usize>,
        least: Option<i64>,
        is_scored: bool,
    ) -> Result<(u16, &'static str), Refused> {
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
        let status = match is_scored && total(&legs) > REVIEWED_ABOVE {
            true => IN_REVIEW,
            false => POSTED,
        };
        let first = legs[0].account;
        match status {
            POSTED => self.post(&legs),
            _ => self.set_aside(&legs),
        }
        let left = self.accounts[first].posted - self.accounts[first].held;
        if status == POSTED && least.is_some_and(|least| left < least) {
            return Err("condition_failed");
        }
        self.transfers.push(ModelTransfer {
            kind,
            legs,
            sender,
            status,
            refunded: 0,
            is_reversed: false,
            original: None,
        });
        Ok((201, status))
    }

    fn require_open(&self, legs: &[Leg]) -> Result<(), Refused> {
        for leg in legs {
            let account = &self.accounts[leg.account];
            match account.status {
                Status::Open if account.currency == leg.currency => {}
                Status::Open => return Err("currency_mismatch"),
                Status::Frozen => return Err("account_frozen"),
                Status::Closed => return Err("account_closed"),
            }
        }
        Ok(())
    }

    /// Nobody gives more than is available, but a clearing account.
    fn require_cover(&self, legs: &[Leg]) -> Result<(), Refused> {
        let is_covered = |leg: &Leg| {
            let account = &self.accounts[leg.account];
            leg.amount > 0 || account.owner.is_none() || account.posted - account.held + leg.amount >= 0
        };
        legs.iter()
            .all(is_covered)
            .then_some(())
            .ok_or("insufficient_funds")
    }

    fn post(&mut self, legs: &[Leg]) {
        for leg in legs {
            self.accounts[leg.account].posted += leg.amount;
        }
    }

    fn set_aside(&mut self, legs: &[Leg]) {
        for leg in legs.iter().filter(|leg| leg.amount < 0) {
            self.accounts[leg.account].held -= leg.amount;
        }
    }

    fn give_up(&mut self, legs: &[Leg]) {
        for leg in legs.iter().filter(|leg| leg.amount < 0) {
            self.accounts[leg.account].held += leg.amount;
        }
    }

    fn batch(&mut self, orders: &[Order], atomic: bool, dry_run: bool, world: &World) -> Vec<Expected> {
        let before = self.clone();
        let mover = world.mover(orders[0].from, orders[0].stranger);
        let mut results = Vec::new();
        for order in orders {
            results.push(self.maybe(false, |model| model.order(order, mover, world)));
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

    fn place_hold(
        &mut self,
        from: usize,
        to: usize,
        amount: i64,
        world: &World,
    ) -> Result<(u16, &'static str), Refused> {
        let (from, to) = (world.place(from), world.place(to));
        if from == to {
            return Err("same_account");
        }
        let currency = self.accounts[from].currency;
        let legs = [(from, -amount), (to, amount)].map(|(account, amount)| Leg {
            account,
            amount,
            currency,
        });
        self.require_open(&legs)?;
        self.require_cover(&legs)?;
        if amount > REVIEWED_ABOVE {
            return Err("blocked_by_risk");
        }
        self.accounts[from].held += amount;
        self.holds.push(ModelHold {
            from,
            to,
            amount,
            captured: 0,
            released: 0,
        });
        Ok((201, "open"))
    }

    fn change_hold(
        &mut self,
        number: usize,
        change: Change,
        by_payer: bool,
    ) -> Result<(u16, &'static str), Refused> {
        let ModelHold { from, to, .. } = self.holds[number];
        let (payer, payee) = (self.accounts[from].owner, self.accounts[to].owner);
        let sender = if by_payer { payer } else { payee };
        match change {
            Change::Increment(_) if sender != payer => Err("not_found"),
            Change::Release(_) if sender != payee => Err("not_found"),
            Change::Release(amount) => self.release(number, amount),
            Change::Increment(amount) => {
                self.holds[number].part(None)?;
                let legs = [Leg {
                    account: from,
                    amount: -amount,
                    currency: self.accounts[from].currency,
                }];
                self.require_open(&legs)?;
                self.require_cover(&legs)?;
                // The hold is looked at as a whole.
                if self.holds[number].amount + amount > REVIEWED_ABOVE {
                    return Err("blocked_by_risk");
                }
                self.holds[number].amount += amount;
                self.accounts[from].held += amount;
                Ok((200, "open"))
            }
            Change::Capture(amount) => {
                let amount = self.holds[number].part(amount)?;
                let currency = self.accounts[from].currency;
                let legs = [(from, -amount), (to, amount)].map(|(account, amount)| Leg {
                    account,
                    amount,
                    currency,
                });
                self.require_open(&legs)?;
                self.holds[number].captured += amount;
                self.accounts[from].held -= amount;
                self.post(&legs);
                self.transfers.push(ModelTransfer {
                    kind: Kind::Capture,
                    legs: legs.to_vec(),
                    sender,
                    status: POSTED,
                    refunded: 0,
                    is_reversed: false,
                    original: None,
                });
                Ok((201, POSTED))
            }
        }
    }

    fn release(&mut self, number: usize, amount: Option<i64>) -> Result<(u16, &'static str), Refused> {
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

    fn refund(&mut self, number: usize, amount: i64, by_payer: bool) -> Result<(u16, &'static str), Refused> {
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
        require_returnable(&original)?;
        if original.refunded + amount > posted {
            return Err("refund_exceeded");
        }
        let currency = original.legs[0].currency;
        let legs = [(payee, -amount), (payer, amount)].map(|(account, amount)| Leg {
            account,
            amount,
            currency,
        });
        self.move_money(Kind::Refund, legs.to_vec(), sender, None, false)?;
        self.transfers[number].refunded += amount;
        Ok((201, POSTED))
    }

    fn reverse(&mut self, number: usize) -> Result<(u16, &'static str), Refused> {
        let original = self.transfers[number].clone();
        if matches!(original.kind, Kind::Refund | Kind::Reversal) {
            return Err("not_reversible");
        }
        require_returnable(&original)?;
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
            kind: Kind::Reversal,
            legs,
            sender: None,
            status: IN_REVIEW,
            refunded: 0,
            is_reversed: false,
            original: Some(number),
        });
        Ok((201, IN_REVIEW))
    }

    fn decide(&mut self, number: usize, approve: bool) -> Result<(u16, &'static str), Refused> {
        let ModelTransfer {
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
            self.post(&legs);
        } else if let Some(original) = original {
            self.transfers[original].is_reversed = false;
        }
        self.give_up(&legs);
        let status = if approve { POSTED } else { REJECTED };
        self.transfers[number].status = status;
        Ok((200, status))
    }

    fn set_status(&mut self, account: usize, status: Status) -> Result<(u16, &'static str), Refused> {
        let account = &mut self.accounts[account];
        let is_empty = account.posted == 0 && account.held == 0;
        match (account.status, status) {
            (Status::Closed, Status::Closed) => {}
            (Status::Closed, _) => return Err("account_closed"),
            (Status::Frozen, Status::Closed) => return Err("account_frozen"),
            (Status::Open, Status::Closed) if !is_empty => return Err("account_not_empty"),
            _ => account.status = status,
        }
        let word = match account.status {
            Status::Open => "active",
            Status::Frozen => "frozen",
            Status::Closed => "closed",
        };
        Ok((200, word))
    }
}

fn require_returnable(original: &ModelTransfer) -> Result<(), Refused> {
    match (original.status, original.is_reversed) {
        (POSTED, false) => Ok(()),
        (POSTED, true) => Err("already_reversed"),
        _ => Err("not_posted"),
    }
}

/// What is debited in the currency of the largest debit.
fn total(legs: &[Leg]) -> i64 {
    let debits = || legs.iter().filter(|leg| leg.amount < 0);
    let currency = debits().max_by_key(|leg| -leg.amount).unwrap().currency;
    debits()
        .filter(|leg| leg.currency == currency)
        .map(|leg| -leg.amount)
        .sum()
}
