//! Sequences of steps at random. One that shows a divergence is made as short as it can be.
//!
//! `MODEL_CASES` is how many sequences the running service is asked, 8 unless told. `MODEL_SEED` repeats a run.

use std::cell::Cell;

use aws_lc_rs::rand;
use platform::programs::{tell, variable};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::steps::{Step, steps};
use crate::table::Row;

const STEPS: usize = 100;

/// Has `take` take sequences of steps, so many for each that the running service is asked, and prints a line of the table. An
/// error of `take` tells where two went different ways.
pub fn try_at_random(what: &str, for_each: u32, take: impl Fn(&[Step]) -> Result<Row, String>) {
    let cases = variable("MODEL_CASES").map_or(8, |text| text.to_str().unwrap().parse().unwrap());
    let (cases, seed) = (for_each * cases, seed());
    let config = Config {
        cases,
        failure_persistence: None,
        // Milliseconds: a try may take a second.
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let tried = Cell::new(Row::default());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let result = runner.run(&steps(STEPS), |steps| {
        let row = take(&steps).map_err(TestCaseError::fail)?;
        let before = tried.take();
        tried.set(Row {
            tried: before.tried + row.tried,
            acknowledged: before.acknowledged + row.acknowledged,
            refused: before.refused + row.refused,
            ..Row::default()
        });
        Ok(())
    });
    let seed: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let told = format!("{what}: {cases} cases, MODEL_SEED={seed}");
    tell(&told);
    match result {
        Err(TestError::Fail(reason, steps)) => panic!("{told}\n{reason}\nin {steps:?}"),
        result => result.unwrap(),
    }
    tried.take().print(what);
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    match variable("MODEL_SEED") {
        Some(text) => {
            let text = text.to_str().unwrap();
            for (index, byte) in seed.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
            }
        }
        None => rand::fill(&mut seed).unwrap(),
    }
    seed
}
