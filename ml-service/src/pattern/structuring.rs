//! Structuring: an amount that would have been reported is moved in parts, each under the threshold, on one day (UTC).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::Currency;
use uuid::Uuid;

use super::{DAY_S, Finding, History, Movement, Pattern, evidence, parties, shown, sum};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structuring {
    /// From which amount a transfer is reported, by currency, in major units. Other currencies are not looked at.
    pub thresholds: BTreeMap<String, u32>,
    /// What is less than this part of the threshold is ordinary, however often it happens.
    pub min_percent: u8,
    pub min_transfers: usize,
}

impl Structuring {
    fn threshold(&self, currency: Currency) -> Option<i64> {
        let threshold = self.thresholds.get(currency.code())?;
        Some(i64::from(*threshold).saturating_mul(10_i64.saturating_pow(currency.exponent())))
    }
}

/// Whether `account` has, on the day of `movement` and in its direction and currency, moved the threshold in parts under it.
pub fn find(
    account: Uuid,
    movement: &Movement,
    history: &History,
    parameters: &Structuring,
) -> Option<Finding> {
    let threshold = parameters.threshold(movement.currency)?;
    let is_part = |it: &Movement| {
        let least = i128::from(threshold) * i128::from(parameters.min_percent);
        it.amount < threshold && i128::from(it.amount) * 100 >= least
    };
    if !is_part(movement) {
        return None;
    }
    let day = movement.at.div_euclid(DAY_S);
    let start = day.saturating_mul(DAY_S);
    let out = movement.from == account;
    let parts: Vec<&Movement> = history
        .between(account, start, start.saturating_add(DAY_S - 1))
        .filter(|it| (it.from == account) == out && it.currency == movement.currency && is_part(it))
        .collect();
    let total = sum(parts.iter().copied());
    if parts.len() < parameters.min_transfers || total < i128::from(threshold) {
        return None;
    }
    let (total, threshold) = (
        shown(total, movement.currency),
        shown(threshold.into(), movement.currency),
    );
    let verb = if out { "sent" } else { "received" };
    Some(Finding {
        pattern: Pattern::Structuring,
        account,
        window: day,
        sentence: format!(
            "{verb} {total} on one day in {} transfers, each under {threshold}",
            parts.len()
        ),
        transfers: evidence(parts.iter().copied()),
        accounts: parties(parts),
    })
}
