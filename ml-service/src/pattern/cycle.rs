//! Cycles: money goes from account to account and comes back to where it started, about as much of it. Only among accounts of
//! customers: what comes from outside and goes there again by another account would make every payment a circle.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DAY_S, Finding, History, Movement, Pattern, evidence, minor, parties, shown};

/// How many movements one search looks at, so that a busy account costs no more than this.
const MAX_STEPS: usize = 5_000;
/// How many ways out of one account are tried, the newest.
pub const MAX_WAYS_OUT: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    pub window_days: u16,
    /// Two accounts that pay each other are no cycle.
    pub min_accounts: usize,
    pub max_accounts: usize,
    /// How much each amount may differ from the one that closes the circle.
    pub tolerance_percent: u8,
    /// Of each amount, in major units.
    pub min_amount: u32,
    /// Whether each movement has to come after the one before; who pays ahead moves in any order.
    pub in_order: bool,
}

impl Cycle {
    pub fn window_s(&self) -> i64 {
        i64::from(self.window_days).saturating_mul(DAY_S).max(1)
    }
}

/// Whether `movement` brings money back to where it started: a way from its receiver to its sender, before it.
pub fn find(movement: &Movement, history: &History, parameters: &Cycle) -> Option<Finding> {
    if movement.crosses_edge
        || movement.from == movement.to
        || movement.amount < minor(parameters.min_amount, movement.currency)
    {
        return None;
    }
    let mut search = Search {
        closing: movement,
        since: movement.at.saturating_sub(parameters.window_s()),
        history,
        parameters,
        steps: 0,
        way: Vec::new(),
    };
    if !search.reaches_the_sender(movement.to, search.since) {
        return None;
    }
    let mut way = search.way;
    way.push(movement);
    let accounts = parties(way.iter().copied());
    Some(Finding {
        pattern: Pattern::Cycle,
        // The same circle is one alert, whoever closes it.
        account: *accounts.first()?,
        window: movement.at.div_euclid(parameters.window_s()),
        sentence: format!(
            "{} went round {} accounts and came back within {} days",
            shown(movement.amount.into(), movement.currency),
            way.len(),
            parameters.window_days
        ),
        transfers: evidence(way),
        accounts,
    })
}

struct Search<'a> {
    closing: &'a Movement,
    since: i64,
    history: &'a History,
    parameters: &'a Cycle,
    steps: usize,
    way: Vec<&'a Movement>,
}

impl<'a> Search<'a> {
    /// Whether a way leads from `account` to who closes the circle, by movements since then.
    fn reaches_the_sender(&mut self, account: Uuid, since: i64) -> bool {
        // With the closing movement there is one account more than movements on the way.
        if self.way.len().saturating_add(1) >= self.parameters.max_accounts {
            return false;
        }
        let history = self.history;
        let ways_out = history
            .between(account, since, self.closing.at)
            .rev()
            .filter(|it| it.from == account && !it.crosses_edge && it.transfer_id != self.closing.transfer_id)
            .take(MAX_WAYS_OUT);
        for movement in ways_out.collect::<Vec<_>>() {
            self.steps = self.steps.saturating_add(1);
            if self.steps > MAX_STEPS {
                return false;
            }
            if !self.is_similar(movement) || self.was_there(movement.to) {
                continue;
            }
            self.way.push(movement);
            let closes = movement.to == self.closing.from;
            let is_long_enough = self.way.len().saturating_add(1) >= self.parameters.min_accounts;
            let since = if self.parameters.in_order {
                movement.at
            } else {
                since
            };
            if closes && is_long_enough || !closes && self.reaches_the_sender(movement.to, since) {
                return true;
            }
            self.way.pop();
        }
        false
    }

    fn is_similar(&self, movement: &Movement) -> bool {
        let difference = i128::from(movement.amount.abs_diff(self.closing.amount)) * 100;
        movement.currency == self.closing.currency
            && difference <= i128::from(self.closing.amount) * i128::from(self.parameters.tolerance_percent)
    }

    fn was_there(&self, account: Uuid) -> bool {
        account == self.closing.to || self.way.iter().any(|it| it.to == account)
    }
}
