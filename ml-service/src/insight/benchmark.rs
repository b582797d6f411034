//! `ml-service insights-benchmark`: how often insights are right. Finders see 410 days of generated households; the judge
//! knows what was meant, and what came in the 90 days after.
//!
//! Precision is how many of what was told is true, recall how many of what is true was told. What is said of a month that
//! is over or of a budget that is spent is arithmetic, and wrong only where a category is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use chrono::NaiveDate;
use serde::Serialize;
use shared::id::TransferId;

use super::budget::Budget;
use super::category::Category;
use super::household::{Household, TODAY, TrueSeries, day};
use super::movement::Movement;
use super::recurring::{self, Series, SeriesStatus};
use super::statistics::total;
use super::wording::{basis_points, percent};
use super::{Insight, InsightKind, NEWS_DAYS, cash_flow, last_day_of, month_of, subscription};

/// Households that the command generates, of the seeds from 1 on.
const HOUSEHOLDS: u64 = 500;

/// The command.
pub fn main() -> anyhow::Result<()> {
    let mut report = Report::default();
    for done in 0..HOUSEHOLDS {
        report.judge(&Household::generate(1 + done));
        if done % 100 == 99 {
            eprintln!("{} of {HOUSEHOLDS} households", done + 1);
        }
    }
    println!("{report}");
    Ok(())
}

/// How many were told and right, told and wrong, and right and not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub right: i64,
    pub wrong: i64,
    pub not_told: i64,
    /// The sum of the confidence with which they were told.
    pub confidence: i64,
}

impl Tally {
    pub fn precision(&self) -> i64 {
        basis_points(self.right, self.right + self.wrong)
    }

    pub fn recall(&self) -> i64 {
        basis_points(self.right, self.right + self.not_told)
    }

    fn told(&mut self, is_right: bool, confidence: u8) {
        if is_right {
            self.right += 1;
        } else {
            self.wrong += 1;
        }
        self.confidence += i64::from(confidence);
    }
}

/// Of a number of households.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub households: u64,
    /// By name: kinds of insights, recurring payments, subscriptions, categories.
    pub tallies: BTreeMap<&'static str, Tally>,
    /// Balances within the band, and all, by horizon in days.
    pub within_band: BTreeMap<u16, (i64, i64)>,
    /// Overdrafts that came within 30 days, the sum of their probabilities in ten-thousandths, and all households.
    pub overdrafts: (i64, i64, i64),
}

const RECURRING: &str = "recurring payments";
const SUBSCRIPTIONS: &str = "subscriptions";
const CATEGORIES: &str = "categories";

impl Report {
    pub fn tally(&self, name: &str) -> Tally {
        self.tallies.get(name).copied().unwrap_or_default()
    }

    fn judge(&mut self, household: &Household) {
        self.households += 1;
        let history = &household.history;
        let series = recurring::series(history);
        let forecast = cash_flow::forecast(history, &series, household.balance);
        let insights = super::find(history, &household.budgets, forecast.as_ref());
        self.judge_categories(household);
        self.judge_series(household, &series);
        self.judge_subscriptions(household, &series);
        self.judge_insights(household, &series, &insights);
        if let Some(forecast) = &forecast {
            self.judge_forecast(household, forecast);
        }
    }

    fn of_name(&mut self, name: &'static str) -> &mut Tally {
        self.tallies.entry(name).or_default()
    }

    fn judge_categories(&mut self, household: &Household) {
        let truth: HashMap<TransferId, Category> = household.truth.categories.iter().copied().collect();
        let tally = self.of_name(CATEGORIES);
        for movement in &household.history.movements {
            let is_right = truth.get(&movement.transfer_id) == Some(&movement.category);
            match movement.category {
                Category::Unknown => tally.not_told += 1,
                _ => tally.told(is_right, 0),
            }
        }
    }

    fn judge_series(&mut self, household: &Household, series: &[Series<'_>]) {
        let truth = &household.truth.series;
        let found: Vec<(&Series<'_>, Option<usize>)> = series
            .iter()
            .filter(|it| it.status != SeriesStatus::Ended)
            .map(|it| (it, truth.iter().position(|truth| is_same(it, truth))))
            .collect();
        let tally = self.of_name(RECURRING);
        for (series, place) in &found {
            tally.told(place.is_some(), series.confidence);
        }
        let told: HashSet<usize> = found.iter().filter_map(|(_, place)| *place).collect();
        let live = truth.iter().enumerate().filter(|(_, it)| is_live(it));
        tally.not_told += count(live.filter(|(place, _)| !told.contains(place)));
    }

    fn judge_subscriptions(&mut self, household: &Household, series: &[Series<'_>]) {
        let truth: Vec<&TrueSeries> = household
            .truth
            .series
            .iter()
            .filter(|it| it.is_subscription)
            .collect();
        let found: Vec<&Series<'_>> = series
            .iter()
            .filter(|it| subscription::is_subscription(it) && it.status != SeriesStatus::Ended)
            .collect();
        let is_told = |truth: &TrueSeries| found.iter().any(|it| is_same(it, truth));
        let tally = self.of_name(SUBSCRIPTIONS);
        for series in &found {
            tally.told(
                truth.iter().any(|truth| is_same(series, truth)),
                series.confidence,
            );
        }
        tally.not_told += count(truth.iter().filter(|it| is_live(it) && !is_told(it)));
    }

    fn judge_insights(&mut self, household: &Household, series: &[Series<'_>], insights: &[Insight]) {
        for kind in InsightKind::ALL {
            let told: Vec<&Insight> = insights.iter().filter(|it| it.kind == kind).collect();
            let mut tally = Tally::default();
            for insight in &told {
                tally.told(is_true(household, insight), insight.confidence);
            }
            tally.not_told = not_told(household, series, kind, &told);
            let sum = self.of_name(kind.name());
            *sum = Tally {
                right: sum.right + tally.right,
                wrong: sum.wrong + tally.wrong,
                not_told: sum.not_told + tally.not_told,
                confidence: sum.confidence + tally.confidence,
            };
        }
    }

    fn judge_forecast(&mut self, household: &Household, forecast: &cash_flow::Forecast) {
        for horizon in &forecast.horizons {
            let until = household.later.iter().filter(|it| it.on <= horizon.balance.on);
            let came = household.balance.saturating_add(total(until.map(Movement::net)));
            let (within, all) = self.within_band.entry(horizon.days).or_default();
            *within += i64::from((horizon.balance.low..=horizon.balance.high).contains(&came));
            *all += 1;
        }
        let soon = forecast
            .horizons
            .first()
            .map_or(0, |it| it.overdraft_basis_points);
        self.overdrafts.0 += i64::from(is_overdrawn(household));
        self.overdrafts.1 += soon;
        self.overdrafts.2 += 1;
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

/// Most of its payments are those of the true series, and it comes as often.
fn is_same(series: &Series<'_>, truth: &TrueSeries) -> bool {
    let is_of_truth = |link: &&&Movement| truth.payments.iter().any(|(_, id)| *id == link.transfer_id);
    let same = series.links.iter().filter(is_of_truth).count();
    series.cadence == truth.cadence && same * 10 >= series.links.len() * 8
}

fn until_today(series: &TrueSeries) -> usize {
    series.payments.iter().filter(|(on, _)| *on <= day(TODAY)).count()
}

/// Goes on, and had as many payments as are needed to tell it from chance.
fn is_live(series: &TrueSeries) -> bool {
    use recurring::Cadence::{Fortnightly, Monthly, Quarterly, Weekly, Yearly};
    let least = match (series.cadence, series.is_fixed) {
        (Weekly | Fortnightly, _) | (_, false) => 4,
        (Monthly | Quarterly, true) => 3,
        (Yearly, true) => 2,
    };
    !series.is_cancelled && until_today(series) >= least
}

fn is_news(on: NaiveDate) -> bool {
    (0..=NEWS_DAYS).contains(&(day(TODAY) - on).num_days())
}

fn is_overdrawn(household: &Household) -> bool {
    let mut by_day: BTreeMap<NaiveDate, i64> = BTreeMap::new();
    let last = day(TODAY + 30);
    for movement in household.later.iter().filter(|it| it.on <= last) {
        let net = by_day.entry(movement.on).or_default();
        *net = net.saturating_add(movement.net());
    }
    let mut balance = household.balance;
    by_day.values().any(|net| {
        balance = balance.saturating_add(*net);
        balance < 0
    })
}

/// What the whole month cost in the end.
fn spent_in_the_end(household: &Household, budget: &Budget) -> i64 {
    let this_month = month_of(day(TODAY));
    let truth: HashMap<TransferId, Category> = household.truth.categories.iter().copied().collect();
    let all = household.history.movements.iter().chain(&household.later);
    let within = all.filter(|it| (this_month..=last_day_of(this_month)).contains(&it.on));
    let of = within.filter(|it| truth.get(&it.transfer_id) == Some(&budget.category));
    total(of.map(|movement| movement.amount))
}

fn is_true(household: &Household, insight: &Insight) -> bool {
    let truth = &household.truth;
    let last = insight.evidence.last();
    let is_meant = |id: &TransferId| truth.payments.contains(&(insight.kind, *id));
    let budget = || {
        household
            .budgets
            .iter()
            .find(|it| Some(it.category) == insight.category)
    };
    match insight.kind {
        InsightKind::OverdraftRisk => is_overdrawn(household),
        InsightKind::DuplicatePayment | InsightKind::PriceRise | InsightKind::UnusualPayment => {
            last.is_some_and(is_meant)
        }
        InsightKind::MissedPayment => truth.series.iter().any(|series| {
            let is_of = last.is_some_and(|last| series.payments.iter().any(|(_, id)| id == last));
            let is_near = |due: &NaiveDate| (*due - insight.period.from).num_days().abs() <= 8;
            is_of && series.missed.iter().any(is_near)
        }),
        InsightKind::BudgetExceeded | InsightKind::BudgetPace => {
            budget().is_some_and(|budget| spent_in_the_end(household, budget) > budget.amount)
        }
        InsightKind::CategorySpike => {
            let month = (insight.category.unwrap_or(Category::Unknown), insight.period.from);
            truth.spikes.contains(&month)
        }
        InsightKind::SavingsRateChange => {
            let history = truly(household);
            let told = super::saving::findings(&history);
            told.iter().any(|it| it.period == insight.period)
        }
        InsightKind::NewSubscription => truth.series.iter().any(|series| {
            let is_of = last.is_some_and(|last| series.payments.iter().any(|(_, id)| id == last));
            is_of && series.is_subscription && is_new(series)
        }),
    }
}

/// The same history with the true categories.
fn truly(household: &Household) -> super::movement::History {
    let truth: HashMap<TransferId, Category> = household.truth.categories.iter().copied().collect();
    let mut history = household.history.clone();
    for movement in &mut history.movements {
        movement.category = truth
            .get(&movement.transfer_id)
            .copied()
            .unwrap_or(Category::Unknown);
    }
    history
}

fn is_new(series: &TrueSeries) -> bool {
    let began_later = series.payments.first().is_some_and(|(on, _)| *on > day(40));
    began_later && series.payments.get(2).is_some_and(|(on, _)| is_news(*on))
}

/// How many there were of the kind, beside those that were told.
fn not_told(household: &Household, series: &[Series<'_>], kind: InsightKind, told: &[&Insight]) -> i64 {
    let truth = &household.truth;
    let is_told = |id: &TransferId| told.iter().any(|it| it.evidence.contains(id));
    let on = |id: &TransferId| {
        let found = household
            .history
            .movements
            .iter()
            .find(|it| it.transfer_id == *id);
        found.map(|it| it.on)
    };
    match kind {
        InsightKind::OverdraftRisk => i64::from(told.is_empty() && is_overdrawn(household)),
        InsightKind::DuplicatePayment => {
            let meant: Vec<_> = truth.payments.iter().filter(|it| it.0 == kind).collect();
            i64::from(!meant.is_empty() && !meant.iter().any(|(_, id)| is_told(id)))
        }
        InsightKind::PriceRise | InsightKind::UnusualPayment => {
            let meant = truth.payments.iter().filter(|it| it.0 == kind);
            count(meant.filter(|(_, id)| on(id).is_some_and(is_news) && !is_told(id)))
        }
        InsightKind::MissedPayment => {
            let is_told = |due: &NaiveDate| {
                told.iter()
                    .any(|it| (it.period.from - *due).num_days().abs() <= 8)
            };
            let can_be_known = truth
                .series
                .iter()
                .filter(|it| it.is_fixed && until_today(it) >= 5);
            count(can_be_known.filter_map(missed_lately).filter(|due| !is_told(due)))
        }
        InsightKind::BudgetExceeded => 0,
        InsightKind::BudgetPace => {
            let exceeds = |budget: &&Budget| spent_in_the_end(household, budget) > budget.amount;
            let is_spent = |budget: &Budget| {
                super::budget::pace(&household.history, budget, series).status
                    == super::budget::BudgetStatus::Exceeded
            };
            let is_told = |budget: &Budget| told.iter().any(|it| it.category == Some(budget.category));
            let missed = household.budgets.iter().filter(exceeds);
            count(missed.filter(|budget| !is_spent(budget) && !is_told(budget)))
        }
        InsightKind::CategorySpike => {
            let is_told = |month: &(Category, NaiveDate)| {
                told.iter()
                    .any(|it| it.category == Some(month.0) && it.period.from == month.1)
            };
            count(truth.spikes.iter().filter(|month| !is_told(month)))
        }
        InsightKind::SavingsRateChange => {
            i64::from(told.is_empty() && !super::saving::findings(&truly(household)).is_empty())
        }
        InsightKind::NewSubscription => {
            let new = truth
                .series
                .iter()
                .filter(|it| it.is_subscription && is_new(it) && is_live(it));
            let is_told = |it: &&TrueSeries| it.payments.iter().any(|(_, id)| is_told(id));
            count(new.filter(|it| !is_told(it)))
        }
    }
}

/// The one that is missing, if it is late, and not yet so late that the series has ended.
fn missed_lately(series: &TrueSeries) -> Option<NaiveDate> {
    let age = |due: &NaiveDate| (day(TODAY) - *due).num_days();
    let (period, slack) = series.cadence.days();
    if series.is_cancelled {
        let last = series.payments.last()?.0;
        let first = series.missed.iter().find(|due| **due > last)?;
        return (slack + 3..period).contains(&age(first)).then_some(*first);
    }
    let went_on = |due: &&NaiveDate| {
        series
            .payments
            .iter()
            .any(|(on, _)| on > *due && *on <= day(TODAY))
    };
    let is_recent = |due: &&NaiveDate| (0..NEWS_DAYS - 5).contains(&age(due));
    series.missed.iter().filter(went_on).find(is_recent).copied()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} generated households\n", self.households)?;
        writeln!(
            f,
            "| what | told | right | precision | recall | mean confidence |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (name, tally) in &self.tallies {
            let told = tally.right + tally.wrong;
            let confidence = match tally.confidence {
                0 => "–".to_owned(),
                sum => percent(basis_points(sum, told) / 100),
            };
            let (precision, recall) = (percent(tally.precision()), percent(tally.recall()));
            writeln!(
                f,
                "| {name} | {told} | {} | {precision} | {recall} | {confidence} |",
                tally.right
            )?;
        }
        writeln!(f, "\n| balance after | within the band |\n|---|---|")?;
        for (days, (within, all)) in &self.within_band {
            writeln!(f, "| {days} days | {} |", percent(basis_points(*within, *all)))?;
        }
        let (came, probability, all) = self.overdrafts;
        writeln!(
            f,
            "\nOverdrafts within 30 days: {} came, {} were forecast.",
            percent(basis_points(came, all)),
            percent(probability / all.max(1)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of `insights.md` are of many more; these floors are a little below what so few give.
    #[test]
    fn insights_are_right_as_often_as_is_said() {
        let mut report = Report::default();
        (1..=25).for_each(|seed| report.judge(&Household::generate(seed)));
        println!("{report}");
        for (name, precision, recall) in [
            (RECURRING, 9_000, 8_500),
            (SUBSCRIPTIONS, 9_000, 8_500),
            (CATEGORIES, 9_500, 8_000),
        ] {
            let tally = report.tally(name);
            assert!(
                tally.precision() >= precision && tally.recall() >= recall,
                "{name}\n{report}"
            );
        }
    }

    #[test]
    fn the_judge_is_not_content_with_nothing() {
        let mut report = Report::default();
        let mut household = Household::generate(3);
        household.truth.series.clear();
        household.truth.payments.clear();
        report.judge(&household);
        assert_eq!(report.tally(RECURRING).right, 0);
        assert!(report.tally(RECURRING).wrong > 0);
    }
}
