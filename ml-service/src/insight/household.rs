//! Households whose truth is known, to measure insights on: a seed makes 410 days of one, and the 90 days after them that
//! only the judge sees. They are made up, by us; `insights.md` says what that means for the figures.
//!
//! In each: a salary, rent, bills that vary, subscriptions (with rises, cancellations, skipped payments), habits with regular
//! fares and coffees to fall for, savings, friends, and mishaps (a payment made twice, one far too large, a month of excess).

use std::collections::BTreeSet;

use chrono::{Datelike, Days, NaiveDate, Weekday};
use shared::Currency;
use shared::clients::transactions::Direction;
use shared::id::{AccountId, TransferId, UserId};
use uuid::Uuid;

use super::budget::Budget;
use super::category::{Categories, Category, label};
use super::movement::{History, Movement};
use super::recurring::Cadence;
use super::statistics::{Random, total};
use super::{InsightKind, NEWS_DAYS, key_of, month_of, months_before};

/// The last day that the finders see.
pub const TODAY: u32 = 410;
const END: u32 = TODAY + 90;

/// A day, counted from the first of January 2026, which is 1.
pub fn day(number: u32) -> NaiveDate {
    let first = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap_or_default();
    first
        .checked_add_days(Days::new(u64::from(number.saturating_sub(1))))
        .unwrap_or(first)
}

fn movement(id: TransferId, direction: Direction, description: &str, on: NaiveDate, amount: i64) -> Movement {
    let label = label(description);
    let counterparty_id = AccountId::from_uuid(key_of(&label));
    let (category, source) = Categories::default().of(id, counterparty_id, direction, description);
    Movement {
        transfer_id: id,
        account_id: AccountId::from_uuid(Uuid::from_u128(1)),
        counterparty_id,
        direction,
        amount,
        on,
        description: description.to_owned(),
        label,
        category,
        source,
    }
}

/// Money that went out.
pub fn payment(description: &str, on: u32, amount: i64) -> Movement {
    movement(TransferId::new(), Direction::Debit, description, day(on), amount)
}

/// Money that came in.
pub fn income(description: &str, on: u32, amount: i64) -> Movement {
    movement(TransferId::new(), Direction::Credit, description, day(on), amount)
}

/// Of a holder who did this, oldest first, as of a day.
pub fn history(today: u32, movements: Vec<Movement>) -> History {
    History {
        holder: UserId::from_uuid(Uuid::from_u128(1)),
        currency: dollars(),
        today: day(today),
        movements,
        accounts: BTreeSet::new(),
    }
}

#[expect(clippy::expect_used, reason = "a constant")]
fn dollars() -> Currency {
    "USD".parse().expect("a currency")
}

/// A payment that comes again, as it really is.
#[derive(Clone, Debug)]
pub struct TrueSeries {
    pub cadence: Cadence,
    pub label: String,
    pub is_subscription: bool,
    pub is_fixed: bool,
    pub payments: Vec<(NaiveDate, TransferId)>,
    /// Days on which one should have come, by habit, and did not.
    pub missed: Vec<NaiveDate>,
    pub is_cancelled: bool,
}

/// What a finder should find.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub series: Vec<TrueSeries>,
    /// Payments that are what an insight of the kind is about.
    pub payments: Vec<(InsightKind, TransferId)>,
    pub spikes: Vec<(Category, NaiveDate)>,
    pub categories: Vec<(TransferId, Category)>,
}

#[derive(Clone, Debug)]
pub struct Household {
    pub history: History,
    /// What comes after today.
    pub later: Vec<Movement>,
    /// At the end of today.
    pub balance: i64,
    pub budgets: Vec<Budget>,
    pub truth: Truth,
}

impl Household {
    pub fn generate(seed: u64) -> Self {
        let mut maker = Maker {
            random: Random::new(seed),
            movements: Vec::new(),
            truth: Truth::default(),
        };
        maker.regular_payments();
        maker.habits();
        maker.mishaps();
        maker.into_household()
    }
}

struct Maker {
    random: Random,
    movements: Vec<Movement>,
    truth: Truth,
}

/// A regular payment to be made.
struct Plan<'a> {
    category: Category,
    description: &'a str,
    direction: Direction,
    cadence: Cadence,
    first: u32,
    amount: i64,
    /// By how many hundredths the amount varies to either side.
    varies: i64,
    is_subscription: bool,
    /// How many of a hundred of them have a rise, an end, a payment left out.
    rises: usize,
    ends: usize,
    skips: usize,
}

const SUBSCRIPTIONS: [(Category, &str, i64); 16] = [
    (Category::Entertainment, "NETFLIX.COM 866-579-7172", 1_299),
    (Category::Entertainment, "Spotify P2A6F0", 1_099),
    (Category::Entertainment, "Disney Plus 0441", 899),
    (Category::Entertainment, "HBO MAX 22", 1_599),
    (Category::Entertainment, "New York Times 12/26", 1_700),
    (Category::Software, "GOOGLE ONE 100", 199),
    (Category::Software, "Adobe *Creative 4433", 5_499),
    (Category::Software, "1Password", 299),
    (Category::Health, "FitPoint Gym 221", 3_900),
    (Category::Health, "Yoga Loft", 4_500),
    (Category::Insurance, "GEICO 8841", 8_800),
    (Category::Communication, "Vodafone 017", 2_900),
    (Category::Communication, "XFINITY INTERNET 42", 6_499),
    (Category::Entertainment, "Zorblat Plus 77", 799),
    (Category::Software, "Qwerty Cloud 5", 999),
    (Category::Donations, "UNICEF 31", 1_500),
];

/// Category, description, how many of a hundred days, least and most amount. Where both are equal it is a fare.
const HABITS: [(Category, &str, usize, i64, i64); 14] = [
    (Category::Groceries, "Walmart Supercenter 0231", 14, 1_500, 14_000),
    (Category::Groceries, "TRADER JOES 552", 10, 1_000, 9_000),
    (Category::Groceries, "Kiosk Petrov", 8, 200, 1_500),
    (Category::Groceries, "Corner Bakery 4", 12, 250, 1_200),
    (Category::Dining, "STARBUCKS 00123", 25, 495, 495),
    (Category::Dining, "Chipotle 1882", 6, 1_100, 2_900),
    (Category::Dining, "Luigi Pizzeria", 4, 2_000, 6_500),
    (Category::Dining, "Trattoria Zum Anker", 3, 2_500, 8_000),
    (Category::Transport, "MTA Subway", 40, 290, 290),
    (Category::Transport, "UBER *TRIP 8H2", 6, 900, 4_200),
    (Category::Transport, "Shell 5514", 5, 3_000, 6_500),
    (Category::Shopping, "Amazon 112-883", 9, 900, 12_000),
    (Category::Shopping, "IKEA 041", 2, 2_000, 18_000),
    (Category::Cash, "ATM 7731", 4, 2_000, 10_000),
];

impl Maker {
    fn chance(&mut self, percent: usize) -> bool {
        self.random.percent(percent)
    }

    fn number(&mut self, first: u32, last: u32) -> u32 {
        u32::try_from(self.random.between(i64::from(first), i64::from(last))).unwrap_or(first)
    }

    fn add(
        &mut self,
        category: Category,
        direction: Direction,
        description: &str,
        on: NaiveDate,
        amount: i64,
    ) -> TransferId {
        let id = (u128::from(self.random.bits()) << 64) | u128::from(self.random.bits());
        let id = TransferId::from_uuid(Uuid::from_u128(id));
        self.truth.categories.push((id, category));
        self.movements
            .push(movement(id, direction, description, on, amount));
        id
    }

    fn regular_payments(&mut self) {
        self.salary();
        self.bills();
        let count = self.random.between(2, 7);
        let mut rest = SUBSCRIPTIONS.to_vec();
        for _ in 0..count {
            let (category, description, amount) = rest.swap_remove(self.random.below(rest.len()));
            let cadence = match self.random.below(20) {
                0 => Cadence::Yearly,
                1 | 2 => Cadence::Quarterly,
                3 => Cadence::Weekly,
                4 => Cadence::Fortnightly,
                _ => Cadence::Monthly,
            };
            let first = if self.chance(35) {
                self.number(60, 370)
            } else {
                self.number(1, 28)
            };
            let regular = Plan {
                first,
                cadence,
                is_subscription: true,
                rises: 25,
                ends: 15,
                skips: 6,
                ..plan(category, description, amount)
            };
            self.carry_out(&regular);
        }
    }

    fn salary(&mut self) {
        let cadence = if self.chance(25) {
            Cadence::Fortnightly
        } else {
            Cadence::Monthly
        };
        let a_month = self.random.between(2_400, 6_000) * 100;
        let regular = Plan {
            direction: Direction::Credit,
            cadence,
            first: self.number(1, 28),
            amount: if cadence == Cadence::Monthly {
                a_month
            } else {
                a_month / 2
            },
            rises: 20,
            skips: 5,
            ..plan(Category::Salary, "Salary ACME Corp 2026", 0)
        };
        self.carry_out(&regular);
        let rent = a_month * self.random.between(22, 34) / 100;
        self.carry_out(&plan(Category::Housing, "Rent Elm Street", rent));
        if self.chance(60) {
            let saved = a_month * self.random.between(4, 12) / 100;
            self.carry_out(&plan(
                Category::Savings,
                "Vanguard ETF savings plan",
                saved / 1_000 * 1_000,
            ));
        }
    }

    fn bills(&mut self) {
        let electricity = self.random.between(4_000, 12_000);
        let regular = Plan {
            varies: 25,
            first: self.number(5, 25),
            ..plan(Category::Utilities, "Con Edison 7781", electricity)
        };
        self.carry_out(&regular);
        let water = self.random.between(6_000, 15_000);
        let regular = Plan {
            varies: 15,
            cadence: Cadence::Quarterly,
            first: self.number(5, 60),
            ..plan(Category::Utilities, "Waterworks Invoice 99", water)
        };
        self.carry_out(&regular);
        let insurance = self.random.between(20_000, 60_000);
        let regular = Plan {
            cadence: Cadence::Yearly,
            first: self.number(3, 30),
            is_subscription: true,
            ..plan(Category::Insurance, "Allianz Home Insurance 2026", insurance)
        };
        self.carry_out(&regular);
    }

    fn carry_out(&mut self, plan: &Plan<'_>) {
        let on_bank_days = self.chance(60);
        let ends_on = if self.chance(plan.ends) {
            day(self.number(plan.first + 120, TODAY + 200))
        } else {
            day(END)
        };
        let rises_on = self
            .chance(plan.rises)
            .then(|| day(self.number(plan.first + 60, END)));
        let risen = plan.amount * self.random.between(105, 135) / 100;
        let skipped_on = self
            .chance(plan.skips)
            .then(|| day(self.number(plan.first + 30, TODAY)));
        let mut truth = TrueSeries {
            cadence: plan.cadence,
            label: label(plan.description),
            is_subscription: plan.is_subscription,
            is_fixed: plan.varies == 0,
            payments: Vec::new(),
            missed: Vec::new(),
            is_cancelled: ends_on <= day(TODAY),
        };
        let (mut due, mut has_risen) = (day(plan.first), false);
        let mut to_skip = skipped_on;
        while due <= day(END) {
            let on = self.booked_on(due, on_bank_days);
            let rises = rises_on.is_some_and(|rises_on| due >= rises_on);
            let usual = if rises { risen } else { plan.amount };
            let amount = usual * self.random.between(100 - plan.varies, 100 + plan.varies) / 100;
            if due > ends_on || to_skip.take_if(|skipped_on| due >= *skipped_on).is_some() {
                truth.missed.push(due);
            } else {
                let id = self.add(plan.category, plan.direction, plan.description, on, amount);
                truth.payments.push((on, id));
                if rises
                    && !has_risen
                    && plan.direction == Direction::Debit
                    && amount * 100 > plan.amount * 102
                {
                    self.truth.payments.push((InsightKind::PriceRise, id));
                }
                has_risen = rises;
            }
            let next = plan.cadence.after(due);
            due = if next > due { next } else { NaiveDate::MAX };
        }
        self.truth.series.push(truth);
    }

    /// Some are booked on working days only, the others a day late now and then.
    fn booked_on(&mut self, due: NaiveDate, on_bank_days: bool) -> NaiveDate {
        let later = match due.weekday() {
            Weekday::Sat if on_bank_days => 2,
            Weekday::Sun if on_bank_days => 1,
            _ if !on_bank_days && self.chance(15) => 1,
            _ => 0,
        };
        due.checked_add_days(Days::new(later)).unwrap_or(due)
    }

    fn habits(&mut self) {
        for (category, description, chance, least, most) in HABITS {
            // Not everybody has every habit.
            if !self.chance(75) {
                continue;
            }
            for number in 1..=END {
                if self.chance(chance) {
                    let amount = self.everyday_amount(least, most);
                    self.add(category, Direction::Debit, description, day(number), amount);
                }
            }
        }
        for number in 1..=END {
            if self.chance(2) {
                let amount = self.random.between(10, 80) * 100;
                let direction = if self.chance(50) {
                    Direction::Credit
                } else {
                    Direction::Debit
                };
                self.add(Category::People, direction, "Thanks!", day(number), amount);
            }
        }
    }

    /// Small ones more often than large ones.
    fn everyday_amount(&mut self, least: i64, most: i64) -> i64 {
        let share = self.random.between(0, 1_000) * self.random.between(0, 1_000) / 1_000;
        least + (most - least) * share / 1_000
    }

    fn mishaps(&mut self) {
        if self.chance(40) {
            self.pay_twice();
        }
        if self.chance(40) {
            self.pay_far_too_much();
        }
        if self.chance(30) {
            self.overdo_a_month();
        }
    }

    fn recently(&mut self) -> NaiveDate {
        let first = TODAY - u32::try_from(NEWS_DAYS).unwrap_or(60) + 3;
        day(self.number(first, TODAY - 3))
    }

    fn pay_twice(&mut self) {
        let since = self.recently();
        let regular = self.truth.series.iter().filter(|it| it.payments.len() >= 4);
        let next = |series: &TrueSeries| {
            series
                .payments
                .iter()
                .find(|(on, _)| *on >= since && *on < day(TODAY - 2))
                .copied()
        };
        let candidates: Vec<TransferId> = regular.filter_map(next).map(|(_, id)| id).collect();
        let Some(id) = self.random.pick(&candidates).copied() else {
            return;
        };
        let Some(first) = self.movements.iter().find(|it| it.transfer_id == id).cloned() else {
            return;
        };
        if !first.is_spending() {
            return;
        }
        let later = if self.chance(50) { 0 } else { 1 };
        let on = first.on.checked_add_days(Days::new(later)).unwrap_or(first.on);
        let category = self
            .truth
            .categories
            .iter()
            .find(|it| it.0 == id)
            .map_or(Category::Unknown, |it| it.1);
        let second = self.add(category, Direction::Debit, &first.description, on, first.amount);
        self.truth.payments.push((InsightKind::DuplicatePayment, second));
        // Either may be called the second one.
        self.truth.payments.push((InsightKind::DuplicatePayment, id));
    }

    fn pay_far_too_much(&mut self) {
        let on = self.recently();
        let Some((category, description, _, _, most)) = self.random.pick(&HABITS).copied() else {
            return;
        };
        let usual = self
            .movements
            .iter()
            .filter(|it| it.description == description && it.on < on)
            .count();
        if usual < 10 {
            return;
        }
        let of_category = HABITS.iter().filter(|it| it.0 == category).map(|it| it.4).max();
        let amount = of_category.unwrap_or(most) * self.random.between(40, 100) / 10;
        let id = self.add(category, Direction::Debit, description, on, amount);
        self.truth.payments.push((InsightKind::UnusualPayment, id));
    }

    fn overdo_a_month(&mut self) {
        let month = months_before(month_of(day(TODAY)), 1);
        let Some((category, ..)) = self.random.pick(&HABITS).copied() else {
            return;
        };
        let usual: Vec<i64> = (1..=6)
            .map(|count| months_before(month, count))
            .map(|month| self.spent(category, month))
            .collect();
        let Some(most) = usual
            .iter()
            .copied()
            .max()
            .filter(|most| *most > 0 && !usual.contains(&0))
        else {
            return;
        };
        let of_category: Vec<_> = HABITS.iter().filter(|it| it.0 == category).collect();
        while self.spent(category, month) < most * 18 / 10 {
            let Some((_, description, _, least, most)) = self.random.pick(&of_category).copied().copied()
            else {
                return;
            };
            let amount = self.everyday_amount(least, most).max(most / 2);
            let on = month
                .checked_add_days(Days::new(u64::from(self.number(0, 27))))
                .unwrap_or(month);
            self.add(category, Direction::Debit, description, on, amount);
        }
        self.truth.spikes.push((category, month));
    }

    fn spent(&self, category: Category, month: NaiveDate) -> i64 {
        let of = self
            .movements
            .iter()
            .zip(&self.truth.categories)
            .filter(|(it, of)| of.1 == category && month_of(it.on) == month);
        total(of.map(|(it, _)| it.amount))
    }

    fn into_household(mut self) -> Household {
        let budget = |category, spent: i64, percent: i64| Budget {
            category,
            currency: dollars(),
            amount: (spent * percent / 100).max(1),
        };
        let usual = |category| self.spent(category, months_before(month_of(day(TODAY)), 2));
        let (groceries, dining) = (usual(Category::Groceries), usual(Category::Dining));
        let budgets = vec![
            budget(Category::Groceries, groceries, self.random.between(70, 150)),
            budget(Category::Dining, dining, self.random.between(70, 150)),
        ];
        self.movements
            .sort_by_key(|movement| (movement.on, movement.transfer_id));
        let today = day(TODAY);
        let (until, later) = self
            .movements
            .into_iter()
            .partition(|movement| movement.on <= today);
        // From nothing to some months' rent.
        let balance = self.random.between(0, 600_000);
        Household {
            history: history(TODAY, until),
            later,
            balance,
            budgets,
            truth: self.truth,
        }
    }
}

/// Monthly, fixed and without mishaps.
fn plan(category: Category, description: &str, amount: i64) -> Plan<'_> {
    Plan {
        category,
        description,
        direction: Direction::Debit,
        cadence: Cadence::Monthly,
        first: 2,
        amount,
        varies: 0,
        is_subscription: false,
        rises: 0,
        ends: 0,
        skips: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_household_again() {
        let (one, again, other) = (
            Household::generate(1),
            Household::generate(1),
            Household::generate(2),
        );
        assert_eq!(one.history.movements, again.history.movements);
        assert_ne!(one.history.movements, other.history.movements);
        assert!(one.history.movements.len() > 200 && !one.later.is_empty());
        assert!(one.history.movements.is_sorted_by_key(|movement| movement.on));
    }
}
