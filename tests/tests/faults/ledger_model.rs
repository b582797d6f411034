//! The ledger again, as simply as it can be told: one thing at a time, in memory, with none of the service's code. What it
//! says a step is answered, and where the books stand afterwards, the service has to say too.

mod holds;
mod schedules;
mod transfers;

use crate::accounts::Accounts;
use crate::steps::{Limits, Status, Step};
pub use holds::ModelHold;
pub use schedules::{ACTIVE, ModelSchedule};
pub use transfers::{Kind, ModelTransfer};

/// What a step is answered: its HTTP status, and the code of a refusal or the status of what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub status: u16,
    pub word: String,
}

pub const POSTED: &str = "posted";
pub const IN_REVIEW: &str = "in_review";
pub const REJECTED: &str = "rejected";

type Refused = &'static str;
type Answer = Result<(u16, &'static str), Refused>;

fn answered(result: Answer) -> Expected {
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
    pub limits: Limits,
    /// On the one day that the model knows.
    pub spent: i64,
}

impl ModelAccount {
    fn new(owner: Option<usize>, currency: &'static str) -> Self {
        Self {
            owner,
            currency,
            status: Status::Open,
            posted: 0,
            held: 0,
            limits: Limits::default(),
            spent: 0,
        }
    }

    fn available(&self) -> i64 {
        self.posted - self.held
    }

    /// Whether `more` may leave it, of something that is `whole` then. What is held counts as if it were spent.
    fn check_limits(&self, whole: i64, more: i64) -> Result<(), Refused> {
        let exceeds = |limit: Option<i64>, amount: i64| limit.is_some_and(|limit| amount > limit);
        let with_held = self.spent + self.held + more;
        let Limits {
            per_transfer,
            daily,
            monthly,
        } = self.limits;
        match () {
            () if exceeds(per_transfer, whole) => Err("transfer_limit_exceeded"),
            () if exceeds(daily, with_held) => Err("daily_limit_exceeded"),
            () if exceeds(monthly, with_held) => Err("monthly_limit_exceeded"),
            () => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub account: usize,
    /// What the account gets, negative for what it gives.
    pub amount: i64,
    pub currency: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Those of the customers, and behind them the clearing accounts.
    pub accounts: Vec<ModelAccount>,
    pub holds: Vec<ModelHold>,
    pub transfers: Vec<ModelTransfer>,
    pub schedules: Vec<ModelSchedule>,
}

impl Model {
    pub fn of(accounts: &Accounts) -> Self {
        let customers = accounts.all.iter();
        let customers = customers.map(|it| ModelAccount::new(Some(it.owner), it.currency));
        let clearing = ["USD", "EUR"].map(|currency| ModelAccount::new(None, currency));
        Self {
            accounts: customers.chain(clearing).collect(),
            ..Self::default()
        }
    }

    /// The place of the clearing account.
    pub fn clearing(&self, currency: &str) -> usize {
        let clearing = |it: &ModelAccount| it.owner.is_none() && it.currency == currency;
        self.accounts.iter().position(clearing).unwrap()
    }

    /// Whether the step is about something that is not there, or not to be run.
    pub fn lacks(&self, step: &Step) -> bool {
        match step {
            Step::ChangeHold { .. } | Step::Expire { .. } | Step::CaptureByItself { .. } => {
                self.holds.is_empty()
            }
            Step::Refund { .. } | Step::Reverse { .. } | Step::Decide { .. } => self.transfers.is_empty(),
            Step::Steer { .. } => self.schedules.is_empty(),
            Step::Run { schedule } => {
                let schedule = schedule.checked_rem(self.schedules.len());
                schedule.is_none_or(|number| self.schedules[number].status != ACTIVE)
            }
            _ => false,
        }
    }

    /// Takes the step, and says what it is answered: one answer, or one for each item of a batch.
    pub fn take(&mut self, step: &Step, accounts: &Accounts) -> Vec<Expected> {
        let result = match step {
            Step::Deposit {
                account,
                amount,
                stranger,
            } => {
                let mover = accounts.mover(*account, *stranger);
                self.pay(Kind::Deposit, accounts.place(*account), *amount, mover)
            }
            Step::Withdraw {
                account,
                amount,
                stranger,
            } => {
                let mover = accounts.mover(*account, *stranger);
                self.pay(Kind::Withdrawal, accounts.place(*account), -amount, mover)
            }
            Step::Transfer { order, dry_run } => {
                let mover = accounts.mover(order.from, order.stranger);
                self.maybe(*dry_run, |model| model.order(order, mover, accounts))
            }
            Step::Batch {
                orders,
                atomic,
                dry_run,
            } => return self.batch(orders, *atomic, *dry_run, accounts),
            Step::PlaceHold { from, to, amount } => self.place_hold(*from, *to, *amount, accounts),
            Step::ChangeHold {
                hold,
                change,
                by_payer,
            } => self.change_hold(*hold % self.holds.len(), *change, *by_payer),
            Step::Expire { hold } => self.release(*hold % self.holds.len(), None),
            Step::CaptureByItself { hold } => self.capture_by_itself(*hold % self.holds.len()),
            Step::Refund {
                transfer,
                amount,
                by_payer,
            } => self.refund(*transfer % self.transfers.len(), *amount, *by_payer),
            Step::Reverse { transfer } => self.reverse(*transfer % self.transfers.len()),
            Step::Decide { transfer, approve } => self.decide(*transfer % self.transfers.len(), *approve),
            Step::Schedule { order, times } => self.schedule(order, *times, accounts),
            Step::Run { schedule } => return vec![self.run(*schedule % self.schedules.len(), accounts)],
            Step::Steer { schedule, action } => self.steer(*schedule % self.schedules.len(), *action),
            Step::SetLimits { account, limits } => {
                self.accounts[accounts.place(*account)].limits = *limits;
                Ok((200, ""))
            }
            Step::SetStatus { account, status } => self.set_status(accounts.place(*account), *status),
            Step::Repeat { .. } => Ok((201, POSTED)),
        };
        vec![answered(result)]
    }

    /// What `attempt` says; and it happens, unless it is refused or only tried.
    fn maybe(&mut self, dry_run: bool, attempt: impl FnOnce(&mut Self) -> Answer) -> Answer {
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
            leg.amount > 0 || account.owner.is_none() || account.available() + leg.amount >= 0
        };
        legs.iter()
            .all(is_covered)
            .then_some(())
            .ok_or("insufficient_funds")
    }

    fn post(&mut self, kind: Kind, legs: &[Leg]) {
        for leg in legs {
            let account = &mut self.accounts[leg.account];
            account.posted += leg.amount;
            if kind.is_spent() && leg.amount < 0 {
                account.spent -= leg.amount;
            }
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

    fn set_status(&mut self, account: usize, status: Status) -> Answer {
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
