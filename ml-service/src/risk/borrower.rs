//! Borrowers that are made up, to train and measure the model on. Each has a steadiness that nobody sees; what is seen follows
//! from it with noise, and so does whether they fall 90 days behind. About one in ten does.
//!
//! They show that the machinery works, and nothing about people: `risk.md` says so.

#![expect(clippy::float_arithmetic, reason = "a chance is a float")]

use super::feature::Features;
use crate::insight::statistics::Random;

/// A borrower, and whether they fell behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borrower {
    pub features: Features,
    pub fell_behind: bool,
}

/// Where a feature is of somebody of ordinary steadiness; how far one step of steadiness moves it, and the noise; and how
/// many of a hundred times it is not known.
const MAKING: [(&str, i64, i64, i64, usize); 18] = [
    ("history_days", 300, 10, 160, 0),
    ("income_months", 6, 0, 1, 8),
    ("income_variation", 900, -500, 900, 8),
    ("savings_rate", 900, 900, 1_000, 8),
    ("months_overspent", 2, -1, 1, 8),
    ("loans_share", 1_200, -500, 900, 8),
    ("cash_share", 900, -250, 900, 8),
    ("fees_share", 50, -60, 60, 8),
    ("missed_payments", 1, -1, 1, 8),
    ("refused_transfers", 0, -1, 1, 0),
    ("buffer_days", 35, 22, 25, 15),
    ("requested_share", 2_800, -500, 1_800, 30),
    ("debt_share", 2_400, -700, 1_300, 35),
    ("employment_months", 60, 22, 45, 35),
    ("delinquencies", 0, -1, 1, 30),
    ("utilisation", 4_200, -1_600, 2_200, 40),
    ("inquiries", 1, -1, 2, 40),
    ("term_months", 36, 0, 20, 30),
];

impl Borrower {
    pub fn generate(random: &mut Random) -> Self {
        let steadiness = bell(random);
        let mut features = Features::default();
        for (name, ordinary, step, noise, unknown) in MAKING {
            if random.percent(unknown) {
                continue;
            }
            let moved = ordinary * SCALE + step * steadiness + noise * bell(random);
            features.set(name, moved / SCALE);
        }
        let chance = chance(steadiness, &features);
        let fell_behind = random.below(1_000_000) < chance;
        Self {
            features,
            fell_behind,
        }
    }
}

/// What `bell` counts as one.
const SCALE: i64 = 1_000;

/// Near to normal with a mean of 0 and a standard deviation of one thousand: the sum of twelve uniform numbers.
fn bell(random: &mut Random) -> i64 {
    (0..12).map(|_| random.between(-500, 500)).sum()
}

/// In millionths. Steadiness counts most; some of what is seen counts beside it, with thresholds and together, as in life.
fn chance(steadiness: i64, features: &Features) -> usize {
    let share = |name| f64::from(features.get(name).unwrap_or(0)) / 10_000.0;
    let number = |name| f64::from(features.get(name).unwrap_or(0));
    let steady = i32::try_from(steadiness).map_or(0.0, f64::from) / 1_000.0;
    let burden = share("debt_share") + share("requested_share");
    let thin_buffer = if number("buffer_days") < 14.0 { 0.5 } else { 0.0 };
    let stretched = if burden > 0.8 && thin_buffer > 0.0 {
        0.9
    } else {
        0.0
    };
    let log_odds = -4.6 - 1.1 * steady
        + 0.9 * burden
        + 0.35 * number("missed_payments").min(4.0)
        + 0.30 * number("refused_transfers").min(4.0)
        + 0.45 * number("delinquencies").min(4.0)
        + 0.8 * share("utilisation")
        + thin_buffer
        + stretched;
    millionths(crate::evaluation::probability(log_odds))
}

/// Of a probability.
#[expect(clippy::as_conversions, reason = "0 to 1,000,000; of what is no number, 0")]
pub fn millionths(probability: f64) -> usize {
    (probability.clamp(0.0, 1.0) * 1_000_000.0).round() as usize
}

/// So many, of one seed.
pub fn borrowers(seed: u64, count: usize) -> impl Iterator<Item = Borrower> {
    let mut random = Random::new(seed);
    (0..count).map(move |_| Borrower::generate(&mut random))
}

#[cfg(test)]
mod tests {
    use super::super::feature::FEATURES;
    use super::*;

    #[test]
    fn each_feature_is_made_and_about_one_in_ten_falls_behind() {
        assert!(
            FEATURES
                .iter()
                .zip(MAKING)
                .all(|(feature, making)| feature.name == making.0)
        );
        let behind = borrowers(1, 10_000).filter(|it| it.fell_behind).count();
        assert!((900..1_150).contains(&behind), "{behind}");
        assert!(borrowers(1, 10).eq(borrowers(1, 10)));
        assert!(borrowers(1, 10).ne(borrowers(2, 10)));
    }

    #[test]
    fn what_is_no_number_has_no_chance() {
        assert_eq!(
            (millionths(f64::NAN), millionths(2.0), millionths(0.5)),
            (0, 1_000_000, 500_000)
        );
    }
}
