//! The protocol of the Handbook (Le Borgne et al. 2022, chapters 4 and 5): four folds, a week to learn from, a week in which
//! labels are not known yet, and a week to be tested on. Track A has the book's features and its week; track B has ours and
//! may look back as far as it likes. What a booster is told about how to grow is chosen on weeks before the training ends.

#![expect(clippy::float_arithmetic, reason = "metrics are floats")]

use std::collections::HashSet;
use std::ops::Range;

use anyhow::ensure;
use serde::Serialize;

use super::Spread;
use super::book::{self, BookFeatures, card_precision};
use super::stream::{Payment, Stream};
use crate::evaluation::{self, COSTS, Scored, mean_and_sd};
use crate::feature::{self, Event, States, Vector, float};
use crate::model::ensemble::Ensemble;
use crate::progress::Progress;
use crate::replay::{Label, LabelledEvent, replay};
use crate::training::{Parameters, Table, train};

const WEEK: i64 = 7;
const DELAY_S: i64 = 7 * 86_400;
/// When training starts. A stream that ends elsewhere has its last four weeks instead.
const FIRST_FOLD: i64 = 115;
const FOLDS: i64 = 4;
const TOP_CARDS: usize = 100;
/// Track B's choices of how many days to learn from.
const WINDOWS: [i64; 3] = [14, 28, 56];

#[derive(Clone, Debug, Serialize)]
pub struct Track {
    pub ap: Spread,
    pub auc: Spread,
    pub cp100: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<Spread>,
}

/// A payment that is looked at by a fold, and its features.
struct Rows<'a, const N: usize> {
    payments: &'a [Payment],
    vectors: &'a [[f64; N]],
    names: Vec<String>,
}

struct FoldResult {
    ap: f64,
    auc: f64,
    cp100: f64,
    saved: f64,
}

/// Of track B. More trees and deeper ones gain nothing on the weeks before.
fn b_parameters() -> Parameters {
    Parameters {
        trees: 100,
        learning_rate: 0.07,
        depth: 5,
        columns: 0.5,
        ..Parameters::default()
    }
}

pub struct Handbook {
    stream: Stream,
    folds: Vec<i64>,
    book: Vec<[f64; 15]>,
    ours: Vec<[f64; feature::COUNT]>,
    /// After the last payment.
    states: States,
}

/// The first days of training of each fold.
fn folds(days: i64) -> anyhow::Result<Vec<i64>> {
    let span = 3 * WEEK;
    let last = FIRST_FOLD + (FOLDS - 1) * WEEK;
    let last = if days >= last + span { last } else { days - span };
    let first = last - (FOLDS - 1) * WEEK;
    ensure!(
        first >= 2 * WEEK,
        "{days} days are too few: the protocol needs at least eight weeks"
    );
    Ok((0..FOLDS).map(|fold| first + fold * WEEK).collect())
}

impl Handbook {
    pub fn new(stream: Stream) -> anyhow::Result<Self> {
        let folds = folds(stream.days)?;
        let book = book_vectors(&stream);
        let (ours, states) = our_vectors(&stream);
        Ok(Self {
            stream,
            folds,
            book,
            ours,
            states,
        })
    }

    pub fn track_a(&self) -> anyhow::Result<Track> {
        let rows = Rows {
            payments: &self.stream.payments,
            vectors: &self.book,
            names: book::NAMES.map(str::to_owned).to_vec(),
        };
        let parameters = Parameters {
            trees: 100,
            learning_rate: 0.1,
            depth: 4,
            ..Parameters::default()
        };
        self.track("track A", |fold| {
            let model = train(&rows.table(fold..fold + WEEK)?, &parameters)?;
            Ok(evaluate(&rows, &model, fold))
        })
        .map(|track| Track { saved: None, ..track })
    }

    pub fn track_b(&self) -> anyhow::Result<Track> {
        let rows = self.our_rows();
        self.track("track B", |fold| {
            let days = rows.choose(fold)?;
            let first = (fold + WEEK - days).max(0);
            let model = train(&rows.table(first..fold + WEEK)?, &b_parameters())?;
            Ok(evaluate(&rows, &model, fold))
        })
    }

    /// The model of track B on the `days` before the last fold's training ends.
    pub fn train_last(&self, days: i64) -> anyhow::Result<Ensemble> {
        let end = self.folds.last().copied().unwrap_or_default() + WEEK;
        Ok(train(
            &self.our_rows().table((end - days).max(0)..end)?,
            &b_parameters(),
        )?)
    }

    /// The last payments, and all states to score them with.
    pub fn last_states(&self, count: usize) -> (impl Iterator<Item = &Event>, &States) {
        let payments = &self.stream.payments;
        let last = payments
            .get(payments.len().saturating_sub(count)..)
            .unwrap_or_default();
        (last.iter().map(|payment| &payment.event), &self.states)
    }

    fn our_rows(&self) -> Rows<'_, { feature::COUNT }> {
        Rows {
            payments: &self.stream.payments,
            vectors: &self.ours,
            names: feature::names().map(str::to_owned).to_vec(),
        }
    }

    fn track(
        &self,
        name: &str,
        mut run: impl FnMut(i64) -> anyhow::Result<FoldResult>,
    ) -> anyhow::Result<Track> {
        let mut progress = Progress::start(name, Some(crate::evaluation::len(&self.folds)));
        let mut results = Vec::new();
        for fold in &self.folds {
            results.push(run(*fold)?);
            progress.advance(1);
        }
        progress.finish();
        let spread = |of: fn(&FoldResult) -> f64| {
            let (mean, sd) = mean_and_sd(&results.iter().map(of).collect::<Vec<_>>());
            Spread { mean, sd }
        };
        Ok(Track {
            ap: spread(|fold| fold.ap),
            auc: spread(|fold| fold.auc),
            cp100: spread(|fold| fold.cp100),
            saved: Some(spread(|fold| fold.saved)),
        })
    }
}

/// The payments of the week two weeks after `fold` began, without the customers of whom a fraud is known by each day.
fn tested<'a, const N: usize>(rows: &Rows<'a, N>, fold: i64) -> Vec<(&'a Payment, &'a [f64; N])> {
    let frauds = |days: Range<i64>| {
        let payments = rows.payments.get(rows.range(days)).unwrap_or_default();
        let frauds = payments.iter().filter(|payment| payment.is_fraud);
        frauds.map(|payment| payment.customer)
    };
    let mut known: HashSet<u32> = frauds(fold..fold + WEEK).collect();
    let mut tested = Vec::new();
    for day in 0..WEEK {
        known.extend(frauds(fold + WEEK + day - 1..fold + WEEK + day));
        let today = fold + 2 * WEEK + day;
        for index in rows.range(today..today + 1) {
            if let (Some(payment), Some(vector)) = (rows.payments.get(index), rows.vectors.get(index))
                && !known.contains(&payment.customer)
            {
                tested.push((payment, vector));
            }
        }
    }
    tested
}

fn evaluate<const N: usize>(rows: &Rows<'_, N>, model: &Ensemble, fold: i64) -> FoldResult {
    let tested: Vec<(&Payment, f64)> = tested(rows, fold)
        .into_iter()
        .map(|(payment, vector)| (payment, model.log_odds(vector)))
        .collect();
    let scored: Vec<Scored> = tested
        .iter()
        .map(|(payment, score)| (*score, payment.is_fraud))
        .collect();
    let cards: Vec<(i64, u32, f64, bool)> = tested
        .iter()
        .map(|(payment, score)| (payment.day, payment.customer, *score, payment.is_fraud))
        .collect();
    let amounts = tested.iter().map(|(payment, score)| {
        (
            evaluation::probability(*score),
            float(payment.event.amount) / 100.0,
            payment.is_fraud,
        )
    });
    FoldResult {
        ap: evaluation::average_precision(&scored),
        auc: evaluation::auc(&scored),
        cp100: card_precision(&cards, TOP_CARDS),
        saved: COSTS.saved(amounts),
    }
}

impl<const N: usize> Rows<'_, N> {
    fn range(&self, days: Range<i64>) -> Range<usize> {
        let start = self.payments.partition_point(|payment| payment.day < days.start);
        let end = self.payments.partition_point(|payment| payment.day < days.end);
        start..end
    }

    fn table(&self, days: Range<i64>) -> anyhow::Result<Table> {
        let mut table = Table::new(&self.names);
        for index in self.range(days) {
            if let (Some(payment), Some(vector)) = (self.payments.get(index), self.vectors.get(index)) {
                table.push(vector, payment.is_fraud)?;
            }
        }
        Ok(table)
    }

    /// How many days to learn from: what did best on the last week of which all labels are known when training ends, learnt
    /// from days that end a delay before that week, as in the test.
    fn choose(&self, fold: i64) -> anyhow::Result<i64> {
        let mut best = (f64::MIN, WEEK);
        for days in WINDOWS {
            let end = fold - WEEK;
            let table = self.table((end - days).max(0)..end)?;
            // Weeks without a fraud teach nothing, and are no reason to give up.
            let Ok(model) = train(&table, &b_parameters()) else {
                continue;
            };
            let found = evaluate(self, &model, fold - 2 * WEEK).ap;
            if found > best.0 {
                best = (found, days);
            }
        }
        Ok(best.1)
    }
}

fn book_vectors(stream: &Stream) -> Vec<[f64; 15]> {
    let mut book = BookFeatures::new(&stream.payments);
    stream
        .payments
        .iter()
        .filter_map(|payment| book.next(payment))
        .collect()
}

/// Our features, with each label known a week after its payment.
fn our_vectors(stream: &Stream) -> (Vec<[f64; feature::COUNT]>, States) {
    let labelled = |payment: &Payment| LabelledEvent {
        event: payment.event.clone(),
        label: Some(Label {
            is_fraud: payment.is_fraud,
            known_at: payment.event.at + DELAY_S,
        }),
        refused: false,
    };
    let events: Vec<LabelledEvent> = stream.payments.iter().map(labelled).collect();
    let mut vectors = Vec::with_capacity(events.len());
    let states = replay(&events, |_, Vector(vector)| vectors.push(vector));
    (vectors, states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_the_books_or_the_last_four_weeks() {
        assert_eq!(folds(172).unwrap(), [115, 122, 129, 136]);
        assert_eq!(folds(157).unwrap(), [115, 122, 129, 136]);
        assert_eq!(folds(400).unwrap(), [115, 122, 129, 136]);
        assert_eq!(folds(156).unwrap(), [114, 121, 128, 135]);
        assert_eq!(folds(56).unwrap(), [14, 21, 28, 35]);
        assert!(folds(55).is_err() && folds(1).is_err());
    }

    #[test]
    fn a_customer_leaves_the_test_on_the_day_that_a_fraud_is_known() {
        let payment = |day: i64, customer: u32, is_fraud| Payment {
            event: Event {
                at: day * 86_400,
                account: feature::Key(customer.into()),
                counterparty: feature::Key(0),
                device: None,
                address: None,
                amount: 100,
                exponent: 2,
            },
            day,
            customer,
            terminal: 0,
            is_fraud,
        };
        // Training begins on day 0, the test on day 14. What customer 1 lost on day 8 is known on day 16.
        let payments = [
            payment(3, 2, true),
            payment(8, 1, true),
            payment(14, 1, false),
            payment(14, 2, false),
            payment(15, 1, true),
            payment(15, 3, false),
            payment(16, 1, true),
            payment(16, 3, true),
        ];
        let vectors = payments.clone().map(|payment| [f64::from(payment.customer)]);
        let rows = Rows {
            payments: &payments,
            vectors: &vectors,
            names: vec!["customer".to_owned()],
        };
        let tested: Vec<(i64, u32)> = tested(&rows, 0)
            .iter()
            .map(|(payment, _)| (payment.day, payment.customer))
            .collect();
        assert_eq!(tested, [(14, 1), (15, 1), (15, 3), (16, 3)]);
    }
}
