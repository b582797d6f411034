//! Rapid movement: what an account received goes out again within hours, as through an account that somebody lent.

use serde::{Deserialize, Serialize};

use super::{Finding, HOUR_S, History, Movement, Pattern, evidence, minor, parties, shown, sum};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RapidMovement {
    pub window_hours: u16,
    /// How much comes in at least, in major units.
    pub min_amount: u32,
    /// Which part of it goes out again at least.
    pub min_percent: u8,
    /// And at most: who spends far more than came in, spends other money.
    pub max_percent: u8,
    /// How many payers an account has at most: many are customers of a shop.
    pub max_payers: usize,
}

impl RapidMovement {
    pub fn window_s(&self) -> i64 {
        i64::from(self.window_hours).saturating_mul(HOUR_S).max(1)
    }
}

/// Whether `movement` takes out of its account what came into it.
pub fn find(movement: &Movement, history: &History, parameters: &RapidMovement) -> Option<Finding> {
    let account = movement.from;
    let since = movement.at.saturating_sub(parameters.window_s());
    let in_window: Vec<&Movement> = history
        .between(account, since, movement.at)
        .filter(|it| it.currency == movement.currency && it.from != it.to)
        .collect();
    let first = in_window.iter().position(|it| it.to == account)?;
    let (came, went): (Vec<&Movement>, Vec<&Movement>) =
        in_window.into_iter().skip(first).partition(|it| it.to == account);
    let (total_in, total_out) = (sum(came.iter().copied()), sum(went.iter().copied()));
    let part = total_out * 100;
    let passes = total_in >= i128::from(minor(parameters.min_amount, movement.currency))
        && part >= total_in * i128::from(parameters.min_percent)
        && part <= total_in * i128::from(parameters.max_percent);
    let mut payers: Vec<_> = came.iter().map(|it| it.from).collect();
    payers.sort_unstable();
    payers.dedup();
    if !passes || payers.len() > parameters.max_payers {
        return None;
    }
    let first_at = came.first()?.at;
    let (total_in, total_out) = (
        shown(total_in, movement.currency),
        shown(total_out, movement.currency),
    );
    let transfers: Vec<&Movement> = came.into_iter().chain(went).collect();
    Some(Finding {
        pattern: Pattern::RapidMovement,
        account,
        window: first_at.div_euclid(parameters.window_s()),
        sentence: format!(
            "received {total_in} and sent {total_out} on within {} hours",
            parameters.window_hours
        ),
        transfers: evidence(transfers.iter().copied()),
        accounts: parties(transfers),
    })
}
