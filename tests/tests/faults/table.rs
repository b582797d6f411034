//! The table of the faults: what each tried, what was acknowledged, and what of that was lost.

use std::sync::Once;

use platform::programs::tell;

/// What became of the requests of one fault test.
#[derive(Debug, Default)]
pub struct Row {
    pub tried: usize,
    pub acknowledged: usize,
    /// Refused by a rule, or told that nothing happened.
    pub refused: usize,
    /// Without a definite answer, and so repeated.
    pub unknown: usize,
    pub lost: usize,
}

impl Row {
    /// Tests print no output unless they fail, so this goes past the test harness.
    pub fn print(&self, fault: &str) {
        static HEADER: Once = Once::new();
        HEADER.call_once(|| {
            tell(&format!(
                "{:<58} {:>7} {:>12} {:>8} {:>8} {:>5}",
                "fault", "tried", "acknowledged", "refused", "unknown", "lost"
            ));
        });
        tell(&format!(
            "{fault:<58} {:>7} {:>12} {:>8} {:>8} {:>5}",
            self.tried, self.acknowledged, self.refused, self.unknown, self.lost
        ));
    }
}
