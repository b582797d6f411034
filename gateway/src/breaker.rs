//! The circuit breaker of one upstream: after several failures to connect in a row, requests are refused at once for a
//! second, then one is let through to try.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::Gauge;

const FAILURES_TO_OPEN: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(1);
const CLOSED: u64 = 0;

pub struct Breaker {
    created: Instant,
    failures: AtomicU32,
    /// When the next try is due, in milliseconds since `created`; `CLOSED` while all is well.
    next_try_ms: AtomicU64,
    open: Gauge,
}

impl Breaker {
    pub fn new(upstream: &'static str, now: Instant) -> Self {
        let open = metrics::gauge!("gateway_circuit_open", "upstream" => upstream);
        open.set(0);
        Self {
            open,
            created: now,
            failures: AtomicU32::new(0),
            next_try_ms: AtomicU64::new(CLOSED),
        }
    }

    /// Whether a request may go to the upstream. When a try is due, one caller gets it and the others wait for the next.
    pub fn admits(&self, now: Instant) -> bool {
        let next_try_ms = self.next_try_ms.load(Ordering::Relaxed);
        let claim = |until| {
            let exchanged =
                self.next_try_ms
                    .compare_exchange(next_try_ms, until, Ordering::Relaxed, Ordering::Relaxed);
            exchanged.is_ok()
        };
        next_try_ms == CLOSED || (self.ms(now) >= next_try_ms && claim(self.ms(now + OPEN_FOR)))
    }

    pub fn connected(&self) {
        // A plain load first: the counter is shared by all workers and almost always zero already.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.next_try_ms.store(CLOSED, Ordering::Relaxed);
            self.open.set(0);
        }
    }

    pub fn could_not_connect(&self, now: Instant) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_TO_OPEN {
            self.next_try_ms.store(self.ms(now + OPEN_FOR), Ordering::Relaxed);
            self.open.set(1);
        }
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.created).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new("test", now);
        for _ in 0..FAILURES_TO_OPEN {
            assert!(breaker.admits(now));
            breaker.could_not_connect(now);
        }
        breaker
    }

    #[test]
    fn it_opens_then_lets_one_try_through() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(!breaker.admits(now + OPEN_FOR / 2));
        assert!(breaker.admits(now + OPEN_FOR));
        assert!(!breaker.admits(now + OPEN_FOR), "a second try at the same time");
        breaker.could_not_connect(now + OPEN_FOR);
        assert!(!breaker.admits(now + OPEN_FOR * 3 / 2));
    }

    #[test]
    fn a_try_that_connects_closes_it() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(breaker.admits(now + OPEN_FOR));
        breaker.connected();
        assert!(breaker.admits(now + OPEN_FOR) && breaker.admits(now + OPEN_FOR));
    }

    #[test]
    fn failures_with_successes_between_them_do_not_open_it() {
        let now = Instant::now();
        let breaker = Breaker::new("test", now);
        for _ in 0..FAILURES_TO_OPEN * 2 {
            breaker.could_not_connect(now);
            breaker.connected();
        }
        assert!(breaker.admits(now));
    }
}
