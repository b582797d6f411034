//! Without a server: one payment after the other, and batches of 64, on one thread.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ml_service::feature::{Vector, features};
use ml_service::model;

use super::payments::Payments;
use super::python::Python;

const SAMPLES: usize = 20_000;
const BATCH: usize = 64;

pub fn compare(payments: &Payments, python: Option<&Python>) -> anyhow::Result<()> {
    let model = model::shipped()?;
    let vector = |number: usize| features(payments.turn(number), payments.states());
    let features_and_score = timed(SAMPLES, |number| {
        black_box(model.probability(&vector(number)));
    });
    let with_reasons = timed(SAMPLES, |number| {
        let vector = vector(number);
        black_box((model.probability(&vector), model.reasons(&vector)));
    });
    let batches = timed(SAMPLES / BATCH, |number| {
        let vectors: Vec<Vector> = (0..BATCH).map(|place| vector(number * BATCH + place)).collect();
        let probabilities = vectors.iter().map(|vector| model.probability(vector));
        black_box(probabilities.collect::<Vec<_>>());
    });
    println!(
        "{:<48}{:>10}{:>10}{:>10}",
        "in process, one thread", "p50 µs", "p99 µs", "ratio"
    );
    let reference = features_and_score;
    print("features and score", features_and_score, reference.0);
    print("with exact reasons", with_reasons, reference.0);
    print("a batch of 64: features and scores", batches, reference.0);
    if let Some(python) = python {
        print("XGBoost in Python: score alone", python.one, reference.0);
        print(
            "XGBoost in Python: contributions",
            python.contributions,
            reference.0,
        );
        print("XGBoost in Python: scores of 64", python.batch, reference.0);
    }
    Ok(())
}

fn print(what: &str, (p50_us, p99_us): (f64, f64), reference: f64) {
    println!(
        "{what:<48}{p50_us:>10.1}{p99_us:>10.1}{:>9.1}×",
        p50_us / reference
    );
}

/// The median and the 99th percentile in microseconds.
fn timed(times: usize, mut work: impl FnMut(usize)) -> (f64, f64) {
    let mut took: Vec<Duration> = (0..times)
        .map(|number| {
            let started = Instant::now();
            work(number);
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}
