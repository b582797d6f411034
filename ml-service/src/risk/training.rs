//! `ml-service risk-train` and `risk-benchmark`: makes the shipped model again, the same bytes for the same seed, and measures it
//! on borrowers that it has not seen.

use std::fmt;

use anyhow::Context;

use super::borrower::{Borrower, borrowers};
use super::feature::FEATURES;
use super::model::{RiskModel, schema};
use super::{Band, MAX_REASONS};
use crate::evaluation::{auc, average_precision, brier, len, probability};
use crate::model::{Card, Model};
use crate::training::{Parameters, Table, train};

/// What the shipped model is made of.
pub const SEED: u64 = 20_261_122;
pub const ROWS: usize = 30_000;
/// How many the command measures on.
const MEASURED: usize = 20_000;
/// Nobody who is trained on is tested on.
const TEST_SEED: u64 = SEED + 1;

pub fn parameters() -> Parameters {
    Parameters {
        trees: 80,
        learning_rate: 0.08,
        depth: 3,
        min_leaf_weight: 20.0,
        seed: SEED,
        ..Parameters::default()
    }
}

/// The file of a model that is trained on so many borrowers.
pub fn make(rows: usize) -> anyhow::Result<Vec<u8>> {
    let mut table = Table::new(FEATURES.iter().map(|feature| feature.name));
    for borrower in borrowers(SEED, rows) {
        table.push(&borrower.features.row(), borrower.fell_behind)?;
    }
    let parameters = parameters();
    let trees = train(&table, &parameters)?;
    let scored: Vec<(f64, bool)> = borrowers(TEST_SEED, rows)
        .map(|it| (probability(trees.log_odds(&it.features.row())), it.fell_behind))
        .collect();
    let positives = table.labels().iter().filter(|label| **label).count();
    let metrics = [
        ("auc", auc(&scored)),
        ("average_precision", average_precision(&scored)),
        ("brier", brier(&scored)),
        ("brier_of_base_rate", brier_of_base_rate(&scored)),
    ];
    let card = Card {
        data: "borrowers that a seeded generator of ours made up; measured on as many others".to_owned(),
        schema: schema(),
        features: table.names().to_vec(),
        rows: len(table.labels()),
        positives: u64::try_from(positives)?,
        first_at: None,
        last_at: None,
        labels_until: None,
        parameters,
        metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    Ok(Model::save(card, trees)?.0)
}

/// `risk-train FILE`.
pub fn main_of_training() -> anyhow::Result<()> {
    let file = std::env::args()
        .nth(2)
        .context("usage: ml-service risk-train FILE")?;
    eprintln!("training on {ROWS} borrowers");
    let bytes = make(ROWS)?;
    std::fs::write(&file, &bytes).with_context(|| file.clone())?;
    println!("{} bytes in {file}", bytes.len());
    Ok(())
}

/// `risk-benchmark`.
pub fn main_of_benchmark() -> anyhow::Result<()> {
    println!("{}", measure(MEASURED)?);
    Ok(())
}

#[expect(clippy::float_arithmetic, reason = "a metric")]
fn brier_of_base_rate(scored: &[(f64, bool)]) -> f64 {
    let behind = scored.iter().filter(|(_, behind)| *behind).count();
    let count = |number: usize| u32::try_from(number).map_or(f64::NAN, f64::from);
    let rate = count(behind) / count(scored.len());
    rate * (1.0 - rate)
}

/// How the shipped model does on borrowers of another seed.
#[derive(Debug)]
pub struct Report {
    card: Card,
    borrowers: usize,
    auc: f64,
    average_precision: f64,
    brier: f64,
    brier_of_base_rate: f64,
    /// Of each band: borrowers, and how many fell behind.
    bands: Vec<(Band, usize, usize)>,
}

pub fn measure(count: usize) -> anyhow::Result<Report> {
    let model = RiskModel::shipped()?;
    let assessed: Vec<(Borrower, f64, Band)> = borrowers(TEST_SEED + 1, count)
        .map(|it| {
            let verdict = model.assess(&it.features);
            (it, model.model().probability(&it.features.row()), verdict.band)
        })
        .collect();
    let scored: Vec<(f64, bool)> = assessed
        .iter()
        .map(|(it, probability, _)| (*probability, it.fell_behind))
        .collect();
    let of_band = |band| {
        let all = || assessed.iter().filter(move |it| it.2 == band);
        (band, all().count(), all().filter(|it| it.0.fell_behind).count())
    };
    Ok(Report {
        card: model.model().card().clone(),
        borrowers: count,
        auc: auc(&scored),
        average_precision: average_precision(&scored),
        brier: brier(&scored),
        brier_of_base_rate: brier_of_base_rate(&scored),
        bands: Band::ALL.map(of_band).to_vec(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rows: {}", self.card.rows, self.card.data)?;
        writeln!(
            f,
            "measured on {} others: AUC {:.3}, average precision {:.3}",
            self.borrowers, self.auc, self.average_precision
        )?;
        writeln!(
            f,
            "Brier score {:.4}, of the base rate {:.4}; at most {MAX_REASONS} reasons each\n",
            self.brier, self.brier_of_base_rate
        )?;
        writeln!(f, "| band | borrowers | fell behind |\n|---|---|---|")?;
        for (band, all, behind) in &self.bands {
            let permille = behind * 1_000 / (*all).max(1);
            writeln!(
                f,
                "| {} | {all} | {}.{} % |",
                band.name(),
                permille / 10,
                permille % 10
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_file() {
        assert_eq!(make(400).unwrap(), make(400).unwrap());
    }

    #[test]
    fn the_shipped_model_tells_borrowers_apart_and_its_bands_are_in_order() {
        let report = measure(4_000).unwrap();
        assert!(report.auc > 0.78, "{report}");
        assert!(report.brier < report.brier_of_base_rate * 0.95, "{report}");
        let share = |place: usize| report.bands[place].2 * 1_000 / report.bands[place].1.max(1);
        assert!(share(0) < 20 && share(4) > 200, "{report}");
    }

    #[test]
    fn labels_that_say_nothing_teach_nothing() {
        let mut table = Table::new(FEATURES.iter().map(|feature| feature.name));
        let mut random = crate::insight::statistics::Random::new(5);
        for borrower in borrowers(SEED, 2_000) {
            table.push(&borrower.features.row(), random.percent(7)).unwrap();
        }
        let trees = train(
            &table,
            &Parameters {
                trees: 20,
                ..parameters()
            },
        )
        .unwrap();
        let scored: Vec<_> = borrowers(TEST_SEED, 2_000)
            .map(|it| (trees.log_odds(&it.features.row()), it.fell_behind))
            .collect();
        assert!((0.35..0.65).contains(&auc(&scored)), "{}", auc(&scored));
    }
}
