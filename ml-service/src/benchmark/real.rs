//! Real data, five folds of each: baskets of BNP Paribas Personal Finance with their frauds, borrowers of Give Me Some
//! Credit, and loans of Petrides et al. They have no time and nobody twice, so that only the booster is tested.

#![expect(clippy::float_arithmetic, reason = "metrics and features are floats")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::Spread;
use crate::evaluation::{self, Scored, mean_and_sd};
use crate::feature::unsigned;
use crate::progress::Progress;
use crate::tabular_file::TabularFile;
use crate::training::{Parameters, Table, train};

const FOLDS: usize = 5;

#[derive(Clone, Debug, Serialize)]
pub struct Folds {
    pub ap: Spread,
    pub auc: Spread,
}

/// Rows with the categories of each, which are told to the booster as how often they occur and how risky they were.
struct Dataset {
    table: Table,
    /// For each kind of category, those of each row.
    categories: Vec<Vec<Vec<u32>>>,
}

pub fn gmsc(path: &Path) -> anyhow::Result<Folds> {
    let table = numbers(path, "SeriousDlqin2yrs", &["id"])?;
    let parameters = Parameters {
        trees: 150,
        learning_rate: 0.06,
        depth: 5,
        min_leaf_weight: 20.0,
        columns: 0.6,
        ..Parameters::default()
    };
    folds(
        &Dataset {
            table,
            categories: Vec::new(),
        },
        &parameters,
    )
}

/// What became of a loan is not asked about: `Days_late` is the answer.
pub fn vub(path: &Path) -> anyhow::Result<Folds> {
    let table = numbers(
        path,
        "Default_45",
        &["ID", "Days_late", "Test_set1", "Test_set2", "Test_set3"],
    )?;
    let parameters = Parameters {
        trees: 120,
        learning_rate: 0.05,
        depth: 4,
        min_leaf_weight: 10.0,
        columns: 0.6,
        ..Parameters::default()
    };
    folds(
        &Dataset {
            table,
            categories: Vec::new(),
        },
        &parameters,
    )
}

/// Every column but the label and `without`.
fn numbers(path: &Path, label: &str, without: &[&str]) -> anyhow::Result<Table> {
    let file = TabularFile::open(path)?;
    let label = file.column(label)?;
    let is_used = |(column, name): &(usize, &String)| *column != label && !without.contains(&name.as_str());
    let used: Vec<(usize, &String)> = file.headers().iter().enumerate().filter(is_used).collect();
    let mut table = Table::new(used.iter().map(|(_, name)| (*name).clone()));
    let columns: Vec<usize> = used.iter().map(|(column, _)| *column).collect();
    file.for_each(|row| {
        let values = columns.iter().map(|column| row.number_or_missing(*column));
        table.push(&values.collect::<anyhow::Result<Vec<_>>>()?, row.flag(label)?)?;
        Ok(())
    })?;
    Ok(table)
}

#[derive(Default)]
struct Basket {
    prices: Vec<f64>,
    pieces: f64,
    words: [Vec<u32>; 4],
}

pub fn bnpp(path: &Path) -> anyhow::Result<Folds> {
    let mut baskets: BTreeMap<i64, Basket> = BTreeMap::new();
    let mut numbers: [HashMap<String, u32>; 4] = Default::default();
    let file = TabularFile::open_in_archive(path, "products.csv")?;
    let (id, price, pieces) = (
        file.column("basket_ID")?,
        file.column("cash_price")?,
        file.column("Nbr_of_prod_purchas")?,
    );
    let words = ["item", "make", "model", "goods_code"].map(|name| file.column(name));
    let words: Vec<usize> = words.into_iter().collect::<anyhow::Result<_>>()?;
    file.for_each(|row| {
        let basket = baskets.entry(row.integer(id)?).or_default();
        basket.prices.push(row.number_or_missing(price)?);
        basket.pieces += row.number_or_missing(pieces)?;
        for ((column, numbers), words) in words.iter().zip(&mut numbers).zip(&mut basket.words) {
            let next = u32::try_from(numbers.len())?;
            words.push(*numbers.entry(row.text(*column).to_owned()).or_insert(next));
        }
        Ok(())
    })?;

    let mut table = Table::new(["products", "pieces", "total", "largest", "smallest", "mean"]);
    let mut categories = vec![Vec::new(); 4];
    let file = TabularFile::open_in_archive(path, "baskets.csv")?;
    let (id, label) = (file.column("ID")?, file.column("fraud_flag")?);
    file.for_each(|row| {
        let basket = baskets
            .remove(&row.integer(id)?)
            .context("a basket without products, or twice")?;
        let products = unsigned(evaluation::len(&basket.prices));
        let total: f64 = basket.prices.iter().sum();
        let largest = basket.prices.iter().copied().fold(0.0, f64::max);
        let smallest = basket.prices.iter().copied().fold(f64::MAX, f64::min);
        let values = [
            products,
            basket.pieces,
            total,
            largest,
            smallest,
            total / products,
        ];
        table.push(&values, row.flag(label)?)?;
        for (kind, words) in categories.iter_mut().zip(basket.words) {
            kind.push(words);
        }
        Ok(())
    })?;
    let parameters = Parameters {
        trees: 150,
        learning_rate: 0.05,
        depth: 6,
        min_leaf_weight: 3.0,
        l2: 5.0,
        columns: 0.6,
        ..Parameters::default()
    };
    folds(&Dataset { table, categories }, &parameters)
}

/// Which fold each row is in: frauds and others are dealt out in turn, by an order that depends on their places alone.
fn assign(labels: &[bool]) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = (0..labels.len())
        .map(|row| {
            let seed = u64::try_from(row).unwrap_or(0).wrapping_add(1);
            let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9), row)
        })
        .collect();
    order.sort_unstable();
    let mut dealt = [0_usize; 2];
    let mut folds = vec![0; labels.len()];
    for (_, row) in order {
        let label = labels.get(row).copied().unwrap_or_default();
        if let (Some(fold), Some(dealt)) = (folds.get_mut(row), dealt.get_mut(usize::from(label))) {
            *fold = *dealt % FOLDS;
            *dealt += 1;
        }
    }
    folds
}

fn folds(data: &Dataset, parameters: &Parameters) -> anyhow::Result<Folds> {
    let assigned = assign(data.table.labels());
    let (mut aps, mut aucs) = (Vec::new(), Vec::new());
    let mut progress = Progress::start("folds", Some(5));
    for fold in 0..FOLDS {
        let rows = |is_test: bool| -> Vec<usize> {
            let of_fold = |(_, assigned): &(usize, &usize)| (**assigned == fold) == is_test;
            assigned
                .iter()
                .enumerate()
                .filter(of_fold)
                .map(|(row, _)| row)
                .collect()
        };
        let table = data.encoded(&assigned, fold)?;
        let model = train(&table.select(&rows(false)), parameters)?;
        let test = rows(true);
        let label = |row: &usize| table.labels().get(*row).copied().unwrap_or_default();
        let scored: Vec<Scored> = test
            .iter()
            .map(|row| (model.log_odds(&table.row(*row)), label(row)))
            .collect();
        aps.push(evaluation::average_precision(&scored));
        aucs.push(evaluation::auc(&scored));
        progress.advance(1);
    }
    progress.finish();
    let spread = |values: &[f64]| {
        let (mean, sd) = mean_and_sd(values);
        Spread { mean, sd }
    };
    Ok(Folds {
        ap: spread(&aps),
        auc: spread(&aucs),
    })
}

impl Dataset {
    /// The table with columns for categories: how frequent the rarest of a row is, and how risky its riskiest and its mean
    /// are. The risk of a row's category is that among rows of other folds, and never among those of the test.
    fn encoded(&self, assigned: &[usize], test: usize) -> anyhow::Result<Table> {
        let labels = self.table.labels();
        let kinds = self.categories.len();
        let names = (0..kinds)
            .flat_map(|kind| ["frequency", "risk", "mean_risk"].map(|what| format!("{what}_{kind}")));
        let mut table = Table::new(self.table.names().iter().cloned().chain(names));
        let rate = {
            let frauds = u64::try_from(labels.iter().filter(|label| **label).count())?;
            unsigned(frauds) / unsigned(evaluation::len(labels))
        };
        // Category, fold: how many, and how many of them frauds.
        let mut counts: Vec<HashMap<(u32, usize), (u64, u64)>> = vec![HashMap::new(); kinds];
        for (kind, counts) in self.categories.iter().zip(&mut counts) {
            for ((words, fold), label) in kind.iter().zip(assigned).zip(labels) {
                for word in words {
                    let count = counts.entry((*word, *fold)).or_default();
                    *count = (count.0 + 1, count.1 + u64::from(*label));
                }
            }
        }
        for (row, (own, label)) in assigned.iter().zip(labels).enumerate() {
            let mut values = self.table.row(row);
            for (kind, counts) in self.categories.iter().zip(&counts) {
                let words = kind.get(row).map(Vec::as_slice).unwrap_or_default();
                let encoded = words.iter().map(|word| {
                    let folds = (0..FOLDS).filter(|fold| fold != own && *fold != test);
                    let known = folds.filter_map(|fold| counts.get(&(*word, fold)));
                    let (count, frauds) = known.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
                    // Rows of the test have one more fold to look at.
                    let folds = if *own == test { 4.0 } else { 3.0 };
                    (
                        unsigned(count) / folds,
                        (unsigned(frauds) + 20.0 * rate) / (unsigned(count) + 20.0),
                    )
                });
                let encoded: Vec<(f64, f64)> = encoded.collect();
                let number = unsigned(evaluation::len(&encoded));
                values.push(encoded.iter().map(|it| it.0).fold(f64::MAX, f64::min));
                values.push(encoded.iter().map(|it| it.1).fold(0.0, f64::max));
                values.push(encoded.iter().map(|it| it.1).sum::<f64>() / number);
            }
            table.push(&values, *label)?;
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_of_one_size_and_have_their_share_of_frauds() {
        let labels: Vec<bool> = (0..100).map(|row| row % 10 == 0).collect();
        let folds = assign(&labels);
        for fold in 0..FOLDS {
            let rows = folds
                .iter()
                .zip(&labels)
                .filter(|(assigned, _)| **assigned == fold);
            assert_eq!(
                (rows.clone().count(), rows.filter(|(_, label)| **label).count()),
                (20, 2)
            );
        }
    }

    #[test]
    fn a_category_is_never_told_by_its_own_row_or_the_test() {
        let mut table = Table::new(["price"]);
        let labels: Vec<bool> = (0..50).map(|row| row < 10).collect();
        labels
            .iter()
            .for_each(|label| table.push(&[1.0], *label).unwrap());
        // Every row has a category of its own: nothing can be known of it.
        let categories = vec![(0..50).map(|row| vec![row]).collect()];
        let data = Dataset { table, categories };
        let table = data.encoded(&assign(&labels), 0).unwrap();
        let first = table.row(0);
        assert!((0..50).all(|row| table.row(row) == first), "{first:?}");
    }
}
