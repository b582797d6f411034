//! How the balance may go on for 90 days: what comes regularly comes when it is due, and everything else goes on as in
//! weeks that were. A thousand courses are drawn with a fixed seed, so the same history gives the same forecast; their fifth,
//! fiftieth and ninety-fifth hundredth are the band, and the share of those that fall below zero is the probability of an overdraft.
//!
//! Whole weeks are drawn (a block bootstrap), because days of a week are not alike and one purchase follows another.

use std::collections::HashSet;

use chrono::{Days, NaiveDate};
use serde::Serialize;
use shared::clients::transactions::Direction;
use shared::id::TransferId;
use utoipa::ToSchema;

use super::movement::{History, Movement};
use super::recurring::{Series, SeriesStatus};
use super::statistics::{Random, quantile};
use super::wording::money;
use super::{Finding, InsightKind, Period, month_of};

pub const HORIZONS: [u16; 3] = [30, 60, 90];
const DAYS: u16 = 90;
const COURSES: usize = 1_000;
const BLOCK_DAYS: usize = 7;
const SEED: u64 = 0x666c_6f77_6c65_7431;
/// Without four weeks there is nothing to draw from.
const LEAST_DAYS: i64 = 28;
/// How far back ordinary weeks are drawn from.
const ORDINARY_DAYS: usize = 180;
/// From which probability on an overdraft within 30 days is told, in ten-thousandths.
const TOLD_FROM: i64 = 2_000;
const MAX_EXPECTED: usize = 200;

/// The balance at the end of a day, in minor units: nine of ten courses are between `low` and `high`, and half are below `middle`.
/// Courses know nothing of what has never happened, so about eight of ten balances are within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ForecastDay {
    pub on: NaiveDate,
    pub low: i64,
    pub middle: i64,
    pub high: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Horizon {
    /// 30, 60 or 90.
    pub days: u16,
    #[serde(flatten)]
    pub balance: ForecastDay,
    /// In how many of 10,000 courses the balance is below zero on some day until then.
    #[schema(minimum = 0, maximum = 10000)]
    pub overdraft_basis_points: i64,
}

/// A payment that comes regularly, on the day when it is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExpectedPayment {
    pub on: NaiveDate,
    pub direction: Direction,
    /// Minor units.
    pub amount: i64,
    pub description: String,
    /// The last one.
    pub evidence: TransferId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Forecast {
    /// What the ledger says now, over all accounts in the currency.
    pub balance: i64,
    pub horizons: Vec<Horizon>,
    pub days: Vec<ForecastDay>,
    pub expected: Vec<ExpectedPayment>,
}

/// Nothing, if less than four weeks are known.
pub fn forecast(history: &History, series: &[Series<'_>], balance: i64) -> Option<Forecast> {
    if history.days() < LEAST_DAYS || history.movements.is_empty() {
        return None;
    }
    let live: Vec<&Series<'_>> = series
        .iter()
        .filter(|it| it.status != SeriesStatus::Ended)
        .collect();
    let due = due_by_day(history, &live);
    let ordinary = ordinary_days(history, &live);
    let mut random = Random::new(SEED);
    let mut by_day = vec![Vec::with_capacity(COURSES); usize::from(DAYS)];
    let mut overdrafts_by_day = vec![0_i64; usize::from(DAYS)];
    for _ in 0..COURSES {
        draw(
            &mut random,
            balance,
            &due,
            &ordinary,
            &mut by_day,
            &mut overdrafts_by_day,
        );
    }
    let days: Vec<ForecastDay> = (1..)
        .zip(&mut by_day)
        .map(|(day, balances)| band(history, day, balances))
        .collect();
    let horizon = |length: u16| {
        let overdrafts: i64 = overdrafts_by_day.iter().take(usize::from(length)).sum();
        let courses = i64::try_from(COURSES).unwrap_or(1);
        Some(Horizon {
            days: length,
            balance: *days.get(usize::from(length) - 1)?,
            overdraft_basis_points: overdrafts * 10_000 / courses,
        })
    };
    Some(Forecast {
        balance,
        horizons: HORIZONS.into_iter().filter_map(horizon).collect(),
        expected: expected(history, &due),
        days,
    })
}

fn band(history: &History, day: u64, balances: &mut [i64]) -> ForecastDay {
    balances.sort_unstable();
    ForecastDay {
        on: history
            .today
            .checked_add_days(Days::new(day))
            .unwrap_or(history.today),
        low: quantile(balances, 5),
        middle: quantile(balances, 50),
        high: quantile(balances, 95),
    }
}

/// A regular payment, and what it may come to.
struct Due<'a> {
    last: &'a Movement,
    usual: i64,
    /// What it was; of a fixed amount only the last.
    amounts: Vec<i64>,
    /// How many of a hundred came.
    comes: usize,
}

/// What is due on each of the days to come.
fn due_by_day<'a>(history: &History, live: &[&Series<'a>]) -> Vec<Vec<Due<'a>>> {
    let mut by_day: Vec<Vec<Due<'a>>> = (0..DAYS).map(|_| Vec::new()).collect();
    for series in live {
        let Some(last) = series.last() else { continue };
        let tomorrow = history.today.succ_opt().unwrap_or(history.today);
        let mut on = series.next_on;
        // What is late comes yet.
        let mut due_on = on.max(tomorrow);
        loop {
            let ahead = (due_on - history.today).num_days();
            if ahead > i64::from(DAYS) {
                break;
            }
            let day = usize::try_from(ahead - 1)
                .ok()
                .and_then(|day| by_day.get_mut(day));
            if let Some(day) = day {
                day.push(due(series, last));
            }
            let next = series.cadence.after(on);
            if next <= on {
                break;
            }
            (on, due_on) = (next, next);
        }
    }
    by_day
}

fn due<'a>(series: &Series<'a>, last: &'a Movement) -> Due<'a> {
    let amounts = if series.is_fixed {
        vec![series.next_amount]
    } else {
        series
            .links
            .iter()
            .rev()
            .take(12)
            .map(|link| link.amount)
            .collect()
    };
    Due {
        last,
        usual: series.next_amount,
        amounts,
        comes: series.links.len() * 100 / (series.links.len() + series.missed.len()).max(1),
    }
}

/// What each day of the last half year did to the balance, without what comes regularly; oldest first.
fn ordinary_days(history: &History, live: &[&Series<'_>]) -> Vec<i64> {
    let regular: HashSet<TransferId> = live
        .iter()
        .flat_map(|series| series.links.iter().map(|link| link.transfer_id))
        .collect();
    let known = usize::try_from(history.days()).unwrap_or(0).min(ORDINARY_DAYS);
    let mut days = vec![0_i64; known];
    for movement in history
        .movements
        .iter()
        .filter(|it| !regular.contains(&it.transfer_id))
    {
        let day = usize::try_from(history.age(movement.on)).ok();
        if let Some(day) = day.and_then(|age| days.iter_mut().rev().nth(age)) {
            *day = day.saturating_add(movement.net());
        }
    }
    days
}

/// One course: its balance goes into `by_day`, and the first day below zero into `overdrafts_by_day`.
fn draw(
    random: &mut Random,
    balance: i64,
    due: &[Vec<Due<'_>>],
    ordinary: &[i64],
    by_day: &mut [Vec<i64>],
    overdrafts_by_day: &mut [i64],
) {
    let mut balance = balance;
    let mut overdrawn = false;
    let mut start = 0;
    let days = due.iter().zip(by_day).zip(overdrafts_by_day).enumerate();
    for (day, ((due, balances), overdrafts)) in days {
        let of_block = day % BLOCK_DAYS;
        if of_block == 0 {
            start = random.below(ordinary.len());
        }
        let place = (start + of_block) % ordinary.len().max(1);
        balance = balance.saturating_add(ordinary.get(place).copied().unwrap_or(0));
        for due in due {
            if random.percent(due.comes) {
                let amount = random.pick(&due.amounts).copied().unwrap_or(0);
                let net = if due.last.is_spending() { -amount } else { amount };
                balance = balance.saturating_add(net);
            }
        }
        if balance < 0 && !overdrawn {
            overdrawn = true;
            *overdrafts += 1;
        }
        balances.push(balance);
    }
}

fn expected(history: &History, due: &[Vec<Due<'_>>]) -> Vec<ExpectedPayment> {
    let on_day = |(day, due): (u64, &Vec<Due<'_>>)| {
        let on = history
            .today
            .checked_add_days(Days::new(day))
            .unwrap_or(history.today);
        let payment = |due: &Due<'_>| ExpectedPayment {
            on,
            direction: due.last.direction,
            amount: due.usual,
            description: due.last.description.clone(),
            evidence: due.last.transfer_id,
        };
        due.iter().map(payment).collect::<Vec<_>>()
    };
    (1..).zip(due).flat_map(on_day).take(MAX_EXPECTED).collect()
}

pub(super) fn finding<'a>(history: &'a History, forecast: &Forecast) -> Option<Finding<'a>> {
    let soon = forecast.horizons.first()?;
    if soon.overdraft_basis_points < TOLD_FROM {
        return None;
    }
    let percent = soon.overdraft_basis_points / 100;
    let next_due: HashSet<TransferId> = forecast
        .expected
        .iter()
        .filter(|it| it.on <= soon.balance.on && it.direction == Direction::Debit)
        .map(|it| it.evidence)
        .collect();
    Some(Finding {
        kind: InsightKind::OverdraftRisk,
        subject: month_of(history.today).to_string(),
        title: format!("Your {} may run out", history.currency),
        sentence: format!(
            "You have {} now. If you go on as in the last months, that falls below zero within {} days with a probability of {percent} %.",
            money(forecast.balance, history.currency),
            soon.days,
        ),
        category: None,
        amount: Some(soon.balance.low),
        evidence: history
            .movements
            .iter()
            .filter(|movement| next_due.contains(&movement.transfer_id))
            .collect(),
        period: Period {
            from: history.today,
            to: soon.balance.on,
        },
        confidence: u8::try_from(percent).unwrap_or(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::household::{history, income, payment};
    use crate::insight::recurring;

    /// A salary on each first, rent on each third, and lunch for 10.00 a day; as of the 10th of June.
    fn worker() -> History {
        let mut movements = Vec::new();
        for on in [1, 32, 60, 91, 121, 152] {
            movements.push(income("Salary", on, 200_000));
            movements.push(payment("Rent", on + 2, 150_000));
        }
        movements.extend((1..=161).map(|on| payment("Lunch", on, 1_000)));
        movements.sort_by_key(|movement| movement.on);
        history(161, movements)
    }

    fn of(balance: i64) -> Forecast {
        let history = worker();
        forecast(&history, &recurring::series(&history), balance).unwrap()
    }

    #[test]
    fn what_is_regular_comes_when_it_is_due_and_days_go_on() {
        let forecast = of(100_000);
        let after_30 = forecast.horizons[0].balance;
        // 30 lunches, one salary and one rent.
        assert_eq!(
            (after_30.low, after_30.middle, after_30.high),
            (120_000, 120_000, 120_000)
        );
        assert_eq!(forecast.days.len(), 90);
        assert_eq!(forecast.expected.len(), 6, "{:?}", forecast.expected);
        assert_eq!(forecast.horizons[2].overdraft_basis_points, 0);
    }

    #[test]
    fn what_is_late_is_still_to_come() {
        let mut history = worker();
        let last = history
            .movements
            .iter()
            .rposition(|it| it.amount == 150_000)
            .unwrap();
        history.movements.remove(last);
        let forecast = forecast(&history, &recurring::series(&history), 100_000).unwrap();
        let tomorrow = history.today.succ_opt().unwrap();
        let first = &forecast.expected[0];
        assert_eq!(
            (first.on, first.amount),
            (tomorrow, 150_000),
            "{:?}",
            forecast.expected
        );
        // The late rent, and those of the next three months.
        let rents = forecast.expected.iter().filter(|it| it.amount == 150_000).count();
        assert_eq!(rents, 4, "{:?}", forecast.expected);
    }

    #[test]
    fn an_overdraft_before_the_salary_is_seen() {
        let soon = of(10_000).horizons[0];
        assert_eq!(
            (soon.overdraft_basis_points, soon.balance.middle),
            (10_000, 30_000)
        );
    }

    #[test]
    fn the_same_history_gives_the_same_forecast() {
        let mut history = worker();
        for (on, movement) in (0..).zip(&mut history.movements) {
            movement.amount += on % 7 * 50;
        }
        let forecast = || forecast(&history, &recurring::series(&history), 50_000);
        assert!(forecast() == forecast());
    }

    #[test]
    fn a_few_days_are_not_enough() {
        let history = history(27, vec![payment("Lunch", 1, 1_000)]);
        assert_eq!(forecast(&history, &[], 5), None);
    }

    #[test]
    fn the_largest_amounts_do_not_wrap_around() {
        let most = shared::money::MAX_AMOUNT;
        let movements = (1..=60).map(|on| payment("Lunch", on, most)).collect();
        let history = history(60, movements);
        let forecast = forecast(&history, &[], most).unwrap();
        assert!(forecast.horizons.iter().all(|it| it.balance.low < 0));
    }
}
