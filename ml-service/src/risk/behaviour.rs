//! What a customer's accounts tell of how they keep to what they owe: from the same history as insights.

use super::attribute::Attributes;
use super::feature::Features;
use crate::insight::category::Category;
use crate::insight::movement::{History, Movement};
use crate::insight::recurring::{self, SeriesStatus};
use crate::insight::saving::{self, SavingsMonth};
use crate::insight::statistics::{median, total};
use crate::insight::wording::basis_points;

const MONTHS: usize = 6;
const HALF_YEAR_DAYS: i64 = 183;

/// Everything that is known. Of a history of less than a month only how short it is. Of transfers that were refused for want of money
/// nothing is, since the ledger keeps no trace of them.
pub fn features(history: &History, balance: Option<i64>, attributes: &Attributes) -> Features {
    let mut features = Features::default();
    let known_days = if history.movements.is_empty() {
        0
    } else {
        history.days()
    };
    features.set("history_days", known_days);
    let months = last_months(history);
    if !months.is_empty() {
        of_months(&mut features, &months);
        of_spending(&mut features, history);
        features.set("missed_payments", missed_payments(history));
        if let Some(days) = balance.and_then(|balance| buffer_days(history, balance)) {
            features.set("buffer_days", days);
        }
    }
    let observed = (!months.is_empty()).then(|| median(months.iter().map(|month| month.income)));
    of_attributes(&mut features, attributes, observed.filter(|income| *income > 0));
    features
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Those that are known in full, at most six.
fn last_months(history: &History) -> Vec<SavingsMonth> {
    let mut months: Vec<SavingsMonth> = saving::months(history);
    months.retain(|month| month.is_complete);
    let first = months.len().saturating_sub(MONTHS);
    months.split_off(first)
}

fn of_months(features: &mut Features, months: &[SavingsMonth]) {
    let with_income = months.iter().filter(|month| month.income > 0).count();
    features.set("income_months", count(with_income));
    let usual = median(months.iter().map(|month| month.income));
    if usual > 0 {
        let off = months.iter().map(|month| month.income.abs_diff(usual));
        let off = median(off.map(|off| i64::try_from(off).unwrap_or(i64::MAX)));
        features.set("income_variation", basis_points(off, usual));
    }
    let rates: Vec<i64> = months
        .iter()
        .filter_map(|month| month.rate_basis_points)
        .collect();
    if !rates.is_empty() {
        features.set("savings_rate", median(rates));
    }
    let overspent = months.iter().filter(|month| month.saved < 0).count();
    features.set("months_overspent", count(overspent));
}

fn of_spending(features: &mut Features, history: &History) {
    let recent = || {
        history
            .movements
            .iter()
            .filter(|it| history.age(it.on) < HALF_YEAR_DAYS)
    };
    let sum = |of: &dyn Fn(&Movement) -> bool| total(recent().filter(|it| of(it)).map(|it| it.amount));
    let spent = sum(&Movement::is_spending);
    let of = |category| sum(&move |it| it.is_spending() && it.category == category);
    let income = sum(&|it| !it.is_spending());
    if income > 0 {
        features.set("loans_share", basis_points(of(Category::Loans), income));
    }
    if spent > 0 {
        features.set("cash_share", basis_points(of(Category::Cash), spent));
        features.set("fees_share", basis_points(of(Category::Fees), spent));
    }
}

/// What comes regularly out of the account, and did not in the last half year.
fn missed_payments(history: &History) -> i64 {
    let series = recurring::series(history);
    let spending = series.iter().filter(|it| it.is_spending());
    let missed = spending.map(|series| {
        let earlier = series
            .missed
            .iter()
            .filter(|due| history.age(**due) < HALF_YEAR_DAYS)
            .count();
        earlier + usize::from(series.status == SeriesStatus::Late)
    });
    count(missed.sum())
}

/// How many ordinary days the balance lasts.
fn buffer_days(history: &History, balance: i64) -> Option<i64> {
    let days = history.days().min(HALF_YEAR_DAYS);
    let recent = history.spending().filter(|it| history.age(it.on) < days);
    let spent = total(recent.map(|movement| movement.amount));
    let lasts = (i128::from(balance.max(0)) * i128::from(days)).checked_div(i128::from(spent))?;
    Some(i64::try_from(lasts).unwrap_or(i64::MAX))
}

/// What was told goes before what was seen of the income.
fn of_attributes(features: &mut Features, attributes: &Attributes, observed_income: Option<i64>) {
    let income = attributes.get("monthly_income").or(observed_income);
    if let (Some(requested), Some(income)) = (attributes.get("requested_amount"), income) {
        features.set(
            "requested_share",
            basis_points(requested, income.saturating_mul(12)),
        );
    }
    if let (Some(debts), Some(income)) = (attributes.get("monthly_debt_payments"), income) {
        features.set("debt_share", basis_points(debts, income));
    }
    for (feature, attribute) in [
        ("employment_months", "employment_months"),
        ("delinquencies", "delinquencies_24_months"),
        ("utilisation", "credit_utilisation_basis_points"),
        ("inquiries", "credit_inquiries_6_months"),
        ("term_months", "term_months"),
    ] {
        if let Some(value) = attributes.get(attribute) {
            features.set(feature, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::insight::household::{history, income, payment};

    fn attributes(told: &serde_json::Value) -> Attributes {
        Attributes::parse(told.as_object().unwrap()).unwrap()
    }

    /// A salary on each first and rent on each third, in January to June, without the rent of April.
    fn tenant() -> History {
        let mut movements = Vec::new();
        for on in [1, 32, 60, 91, 121, 152] {
            movements.push(income("Salary", on, 200_000));
            if on != 91 {
                movements.push(payment("Rent", on + 2, 150_000));
            }
            movements.push(payment("Car loan", on + 3, 20_000));
        }
        history(161, movements)
    }

    #[test]
    fn a_history_is_told_in_numbers() {
        let told = attributes(&json!({ "requested_amount": 240_000, "monthly_debt_payments": 50_000 }));
        let features = features(&tenant(), Some(120_000), &told);
        for (name, value) in [
            ("history_days", 161),
            ("income_months", 5),
            ("income_variation", 0),
            ("savings_rate", 1_500),
            ("months_overspent", 0),
            ("loans_share", 1_000),
            ("cash_share", 0),
            ("missed_payments", 1),
            // 870.00 a month in the mean.
            ("buffer_days", 22),
            ("requested_share", 1_000),
            ("debt_share", 2_500),
        ] {
            assert_eq!(features.get(name), Some(value), "{name}");
        }
        assert_eq!(
            (features.get("utilisation"), features.get("refused_transfers")),
            (None, None)
        );
    }

    #[test]
    fn of_somebody_new_nothing_is_made_up() {
        let features = features(&history(10, Vec::new()), None, &Attributes::default());
        let known: Vec<_> = features
            .iter()
            .filter_map(|(feature, value)| value.map(|it| (feature.name, it)))
            .collect();
        assert_eq!(known, [("history_days", 0)]);
    }

    #[test]
    fn an_income_that_was_told_goes_before() {
        let told = attributes(&json!({ "monthly_income": 100_000, "requested_amount": 1_200_000 }));
        assert_eq!(
            features(&tenant(), None, &told).get("requested_share"),
            Some(10_000)
        );
    }
}
