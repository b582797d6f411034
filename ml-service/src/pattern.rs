//! Patterns of money laundering in what was posted, as pure functions: structuring ([`structuring`]), money that goes out as
//! soon as it came ([`rapid_movement`]), many senders to one ([`fan_in`]) and circles ([`cycle`]). Each finding names the account,
//! says in a sentence what was seen, and lists the transfers that show it.
//!
//! What is unusual is a choice of the operator: the parameters are a row of the database. Deliberately absent: any effect on a
//! transfer. A pattern is there only when the money has moved, so a person decides what it means.

pub mod benchmark;
pub mod cycle;
pub mod fan_in;
pub mod history;
pub mod job;
pub mod queries;
pub mod rapid_movement;
pub mod structuring;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::Currency;
use utoipa::ToSchema;
use uuid::Uuid;

pub use history::History;

pub const HOUR_S: i64 = 3600;
pub const DAY_S: i64 = 24 * HOUR_S;
/// A finding lists this many transfers, the newest; an alert has to stay readable.
const MAX_EVIDENCE: usize = 100;

/// A posted transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub transfer_id: Uuid,
    pub from: Uuid,
    pub to: Uuid,
    /// Minor units.
    pub amount: i64,
    pub currency: Currency,
    /// Unix seconds.
    pub at: i64,
    /// Whether it comes from outside or goes there, by an account that is no customer's.
    pub crosses_edge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    Structuring,
    RapidMovement,
    FanIn,
    Cycle,
}

impl Pattern {
    pub const ALL: [Self; 4] = [Self::Structuring, Self::RapidMovement, Self::FanIn, Self::Cycle];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Structuring => "structuring",
            Self::RapidMovement => "rapid_movement",
            Self::FanIn => "fan_in",
            Self::Cycle => "cycle",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub pattern: Pattern,
    pub account: Uuid,
    /// The number of the window, counted from 1970 in its own length: an account has one alert of a pattern in each.
    pub window: i64,
    pub sentence: String,
    /// Oldest first.
    pub transfers: Vec<Uuid>,
    /// Everybody that it is about.
    pub accounts: Vec<Uuid>,
}

/// What counts as a pattern. Amounts are whole major units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Smaller transfers are not looked at.
    pub min_amount: u32,
    pub structuring: structuring::Structuring,
    pub rapid_movement: rapid_movement::RapidMovement,
    pub fan_in: fan_in::FanIn,
    pub cycle: cycle::Cycle,
}

impl Parameters {
    /// How far back any pattern looks.
    pub fn window_s(&self) -> i64 {
        [
            DAY_S,
            self.rapid_movement.window_s(),
            self.fan_in.window_s(),
            self.cycle.window_s(),
        ]
        .into_iter()
        .fold(0, i64::max)
    }

    pub fn is_looked_at(&self, movement: &Movement) -> bool {
        movement.amount >= minor(self.min_amount, movement.currency)
    }

    /// In minor units: what is less is looked at in no currency.
    pub fn least_amount(&self) -> i64 {
        i64::from(self.min_amount).saturating_mul(100)
    }
}

/// Everything that `movement`, which is in `history`, completes.
pub fn find(movement: &Movement, history: &History, parameters: &Parameters) -> Vec<Finding> {
    let mut findings = Vec::new();
    for account in [movement.from, movement.to] {
        findings.extend(structuring::find(
            account,
            movement,
            history,
            &parameters.structuring,
        ));
        findings.extend(fan_in::find(account, movement, history, &parameters.fan_in));
    }
    findings.extend(rapid_movement::find(
        movement,
        history,
        &parameters.rapid_movement,
    ));
    findings.extend(cycle::find(movement, history, &parameters.cycle));
    findings
}

/// The first finding of each account, pattern and window.
pub fn each_once(findings: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
    let mut once = BTreeMap::new();
    for finding in findings {
        once.entry((finding.pattern, finding.account, finding.window))
            .or_insert(finding);
    }
    once.into_values().collect()
}

/// Major units in minor units. A currency without minor units counts a hundred of its units as one, as in rules.
fn minor(major: u32, currency: Currency) -> i64 {
    i64::from(major).saturating_mul(10_i64.saturating_pow(currency.exponent().max(2)))
}

/// `9500.00 USD`.
fn shown(amount: i128, currency: Currency) -> String {
    let scale = 10_i128.saturating_pow(currency.exponent());
    match usize::try_from(currency.exponent()) {
        Ok(width @ 1..) => format!("{}.{:0width$} {currency}", amount / scale, amount % scale),
        _ => format!("{amount} {currency}"),
    }
}

fn sum<'a>(movements: impl IntoIterator<Item = &'a Movement>) -> i128 {
    movements.into_iter().map(|it| i128::from(it.amount)).sum()
}

fn evidence<'a>(movements: impl IntoIterator<Item = &'a Movement>) -> Vec<Uuid> {
    let mut movements: Vec<&Movement> = movements.into_iter().collect();
    movements.sort_by_key(|it| (it.at, it.transfer_id));
    movements.dedup_by_key(|it| it.transfer_id);
    let skipped = movements.len().saturating_sub(MAX_EVIDENCE);
    movements.iter().skip(skipped).map(|it| it.transfer_id).collect()
}

fn parties<'a>(movements: impl IntoIterator<Item = &'a Movement>) -> Vec<Uuid> {
    let mut accounts: Vec<Uuid> = movements.into_iter().flat_map(|it| [it.from, it.to]).collect();
    accounts.sort_unstable();
    accounts.dedup();
    accounts
}

#[cfg(test)]
mod tests;
