//! How far long work has come, on the terminal that waits for it: one line on stderr that is written over. Where there is no
//! terminal, a line at the end.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BETWEEN_LINES: Duration = Duration::from_millis(200);

pub struct Progress {
    what: String,
    total: Option<u64>,
    done: u64,
    started: Instant,
    shown: Instant,
}

impl Progress {
    pub fn start(what: impl Into<String>, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            what: what.into(),
            total,
            done: 0,
            started: now,
            shown: now,
        }
    }

    pub fn advance(&mut self, by: u64) {
        self.done = self.done.saturating_add(by);
        // Asking what time it is costs more than most steps.
        let is_due = self.total.is_some_and(|total| total < 1_000) || self.done.is_multiple_of(1_024);
        if is_due && self.shown.elapsed() >= BETWEEN_LINES && std::io::stderr().is_terminal() {
            self.shown = Instant::now();
            self.show("\r", "");
        }
    }

    pub fn finish(self) {
        let start = if std::io::stderr().is_terminal() { "\r" } else { "" };
        self.show(start, "\n");
    }

    fn show(&self, start: &str, end: &str) {
        let bar = self.total.filter(|total| *total > 0).map(|total| {
            let percent = self.done.saturating_mul(100) / total;
            let filled = usize::try_from(percent / 5).unwrap_or(0).min(20);
            format!(
                "[{}{}] {percent:>3} % of ",
                "=".repeat(filled),
                " ".repeat(20 - filled)
            )
        });
        let count = self.total.unwrap_or(self.done);
        let seconds = self.started.elapsed().as_secs_f32();
        let line = format!(
            "{start}{}: {}{count} in {seconds:.1} s{end}",
            self.what,
            bar.unwrap_or_default()
        );
        // Nobody waits for it when it cannot be written.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
