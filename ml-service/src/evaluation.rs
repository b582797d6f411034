//! How good scores are, once it is known what was a fraud. As scikit-learn defines them, equal scores counted as one.

#![expect(clippy::float_arithmetic, reason = "metrics are floats")]

use crate::feature::unsigned;

/// A score and whether it was a fraud.
pub type Scored = (f64, bool);

/// What actions on a payment cost, in the unit of its amount (Stripe's and others' orders of magnitude).
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// A person looks at it.
    pub review: f64,
    /// A genuine payment is refused: a part of it, and something for the annoyance.
    pub false_block_share: f64,
    pub false_block: f64,
}

pub const COSTS: Costs = Costs {
    review: 3.0,
    false_block_share: 0.05,
    false_block: 2.0,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    Review,
    Block,
}

impl Costs {
    /// The action whose expected cost is the least.
    pub fn action(&self, probability: f64, amount: f64) -> Action {
        let allow = probability * amount;
        let block = (1.0 - probability) * (self.false_block_share * amount + self.false_block);
        if allow <= self.review && allow <= block {
            Action::Allow
        } else if self.review <= block {
            Action::Review
        } else {
            Action::Block
        }
    }

    pub fn of(&self, action: Action, amount: f64, is_fraud: bool) -> f64 {
        match (action, is_fraud) {
            (Action::Allow, true) => amount,
            (Action::Allow, false) | (Action::Block, true) => 0.0,
            (Action::Review, _) => self.review,
            (Action::Block, false) => self.false_block_share * amount + self.false_block,
        }
    }

    /// The part of the losses of having no system that acting on `payments` (probability, amount, fraud) saves.
    pub fn saved(&self, payments: impl Iterator<Item = (f64, f64, bool)>) -> f64 {
        let (mut without, mut with) = (0.0, 0.0);
        for (probability, amount, is_fraud) in payments {
            without += self.of(Action::Allow, amount, is_fraud);
            with += self.of(self.action(probability, amount), amount, is_fraud);
        }
        1.0 - with / without
    }
}

/// One point of the curves for each different score, from the highest: how many were found up to it, and how many alarms
/// were false.
fn thresholds(scored: &[Scored]) -> Vec<(f64, u64, u64)> {
    let mut sorted = scored.to_vec();
    sorted.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
    let mut points: Vec<(f64, u64, u64)> = Vec::new();
    let (mut found, mut false_alarms) = (0, 0);
    for (score, is_fraud) in sorted {
        found += u64::from(is_fraud);
        false_alarms += u64::from(!is_fraud);
        match points.last_mut() {
            Some(last) if last.0.total_cmp(&score).is_eq() => *last = (score, found, false_alarms),
            _ => points.push((score, found, false_alarms)),
        }
    }
    points
}

fn totals(points: &[(f64, u64, u64)]) -> (f64, f64) {
    points.last().map_or((0.0, 0.0), |(_, found, false_alarms)| {
        (unsigned(*found), unsigned(*false_alarms))
    })
}

/// Recall and precision at each threshold.
pub fn precision_recall(scored: &[Scored]) -> Vec<(f64, f64)> {
    let points = thresholds(scored);
    let (frauds, _) = totals(&points);
    let point = |(_, found, false_alarms): &(f64, u64, u64)| {
        (
            unsigned(*found) / frauds,
            unsigned(*found) / unsigned(found + false_alarms),
        )
    };
    points.iter().map(point).collect()
}

/// False and true positives' rates at each threshold.
pub fn roc(scored: &[Scored]) -> Vec<(f64, f64)> {
    let points = thresholds(scored);
    let (frauds, genuine) = totals(&points);
    let rates = points
        .iter()
        .map(|(_, found, false_alarms)| (unsigned(*false_alarms) / genuine, unsigned(*found) / frauds));
    std::iter::once((0.0, 0.0)).chain(rates).collect()
}

/// The mean of the precision over the steps of the recall.
pub fn average_precision(scored: &[Scored]) -> f64 {
    let mut before = 0.0;
    precision_recall(scored)
        .into_iter()
        .fold(0.0, |sum, (recall, precision)| {
            let step = recall - before;
            before = recall;
            sum + step * precision
        })
}

/// How likely a fraud scores higher than a genuine payment.
pub fn auc(scored: &[Scored]) -> f64 {
    let mut before = (0.0, 0.0);
    roc(scored).into_iter().fold(0.0, |area, (x, y)| {
        let slice = (x - before.0) * (y + before.1) / 2.0;
        before = (x, y);
        area + slice
    })
}

/// The mean square error of probabilities.
pub fn brier(scored: &[Scored]) -> f64 {
    let error = |(probability, is_fraud): &Scored| (probability - f64::from(u8::from(*is_fraud))).powi(2);
    scored.iter().map(error).sum::<f64>() / unsigned(len(scored))
}

/// The part that were frauds: the average precision of knowing nothing.
pub fn rate(scored: &[Scored]) -> f64 {
    let frauds = scored.iter().filter(|(_, is_fraud)| *is_fraud).count();
    unsigned(u64::try_from(frauds).unwrap_or(u64::MAX)) / unsigned(len(scored))
}

/// Mean and sample standard deviation.
pub fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let count = unsigned(len(values));
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let sd = if count > 1.0 {
        (squares / (count - 1.0)).sqrt()
    } else {
        0.0
    };
    (mean, sd)
}

pub fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// For `unsigned`, which takes no `usize`.
pub fn len<T>(values: &[T]) -> u64 {
    u64::try_from(values.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(scores: &[(f64, u8)]) -> Vec<Scored> {
        scores
            .iter()
            .map(|(score, fraud)| (*score, *fraud == 1))
            .collect()
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-12
    }

    #[test]
    fn metrics_are_what_scikit_learn_says() {
        // The examples of its documentation.
        let four = scored(&[(0.1, 0), (0.4, 0), (0.35, 1), (0.8, 1)]);
        assert!(close(average_precision(&four), 0.833_333_333_333_333_3));
        assert!(close(auc(&four), 0.75));
        let tied = scored(&[(0.5, 1), (0.5, 0), (0.5, 0), (0.1, 1)]);
        assert!(close(average_precision(&tied), 0.5 / 3.0 + 0.25));
        assert!(close(auc(&tied), 0.25));
        assert!(close(brier(&scored(&[(0.9, 1), (0.2, 0)])), 0.025));
        assert_eq!(mean_and_sd(&[1.0, 3.0]), (2.0, 2.0_f64.sqrt()));
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let mut rows = scored(&[(0.3, 0), (0.3, 1), (0.2, 1), (0.9, 0), (0.9, 1), (0.1, 0)]);
        let before = (average_precision(&rows), auc(&rows));
        rows.reverse();
        assert_eq!((average_precision(&rows), auc(&rows)), before);
    }

    #[test]
    fn the_cheapest_action_is_taken() {
        assert_eq!(COSTS.action(0.001, 100.0), Action::Allow);
        assert_eq!(COSTS.action(0.5, 4.0), Action::Block);
        assert_eq!(COSTS.action(0.5, 1_000.0), Action::Review);
        assert_eq!(COSTS.action(0.99, 1_000.0), Action::Block);
        assert_eq!(COSTS.action(0.0, f64::MAX), Action::Allow);
        let payments = [(0.99, 100.0, true), (0.0, 100.0, true), (0.99, 100.0, false)];
        assert!(close(COSTS.saved(payments.into_iter()), 1.0 - 107.0 / 200.0));
    }
}
