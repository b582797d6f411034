//! What comes again and again: weekly, fortnightly, monthly, quarterly or yearly; with one amount, or with one that varies.
//!
//! Payments of one counterparty with one label are searched for the longest chain whose steps are one to three periods long.
//! Steps may be off by some days, since banks do not work on Sundays. What lies between the links counts against the chain,
//! as do the links that are missing, so a chain through daily coffees is none.

use std::collections::BTreeMap;

use chrono::{Days, Months, NaiveDate};
use serde::{Deserialize, Serialize};
use shared::clients::transactions::Direction;
use shared::id::AccountId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::movement::{History, Movement};
use super::statistics::median;
use super::wording::{basis_points, day, money, percent};
use super::{Finding, InsightKind, NEWS_DAYS, Period};

/// A group with more payments than that is a habit, not a series; and looking at all pairs would be slow.
const MAX_GROUP: usize = 128;
/// Series in one group: two contracts with one insurer, say.
const MAX_SERIES_IN_GROUP: usize = 3;
/// Links, of those that there should be and those that should not.
const LEAST_REGULARITY: usize = 75;
const MOST_SKIPPED: i64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    Weekly,
    Fortnightly,
    Monthly,
    Quarterly,
    Yearly,
}

impl Cadence {
    pub const ALL: [Self; 5] = [
        Self::Weekly,
        Self::Fortnightly,
        Self::Monthly,
        Self::Quarterly,
        Self::Yearly,
    ];

    /// How long a period is, and by how many days a step may be off.
    pub const fn days(self) -> (i64, i64) {
        match self {
            Self::Weekly => (7, 2),
            Self::Fortnightly => (14, 3),
            Self::Monthly => (30, 5),
            Self::Quarterly => (91, 8),
            Self::Yearly => (365, 12),
        }
    }

    /// From how many payments on it is believed.
    const fn least_links(self) -> usize {
        match self {
            Self::Weekly | Self::Fortnightly => 4,
            Self::Monthly | Self::Quarterly => 3,
            Self::Yearly => 2,
        }
    }

    pub const fn per_year(self) -> i64 {
        match self {
            Self::Weekly => 52,
            Self::Fortnightly => 26,
            Self::Monthly => 12,
            Self::Quarterly => 4,
            Self::Yearly => 1,
        }
    }

    pub fn after(self, on: NaiveDate) -> NaiveDate {
        let next = match self {
            Self::Weekly => on.checked_add_days(Days::new(7)),
            Self::Fortnightly => on.checked_add_days(Days::new(14)),
            Self::Monthly => on.checked_add_months(Months::new(1)),
            Self::Quarterly => on.checked_add_months(Months::new(3)),
            Self::Yearly => on.checked_add_months(Months::new(12)),
        };
        next.unwrap_or(on)
    }

    /// `a month`
    pub const fn words(self) -> &'static str {
        match self {
            Self::Weekly => "a week",
            Self::Fortnightly => "every two weeks",
            Self::Monthly => "a month",
            Self::Quarterly => "a quarter",
            Self::Yearly => "a year",
        }
    }

    /// How many periods a step is, if it is one of a chain.
    fn periods(self, step_days: i64) -> Option<i64> {
        let (period, slack) = self.days();
        let periods = (step_days + period / 2) / period;
        let is_step =
            (1..=MOST_SKIPPED + 1).contains(&periods) && (step_days - periods * period).abs() <= slack;
        is_step.then_some(periods)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeriesStatus {
    /// The next payment is not due yet.
    Active,
    /// It is, and has not come.
    Late,
    /// Two have not come.
    Ended,
}

/// Payments that come again and again.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// The same for the same counterparty, label and cadence.
    pub id: Uuid,
    pub cadence: Cadence,
    /// Oldest first; at least two.
    pub links: Vec<&'a Movement>,
    /// Days on which there should have been one.
    pub missed: Vec<NaiveDate>,
    /// Whether it is one amount, which changes now and then, or another each time.
    pub is_fixed: bool,
    pub status: SeriesStatus,
    /// The day of the next payment, or of the one that is late.
    pub next_on: NaiveDate,
    /// What it will probably be.
    pub next_amount: i64,
    pub confidence: u8,
}

impl<'a> Series<'a> {
    pub fn last(&self) -> Option<&'a Movement> {
        self.links.last().copied()
    }

    pub fn is_spending(&self) -> bool {
        self.last().is_some_and(Movement::is_spending)
    }

    /// What it comes to in a year.
    pub fn yearly_amount(&self) -> i64 {
        self.next_amount.saturating_mul(self.cadence.per_year())
    }

    /// Where the amount last rose for good: the first payment of the new amount, and the one before it.
    pub fn last_rise(&self) -> Option<(&'a Movement, &'a Movement)> {
        let changes =
            |pair: &&[&Movement]| matches!(pair, [before, after] if !is_about(before.amount, after.amount));
        let change = self.links.windows(2).rev().find(changes)?;
        let [before, after] = change else { return None };
        let place = self
            .links
            .iter()
            .position(|link| link.transfer_id == before.transfer_id)?;
        let earlier = place.checked_sub(1).and_then(|place| self.links.get(place))?;
        let was_stable = is_about(earlier.amount, before.amount);
        let rose = basis_points(after.amount, before.amount) >= 10_200;
        (self.is_fixed && was_stable && rose).then_some((*after, *before))
    }
}

/// Within a hundredth.
fn is_about(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= one.max(other).unsigned_abs() / 100
}

/// All series of a history.
pub fn series(history: &History) -> Vec<Series<'_>> {
    let mut groups: BTreeMap<(AccountId, bool, &str), Vec<&Movement>> = BTreeMap::new();
    for movement in &history.movements {
        let group = (
            movement.counterparty_id,
            movement.is_spending(),
            movement.label.as_str(),
        );
        groups.entry(group).or_default().push(movement);
    }
    let in_group = |(_, group): (_, Vec<_>)| series_in(history, group);
    groups.into_iter().flat_map(in_group).collect()
}

fn series_in<'a>(history: &History, mut group: Vec<&'a Movement>) -> Vec<Series<'a>> {
    let mut found = Vec::new();
    while group.len() <= MAX_GROUP && found.len() < MAX_SERIES_IN_GROUP {
        let chains = Cadence::ALL
            .into_iter()
            .filter_map(|cadence| chain(&group, cadence));
        let Some(best) = chains.max_by_key(|chain| (chain.regularity, chain.links.len())) else {
            break;
        };
        group.retain(|movement| {
            !best
                .links
                .iter()
                .any(|link| link.transfer_id == movement.transfer_id)
        });
        found.push(best.into_series(history));
    }
    found
}

struct Chain<'a> {
    cadence: Cadence,
    links: Vec<&'a Movement>,
    missed: usize,
    is_fixed: bool,
    /// 75 to 100.
    regularity: usize,
}

/// The best chain of this cadence among the payments of a group, if it is believed.
fn chain<'a>(group: &[&'a Movement], cadence: Cadence) -> Option<Chain<'a>> {
    let links = longest(group, cadence);
    if links.len() < cadence.least_links() {
        return None;
    }
    let steps = links.windows(2).filter_map(|pair| match pair {
        [before, after] => cadence.periods((after.on - before.on).num_days()),
        _ => None,
    });
    let missed = usize::try_from(steps.map(|periods| periods - 1).sum::<i64>()).unwrap_or(0);
    let regularity = links.len() * 100 / (links.len() + missed + extras(group, &links));
    let is_fixed = is_fixed(&links);
    (regularity >= LEAST_REGULARITY && is_believed(&links, cadence, is_fixed, missed)).then_some(Chain {
        cadence,
        links,
        missed,
        is_fixed,
        regularity,
    })
}

/// The chain with the most links, the fewest left out and the steps nearest to whole periods.
fn longest<'a>(group: &[&'a Movement], cadence: Cadence) -> Vec<&'a Movement> {
    const LINK: i64 = 100;
    const SKIPPED: i64 = 60;
    const OTHER_AMOUNT: i64 = 20;
    /// The best chain that ends with a payment: what it is worth, and the payment before.
    struct Best {
        worth: i64,
        before: Option<usize>,
    }
    let (period, slack) = cadence.days();
    let mut bests: Vec<Best> = Vec::with_capacity(group.len());
    for movement in group {
        let mut best = Best {
            worth: LINK,
            before: None,
        };
        for (place, (earlier, so_far)) in group.iter().zip(&bests).enumerate().rev() {
            let step = (movement.on - earlier.on).num_days();
            if step > (MOST_SKIPPED + 1) * period + slack {
                break;
            }
            let Some(periods) = cadence
                .periods(step)
                .filter(|_| is_alike(earlier.amount, movement.amount))
            else {
                continue;
            };
            let off = (step - periods * period).abs();
            let changed = if is_about(earlier.amount, movement.amount) {
                0
            } else {
                OTHER_AMOUNT
            };
            let worth = so_far.worth + LINK - (periods - 1) * SKIPPED - off - changed;
            if worth > best.worth {
                best = Best {
                    worth,
                    before: Some(place),
                };
            }
        }
        bests.push(best);
    }
    let mut place = (0..bests.len()).max_by_key(|place| bests.get(*place).map(|best| best.worth));
    let mut links = Vec::new();
    while let Some((best, movement)) = place.and_then(|it| Some((bests.get(it)?, group.get(it)?))) {
        links.push(*movement);
        place = best.before;
    }
    links.reverse();
    links
}

/// From a half to twice as much.
fn is_alike(one: i64, other: i64) -> bool {
    one.saturating_mul(2) >= other && other.saturating_mul(2) >= one
}

/// Payments between the links that look like links and are none. One that repeats a link within days is a duplicate, and
/// says nothing against the series.
fn extras(group: &[&Movement], links: &[&Movement]) -> usize {
    let (Some(first), Some(last)) = (links.first(), links.last()) else {
        return 0;
    };
    let usual = median(links.iter().map(|link| link.amount));
    let is_link = |movement: &Movement| links.iter().any(|link| link.transfer_id == movement.transfer_id);
    let repeats = |movement: &Movement| {
        let near = |link: &&Movement| {
            (link.on - movement.on).num_days().abs() <= 2 && link.amount == movement.amount
        };
        links.iter().any(near)
    };
    let within = group.iter().filter(|it| (first.on..=last.on).contains(&it.on));
    let is_extra = |movement: &&&Movement| is_alike(movement.amount, usual) && !is_link(movement);
    let extra: Vec<_> = within.filter(is_extra).collect();
    let repeated = extra.iter().filter(|movement| repeats(movement)).count();
    // Where every payment is repeated, repeating is the habit.
    if repeated * 4 > links.len() {
        extra.len()
    } else {
        extra.len() - repeated
    }
}

/// Whether the amount stays the same but for a change now and then.
fn is_fixed(links: &[&Movement]) -> bool {
    let is_change =
        |pair: &&[&Movement]| matches!(pair, [before, after] if !is_about(before.amount, after.amount));
    let changes = links.windows(2).filter(is_change).count();
    changes * 4 < links.len() && (changes == 0 || links.len() > 2)
}

/// A few payments that are equal, or more that are alike. Two in a year are believed only when they have a label too.
fn is_believed(links: &[&Movement], cadence: Cadence, is_fixed: bool, missed: usize) -> bool {
    let usual = median(links.iter().map(|link| link.amount));
    let off = median(links.iter().map(|link| (link.amount - usual).abs()));
    match links {
        [one, other] => {
            let differ = basis_points((one.amount - other.amount).abs(), usual);
            cadence == Cadence::Yearly && missed == 0 && differ <= 1_000 && !one.label.is_empty()
        }
        [_, _, _] => is_fixed && missed == 0,
        _ => is_fixed || basis_points(off, usual) <= 3_500,
    }
}

impl<'a> Chain<'a> {
    fn into_series(self, history: &History) -> Series<'a> {
        let (period, slack) = self.cadence.days();
        let last = self.links.last();
        let next_on = last.map_or(history.today, |last| self.cadence.after(last.on));
        let late_by = (history.today - next_on).num_days();
        let status = if late_by <= slack {
            SeriesStatus::Active
        } else if late_by <= period + slack {
            SeriesStatus::Late
        } else {
            SeriesStatus::Ended
        };
        let recent = self.links.iter().rev().take(6).map(|link| link.amount);
        let next_amount = if self.is_fixed {
            last.map_or(0, |last| last.amount)
        } else {
            median(recent)
        };
        let name = last.map(|last| {
            (
                last.counterparty_id,
                last.direction,
                last.label.as_str(),
                self.cadence,
            )
        });
        let seen = self.links.len().min(8) * 3 + usize::from(self.is_fixed) * 6;
        let confidence = (70 + seen).saturating_sub((100 - self.regularity) / 2).min(99);
        Series {
            id: super::key_of(&name),
            cadence: self.cadence,
            missed: self.missed_days(),
            is_fixed: self.is_fixed,
            status,
            next_on,
            next_amount,
            confidence: u8::try_from(confidence).unwrap_or(99),
            links: self.links,
        }
    }

    fn missed_days(&self) -> Vec<NaiveDate> {
        let mut missed = Vec::with_capacity(self.missed);
        for pair in self.links.windows(2) {
            let [before, after] = pair else { continue };
            let periods = self
                .cadence
                .periods((after.on - before.on).num_days())
                .unwrap_or(1);
            let mut due = before.on;
            for _ in 1..periods {
                due = self.cadence.after(due);
                missed.push(due);
            }
        }
        missed
    }
}

/// What series tell: payments that have not come, and prices that rose.
pub(super) fn findings<'a>(history: &History, series: &[Series<'a>]) -> Vec<Finding<'a>> {
    let missed = series.iter().filter_map(|series| missed_payment(history, series));
    let rises = series.iter().filter_map(|series| price_rise(history, series));
    missed.chain(rises).collect()
}

fn missed_payment<'a>(history: &History, series: &Series<'a>) -> Option<Finding<'a>> {
    let last = series.last()?;
    let due = match series.status {
        SeriesStatus::Late => Some(series.next_on),
        SeriesStatus::Active => series.missed.last().copied(),
        SeriesStatus::Ended => None,
    };
    let due = due.filter(|due| history.age(*due) <= NEWS_DAYS)?;
    // A stall at which somebody happens to buy every week owes nobody a visit.
    if series.links.len() < 4 || !(series.is_fixed || last.direction == Direction::Credit) {
        return None;
    }
    let (title, verb) = if last.is_spending() {
        ("was not paid", "You pay")
    } else {
        ("has not come", "You get")
    };
    let before = series
        .links
        .iter()
        .rfind(|link| link.on < due)
        .copied()
        .unwrap_or(last);
    Some(Finding {
        kind: InsightKind::MissedPayment,
        subject: format!("{} after {}", series.id, before.transfer_id),
        title: format!("{} {title}", last.counterparty()),
        sentence: format!(
            "{verb} {} {} {}; one was expected about {} and is not there.",
            last.counterparty(),
            money(before.amount, history.currency),
            series.cadence.words(),
            day(due),
        ),
        category: Some(last.category),
        amount: Some(before.amount),
        evidence: series.links.clone(),
        period: Period { from: due, to: due },
        confidence: series.confidence.saturating_sub(5),
    })
}

fn price_rise<'a>(history: &History, series: &Series<'a>) -> Option<Finding<'a>> {
    let (after, before) = series.last_rise()?;
    if !after.is_spending() || series.status == SeriesStatus::Ended || history.age(after.on) > NEWS_DAYS {
        return None;
    }
    let by = after.amount - before.amount;
    Some(Finding {
        kind: InsightKind::PriceRise,
        subject: after.transfer_id.to_string(),
        title: format!("{} costs more", after.counterparty()),
        sentence: format!(
            "{} rose from {} to {} {} on {}, by {}.",
            after.counterparty(),
            money(before.amount, history.currency),
            money(after.amount, history.currency),
            series.cadence.words(),
            day(after.on),
            percent(basis_points(by, before.amount)),
        ),
        category: Some(after.category),
        amount: Some(by),
        evidence: vec![before, after],
        period: Period {
            from: before.on,
            to: after.on,
        },
        confidence: series.confidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::household::{history, payment};

    /// The series of payments to one shop, on days of 2026 with amounts, as of a day.
    fn found(today: u32, payments: &[(u32, i64)]) -> Option<(Cadence, SeriesStatus, bool)> {
        let movements = payments
            .iter()
            .map(|(on, amount)| payment("Streaming", *on, *amount));
        let history = history(today, movements.collect());
        let found = series(&history);
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|it| (it.cadence, it.status, it.is_fixed))
    }

    fn every(days: u32, count: u32) -> Vec<(u32, i64)> {
        (0..count).map(|number| (1 + number * days, 999)).collect()
    }

    #[test]
    fn each_cadence_is_told_from_the_others() {
        use SeriesStatus::Active;
        for (days, count, cadence) in [
            (7, 10, Cadence::Weekly),
            (14, 10, Cadence::Fortnightly),
            (30, 6, Cadence::Monthly),
            (31, 6, Cadence::Monthly),
            (91, 4, Cadence::Quarterly),
        ] {
            let payments = every(days, count);
            let today = payments.last().unwrap().0 + 1;
            assert_eq!(found(today, &payments), Some((cadence, Active, true)), "{days}");
        }
        assert_eq!(
            found(370, &[(1, 4_500), (366, 4_600)]),
            Some((Cadence::Yearly, Active, false))
        );
    }

    #[test]
    fn weekends_shift_it_and_bills_vary() {
        let payments = [(3, 8_000), (34, 9_500), (60, 7_100), (92, 8_800), (121, 10_100)];
        assert_eq!(
            found(125, &payments),
            Some((Cadence::Monthly, SeriesStatus::Active, false))
        );
    }

    #[test]
    fn what_comes_by_chance_does_not_come_again() {
        assert_eq!(
            found(
                60,
                &[
                    (1, 350),
                    (2, 350),
                    (3, 350),
                    (5, 350),
                    (8, 350),
                    (9, 350),
                    (15, 350),
                    (33, 350)
                ]
            ),
            None
        );
        assert_eq!(found(100, &[(1, 999), (31, 999)]), None, "two are too few");
        assert_eq!(found(100, &[(1, 1_000), (31, 1_800), (61, 1_300)]), None);
        assert_eq!(found(100, &[]), None);
    }

    #[test]
    fn a_late_payment_is_late_and_then_the_series_has_ended() {
        let payments = every(30, 5);
        for (today, status) in [
            (121 + 35, SeriesStatus::Active),
            (121 + 40, SeriesStatus::Late),
            (121 + 70, SeriesStatus::Ended),
        ] {
            assert_eq!(
                found(today, &payments),
                Some((Cadence::Monthly, status, true)),
                "{today}"
            );
        }
    }

    fn told(today: u32, payments: &[(u32, i64)]) -> Vec<InsightKind> {
        let movements = payments
            .iter()
            .map(|(on, amount)| payment("Streaming", *on, *amount));
        let history = history(today, movements.collect());
        let series = series(&history);
        findings(&history, &series).iter().map(|it| it.kind).collect()
    }

    #[test]
    fn a_rise_is_told_once_and_a_fall_is_not() {
        let mut payments = every(30, 5);
        payments.push((151, 1_299));
        assert_eq!(told(152, &payments), [InsightKind::PriceRise]);
        payments.push((181, 1_299));
        assert_eq!(told(182, &payments), [InsightKind::PriceRise]);
        payments.extend([(211, 1_299), (241, 1_299)]);
        assert_eq!(told(242, &payments), [], "it is no news any more");
        payments.push((271, 899));
        assert_eq!(told(272, &payments), []);
    }

    #[test]
    fn a_payment_that_was_left_out_is_told() {
        let mut payments = every(30, 6);
        payments.remove(4);
        assert_eq!(told(152, &payments), [InsightKind::MissedPayment]);
        assert_eq!(told(121 + 40, &every(30, 5)), [InsightKind::MissedPayment]);
    }

    #[test]
    fn the_largest_amounts_are_compared_like_any_others() {
        let most = shared::money::MAX_AMOUNT;
        let payments: Vec<_> = (0..5).map(|number| (1 + number * 30, most)).collect();
        assert!(found(125, &payments).is_some());
    }
}
