//! What is left of the income, month by month. What is put aside counts as left, not as spent.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use super::category::Category;
use super::movement::{History, Movement};
use super::statistics::{median, total};
use super::wording::{basis_points, month, percent};
use super::{Finding, InsightKind, Period, last_day_of, month_of, months_before};

/// By how many ten-thousandths of the income a month must differ from those before it to be worth a sentence.
const TOLD_FROM: i64 = 1_500;
const LEAST_MONTHS: usize = 3;

/// Income and spending of a calendar month, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SavingsMonth {
    /// Its first day.
    pub month: NaiveDate,
    pub income: i64,
    pub spending: i64,
    /// Income less spending. What went into savings is in it.
    pub saved: i64,
    /// What of it went into savings.
    pub put_aside: i64,
    /// `saved` in ten-thousandths of the income; absent without income.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1250)]
    pub rate_basis_points: Option<i64>,
    /// Whether all of it is known: it is over, and the history begins before it.
    pub is_complete: bool,
}

/// Each month of the history, oldest first.
pub fn months(history: &History) -> Vec<SavingsMonth> {
    let mut by_month: BTreeMap<NaiveDate, Vec<&Movement>> = BTreeMap::new();
    for movement in &history.movements {
        by_month.entry(month_of(movement.on)).or_default().push(movement);
    }
    let of = |(month, movements): (NaiveDate, Vec<&Movement>)| savings_month(history, month, &movements);
    by_month.into_iter().map(of).collect()
}

fn savings_month(history: &History, month: NaiveDate, movements: &[&Movement]) -> SavingsMonth {
    let sum = |of: &dyn Fn(&Movement) -> bool| {
        total(
            movements
                .iter()
                .filter(|movement| of(movement))
                .map(|movement| movement.amount),
        )
    };
    let put_aside = sum(&|it| it.is_spending() && it.category == Category::Savings);
    // Money that comes back from savings was earned before.
    let income = sum(&|it| !it.is_spending() && it.category != Category::Savings);
    let spending = sum(&|it| it.is_spending() && it.category != Category::Savings);
    let saved = income.saturating_sub(spending);
    let began_before = history.movements.first().is_some_and(|first| first.on <= month);
    SavingsMonth {
        month,
        income,
        spending,
        saved,
        put_aside,
        rate_basis_points: (income > 0).then(|| basis_points(saved, income)),
        is_complete: began_before && last_day_of(month) < history.today,
    }
}

/// Of the month that is over, against up to six before it.
pub(super) fn findings(history: &History) -> Vec<Finding<'_>> {
    let last_month = months_before(month_of(history.today), 1);
    let complete: Vec<SavingsMonth> = months(history).into_iter().filter(|it| it.is_complete).collect();
    let Some((last, before)) = complete.split_last().filter(|(last, _)| last.month == last_month) else {
        return Vec::new();
    };
    let rates: Vec<i64> = before
        .iter()
        .rev()
        .take(6)
        .filter_map(|it| it.rate_basis_points)
        .collect();
    let (Some(rate), true) = (last.rate_basis_points, rates.len() >= LEAST_MONTHS) else {
        return Vec::new();
    };
    let usual = median(rates.iter().copied());
    let spread = median(
        rates
            .iter()
            .map(|rate| rate.saturating_sub(usual).saturating_abs()),
    );
    let change = rate.saturating_sub(usual);
    if change.saturating_abs() < TOLD_FROM.max(spread.saturating_mul(3)) {
        return Vec::new();
    }
    let (title, left) = if change > 0 {
        (
            "More was left of your income than usual",
            "was left of your income",
        )
    } else if rate < 0 {
        (
            "You spent more than you earned",
            "of your income was spent beyond it",
        )
    } else {
        (
            "Less was left of your income than usual",
            "was left of your income",
        )
    };
    vec![Finding {
        kind: InsightKind::SavingsRateChange,
        subject: last.month.to_string(),
        title: title.to_owned(),
        sentence: format!(
            "In {} {} {left}; in most months before it was {}.",
            month(last.month),
            percent(if rate < 0 { rate.saturating_neg() } else { rate }),
            percent(usual),
        ),
        category: None,
        amount: Some(last.saved),
        evidence: history
            .movements
            .iter()
            .filter(|it| month_of(it.on) == last.month)
            .collect(),
        period: Period {
            from: last.month,
            to: last_day_of(last.month),
        },
        confidence: 95,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::household::{history, income, payment};

    /// Months of 2026 with 1,000.00 of income and this spending, as of the 10th of the month after.
    fn told(spending: &[i64]) -> (Vec<Option<i64>>, Vec<String>) {
        let mut movements = Vec::new();
        for (number, amount) in (0..).zip(spending) {
            movements.push(income("Salary", 1 + number * 31, 100_000));
            movements.push(payment("Savings plan", 2 + number * 31, 10_000));
            movements.push(payment("Rent", 3 + number * 31, *amount));
        }
        let months_count = u32::try_from(spending.len()).unwrap();
        let history = history(months_count * 31 + 9, movements);
        let rates = months(&history).iter().map(|it| it.rate_basis_points).collect();
        (
            rates,
            findings(&history).into_iter().map(|it| it.sentence).collect(),
        )
    }

    #[test]
    fn what_is_put_aside_is_left() {
        let (rates, told) = told(&[80_000, 80_000, 70_000, 80_000]);
        assert_eq!(rates, [Some(2_000), Some(2_000), Some(3_000), Some(2_000)]);
        assert_eq!(told, [""; 0]);
    }

    #[test]
    fn a_month_unlike_the_others_is_told() {
        let (_, told_less) = told(&[80_000, 80_000, 80_000, 80_000, 110_000]);
        assert_eq!(
            told_less,
            ["In May 2026 10.0 % of your income was spent beyond it; in most months before it was 20.0 %."]
        );
        assert_eq!(told(&[80_000, 80_000, 80_000, 40_000]).1.len(), 1);
        assert_eq!(
            told(&[80_000, 80_000, 40_000]).1.len(),
            0,
            "two months before are too few"
        );
    }
}
