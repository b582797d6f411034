//! Subscriptions: what is paid regularly with one amount and can be cancelled. Rent, taxes, loans and savings are not.

use chrono::NaiveDate;
use serde::Serialize;
use shared::id::{AccountId, TransferId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::category::Category;
use super::movement::History;
use super::recurring::{Cadence, Series, SeriesStatus};
use super::statistics::total;
use super::wording::money;
use super::{Finding, InsightKind, NEWS_DAYS, Period};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Subscription {
    /// The same as of the recurring payment.
    pub id: Uuid,
    /// The words of its last payment.
    pub description: String,
    pub counterparty_account_id: AccountId,
    pub category: Category,
    pub cadence: Cadence,
    pub status: SeriesStatus,
    /// Of one payment, in minor units.
    pub amount: i64,
    /// What it comes to in a year.
    pub yearly_amount: i64,
    /// What was paid for it, as far as is known.
    pub paid: i64,
    /// The first payment that is known.
    pub first_on: NaiveDate,
    pub next_on: NaiveDate,
    /// What it cost before its last rise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_before_rise: Option<i64>,
    pub evidence: Vec<TransferId>,
    pub confidence: u8,
}

pub fn is_subscription(series: &Series<'_>) -> bool {
    let cannot_be_cancelled = |category| {
        matches!(
            category,
            Category::Housing
                | Category::Utilities
                | Category::Taxes
                | Category::Loans
                | Category::Savings
                | Category::People
                | Category::Family
                | Category::Fees
                | Category::Cash
        )
    };
    series.is_fixed
        && series.is_spending()
        && series
            .last()
            .is_some_and(|last| !cannot_be_cancelled(last.category))
}

/// The dearest first. One that has ended is left out.
pub fn audit(series: &[Series<'_>]) -> Vec<Subscription> {
    let live = series
        .iter()
        .filter(|it| is_subscription(it) && it.status != SeriesStatus::Ended);
    let mut subscriptions: Vec<Subscription> = live.filter_map(subscription).collect();
    subscriptions.sort_by_key(|it| (std::cmp::Reverse(it.yearly_amount), it.id));
    subscriptions
}

fn subscription(series: &Series<'_>) -> Option<Subscription> {
    let (first, last) = (series.links.first()?, series.last()?);
    Some(Subscription {
        id: series.id,
        description: last.description.clone(),
        counterparty_account_id: last.counterparty_id,
        category: last.category,
        cadence: series.cadence,
        status: series.status,
        amount: last.amount,
        yearly_amount: series.yearly_amount(),
        paid: total(series.links.iter().map(|link| link.amount)),
        first_on: first.on,
        next_on: series.next_on,
        amount_before_rise: series.last_rise().map(|(_, before)| before.amount),
        evidence: series.links.iter().map(|link| link.transfer_id).collect(),
        confidence: series.confidence,
    })
}

/// Subscriptions whose third payment is news. With the second a series is not told from chance.
pub(super) fn findings<'a>(history: &History, series: &[Series<'a>]) -> Vec<Finding<'a>> {
    let told = |series: &Series<'a>| {
        let (first, last) = (series.links.first()?, series.last()?);
        let began_within_history =
            (first.on - history.movements.first()?.on).num_days() > series_days(series);
        let known = series
            .links
            .get(2)
            .is_some_and(|third| history.age(third.on) <= NEWS_DAYS);
        (is_subscription(series) && series.status == SeriesStatus::Active && known && began_within_history)
            .then(|| Finding {
                kind: InsightKind::NewSubscription,
                subject: series.id.to_string(),
                title: format!("{} comes regularly now", last.counterparty()),
                sentence: format!(
                    "You have paid {} {} {} since {}: {} a year.",
                    last.counterparty(),
                    money(last.amount, history.currency),
                    series.cadence.words(),
                    super::wording::day(first.on),
                    money(series.yearly_amount(), history.currency),
                ),
                category: Some(last.category),
                amount: Some(last.amount),
                evidence: series.links.clone(),
                period: Period {
                    from: first.on,
                    to: last.on,
                },
                confidence: series.confidence,
            })
    };
    series.iter().filter_map(told).collect()
}

/// A period, and some days: what began within it may have begun before the history did.
fn series_days(series: &Series<'_>) -> i64 {
    365 / series.cadence.per_year() + 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::household::{history, payment};
    use crate::insight::recurring;

    #[test]
    fn what_can_be_cancelled_is_listed_with_what_it_costs_a_year() {
        let mut movements = Vec::new();
        for number in 0..6 {
            movements.push(payment("Rent", 1 + number * 30, 90_000));
            movements.push(payment(
                "Netflix",
                2 + number * 30,
                if number < 4 { 1_299 } else { 1_599 },
            ));
        }
        let history = history(155, movements);
        let series = recurring::series(&history);
        let found = audit(&series);
        assert_eq!(series.len(), 2);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].amount, found[0].yearly_amount), (1_599, 12 * 1_599));
        assert_eq!(
            (found[0].paid, found[0].amount_before_rise),
            (4 * 1_299 + 2 * 1_599, Some(1_299))
        );
    }

    #[test]
    fn a_new_one_is_told_while_it_is_news() {
        let told = |today: u32| {
            let mut movements = vec![payment("Aldi", 1, 2_000)];
            let count = (today - 100) / 30 + 1;
            movements.extend((0..count).map(|number| payment("Spotify", 100 + number * 30, 999)));
            let history = history(today, movements);
            findings(&history, &recurring::series(&history)).len()
        };
        assert_eq!((told(150), told(165), told(250)), (0, 1, 0));
    }
}
