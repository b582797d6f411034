//! What is unlike the rest: a payment that was made twice, one far above those of its category, and a month with far more
//! spending in a category than the months before it.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::NaiveDate;
use shared::id::{AccountId, TransferId};

use super::category::Category;
use super::movement::{History, Movement};
use super::recurring::Series;
use super::statistics::{median, quantile, total};
use super::wording::{day, money, month, times};
use super::{Finding, InsightKind, NEWS_DAYS, Period, last_day_of, month_of, months_before};

/// Payments in a category, before one of them can be called unusual.
const LEAST_EARLIER: usize = 8;
/// How many times what nine of ten stay below.
const UNUSUAL_TIMES: i64 = 3;
/// Months before, of which each must have some spending in the category.
const LEAST_MONTHS: u32 = 3;
/// Days within which the same payment comes twice by mistake.
const TWICE_WITHIN_DAYS: i64 = 2;

pub(super) fn findings<'a>(history: &'a History, series: &[Series<'a>]) -> Vec<Finding<'a>> {
    let mut findings = duplicates(history);
    let planned: HashSet<TransferId> = series
        .iter()
        .flat_map(|series| series.links.iter().map(|link| link.transfer_id))
        .collect();
    findings.extend(unusual_payments(history, &planned));
    findings.extend(spikes(history, &planned));
    findings
}

/// The same amount to the same counterparty with the same label, within two days. Where that is a habit (fares, coffees), it
/// is no mistake: then there are other payments as near to each other.
fn duplicates(history: &History) -> Vec<Finding<'_>> {
    let mut groups: BTreeMap<(AccountId, &str), Vec<&Movement>> = BTreeMap::new();
    for movement in history.spending() {
        let group = (movement.counterparty_id, movement.label.as_str());
        groups.entry(group).or_default().push(movement);
    }
    groups
        .values()
        .filter_map(|group| duplicate(history, group))
        .collect()
}

fn duplicate<'a>(history: &History, group: &[&'a Movement]) -> Option<Finding<'a>> {
    let is_near = |pair: &&[&Movement]| match pair {
        [one, other] => (other.on - one.on).num_days() <= TWICE_WITHIN_DAYS,
        _ => false,
    };
    let near: Vec<&[&Movement]> = group.windows(2).filter(is_near).collect();
    let (Some([first, second]), true) = (near.last().copied(), near.len() == 1) else {
        return None;
    };
    // Two payments to somebody who was never paid before may be meant.
    if first.amount != second.amount || group.len() < 3 || history.age(second.on) > NEWS_DAYS {
        return None;
    }
    let gap = match (second.on - first.on).num_days() {
        0 => "on the same day".to_owned(),
        1 => "a day later".to_owned(),
        days => format!("{days} days later"),
    };
    Some(Finding {
        kind: InsightKind::DuplicatePayment,
        subject: second.transfer_id.to_string(),
        title: format!("{} was paid twice", second.counterparty()),
        sentence: format!(
            "{} went to {} on {}, and the same amount again {gap}.",
            money(first.amount, history.currency),
            second.counterparty(),
            day(first.on),
        ),
        category: Some(second.category),
        amount: Some(second.amount),
        evidence: vec![first, second],
        period: Period {
            from: first.on,
            to: second.on,
        },
        confidence: 88,
    })
}

fn unusual_payments<'a>(history: &'a History, planned: &HashSet<TransferId>) -> Vec<Finding<'a>> {
    let mut earlier: HashMap<Category, Vec<i64>> = HashMap::new();
    let mut findings = Vec::new();
    for movement in history.spending().filter(|it| !planned.contains(&it.transfer_id)) {
        let earlier = earlier.entry(movement.category).or_default();
        if history.age(movement.on) <= NEWS_DAYS && movement.category != Category::Unknown {
            findings.extend(unusual_payment(history, movement, earlier));
        }
        // Kept in order, so that a quantile is a look-up.
        let place = earlier.partition_point(|amount| *amount <= movement.amount);
        earlier.insert(place, movement.amount);
    }
    findings
}

fn unusual_payment<'a>(history: &History, movement: &'a Movement, earlier: &[i64]) -> Option<Finding<'a>> {
    let high = quantile(earlier, 90);
    let is_unusual = earlier.len() >= LEAST_EARLIER && movement.amount >= high.saturating_mul(UNUSUAL_TIMES);
    is_unusual.then(|| Finding {
        kind: InsightKind::UnusualPayment,
        subject: movement.transfer_id.to_string(),
        title: format!("An unusual payment to {}", movement.counterparty()),
        sentence: format!(
            "{} went to {} on {}: {} what nine of ten of your payments for {} stay below.",
            money(movement.amount, history.currency),
            movement.counterparty(),
            day(movement.on),
            times(movement.amount, high),
            movement.category.words(),
        ),
        category: Some(movement.category),
        amount: Some(movement.amount),
        evidence: vec![movement],
        period: Period {
            from: movement.on,
            to: movement.on,
        },
        confidence: 90,
    })
}

/// What was spent, by category and month; without what is planned.
fn spent_by_month<'a>(
    history: &'a History,
    planned: &HashSet<TransferId>,
) -> BTreeMap<(Category, NaiveDate), Vec<&'a Movement>> {
    let mut months: BTreeMap<_, Vec<&Movement>> = BTreeMap::new();
    for movement in history.spending().filter(|it| !planned.contains(&it.transfer_id)) {
        let month = (movement.category, month_of(movement.on));
        months.entry(month).or_default().push(movement);
    }
    months
}

/// This month and the one before, against up to six before them that the history knows in full.
fn spikes<'a>(history: &'a History, planned: &HashSet<TransferId>) -> Vec<Finding<'a>> {
    let spent = spent_by_month(history, planned);
    let this_month = month_of(history.today);
    let recent = [this_month, months_before(this_month, 1)];
    let categories = Category::ALL.into_iter().filter(|it| *it != Category::Unknown);
    categories
        .flat_map(|category| recent.map(|month| (category, month)))
        .filter_map(|(category, month)| spike(history, &spent, category, month))
        .collect()
}

fn spike<'a>(
    history: &History,
    spent: &BTreeMap<(Category, NaiveDate), Vec<&'a Movement>>,
    category: Category,
    in_month: NaiveDate,
) -> Option<Finding<'a>> {
    let of = |month| spent.get(&(category, month)).map_or(&[][..], Vec::as_slice);
    let sum = |month| total(of(month).iter().map(|movement| movement.amount));
    let first_day = history.movements.first()?.on;
    let before: Vec<i64> = (1..=6)
        .map(|count| months_before(in_month, count))
        .filter(|month| *month >= first_day)
        .map(sum)
        .collect();
    let enough = u32::try_from(before.len()).is_ok_and(|months| months >= LEAST_MONTHS);
    let (usual, most, now) = (
        median(before.iter().copied()),
        before.iter().copied().max()?,
        sum(in_month),
    );
    // Half as much again as ever, and no single payment: that is an unusual payment, and told as one.
    let largest = of(in_month).iter().map(|movement| movement.amount).max()?;
    let is_spike = enough && usual > 0 && now >= most.saturating_add(most / 2) && largest <= now / 2;
    is_spike.then(|| Finding {
        kind: InsightKind::CategorySpike,
        subject: format!("{} {in_month}", category.name()),
        title: format!("Much more than usual for {}", category.words()),
        sentence: format!(
            "You spent {} on {} in {}: {} what you spend in most months.",
            money(now, history.currency),
            category.words(),
            month(in_month),
            times(now, usual),
        ),
        category: Some(category),
        amount: Some(now),
        evidence: of(in_month).to_vec(),
        period: Period {
            from: in_month,
            to: last_day_of(in_month).min(history.today),
        },
        confidence: 85,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::household::{history, payment};

    fn told(today: u32, payments: &[(&str, u32, i64)]) -> Vec<InsightKind> {
        let mut movements: Vec<_> = payments
            .iter()
            .map(|(what, on, amount)| payment(what, *on, *amount))
            .collect();
        movements.sort_by_key(|movement| movement.on);
        let history = history(today, movements);
        findings(&history, &[]).iter().map(|it| it.kind).collect()
    }

    #[test]
    fn the_same_payment_twice_is_told_unless_it_is_a_habit() {
        let bills = [
            ("Electricity", 1, 5_000),
            ("Electricity", 31, 5_100),
            ("Electricity", 32, 5_100),
        ];
        assert_eq!(told(40, &bills), [InsightKind::DuplicatePayment]);
        assert_eq!(told(40, &bills[1..]), [], "two payments in all may be meant");
        assert_eq!(told(99, &bills), [], "it is no news any more");
        let fares = [
            ("Tram", 1, 280),
            ("Tram", 1, 280),
            ("Tram", 2, 280),
            ("Tram", 9, 280),
            ("Tram", 10, 280),
        ];
        assert_eq!(told(40, &fares), []);
        let other_amount = [
            ("Electricity", 1, 5_000),
            ("Electricity", 31, 5_000),
            ("Electricity", 32, 5_100),
        ];
        assert_eq!(told(40, &other_amount), []);
    }

    #[test]
    fn a_payment_far_above_the_others_of_its_category_is_told() {
        let mut payments: Vec<_> = (0..10).map(|week| ("Restaurant", 1 + week * 9, 3_000)).collect();
        payments.push(("Bistro", 95, 9_000));
        assert_eq!(told(96, &payments), [InsightKind::UnusualPayment]);
        payments.pop();
        payments.push(("Bistro", 95, 8_999));
        assert_eq!(told(96, &payments), []);
        payments.pop();
        payments.push(("Zorblat", 95, 90_000));
        assert_eq!(told(96, &payments), [], "of what is unknown nothing is usual");
    }

    #[test]
    fn a_month_far_above_the_others_is_told() {
        // Days are counted from the first of January: 121 is the first of May.
        let mut payments: Vec<_> = (0..12).map(|week| ("Aldi", 2 + week * 10, 4_000)).collect();
        payments.extend((0..8).map(|number| ("Lidl", 121 + number * 3, 4_000)));
        assert_eq!(told(150, &payments), [InsightKind::CategorySpike]);
        assert_eq!(told(150, &payments[..16]), []);
    }
}
