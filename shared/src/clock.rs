//! The time, as an argument. Rows that must agree with the database's own order use the database's `now()` instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Datelike, Duration, Utc};
use serde::{Deserialize, Deserializer};

/// Tells the time. In a test and in the sandbox it can be moved forward; in production it is the system's.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
    /// Of a separate clock: how much it is ahead of the one that it was made from.
    ahead_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    pub fn now(&self) -> DateTime<Utc> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the system's clock"
        )]
        let now = Utc::now();
        let ahead_ms = self
            .ahead_ms
            .as_ref()
            .map_or(0, |ahead| ahead.load(Ordering::Relaxed));
        let offset_ms = self.offset_ms.load(Ordering::Relaxed);
        now + Duration::milliseconds(offset_ms.saturating_add(ahead_ms))
    }

    fn moved(&self) -> &AtomicI64 {
        self.ahead_ms.as_ref().unwrap_or(&self.offset_ms)
    }

    /// A clock that follows this one, and can be moved forward by itself.
    pub fn separate(&self) -> Self {
        Self {
            offset_ms: Arc::clone(&self.offset_ms),
            ahead_ms: Some(Arc::default()),
        }
    }

    /// Moves this clock, and every clone of it, forward: in tests of expiry, and in the sandbox.
    pub fn advance(&self, by: Duration) {
        self.moved().fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }

    /// The same, if `may_be` allows the moment to which it comes, however many ask at once. Tells whether it was moved.
    pub fn advance_if(&self, by: Duration, may_be: impl Fn(DateTime<Utc>) -> bool) -> bool {
        self.moved()
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |moved_ms| {
                let then = self.now().checked_add_signed(by)?;
                moved_ms
                    .checked_add(by.num_milliseconds())
                    .filter(|_| may_be(then))
            })
            .is_ok()
    }
}

/// A moment that a request may name, in the years 1 to 9999: no more than the database and every format can hold. For
/// `#[serde(default, deserialize_with)]`.
pub fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let moment = Option::<DateTime<Utc>>::deserialize(deserializer)?;
    if moment.is_some_and(|it| !(1..=9999).contains(&it.year())) {
        return Err(serde::de::Error::custom(
            "expected a moment in the years 1 to 9999",
        ));
    }
    Ok(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_no_further_than_it_may_however_many_move_it() {
        let clock = Clock::system().separate();
        let latest = clock.now() + Duration::days(10);
        let move_it = || {
            let is_moved = |_: &i32| clock.advance_if(Duration::hours(1), |then| then <= latest);
            (0..100).filter(is_moved).count()
        };
        let moved: usize = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(move_it));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        // The last of 240 hours is missed by the time that the test takes.
        assert_eq!(moved, 239);
        assert!(clock.now() <= latest);
        assert!(!clock.advance_if(Duration::MAX, |_| true));
    }

    #[test]
    fn a_separate_clock_follows_and_goes_ahead_alone() {
        let clock = Clock::system();
        let separate = clock.separate();
        clock.advance(Duration::days(1));
        separate.advance(Duration::days(2));
        let ahead = |clock: &Clock| (clock.now() - Clock::system().now()).num_hours();
        assert!((23..=24).contains(&ahead(&clock)), "{}", ahead(&clock));
        assert!(
            (71..=72).contains(&ahead(&separate.clone())),
            "{}",
            ahead(&separate)
        );
    }
}
