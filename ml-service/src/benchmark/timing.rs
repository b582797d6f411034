//! How long one payment takes in process, on one thread: its features from states in memory, its score, and its reasons.

#![expect(clippy::float_arithmetic, reason = "times are shown as floats")]

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::handbook::Handbook;
use crate::feature;
use crate::model::reason;

const SAMPLES: usize = 20_000;

#[derive(Clone, Debug, Serialize)]
pub struct Service {
    pub score_p50_us: f64,
    pub score_p99_us: f64,
    pub reasons_p50_us: f64,
    pub reasons_p99_us: f64,
    pub train_28_days_s: f64,
}

pub fn measure(handbook: &Handbook) -> anyhow::Result<Service> {
    let started = Instant::now();
    let model = handbook.train_last(28)?;
    let train_28_days_s = started.elapsed().as_secs_f64();
    let (events, states) = handbook.last_states(SAMPLES);
    let (mut scores, mut reasons) = (Vec::new(), Vec::new());
    for event in events {
        let started = Instant::now();
        let vector = feature::features(event, states);
        std::hint::black_box(model.log_odds(&vector));
        scores.push(started.elapsed());
        let contributions = model.contributions(&vector);
        std::hint::black_box(reason::reasons(&vector, &contributions));
        reasons.push(started.elapsed());
    }
    let at = |times: &mut Vec<Duration>, percent: usize| {
        times.sort_unstable();
        let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        let time = times.get(place).context("no payments to measure with")?;
        anyhow::Ok(time.as_secs_f64() * 1e6)
    };
    Ok(Service {
        score_p50_us: at(&mut scores, 50)?,
        score_p99_us: at(&mut scores, 99)?,
        reasons_p50_us: at(&mut reasons, 50)?,
        reasons_p99_us: at(&mut reasons, 99)?,
        train_28_days_s,
    })
}
