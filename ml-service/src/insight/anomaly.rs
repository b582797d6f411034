//! What is unlike the rest: a payment that was made twice, one far above those of its category, and a month with far more
//! spending in a category than the months before it.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::NaiveDate;
use shared::id::{AccountId, TransferId};

use super::category::Category;
use super::movement::{History, Movement};
use super::recurring::Series;
use super::statistics::{median, total};
use super::wording::{day, money, month, times};
use super::{Finding, InsightKind, NEWS_DAYS, Period, last_day_of, month_of, months_before};

/// Payments to one counterparty or in one category, before one of them can be called unusual.
const LEAST_EARLIER: usize = 8;
/// How many times the most that was paid before.
const UNUSUAL_TIMES: i64 = 2;
/// Months before, of which each must have some spending in the category.
const LEAST_MONTHS: usize = 4;
/// Payments in the month: of a few, each makes a month.
const LEAST_IN_MONTH: usize = 5;
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
        confidence: 94,
    })
}

/// What was paid before, to compare with: to the same counterparty under the same label, or for the same category.
#[derive(Default)]
struct Earlier<'a> {
    by_label: HashMap<(AccountId, &'a str), Paid>,
    by_category: HashMap<Category, Paid>,
}

#[derive(Clone, Copy, Default)]
struct Paid {
    count: usize,
    most: i64,
}

impl Paid {
    fn add(&mut self, amount: i64) {
        self.count += 1;
        self.most = self.most.max(amount);
    }
}

impl<'a> Earlier<'a> {
    /// The nearest that is known well enough, and how a sentence calls it.
    fn most(&self, movement: &'a Movement) -> Option<(i64, String)> {
        let known = |paid: Option<&Paid>| {
            paid.filter(|paid| paid.count >= LEAST_EARLIER)
                .map(|paid| paid.most)
        };
        let label = (movement.counterparty_id, movement.label.as_str());
        if let Some(most) = known(self.by_label.get(&label)) {
            return Some((most, "there".to_owned()));
        }
        let most = known(self.by_category.get(&movement.category))?;
        let is_known = movement.category != Category::Unknown;
        is_known.then(|| (most, format!("for {}", movement.category.words())))
    }

    fn add(&mut self, movement: &'a Movement) {
        let label = (movement.counterparty_id, movement.label.as_str());
        self.by_label.entry(label).or_default().add(movement.amount);
        self.by_category
            .entry(movement.category)
            .or_default()
            .add(movement.amount);
    }
}

fn unusual_payments<'a>(history: &'a History, planned: &HashSet<TransferId>) -> Vec<Finding<'a>> {
    let mut earlier = Earlier::default();
    let mut findings = Vec::new();
    for movement in history.spending().filter(|it| !planned.contains(&it.transfer_id)) {
        if history.age(movement.on) <= NEWS_DAYS {
            findings.extend(unusual_payment(history, movement, &earlier));
        }
        earlier.add(movement);
    }
    findings
}

fn unusual_payment<'a>(
    history: &History,
    movement: &'a Movement,
    earlier: &Earlier<'a>,
) -> Option<Finding<'a>> {
    let (most, where_to) = earlier.most(movement)?;
    (movement.amount >= most.saturating_mul(UNUSUAL_TIMES)).then(|| Finding {
        kind: InsightKind::UnusualPayment,
        subject: movement.transfer_id.to_string(),
        title: format!("An unusual payment to {}", movement.counterparty()),
        sentence: format!(
            "{} went to {} on {}: {} the most that you had ever paid {where_to}.",
            money(movement.amount, history.currency),
            movement.counterparty(),
            day(movement.on),
            times(movement.amount, most),
        ),
        category: Some(movement.category),
        amount: Some(movement.amount),
        evidence: vec![movement],
        period: Period {
            from: movement.on,
            to: movement.on,
        },
        confidence: 95,
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
    let enough = before.len() >= LEAST_MONTHS && !before.contains(&0) && of(in_month).len() >= LEAST_IN_MONTH;
    let (usual, most, now) = (
        median(before.iter().copied()),
        before.iter().copied().max()?,
        sum(in_month),
    );
    // Far more than ever, and no single payment: that is an unusual payment, and told as one.
    let largest = of(in_month).iter().map(|movement| movement.amount).max()?;
    let is_spike = enough && now >= most.saturating_add(most / 3 * 2) && largest <= now / 2;
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
        confidence: 77,
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
        let dinners = |what: &'static str| (0..10).map(move |week| (what, 1 + week * 9, 3_000));
        let with = |what, amount, dinners: &mut dyn Iterator<Item = (&'static str, u32, i64)>| {
            told(96, &dinners.chain([(what, 95, amount)]).collect::<Vec<_>>())
        };
        assert_eq!(
            with("Bistro", 6_000, &mut dinners("Restaurant")),
            [InsightKind::UnusualPayment]
        );
        assert_eq!(with("Bistro", 5_999, &mut dinners("Restaurant")), []);
        assert_eq!(
            with("Zorblat", 90_000, &mut dinners("Restaurant")),
            [],
            "of what is unknown nothing is usual"
        );
        assert_eq!(
            with("Zorblat", 6_000, &mut dinners("Zorblat")),
            [InsightKind::UnusualPayment],
            "but of one shop it is"
        );
    }

    #[test]
    fn a_month_far_above_the_others_is_told() {
        // Days are counted from the first of January: 121 is the first of May.
        let mut payments: Vec<_> = (0..13).map(|week| ("Aldi", 1 + week * 9, 4_000)).collect();
        payments.extend((0..8).map(|number| ("Lidl", 121 + number * 3, 4_000)));
        assert_eq!(told(150, &payments), [InsightKind::CategorySpike]);
        assert_eq!(told(150, &payments[..17]), []);
    }
}
