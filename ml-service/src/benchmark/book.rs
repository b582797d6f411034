//! The fifteen features of the Handbook (chapter 3), as it computes them: what track A compares the booster with.

#![expect(clippy::float_arithmetic, reason = "features are floats")]

use crate::feature::{float, unsigned};

use super::stream::Payment;

const DAY: i64 = 86_400;
const DELAY_DAYS: i64 = 7;
const WINDOWS: [i64; 3] = [1, 7, 30];
const LAST_HOUR_OF_NIGHT: i64 = 6;

pub const NAMES: [&str; 15] = [
    "TX_AMOUNT",
    "TX_DURING_WEEKEND",
    "TX_DURING_NIGHT",
    "CUSTOMER_ID_NB_TX_1DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_7DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_30DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW",
    "TERMINAL_ID_NB_TX_1DAY_WINDOW",
    "TERMINAL_ID_RISK_1DAY_WINDOW",
    "TERMINAL_ID_NB_TX_7DAY_WINDOW",
    "TERMINAL_ID_RISK_7DAY_WINDOW",
    "TERMINAL_ID_NB_TX_30DAY_WINDOW",
    "TERMINAL_ID_RISK_30DAY_WINDOW",
];

/// What one customer or terminal has seen: times, and sums up to and with each.
#[derive(Clone, Default)]
struct Seen {
    at: Vec<i64>,
    sums: Vec<i64>,
}

impl Seen {
    fn push(&mut self, at: i64, value: i64) {
        let sum = self.sums.last().copied().unwrap_or(0) + value;
        self.at.push(at);
        self.sums.push(sum);
    }

    /// How many up to and with `at`, and their sum.
    fn up_to(&self, at: i64) -> (i64, i64) {
        let count = self.at.partition_point(|it| *it <= at);
        let sum = count
            .checked_sub(1)
            .and_then(|last| self.sums.get(last))
            .copied()
            .unwrap_or(0);
        (i64::try_from(count).unwrap_or(i64::MAX), sum)
    }

    fn between(&self, after: i64, up_to: i64) -> (i64, i64) {
        let (before, all) = (self.up_to(after), self.up_to(up_to));
        (all.0 - before.0, all.1 - before.1)
    }
}

/// The features of each payment, of which each is later than those before it.
pub struct BookFeatures {
    customers: Vec<Seen>,
    terminals: Vec<Seen>,
}

impl BookFeatures {
    pub fn new(payments: &[Payment]) -> Self {
        let count = |of: fn(&Payment) -> u32| {
            let last = payments.iter().map(of).max().unwrap_or(0);
            vec![Seen::default(); usize::try_from(last).unwrap_or(0) + 1]
        };
        Self {
            customers: count(|payment| payment.customer),
            terminals: count(|payment| payment.terminal),
        }
    }

    /// Counts `payment` in and answers its features: in the Handbook a payment is in its own windows. Labels younger than
    /// a week are not looked at.
    pub fn next(&mut self, payment: &Payment) -> Option<[f64; 15]> {
        let event = &payment.event;
        let customer = self.customers.get_mut(usize::try_from(payment.customer).ok()?)?;
        let terminal = self.terminals.get_mut(usize::try_from(payment.terminal).ok()?)?;
        customer.push(event.at, event.amount);
        terminal.push(event.at, i64::from(payment.is_fraud));
        let weekday = (event.at.div_euclid(DAY) + 3).rem_euclid(7);
        let is_night = event.at.rem_euclid(DAY) / 3_600 <= LAST_HOUR_OF_NIGHT;
        let mut row = vec![
            float(event.amount) / 100.0,
            float(i64::from(weekday >= 5)),
            float(i64::from(is_night)),
        ];
        for days in WINDOWS {
            let (count, sum) = customer.between(event.at - days * DAY, event.at);
            row.extend([float(count), float(sum) / 100.0 / float(count)]);
        }
        for days in WINDOWS {
            let known = event.at - DELAY_DAYS * DAY;
            let (count, frauds) = terminal.between(known - days * DAY, known);
            let risk = if count == 0 {
                0.0
            } else {
                float(frauds) / float(count)
            };
            row.extend([float(count), risk]);
        }
        row.try_into().ok()
    }
}

/// The precision of the hundred cards that score highest on each day; those that were detected leave (chapter 4).
pub fn card_precision(scored: &[(i64, u32, f64, bool)], top: usize) -> f64 {
    use std::collections::{BTreeMap, HashSet};
    let mut days: BTreeMap<i64, BTreeMap<u32, (f64, bool)>> = BTreeMap::new();
    for (day, customer, score, is_fraud) in scored {
        let card = days
            .entry(*day)
            .or_default()
            .entry(*customer)
            .or_insert((f64::MIN, false));
        *card = (card.0.max(*score), card.1 || *is_fraud);
    }
    let mut detected: HashSet<u32> = HashSet::new();
    let mut precisions = Vec::new();
    for cards in days.values() {
        let left = cards.iter().filter(|(customer, _)| !detected.contains(customer));
        let mut ranked: Vec<(&u32, &(f64, bool))> = left.collect();
        ranked.sort_by(|left, right| right.1.0.total_cmp(&left.1.0));
        let found: Vec<u32> = ranked
            .iter()
            .take(top)
            .filter(|(_, card)| card.1)
            .map(|(customer, _)| **customer)
            .collect();
        precisions.push(unsigned(crate::evaluation::len(&found)) / unsigned(u64::try_from(top).unwrap_or(1)));
        detected.extend(found);
    }
    crate::evaluation::mean_and_sd(&precisions).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::{Event, Key};

    fn payment(at: i64, customer: u32, amount: i64, is_fraud: bool) -> Payment {
        Payment {
            event: Event {
                at,
                account: Key(customer.into()),
                counterparty: Key(0),
                device: None,
                address: None,
                amount,
                exponent: 2,
            },
            day: at / DAY,
            customer,
            terminal: 0,
            is_fraud,
        }
    }

    #[test]
    fn windows_and_the_delay_are_the_books() {
        // The first of April 2018 was a Sunday.
        let sunday = 1_522_540_800;
        let payments = [
            payment(sunday, 0, 1_000, true),
            payment(sunday + DAY / 2, 1, 2_000, false),
            payment(sunday + 7 * DAY + 10, 0, 3_000, false),
        ];
        let mut book = BookFeatures::new(&payments);
        let rows: Vec<[f64; 15]> = payments
            .iter()
            .map(|payment| book.next(payment).unwrap())
            .collect();
        assert_eq!(
            rows[0],
            [
                10.0, 1.0, 1.0, 1.0, 10.0, 1.0, 10.0, 1.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            ]
        );
        assert_eq!(rows[1][..3], [20.0, 1.0, 0.0]);
        // A week later: only the first payment is known, and is in every window.
        assert_eq!(
            rows[2][3..],
            [1.0, 30.0, 1.0, 30.0, 2.0, 20.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        );
    }

    #[test]
    fn detected_cards_leave_and_a_card_counts_once_a_day() {
        let scored = [
            (0, 1, 0.9, true),
            (0, 1, 0.8, false),
            (0, 2, 0.7, false),
            (1, 1, 0.9, true),
            (1, 3, 0.6, true),
            (1, 2, 0.1, false),
        ];
        assert_eq!(card_precision(&scored, 2), 0.5);
        assert_eq!(card_precision(&scored, 1), 1.0);
    }
}
