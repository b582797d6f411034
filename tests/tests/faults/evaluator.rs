//! The evaluator against the model: the decisions of `transactions_service::book` alone, so that hundreds of sequences are tried
//! in seconds. What the lane does around it is done here as simply as it can be: rows go in, and what has changed comes out.
//!
//! Of a step that the service would refuse before it comes to the lane, the evaluator hears nothing.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use shared::clients::transactions::{Direction, LedgerStatus, Limits};
use shared::id::{AccountId, HoldId, TransferId, UserId};
use shared::{Amount, Currency};
use transactions_service::book::{Book, Refusal, Scoring, Verdict};
use transactions_service::hold::{CaptureOrder, HoldOrder, LockedHold};
use transactions_service::ledger_account::{AccountKind, LockedAccount, Spent};
use transactions_service::leg::{Condition, LegOrder, Legs};
use transactions_service::transfer::{LockedTransfer, Note, TransferKind, TransferOrder};
use uuid::Uuid;

use crate::accounts::{Account, Accounts};
use crate::cases::try_at_random;
use crate::ledger_model::{Expected, IN_REVIEW, Leg, Model, ModelAccount, ModelHold, POSTED, REJECTED};
use crate::model::{ACCOUNTS, funded};
use crate::steps::{APPROVAL_ABOVE, Change, Order, REVIEWED_ABOVE, Status, Step};
use crate::table::Row;

/// For each case that the running service is asked.
const CASES: u32 = 50;

#[test]
fn the_evaluator_decides_what_the_model_does_whatever_is_asked_in_whatever_order() {
    let what = "every operation at random, the evaluator against a model";
    try_at_random(what, CASES, |steps| {
        one_after_another(&funded(ACCOUNTS.len(), steps))
    });
}

/// An error tells where the evaluator and the model went different ways.
fn one_after_another(steps: &[Step]) -> Result<Row, String> {
    let account = |(owner, currency): (usize, &'static str)| Account {
        id: String::new(),
        owner,
        currency,
    };
    let accounts = Accounts {
        all: ACCOUNTS.map(account).into(),
        customers: 3,
    };
    let mut model = Model::of(&accounts);
    let mut rows = Rows::of(&model);
    let mut row = Row::default();
    for (number, step) in steps.iter().enumerate() {
        if model.lacks(step) {
            continue;
        }
        let before = model.clone();
        let expected = model.take(step, &accounts);
        let Some(decided) = rows.take(step, &before, &expected, &accounts) else {
            continue;
        };
        let differs = |what: String| format!("step {number}, {step:?}: {what}");
        same("decided", &expected, &decided).map_err(differs)?;
        rows.compare(&model).map_err(differs)?;
        row.tried += decided.len();
        row.acknowledged += decided.iter().filter(|it| it.status < 300).count();
        row.refused += decided.iter().filter(|it| it.status >= 300).count();
    }
    Ok(row)
}

/// What the service says without asking the evaluator.
fn is_said_before(expected: &Expected) -> bool {
    [
        "not_found",
        "same_account",
        "not_refundable",
        "not_reversible",
        "refused before",
    ]
    .contains(&expected.word.as_str())
}

/// A transfer that was made, with what it has set aside for a review.
struct Made {
    order: TransferOrder,
    status: &'static str,
    row: LockedTransfer,
    set_aside: Vec<LockedHold>,
}

/// What the database would have, in the model's order.
struct Rows {
    accounts: Vec<LockedAccount>,
    holds: Vec<LockedHold>,
    transfers: Vec<Made>,
}

type Done = Result<(u16, &'static str), Refusal>;

fn answered(result: Done) -> Expected {
    let (status, word) = result.unwrap_or_else(|refusal| (422, refusal.code()));
    Expected {
        status,
        word: word.to_owned(),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Posted(_) => POSTED,
        Verdict::InReview(_) => IN_REVIEW,
        Verdict::Blocked => REJECTED,
    }
}

fn customer(number: usize) -> UserId {
    UserId::from_uuid(Uuid::from_u128(u128::try_from(1 + number).unwrap()))
}

fn account_id(place: usize) -> AccountId {
    AccountId::from_uuid(Uuid::from_u128(u128::try_from(100 + place).unwrap()))
}

fn minor(amount: i64) -> Amount {
    Amount::try_from(amount).unwrap()
}

fn currency(word: &str) -> Currency {
    word.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn scoring(kind: TransferKind) -> Scoring {
    match kind.is_scored() {
        true => UNSCORED,
        false => Scoring::Exempt,
    }
}

const UNSCORED: Scoring = Scoring::Missing {
    post_limit: REVIEWED_ABOVE,
};

impl Rows {
    fn of(model: &Model) -> Self {
        let account = |(place, account): (usize, &ModelAccount)| LockedAccount {
            id: account_id(place),
            kind: account
                .owner
                .map_or(AccountKind::Clearing, |_| AccountKind::Customer),
            holder_id: account.owner.map(customer),
            currency: currency(account.currency),
            status: LedgerStatus::Open,
            posted: 0,
            held: 0,
            floor: account.owner.map(|_| 0),
            version: 0,
            limits: Limits::default(),
            spent: Spent::default(),
        };
        Self {
            accounts: model.accounts.iter().enumerate().map(account).collect(),
            holds: Vec::new(),
            transfers: Vec::new(),
        }
    }

    fn book(&self) -> Book {
        let set_aside = self.transfers.iter().flat_map(|made| &made.set_aside);
        let holds = self.holds.iter().chain(set_aside).cloned();
        let transfers = self.transfers.iter().map(|made| made.row.clone());
        let approvals = format!("USD={APPROVAL_ABOVE}").parse().unwrap();
        Book::new(self.accounts.iter().cloned(), holds, transfers).with_approvals(approvals)
    }

    /// Writes what the book has changed.
    fn keep(&mut self, book: &Book) {
        let changes = book.changes();
        for changed in changes.accounts {
            let mut accounts = self.accounts.iter_mut();
            *accounts.find(|it| it.id == changed.id).unwrap() = changed.clone();
        }
        for changed in changes.holds {
            let set_aside = self.transfers.iter_mut().flat_map(|made| &mut made.set_aside);
            let mut holds = self.holds.iter_mut().chain(set_aside);
            *holds.find(|it| it.id == changed.id).unwrap() = changed.clone();
        }
        for changed in changes.transfers {
            let mut transfers = self.transfers.iter_mut();
            transfers.find(|it| it.row.id == changed.id).unwrap().row = changed.clone();
        }
    }

    fn record(&mut self, order: TransferOrder, verdict: &Verdict) {
        let hold = |debit: &LegOrder| LockedHold {
            id: HoldId::new(),
            account_id: debit.account_id,
            amount: debit.amount.minor(),
            captured: 0,
            released: 0,
            expired: false,
            terms: None,
        };
        let status = word(verdict);
        self.transfers.push(Made {
            status,
            row: LockedTransfer {
                id: order.id,
                posted: status == POSTED,
                amount: order.legs.total(),
                refunded: 0,
                reversal_id: None,
            },
            set_aside: match status {
                IN_REVIEW => order.legs.debits().map(hold).collect(),
                _ => Vec::new(),
            },
            // Conditions are not kept, so whoever approves a transfer does not meet them again.
            order: TransferOrder {
                legs: order.legs.reversed().reversed(),
                ..order
            },
        });
    }

    /// What the evaluator says to the step; `None` where it is not asked. `before` is where the model stood.
    fn take(
        &mut self,
        step: &Step,
        before: &Model,
        expected: &[Expected],
        accounts: &Accounts,
    ) -> Option<Vec<Expected>> {
        if let Step::Batch {
            orders,
            atomic,
            dry_run,
        } = step
        {
            let mover = accounts.mover(orders[0].from, orders[0].stranger);
            if *atomic && expected.iter().any(is_said_before) {
                return None;
            }
            let asked = orders
                .iter()
                .filter_map(|order| transfer(order, mover, before, accounts));
            let mut decided = self.batch(asked.collect(), *atomic, *dry_run).into_iter();
            let answers = expected.iter().map(|expected| match is_said_before(expected) {
                true => expected.clone(),
                false => decided.next().unwrap(),
            });
            return Some(answers.collect());
        }
        if expected.iter().any(is_said_before) {
            return None;
        }
        let answer = match step {
            Step::Deposit {
                account,
                amount,
                stranger,
            } => {
                let mover = accounts.mover(*account, *stranger);
                self.pay(
                    TransferKind::Deposit,
                    accounts.place(*account),
                    *amount,
                    mover,
                    before,
                )
            }
            Step::Withdraw {
                account,
                amount,
                stranger,
            } => {
                let mover = accounts.mover(*account, *stranger);
                self.pay(
                    TransferKind::Withdrawal,
                    accounts.place(*account),
                    *amount,
                    mover,
                    before,
                )
            }
            Step::Transfer { order, dry_run } => {
                let mover = accounts.mover(order.from, order.stranger);
                let order = transfer(order, mover, before, accounts)?;
                return Some(self.batch(vec![order], false, *dry_run));
            }
            Step::Run { schedule } => {
                let schedule = &before.schedules[schedule % before.schedules.len()];
                let order = transfer(&schedule.order, schedule.mover, before, accounts)?;
                return Some(self.batch(vec![order], false, false));
            }
            Step::PlaceHold { from, to, amount } => {
                self.place_hold(accounts.place(*from), accounts.place(*to), *amount, before)
            }
            Step::ChangeHold { hold, change, .. } => self.change_hold(hold % self.holds.len(), *change),
            Step::Expire { hold } => self.expire_hold(hold % self.holds.len()),
            Step::CaptureByItself { hold } => {
                self.change_hold(hold % self.holds.len(), Change::Capture(None))
            }
            Step::Refund { transfer, amount, .. } => self.refund(transfer % self.transfers.len(), *amount),
            Step::Reverse { transfer } => self.reverse(transfer % self.transfers.len()),
            Step::Decide { transfer, approve } => self.decide(transfer % self.transfers.len(), *approve),
            Step::SetLimits { account, limits } => {
                self.accounts[accounts.place(*account)].limits = Limits {
                    per_transfer: limits.per_transfer,
                    daily: limits.daily,
                    monthly: limits.monthly,
                };
                return None;
            }
            Step::SetStatus { account, status } => {
                if expected[0].status == 200 {
                    self.accounts[accounts.place(*account)].status = ledger_status(*status);
                }
                return None;
            }
            Step::Schedule { .. } | Step::Steer { .. } | Step::Repeat { .. } | Step::Batch { .. } => {
                return None;
            }
        };
        Some(vec![answered(answer)])
    }

    /// As the lane decides what is asked for together.
    fn batch(&mut self, orders: Vec<TransferOrder>, atomic: bool, dry_run: bool) -> Vec<Expected> {
        let mut book = self.book();
        let start = book.mark();
        let decide = |order: &TransferOrder| book.decide(order, &scoring(order.kind));
        let decided: Vec<Result<Verdict, Refusal>> = orders.iter().map(decide).collect();
        let culprit = decided.iter().position(Result::is_err).filter(|_| atomic);
        if culprit.is_some() || dry_run {
            book.undo_to(start);
        }
        self.keep(&book);
        let status = if dry_run { 200 } else { 201 };
        let mut answers = Vec::new();
        for (number, (order, decided)) in orders.into_iter().zip(decided).enumerate() {
            if let (Ok(verdict), None, false) = (&decided, culprit, dry_run) {
                self.record(order, verdict);
            }
            answers.push(match culprit.is_some_and(|culprit| culprit != number) {
                true => Expected {
                    status: 422,
                    word: "batch_refused".to_owned(),
                },
                false => answered(decided.map(|verdict| (status, word(&verdict)))),
            });
        }
        answers
    }

    /// A new transfer that `decide` decides.
    fn make(
        &mut self,
        order: TransferOrder,
        decide: impl FnOnce(&mut Book, &TransferOrder) -> Result<Verdict, Refusal>,
    ) -> Done {
        let mut book = self.book();
        let verdict = decide(&mut book, &order)?;
        self.keep(&book);
        self.record(order, &verdict);
        Ok((201, word(&verdict)))
    }

    fn pay(&mut self, kind: TransferKind, place: usize, amount: i64, mover: usize, model: &Model) -> Done {
        let word = model.accounts[place].currency;
        let (own, clearing) = (account_id(place), account_id(model.clearing(word)));
        let (debit, credit) = match kind {
            TransferKind::Deposit => (clearing, own),
            _ => (own, clearing),
        };
        let legs = Legs::pair(debit, credit, minor(amount), currency(word));
        let order = TransferOrder::new(kind, legs, Note::default(), customer(mover));
        self.make(order, |book, order| book.decide(order, &scoring(kind)))
    }

    fn refund(&mut self, number: usize, amount: i64) -> Done {
        let original = &self.transfers[number].order;
        let (debit, credit) = original.legs.as_pair().unwrap();
        let legs = Legs::pair(credit.account_id, debit.account_id, minor(amount), debit.currency);
        let order = self.back(TransferKind::Refund, number, legs);
        let original = original.id;
        self.make(order, |book, order| book.refund(order, original))
    }

    fn reverse(&mut self, number: usize) -> Done {
        let original = &self.transfers[number].order;
        let order = self.back(TransferKind::Reversal, number, original.legs.reversed());
        let original = original.id;
        self.make(order, |book, order| book.propose_reversal(order, original))
    }

    /// An order that gives something of a transfer back, by who got it.
    fn back(&self, kind: TransferKind, number: usize, legs: Legs) -> TransferOrder {
        let payer = legs.debits().next().unwrap().account_id;
        let payer = self.accounts.iter().find(|it| it.id == payer).unwrap();
        let by = payer.holder_id.unwrap_or(customer(99));
        TransferOrder {
            original_transfer_id: Some(self.transfers[number].order.id),
            ..TransferOrder::new(kind, legs, Note::default(), by)
        }
    }

    fn decide(&mut self, number: usize, approve: bool) -> Done {
        let mut book = self.book();
        let made = &self.transfers[number];
        let holds: Vec<HoldId> = made.set_aside.iter().map(|hold| hold.id).collect();
        match approve {
            true => drop(book.approve(&made.order, &holds)?),
            false => book.reject(&made.order, &holds)?,
        }
        self.keep(&book);
        let status = if approve { POSTED } else { REJECTED };
        let made = &mut self.transfers[number];
        (made.status, made.row.posted) = (status, approve);
        Ok((200, status))
    }

    fn place_hold(&mut self, from: usize, to: usize, amount: i64, model: &Model) -> Done {
        let ModelAccount {
            owner,
            currency: word,
            ..
        } = model.accounts[from];
        let order = HoldOrder {
            id: HoldId::new(),
            account_id: account_id(from),
            credit_account_id: account_id(to),
            amount: minor(amount),
            currency: currency(word),
            description: None,
            metadata: None,
            expires_after_s: 60,
            capture_after_s: None,
            initiated_by: customer(owner.unwrap()),
        };
        let mut book = self.book();
        book.place_hold(&order, &UNSCORED)?;
        self.keep(&book);
        self.holds.push(order.placed_at(now()));
        Ok((201, "open"))
    }

    fn change_hold(&mut self, number: usize, change: Change) -> Done {
        let mut book = self.book();
        let hold = &self.holds[number];
        match change {
            Change::Increment(amount) => {
                let more = hold.incremented(minor(amount), customer(0))?;
                book.increment_hold(hold.id, &more, &UNSCORED, now())?;
            }
            Change::Release(amount) => book.release_hold(hold.id, amount.map(minor))?,
            Change::Capture(amount) => {
                let capture = CaptureOrder {
                    transfer_id: TransferId::new(),
                    amount: amount.map(minor),
                    note: Note::default(),
                    initiated_by: customer(0),
                };
                let (order, verdict) = book.capture_hold(hold.id, &capture, now())?;
                self.keep(&book);
                self.record(order, &verdict);
                return Ok((201, word(&verdict)));
            }
        }
        self.keep(&book);
        Ok((200, hold_word(&self.holds[number])))
    }

    fn expire_hold(&mut self, number: usize) -> Done {
        let hold = &mut self.holds[number];
        hold.terms.as_mut().unwrap().expires_at = now();
        let id = hold.id;
        let mut book = self.book();
        book.expire_hold(id, now())?;
        self.keep(&book);
        Ok((200, hold_word(&self.holds[number])))
    }

    fn compare(&self, model: &Model) -> Result<(), String> {
        for (found, expected) in self.accounts.iter().zip(&model.accounts) {
            let ModelAccount {
                posted, held, spent, ..
            } = *expected;
            let spent = Spent {
                today: spent,
                this_month: spent,
            };
            same(
                &found.id.to_string(),
                &(posted, held, spent),
                &(found.posted, found.held, found.spent),
            )?;
        }
        for (found, expected) in self.holds.iter().zip(&model.holds) {
            let ModelHold {
                amount,
                captured,
                released,
                ..
            } = *expected;
            same(
                "hold",
                &(amount, captured, released),
                &(found.amount, found.captured, found.released),
            )?;
        }
        for (found, expected) in self.transfers.iter().zip(&model.transfers) {
            same(
                "transfer",
                &(expected.status, expected.refunded, expected.is_reversed),
                &(found.status, found.row.refunded, found.row.reversal_id.is_some()),
            )?;
        }
        same(
            "holds and transfers",
            &(model.holds.len(), model.transfers.len()),
            &(self.holds.len(), self.transfers.len()),
        )
    }
}

/// The order, unless it is wrong in itself.
fn transfer(order: &Order, mover: usize, model: &Model, accounts: &Accounts) -> Option<TransferOrder> {
    let mut legs: Vec<LegOrder> = model
        .legs(order, accounts)
        .ok()?
        .into_iter()
        .map(leg_order)
        .collect();
    legs[0].available_balance = order.least.map(|least| Condition {
        gte: Some(least),
        lte: None,
    });
    let legs = Legs::parse(legs).unwrap();
    Some(TransferOrder::new(
        TransferKind::Transfer,
        legs,
        Note::default(),
        customer(mover),
    ))
}

fn leg_order(leg: Leg) -> LegOrder {
    LegOrder {
        account_id: account_id(leg.account),
        direction: match leg.amount {
            ..0 => Direction::Debit,
            _ => Direction::Credit,
        },
        amount: minor(leg.amount.abs()),
        currency: currency(leg.currency),
        available_balance: None,
    }
}

fn hold_word(hold: &LockedHold) -> &'static str {
    match (hold.remaining(), hold.captured) {
        (1.., _) => "open",
        (_, 1..) => "captured",
        _ => "released",
    }
}

fn ledger_status(status: Status) -> LedgerStatus {
    match status {
        Status::Open => LedgerStatus::Open,
        Status::Frozen => LedgerStatus::Frozen,
        Status::Closed => LedgerStatus::Closed,
    }
}

fn same<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    match expected == found {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, found {found:?}")),
    }
}
