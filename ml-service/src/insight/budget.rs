//! Budgets: what the holder wants to spend on a category in a calendar month, and whether this month keeps to it.

pub mod handlers;

use chrono::{Datelike, NaiveDate};
use serde::Serialize;
use shared::Currency;
use utoipa::ToSchema;

use super::category::Category;
use super::movement::{History, Movement};
use super::recurring::{Series, SeriesStatus};
use super::statistics::total;
use super::wording::{money, month};
use super::{Finding, InsightKind, Period, last_day_of, month_of};

/// In minor units, for each calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub category: Category,
    pub currency: Currency,
    pub amount: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetStatus {
    OnTrack,
    /// At this pace it will be exceeded.
    OverPace,
    Exceeded,
}

/// A budget, and how this month keeps to it. Minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BudgetPace {
    pub category: Category,
    pub currency: Currency,
    pub amount: i64,
    pub spent: i64,
    /// Never below zero.
    pub remaining: i64,
    /// What will probably have been spent when the month is over: what was spent, what comes regularly and is still to come,
    /// and for each day that is left what was spent on an ordinary day of the last 90.
    pub projected: i64,
    pub status: BudgetStatus,
    pub period: Period,
}

/// How far above the budget a projection is told: an eighth of it is within its error.
const MARGIN: i64 = 8;
const USUAL_DAYS: i64 = 90;

pub fn pace(history: &History, budget: &Budget, series: &[Series<'_>]) -> BudgetPace {
    let this_month = month_of(history.today);
    let last_day = last_day_of(this_month);
    let spent = total(of_month(history, budget, this_month).map(|movement| movement.amount));
    let regular = total(still_to_come(budget, series, history.today, last_day));
    let days_left = (last_day - history.today).num_days();
    let usual = usual_in_days(history, budget, series, days_left);
    let projected = spent.saturating_add(regular).saturating_add(usual);
    let status = if spent > budget.amount {
        BudgetStatus::Exceeded
    } else if projected > budget.amount.saturating_add(budget.amount / MARGIN) {
        BudgetStatus::OverPace
    } else {
        BudgetStatus::OnTrack
    };
    BudgetPace {
        category: budget.category,
        currency: budget.currency,
        amount: budget.amount,
        spent,
        remaining: budget.amount.saturating_sub(spent).max(0),
        projected,
        status,
        period: Period {
            from: this_month,
            to: last_day,
        },
    }
}

fn of_month<'a>(
    history: &'a History,
    budget: &'a Budget,
    this_month: NaiveDate,
) -> impl Iterator<Item = &'a Movement> {
    history
        .spending()
        .filter(move |it| it.category == budget.category && month_of(it.on) == this_month)
}

fn live<'a, 'b>(budget: &'b Budget, series: &'b [Series<'a>]) -> impl Iterator<Item = &'b Series<'a>> {
    let in_category =
        |it: &&Series<'_>| it.is_spending() && it.last().is_some_and(|last| last.category == budget.category);
    series
        .iter()
        .filter(|it| it.status != SeriesStatus::Ended)
        .filter(in_category)
}

fn still_to_come(budget: &Budget, series: &[Series<'_>], today: NaiveDate, last_day: NaiveDate) -> Vec<i64> {
    let mut amounts = Vec::new();
    for series in live(budget, series) {
        let mut due = series.next_on.max(today);
        while due <= last_day {
            amounts.push(series.next_amount);
            let next = series.cadence.after(due);
            due = if next > due { next } else { NaiveDate::MAX };
        }
    }
    amounts
}

/// What so many ordinary days cost, without what comes regularly.
fn usual_in_days(history: &History, budget: &Budget, series: &[Series<'_>], days: i64) -> i64 {
    let regular: std::collections::HashSet<_> = live(budget, series)
        .flat_map(|series| series.links.iter().map(|link| link.transfer_id))
        .collect();
    let known = history.days().clamp(1, USUAL_DAYS);
    let within = history.spending().filter(|it| history.age(it.on) < known);
    let of = within.filter(|it| it.category == budget.category && !regular.contains(&it.transfer_id));
    let sum = i128::from(total(of.map(|movement| movement.amount)));
    i64::try_from(sum * i128::from(days.max(0)) / i128::from(known)).unwrap_or(i64::MAX)
}

pub(super) fn findings<'a>(
    history: &'a History,
    budgets: &'a [Budget],
    series: &[Series<'_>],
) -> Vec<Finding<'a>> {
    let ours = budgets
        .iter()
        .filter(|budget| budget.currency == history.currency);
    ours.filter_map(|budget| finding(history, budget, &pace(history, budget, series)))
        .collect()
}

fn finding<'a>(history: &'a History, budget: &'a Budget, pace: &BudgetPace) -> Option<Finding<'a>> {
    let write = |amount| money(amount, history.currency);
    let words = budget.category.words();
    let (kind, title, sentence, amount) = match pace.status {
        BudgetStatus::OnTrack => return None,
        BudgetStatus::Exceeded => (
            InsightKind::BudgetExceeded,
            format!("Your budget for {words} is spent"),
            format!(
                "You have spent {} on {words} in {}, {} more than the {} that you planned.",
                write(pace.spent),
                month(history.today),
                write(pace.spent.saturating_sub(pace.amount)),
                write(pace.amount),
            ),
            pace.spent,
        ),
        BudgetStatus::OverPace => (
            InsightKind::BudgetPace,
            format!("Your budget for {words} may not last"),
            format!(
                "You have spent {} on {words} by day {} of {}; at this pace it will be about {} of the {} that you planned.",
                write(pace.spent),
                history.today.day(),
                month(history.today),
                write(pace.projected),
                write(pace.amount),
            ),
            pace.projected,
        ),
    };
    Some(Finding {
        kind,
        subject: format!("{} {}", budget.category.name(), pace.period.from),
        title,
        sentence,
        category: Some(budget.category),
        amount: Some(amount),
        evidence: of_month(history, budget, pace.period.from).collect(),
        period: Period {
            from: pace.period.from,
            to: history.today,
        },
        confidence: if kind == InsightKind::BudgetExceeded {
            99
        } else {
            78
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::household::{history, payment};

    /// Groceries for 30.00 every third day, on this day of April (day 91 of the year is its first).
    fn status(today: u32, amount: i64) -> (BudgetStatus, i64) {
        let movements = (0..).map(|number| 1 + number * 3).take_while(|on| *on <= today);
        let history = history(today, movements.map(|on| payment("Aldi", on, 3_000)).collect());
        let budget = Budget {
            category: Category::Groceries,
            currency: history.currency,
            amount,
        };
        let pace = pace(&history, &budget, &[]);
        (pace.status, pace.projected)
    }

    #[test]
    fn the_pace_of_the_last_months_goes_on() {
        // On the 15th five of ten are made, and half a month is left.
        let (_, projected) = status(105, 1);
        assert_eq!(projected, 5 * 3_000 + 15 * 1_000);
        assert_eq!(status(105, 30_000).0, BudgetStatus::OnTrack);
        assert_eq!(status(105, 26_000).0, BudgetStatus::OverPace);
        assert_eq!(status(105, 14_999).0, BudgetStatus::Exceeded);
    }

    #[test]
    fn what_comes_regularly_is_counted_once() {
        let mut movements: Vec<_> = (0..3)
            .map(|number| payment("Rent", 28 + number * 31, 90_000))
            .collect();
        movements.push(payment("Landlord", 91, 100));
        let history = history(105, movements);
        let series = crate::insight::recurring::series(&history);
        let budget = Budget {
            category: Category::Housing,
            currency: history.currency,
            amount: 90_000,
        };
        let pace = pace(&history, &budget, &series);
        assert_eq!(pace.spent, 100);
        assert!((90_100..90_200).contains(&pace.projected), "{pace:?}");
        assert_eq!(pace.status, BudgetStatus::OnTrack);
    }
}
