//! Why a payment looks like fraud, in words that a person understands. Features that say the same are one reason; the exact
//! contributions decide which reasons are given and in which order.

#![expect(clippy::float_arithmetic, reason = "contributions are floats")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::feature::{COUNT, Vector, names};

const MAX_REASONS: usize = 4;
/// Log-odds below which a reason is none.
const MIN_CONTRIBUTION: f64 = 0.05;

#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Stable.
    pub code: &'static str,
    pub detail: String,
    /// What it adds to the log-odds.
    pub contribution: f64,
}

pub fn reasons(vector: &Vector, contributions: &[f64]) -> Vec<Reason> {
    let mut sums: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (code, contribution) in CODES.iter().copied().zip(contributions) {
        *sums.entry(code).or_default() += contribution;
    }
    let weighty = sums
        .into_iter()
        .filter(|(_, contribution)| *contribution >= MIN_CONTRIBUTION);
    let mut reasons: Vec<Reason> = weighty
        .filter_map(|(code, contribution)| {
            Some(Reason {
                code,
                detail: sentence(code, vector)?,
                contribution,
            })
        })
        .collect();
    reasons.sort_by(|left, right| right.contribution.total_cmp(&left.contribution));
    reasons.truncate(MAX_REASONS);
    reasons
}

/// The reason that each feature belongs to.
static CODES: LazyLock<[&str; COUNT]> = LazyLock::new(|| names().map(code));

fn code(name: &str) -> &'static str {
    match name {
        "hour" | "weekday" => "time_of_day",
        "pair_count" | "pair_idle_days" => "counterparty_of_account",
        "account_new_counterparties_1d" | "account_new_counterparties_30d" => "many_new_counterparties",
        "account_large_1d" | "account_large_7d" | "account_large_30d" | "account_mean_7d_over_usual" => {
            "unusual_amounts_before"
        }
        "account_count_1h" | "account_count_1d" | "account_count_7d" | "account_count_30d" => "frequency",
        "account_count" | "account_age_days" | "account_idle_days" => "account_history",
        name if name.starts_with("account_fraud") || name.starts_with("account_risk") => "account_frauds",
        name if name.starts_with("counterparty_new_accounts") => "many_new_accounts",
        "counterparty_amount_over_usual" | "pair_amount_over_mean" => "unusual_amount",
        name if name.starts_with("counterparty_count")
            || name == "counterparty_age_days"
            || name == "counterparty_idle_days" =>
        {
            "counterparty_activity"
        }
        name if name.starts_with("counterparty") => "counterparty_frauds",
        name if name.starts_with("device") => "device",
        name if name.starts_with("address") => "address",
        _ => "unusual_amount",
    }
}

/// None if what is known does not bear the reason out.
fn sentence(code: &str, vector: &Vector) -> Option<String> {
    let get = |name| vector.get(name).filter(|value| !value.is_nan());
    let first = |said: &[Option<String>]| said.iter().flatten().next().cloned();
    let at_least = |name, least: f64| get(name).filter(|value| *value >= least);
    match code {
        "unusual_amount" => first(&[
            at_least("account_amount_over_usual", 1.5)
                .map(|times| format!("{times:.1} times this account's usual amount")),
            at_least("counterparty_amount_over_usual", 1.5)
                .map(|times| format!("{times:.1} times what this payee usually gets")),
            at_least("amount", 0.0).map(|amount| format!("an amount of {amount:.2}")),
        ]),
        "counterparty_of_account" => first(&[
            get("pair_count")
                .filter(|count| *count < 1.0)
                .map(|_| "first payment to this payee".to_owned()),
            at_least("pair_idle_days", 60.0)
                .map(|days| format!("first payment to this payee in {days:.0} days")),
        ]),
        "many_new_counterparties" => first(&[
            at_least("account_new_counterparties_1d", 2.0)
                .map(|count| format!("{count:.0} other new payees within a day")),
            at_least("account_new_counterparties_30d", 3.0)
                .map(|count| format!("{count:.0} other new payees within a month")),
        ]),
        "unusual_amounts_before" => first(&[
            at_least("account_large_1d", 1.0).map(|count| {
                format!(
                    "{count:.0} other unusually large {} within a day",
                    payments(count)
                )
            }),
            at_least("account_large_7d", 1.0).map(|count| {
                format!(
                    "{count:.0} other unusually large {} within a week",
                    payments(count)
                )
            }),
            at_least("account_mean_7d_over_usual", 1.5)
                .map(|times| format!("{times:.1} times the usual amounts for a week")),
        ]),
        "frequency" => first(&[
            at_least("account_count_1h", 2.0)
                .map(|count| format!("{count:.0} other payments within an hour")),
            at_least("account_count_1d", 3.0).map(|count| format!("{count:.0} other payments within a day")),
            at_least("account_count_7d", 1.0)
                .map(|count| format!("{count:.0} other {} within a week", payments(count))),
        ]),
        "account_history" => first(&[
            get("account_count")
                .filter(|count| *count < 1.0)
                .map(|_| "the account's first payment".to_owned()),
            at_least("account_idle_days", 30.0)
                .map(|days| format!("the account's first payment in {days:.0} days")),
            get("account_age_days").map(|days| format!("the account has been paying for {days:.0} days")),
        ]),
        "account_frauds" => at_least("account_frauds_known", 1.0).map(|count| {
            format!(
                "{count:.0} earlier {} of this account known to be fraud",
                payments(count)
            )
        }),
        "many_new_accounts" => first(&[
            at_least("counterparty_new_accounts_1d", 2.0)
                .map(|count| format!("{count:.0} others paid this payee for the first time within a day")),
            at_least("counterparty_new_accounts_30d", 2.0)
                .map(|count| format!("{count:.0} others paid this payee for the first time within a month")),
        ]),
        "counterparty_activity" => first(&[
            get("counterparty_age_days")
                .is_none()
                .then(|| "nobody has paid this payee before".to_owned()),
            at_least("counterparty_count_1h", 3.0)
                .map(|count| format!("{count:.0} other payments to this payee within an hour")),
            at_least("counterparty_count_1d", 3.0)
                .map(|count| format!("{count:.0} other payments to this payee within a day")),
            get("counterparty_age_days").map(|days| format!("this payee was first paid {days:.0} days ago")),
        ]),
        "counterparty_frauds" => first(&[
            at_least("counterparty_fraud_run", 2.0).map(|count| {
                format!("the last {count:.0} payments to this payee that are known of were fraud")
            }),
            get("counterparty_fraud_idle_days")
                .map(|days| format!("a payment to this payee {days:.0} days ago is known to be fraud")),
        ]),
        "device" => first(&[
            at_least("device_is_new", 1.0)
                .map(|_| "a device that this account has not used before".to_owned()),
            at_least("device_new_accounts_30d", 2.0)
                .map(|count| format!("{count:.0} accounts new on this device within a month")),
            at_least("device_risk_30d", 0.01).map(|_| "frauds are known of this device".to_owned()),
        ]),
        "address" => first(&[
            at_least("address_is_new", 1.0)
                .map(|_| "a network address that this account has not used before".to_owned()),
            at_least("address_new_accounts_30d", 2.0)
                .map(|count| format!("{count:.0} accounts new at this network address within a month")),
        ]),
        "time_of_day" => get("hour").map(|hour| format!("at {hour:.0}:00 UTC or within the hour after")),
        _ => None,
    }
}

fn payments(count: f64) -> &'static str {
    if count < 1.5 { "payment" } else { "payments" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::{Event, Key, States, features, observe};

    fn vector() -> Vector {
        let payment = |day: i64, counterparty, amount| Event {
            at: 1_800_000_000 + day * 86_400,
            account: Key(1),
            counterparty: Key(counterparty),
            device: None,
            address: None,
            amount,
            exponent: 2,
        };
        let mut states = States::default();
        (0..10).for_each(|day| observe(&payment(day, 2, 1_000), &mut states));
        features(&payment(10, 3, 9_400), &states)
    }

    fn contributions(weights: &[(&str, f64)]) -> Vec<f64> {
        let weight = |name: &&str| {
            weights
                .iter()
                .find(|(known, _)| known == name)
                .map_or(0.0, |(_, weight)| *weight)
        };
        names().iter().map(weight).collect()
    }

    #[test]
    fn the_weightiest_come_first_and_those_that_say_the_same_are_one() {
        let contributions = contributions(&[
            ("account_amount_over_usual", 1.0),
            ("account_amount_over_max", 0.5),
            ("pair_count", 1.2),
            ("account_count", -3.0),
        ]);
        let said: Vec<(&str, String)> = reasons(&vector(), &contributions)
            .into_iter()
            .map(|reason| (reason.code, reason.detail))
            .collect();
        assert_eq!(
            said,
            [
                (
                    "unusual_amount",
                    "9.4 times this account's usual amount".to_owned()
                ),
                (
                    "counterparty_of_account",
                    "first payment to this payee".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn every_feature_has_a_reason_and_no_sentence_a_nan() {
        for name in names() {
            let code = code(name);
            let said = sentence(code, &vector()).or_else(|| sentence(code, &Vector([1.0; COUNT])));
            let said = said.unwrap_or_else(|| sentence(code, &Vector([4.0; COUNT])).unwrap());
            assert!(!said.contains("NaN"), "{name}: {said}");
            if let Some(said) = sentence(code, &Vector([f64::NAN; COUNT])) {
                assert!(!said.contains("NaN"), "{name}: {said}");
            }
        }
    }
}
