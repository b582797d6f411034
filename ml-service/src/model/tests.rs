//! A model is what was saved, or nothing; and its contributions are exact.

#![expect(clippy::float_arithmetic, reason = "what is tested is floats")]

use std::collections::BTreeMap;

use super::ensemble::MAX_DEPTH;
use super::*;
use crate::training::{Table, train};

/// The next of a row of numbers from 0 to 1.
fn next(number: &mut u64) -> f64 {
    *number = number
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    f64::from(u16::try_from(*number >> 48).unwrap()) / 65_536.0
}

/// Rows with something to find in them, some numbers unknown.
fn table() -> Table {
    let mut table = Table::new(["a", "b", "c", "d"]);
    let mut number = 9_u64;
    for _ in 0..600 {
        let mut next = || next(&mut number);
        let mut row = [next(), next(), next(), next()];
        let label = row[0] + row[1] * row[2] > 0.9;
        if row[3] > 0.7 {
            row[1] = f64::NAN;
        }
        table.push(&row, label).unwrap();
    }
    table
}

fn card() -> Card {
    Card {
        data: "a test".to_owned(),
        schema: "of a test".to_owned(),
        features: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        rows: 600,
        positives: 300,
        first_at: None,
        last_at: None,
        labels_until: None,
        parameters: Parameters::default(),
        metrics: BTreeMap::from([("auc".to_owned(), 0.9)]),
    }
}

fn trained() -> Ensemble {
    let parameters = Parameters {
        trees: 12,
        depth: 4,
        bins: 64,
        ..Parameters::default()
    };
    train(&table(), &parameters).unwrap()
}

/// Shapley's formula itself: over every order in which the features could become known.
fn shapley_by_subsets(value: &dyn Fn(u32) -> f64, features: u32) -> Vec<f64> {
    let factorial = |number: u32| (1..=number).map(f64::from).product::<f64>();
    let total = factorial(features);
    let of = |feature: u32| {
        let without = (0..1_u32 << features).filter(|subset| subset & (1 << feature) == 0);
        let terms = without.map(|subset| {
            let size = subset.count_ones();
            let weight = factorial(size) * factorial(features - size - 1) / total;
            weight * (value(subset | 1 << feature) - value(subset))
        });
        terms.sum()
    };
    (0..features).map(of).collect()
}

#[test]
fn contributions_are_shapleys_and_add_up_to_the_score() {
    let (ensemble, table) = (trained(), table());
    for index in 0..50 {
        let row = table.row(index);
        let contributions = ensemble.contributions(&row);
        let sum = ensemble.expected() + contributions.iter().sum::<f64>();
        assert!((sum - ensemble.log_odds(&row)).abs() < 1e-9, "{sum}");
        let known_only = |subset: u32| ensemble.expected_knowing(&row, subset);
        let by_definition = shapley_by_subsets(&known_only, 4);
        for (fast, slow) in contributions.iter().zip(by_definition) {
            assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
        }
    }
}

#[test]
fn contributions_of_deep_trees_are_exact_too() {
    let mut table = Table::new(["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    let mut number = 4_u64;
    for _ in 0..2_000 {
        let row: [f64; 9] = std::array::from_fn(|_| next(&mut number));
        let above = row.iter().filter(|value| **value > 0.5).count();
        table.push(&row, above % 2 == 1).unwrap();
    }
    let parameters = Parameters {
        trees: 2,
        depth: MAX_DEPTH,
        min_leaf_weight: 0.1,
        l2: 0.0,
        bins: 16,
        ..Parameters::default()
    };
    let ensemble = train(&table, &parameters).unwrap();
    let mut used = 0;
    for index in 0..2 {
        let row = table.row(index);
        let contributions = ensemble.contributions(&row);
        used = used.max(contributions.iter().filter(|it| it.abs() > 1e-6).count());
        let known_only = |subset: u32| ensemble.expected_knowing(&row, subset);
        for (fast, slow) in contributions.iter().zip(shapley_by_subsets(&known_only, 9)) {
            assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
        }
    }
    assert_eq!(used, 9);
}

#[test]
fn it_learns() {
    let (ensemble, table) = (trained(), table());
    let rows = (0..table.len()).map(|row| ensemble.log_odds(&table.row(row)));
    let scored: Vec<_> = rows.zip(table.labels().iter().copied()).collect();
    assert!(evaluation::auc(&scored) > 0.95);
    // The guard of the pinned booster: other trees from the same rows are a change that somebody has to want.
    let depth_and_trees = (ensemble.trees(), ensemble.contributions(&[f64::NAN; 4]).len());
    assert_eq!(depth_and_trees, (12, 4));
}

#[test]
fn what_was_saved_is_loaded_and_anything_else_is_refused() {
    let (bytes, saved) = Model::save(card(), trained()).unwrap();
    let load = |bytes: &[u8]| Model::load_with_schema(bytes, "of a test");
    let loaded = load(&bytes).unwrap();
    assert_eq!(loaded, saved);
    let row = table().row(3);
    assert_eq!(
        loaded.probability(&row).to_bits(),
        saved.probability(&row).to_bits()
    );
    assert_eq!(loaded.hash().len(), 64);

    for end in [0, 1, 40, bytes.len() / 2, bytes.len() - 3] {
        assert!(
            matches!(load(&bytes[..end]), Err(ModelError::Malformed(_))),
            "{end}"
        );
    }
    let text = String::from_utf8(bytes.clone()).unwrap();
    let changed = text.replacen("a test", "A test", 1);
    assert!(matches!(load(changed.as_bytes()), Err(ModelError::Hash { .. })));
    assert!(matches!(Model::load(&bytes), Err(ModelError::Schema { .. })));
    let other = text.replacen("flowlet-model-1", "flowlet-model-9", 1);
    assert!(matches!(load(other.as_bytes()), Err(ModelError::Format(_))));
}

#[test]
fn trees_that_would_lead_astray_are_refused() {
    let refused = |trees: &str| {
        let ensemble: Ensemble =
            serde_json::from_str(&format!("{{\"base\":0.0,\"trees\":{trees}}}")).unwrap();
        ensemble.validate(2).unwrap_err()
    };
    assert_eq!(refused("[[]]"), InvalidEnsemble::Size);
    assert_eq!(
        refused("[[[0,1.0,0,1,1,5.0],[0.1,5.0]]]"),
        InvalidEnsemble::Link,
        "a circle"
    );
    assert_eq!(
        refused("[[[0,1.0,1,2,2,5.0],[0.1,5.0]]]"),
        InvalidEnsemble::Link,
        "into nothing"
    );
    assert_eq!(
        refused("[[[0,1.0,1,1,1,5.0],[0.1,5.0]]]"),
        InvalidEnsemble::Link,
        "one child twice"
    );
    assert_eq!(
        refused("[[[0.1,5.0],[0.1,5.0]]]"),
        InvalidEnsemble::Link,
        "a node apart"
    );
    assert_eq!(
        refused("[[[2,1.0,1,2,2,5.0],[0.1,2.0],[0.1,3.0]]]"),
        InvalidEnsemble::Feature
    );
    assert_eq!(
        refused("[[[0,1.0,1,2,2,0.0],[0.1,2.0],[0.1,3.0]]]"),
        InvalidEnsemble::Number
    );
}

#[test]
fn the_shipped_model_is_of_todays_features() {
    let model = shipped().unwrap();
    assert!(model.card().data.contains("generated"), "{}", model.card().data);
    let metric = |name: &str| model.card().metrics[name];
    assert!(metric("average_precision") > 10.0 * metric("fraud_rate"));
}
