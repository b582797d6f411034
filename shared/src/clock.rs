//! The time, as an argument. Rows that must agree with the database's own order use the database's `now()` instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Datelike, Duration, Utc};
use serde::{Deserialize, Deserializer};

/// Tells the time. In a test it can be moved forward; in production it is the system's.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
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
        now + Duration::milliseconds(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves this clock, and every clone of it, forward. For tests of expiry.
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
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
