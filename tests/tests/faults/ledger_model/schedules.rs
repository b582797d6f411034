//! Schedules: by a calendar whose days are all to come, so that a run is made when a step says so.

use super::{Answer, Expected, Model, answered};
use crate::accounts::Accounts;
use crate::steps::{Action, Order};

#[derive(Clone, Debug)]
pub struct ModelSchedule {
    pub order: Order,
    pub mover: usize,
    /// Runs in all.
    times: u16,
    /// The number of the next run.
    pub next: u16,
    failures: u16,
    pub status: &'static str,
}

pub const ACTIVE: &str = "active";
const MAX_FAILURES: u16 = 3;

impl Model {
    pub(super) fn schedule(&mut self, order: &Order, times: u16, accounts: &Accounts) -> Answer {
        let mover = accounts.mover(order.from, order.stranger);
        for leg in self.legs(order, accounts)? {
            let account = &self.accounts[leg.account];
            if leg.amount < 0 && account.owner != Some(mover) {
                return Err("account_not_found");
            }
            if account.currency != leg.currency {
                return Err("currency_mismatch");
            }
        }
        self.schedules.push(ModelSchedule {
            order: order.clone(),
            mover,
            times,
            next: 0,
            failures: 0,
            status: ACTIVE,
        });
        Ok((201, ACTIVE))
    }

    /// What the next run is answered, as a transfer that is asked for then.
    pub fn run(&mut self, number: usize, accounts: &Accounts) -> Expected {
        let ModelSchedule { order, mover, .. } = self.schedules[number].clone();
        let result = self.maybe(false, |model| model.order(&order, mover, accounts));
        let schedule = &mut self.schedules[number];
        schedule.next += 1;
        schedule.failures = if result.is_err() { schedule.failures + 1 } else { 0 };
        schedule.status = match (schedule.next < schedule.times, result.is_ok()) {
            (false, true) => "completed",
            (false, false) => "failed",
            (true, _) if schedule.failures >= MAX_FAILURES => "failed",
            (true, _) => ACTIVE,
        };
        answered(result)
    }

    pub(super) fn steer(&mut self, number: usize, action: Action) -> Answer {
        let schedule = &mut self.schedules[number];
        schedule.status = match (action, schedule.status) {
            (Action::Pause, ACTIVE | "paused") => "paused",
            (Action::Resume, ACTIVE) => ACTIVE,
            (Action::Resume, "paused" | "failed") if schedule.next < schedule.times => {
                schedule.failures = 0;
                ACTIVE
            }
            (Action::Cancel, ACTIVE | "paused" | "failed" | "cancelled") => "cancelled",
            _ => return Err("schedule_over"),
        };
        Ok((200, schedule.status))
    }
}
