//! What the model sees of a customer: whole numbers with names and bounds, or that something is not known. No text and no float
//! gets here, so neither does what is not a number.

use serde_json::{Map, Value};

/// A feature, and the least and most that it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub least: i32,
    pub most: i32,
}

const fn feature(name: &'static str, least: i32, most: i32) -> Feature {
    Feature { name, least, most }
}

/// Shares are in ten-thousandths.
pub const FEATURES: [Feature; COUNT] = [
    feature("history_days", 0, 400),
    feature("income_months", 0, 6),
    feature("income_variation", 0, 20_000),
    feature("savings_rate", -20_000, 10_000),
    feature("months_overspent", 0, 6),
    feature("loans_share", 0, 20_000),
    feature("cash_share", 0, 10_000),
    feature("fees_share", 0, 10_000),
    feature("missed_payments", 0, 50),
    feature("refused_transfers", 0, 50),
    feature("buffer_days", 0, 400),
    feature("requested_share", 0, 100_000),
    feature("debt_share", 0, 20_000),
    feature("employment_months", 0, 600),
    feature("delinquencies", 0, 50),
    feature("utilisation", 0, 20_000),
    feature("inquiries", 0, 50),
    feature("term_months", 0, 480),
];
pub const COUNT: usize = 18;

/// In the order of [`FEATURES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features([Option<i32>; COUNT]);

impl Features {
    /// Brings `value` within the bounds of the feature. A name that there is none of is left out.
    pub fn set(&mut self, name: &str, value: i64) {
        for (feature, place) in FEATURES.iter().zip(&mut self.0) {
            if feature.name == name {
                let bounded = value.clamp(i64::from(feature.least), i64::from(feature.most));
                *place = i32::try_from(bounded).ok();
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<i32> {
        self.iter().find(|(feature, _)| feature.name == name)?.1
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static Feature, Option<i32>)> {
        FEATURES.iter().zip(self.0)
    }

    /// For the trees, which take NaN for what is not known.
    pub fn row(&self) -> Vec<f64> {
        self.0
            .iter()
            .map(|value| value.map_or(f64::NAN, f64::from))
            .collect()
    }

    /// By name; `null` of what is not known.
    pub fn to_json(self) -> Value {
        let members = self
            .iter()
            .map(|(feature, value)| (feature.name.to_owned(), Value::from(value)));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

/// Why a feature counted against the customer: the code is its name.
pub fn sentence(name: &str, value: Option<i32>) -> String {
    let Some(value) = value else {
        return match name {
            "requested_share" | "debt_share" | "employment_months" | "delinquencies" | "utilisation"
            | "inquiries" | "term_months" => format!("Nothing was told about {}.", words(name)),
            _ => format!("Too little is known of your accounts to tell {}.", words(name)),
        };
    };
    let percent = || format!("{} %", value / 100);
    match name {
        "history_days" => format!("We know your accounts for {value} days."),
        "income_months" => format!("Money came in in {value} of the last six months."),
        "income_variation" => format!("Your income varies by {} from month to month.", percent()),
        "savings_rate" if value < 0 => format!("You spend {} % more than your income.", -value / 100),
        "savings_rate" => format!("{} of your income is left in an ordinary month.", percent()),
        "months_overspent" => format!("You spent more than your income in {value} of the last six months."),
        "loans_share" => format!("{} of your income goes to loans.", percent()),
        "cash_share" => format!("{} of what you spend is cash.", percent()),
        "fees_share" => format!("{} of what you spend are fees.", percent()),
        "missed_payments" => {
            format!("Payments that come regularly were left out: {value} in the last half year.")
        }
        "refused_transfers" => {
            format!("Transfers were refused for want of money: {value} in the last 90 days.")
        }
        "buffer_days" => format!("What you have lasts for {value} ordinary days."),
        "requested_share" => format!("What was asked for is {} of your income of a year.", percent()),
        "debt_share" => format!("{} of your income goes to debts that were told.", percent()),
        "employment_months" => format!("You have been employed where you are for {value} months."),
        "delinquencies" => format!("You fell behind {value} times in the last two years."),
        "utilisation" => format!("You use {} of your credit lines.", percent()),
        "inquiries" => format!("You asked for credit {value} times in the last half year."),
        "term_months" => format!("It is to be paid back over {value} months."),
        _ => words(name),
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_their_bounds() {
        let mut features = Features::default();
        features.set("savings_rate", i64::MIN);
        features.set("utilisation", i64::MAX);
        features.set("age", 40);
        assert_eq!(
            (features.get("savings_rate"), features.get("utilisation")),
            (Some(-20_000), Some(20_000))
        );
        assert_eq!(features.iter().filter(|(_, value)| value.is_some()).count(), 2);
        assert!(
            features
                .row()
                .iter()
                .all(|value| value.is_nan() || value.abs() <= 100_000.0)
        );
    }

    #[test]
    fn each_feature_has_a_sentence_of_its_own() {
        for feature in FEATURES {
            for value in [None, Some(feature.least), Some(feature.most)] {
                let sentence = sentence(feature.name, value);
                assert!(sentence.ends_with('.') && sentence.contains(' '), "{sentence}");
            }
            assert!(
                !sentence(feature.name, Some(1)).contains(feature.name),
                "{}",
                feature.name
            );
        }
    }
}
