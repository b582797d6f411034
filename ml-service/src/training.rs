//! Training: gradient-boosted trees on any table of numbers, the same trees for the same table and seed. The booster is
//! forust's; what it makes is copied into an [`Ensemble`], so that nothing but training needs it.

use std::ops::Range;

use forust_ml::GradientBooster;
use forust_ml::Matrix;
use forust_ml::gradientbooster::GrowPolicy;
use forust_ml::objective::ObjectiveType;
use serde::{Deserialize, Serialize};

use crate::model::ensemble::{Ensemble, InvalidEnsemble, MAX_DEPTH};

/// Rows of numbers with names, and what is to be learnt of each.
#[derive(Clone, Debug)]
pub struct Table {
    names: Vec<String>,
    /// One column after the other.
    columns: Vec<Vec<f64>>,
    labels: Vec<bool>,
}

/// How trees are grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    pub trees: usize,
    pub learning_rate: f32,
    pub depth: usize,
    pub min_leaf_weight: f32,
    pub l2: f32,
    /// The part of the columns that each tree sees.
    pub columns: f64,
    /// The part of the rows that each tree sees.
    pub rows: f32,
    /// Fewer lose precision where it matters: with 256, four points of average precision.
    pub bins: u16,
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            trees: 100,
            learning_rate: 0.1,
            depth: 5,
            min_leaf_weight: 1.0,
            l2: 1.0,
            columns: 1.0,
            rows: 1.0,
            bins: 2_048,
            seed: 1,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    #[error("a row has {found} numbers instead of {expected}")]
    Width { expected: usize, found: usize },
    #[error("an infinite number in the column {0}")]
    Infinite(String),
    #[error("all rows have the same label: there is nothing to learn")]
    OneClass,
    #[error("a depth of {0} is more than {MAX_DEPTH}")]
    Depth(usize),
    #[error("training: {0}")]
    Booster(String),
    #[error("the trained trees: {0}")]
    Ensemble(#[from] InvalidEnsemble),
}

impl Table {
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Self {
            columns: vec![Vec::new(); names.len()],
            names,
            labels: Vec::new(),
        }
    }

    pub fn push(&mut self, row: &[f64], label: bool) -> Result<(), TrainingError> {
        if row.len() != self.columns.len() {
            return Err(TrainingError::Width {
                expected: self.columns.len(),
                found: row.len(),
            });
        }
        if let Some((name, _)) = self.names.iter().zip(row).find(|(_, value)| value.is_infinite()) {
            return Err(TrainingError::Infinite(name.clone()));
        }
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(*value);
        }
        self.labels.push(label);
        Ok(())
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn labels(&self) -> &[bool] {
        &self.labels
    }

    /// Learns others, to show that nothing else gives the answer away.
    pub fn set_labels(&mut self, labels: Vec<bool>) {
        self.labels = labels;
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    pub fn row(&self, index: usize) -> Vec<f64> {
        let value = |column: &Vec<f64>| column.get(index).copied().unwrap_or(f64::NAN);
        self.columns.iter().map(value).collect()
    }

    pub fn select(&self, rows: &[usize]) -> Self {
        let pick = |column: &Vec<f64>| rows.iter().filter_map(|row| column.get(*row).copied()).collect();
        Self {
            names: self.names.clone(),
            columns: self.columns.iter().map(pick).collect(),
            labels: rows
                .iter()
                .filter_map(|row| self.labels.get(*row).copied())
                .collect(),
        }
    }

    pub fn slice(&self, rows: Range<usize>) -> Self {
        self.select(&rows.collect::<Vec<_>>())
    }
}

/// Trains on all rows of `table`, on the thread that calls.
pub fn train(table: &Table, parameters: &Parameters) -> Result<Ensemble, TrainingError> {
    if parameters.depth > MAX_DEPTH {
        return Err(TrainingError::Depth(parameters.depth));
    }
    let positives = table.labels.iter().filter(|label| **label).count();
    if positives == 0 || positives == table.labels.len() {
        return Err(TrainingError::OneClass);
    }
    let data = table.columns.concat();
    let labels: Vec<f64> = table
        .labels
        .iter()
        .map(|label| f64::from(u8::from(*label)))
        .collect();
    let sampling = if parameters.rows < 1.0 {
        forust_ml::sampler::SampleMethod::Random
    } else {
        forust_ml::sampler::SampleMethod::None
    };
    let mut booster = GradientBooster::default()
        .set_objective_type(ObjectiveType::LogLoss)
        .set_iterations(parameters.trees)
        .set_learning_rate(parameters.learning_rate)
        .set_max_depth(parameters.depth)
        .set_min_leaf_weight(parameters.min_leaf_weight)
        .set_l2(parameters.l2)
        .set_colsample_bytree(parameters.columns)
        .set_subsample(parameters.rows)
        .set_sample_method(sampling)
        .set_nbins(parameters.bins)
        .set_seed(parameters.seed)
        .set_parallel(false)
        .set_tiled_histograms(true)
        // The rate of fraud as a start would let the first trees see nothing of the rare rows.
        .set_initialize_base_score(false)
        .set_base_score(0.0);
    booster.grow_policy = GrowPolicy::DepthWise;
    let matrix = Matrix::new(&data, table.len(), table.columns.len());
    booster
        .fit_unweighted(&matrix, &labels, None)
        .map_err(|error| TrainingError::Booster(error.to_string()))?;
    Ok(Ensemble::of_booster(&booster, table.columns.len())?)
}
