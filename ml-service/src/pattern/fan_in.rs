//! Fan-in: many senders pay one account within days, and the money leaves it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DAY_S, Finding, History, Movement, Pattern, evidence, minor, parties, shown, sum};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanIn {
    pub window_days: u16,
    pub min_senders: usize,
    /// A sender counts who has sent this many transfers within one day (UTC): 1 is any sender, more is one who split the amount.
    pub min_transfers_a_day: usize,
    /// How much the senders send together at least, in major units.
    pub min_amount: u32,
    /// Which part of it leaves the account within the window at least; 0 when that does not matter.
    pub min_percent_out: u8,
}

impl FanIn {
    pub fn window_s(&self) -> i64 {
        i64::from(self.window_days).saturating_mul(DAY_S).max(1)
    }
}

/// Whether with `movement` enough senders have paid `account`, and enough of it has left.
pub fn find(account: Uuid, movement: &Movement, history: &History, parameters: &FanIn) -> Option<Finding> {
    let since = movement.at.saturating_sub(parameters.window_s());
    let in_window: Vec<&Movement> = history
        .between(account, since, movement.at)
        .filter(|it| it.currency == movement.currency && it.from != it.to)
        .collect();
    let senders = senders(account, &in_window, parameters.min_transfers_a_day);
    if senders.len() < parameters.min_senders {
        return None;
    }
    let came: Vec<&Movement> = senders.values().flatten().copied().collect();
    let first_at = came.iter().map(|it| it.at).min()?;
    let went: Vec<&Movement> = in_window
        .into_iter()
        .filter(|it| it.from == account && it.at >= first_at)
        .collect();
    let (total_in, total_out) = (sum(came.iter().copied()), sum(went.iter().copied()));
    if total_in < i128::from(minor(parameters.min_amount, movement.currency))
        || total_out * 100 < total_in * i128::from(parameters.min_percent_out)
    {
        return None;
    }
    let sentence = format!(
        "received {} from {} senders within {} days, and sent {} on",
        shown(total_in, movement.currency),
        senders.len(),
        parameters.window_days,
        shown(total_out, movement.currency),
    );
    Some(Finding {
        pattern: Pattern::FanIn,
        account,
        window: first_at.div_euclid(parameters.window_s()),
        sentence,
        transfers: evidence(came.iter().copied().chain(went)),
        accounts: parties(came),
    })
}

/// The senders that count, each with what it sent on the days on which it sent often enough.
fn senders<'a>(
    account: Uuid,
    movements: &[&'a Movement],
    min_transfers_a_day: usize,
) -> BTreeMap<Uuid, Vec<&'a Movement>> {
    let mut days: BTreeMap<(Uuid, i64), Vec<&Movement>> = BTreeMap::new();
    for movement in movements.iter().filter(|it| it.to == account) {
        let day = movement.at.div_euclid(DAY_S);
        days.entry((movement.from, day)).or_default().push(movement);
    }
    let mut senders: BTreeMap<Uuid, Vec<&Movement>> = BTreeMap::new();
    for ((sender, _), of_day) in days {
        if of_day.len() >= min_transfers_a_day {
            senders.entry(sender).or_default().extend(of_day);
        }
    }
    senders
}
