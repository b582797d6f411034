//! How long scoring took lately, in this replica: kept in memory, so it begins anew with the process. The metrics have all of it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

const WINDOW: Duration = Duration::from_secs(3_600);
const MAX_BATCHES: usize = 10_000;

#[derive(Debug, Default)]
pub struct RecentLatency(Mutex<VecDeque<(Instant, Duration)>>);

/// How long batches took from the request to the answer, in the replica that answers: those of the last hour, at most the last
/// 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct ScoringLatency {
    pub batches: u64,
    #[schema(required)]
    pub p50_ms: Option<f64>,
    #[schema(required)]
    pub p99_ms: Option<f64>,
}

impl RecentLatency {
    pub fn record(&self, ended: Instant, took: Duration) {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() >= MAX_BATCHES {
            batches.pop_front();
        }
        batches.push_back((ended, took));
    }

    pub fn look(&self, now: Instant) -> ScoringLatency {
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = batches
            .iter()
            .filter(|(ended, _)| now.saturating_duration_since(*ended) < WINDOW);
        let mut took: Vec<Duration> = recent.map(|(_, took)| *took).collect();
        drop(batches);
        took.sort_unstable();
        let at = |percent: usize| {
            let place = took.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
            took.get(place).map(milliseconds)
        };
        ScoringLatency {
            batches: u64::try_from(took.len()).unwrap_or(u64::MAX),
            p50_ms: at(50),
            p99_ms: at(99),
        }
    }
}

#[expect(clippy::float_arithmetic, reason = "a time that is shown")]
fn milliseconds(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_counts_and_no_more_than_fits() {
        let latency = RecentLatency::default();
        let start = Instant::now();
        let nothing = latency.look(start);
        assert_eq!((nothing.batches, nothing.p50_ms), (0, None));
        let later = start + WINDOW;
        latency.record(start, Duration::from_secs(9));
        (1..=100).for_each(|number| latency.record(later, Duration::from_millis(number)));
        let seen = latency.look(later);
        assert_eq!(
            (seen.batches, seen.p50_ms, seen.p99_ms),
            (100, Some(50.0), Some(99.0))
        );
        (0..MAX_BATCHES).for_each(|_| latency.record(later, Duration::from_millis(7)));
        let seen = latency.look(later);
        assert_eq!((seen.batches, seen.p99_ms), (10_000, Some(7.0)));
    }
}
