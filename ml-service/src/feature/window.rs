//! How often and how much within the last hour, day, week and month: six parts of each window, so that moving on and
//! counting cost the same whatever came before. A window reaches back between five and six parts: an hour, 50 to 60 minutes.

use super::encoding::{DecodeError, Reader, Writer};

pub const HOUR: i64 = 3_600;
pub const DAY: i64 = 24 * HOUR;
pub const WEEK: i64 = 7 * DAY;
pub const MONTH: i64 = 30 * DAY;

pub const LENGTHS: [i64; 4] = [HOUR, DAY, WEEK, MONTH];
pub const PARTS: usize = 6;

/// What fell into one part of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub count: u32,
    /// Payments of several times what the account usually pays.
    pub large: u32,
    /// Between those who had not dealt with each other before.
    pub new: u32,
    /// Minor units.
    pub sum: u64,
}

/// The parts of one window, newest first.
pub type Parts<P> = [P; PARTS];

/// All windows of one entity. They stand at the time of its newest event, which is kept beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    newest_at: i64,
    rings: [Parts<Part>; LENGTHS.len()],
}

/// How many parts `at` is after `newest_at`; negative when before.
pub fn parts_between(length: i64, newest_at: i64, at: i64) -> i64 {
    let width = length / 6;
    at.div_euclid(width).saturating_sub(newest_at.div_euclid(width))
}

/// Moves a window on by `by` parts.
pub fn advance<P: Default>(parts: &mut Parts<P>, by: i64) {
    let by = usize::try_from(by).unwrap_or(0).min(PARTS);
    parts.rotate_right(by);
    parts.iter_mut().take(by).for_each(|part| *part = P::default());
}

impl Windows {
    pub fn new(at: i64) -> Self {
        Self {
            newest_at: at,
            ..Self::default()
        }
    }

    /// What comes late counts in its own time, or not at all when that has passed.
    pub fn add(&mut self, at: i64, amount: i64, is_large: bool, is_new: bool) {
        for (length, parts) in LENGTHS.into_iter().zip(&mut self.rings) {
            let newer_by = parts_between(length, self.newest_at, at);
            advance(parts, newer_by);
            let age = usize::try_from(newer_by.saturating_neg()).unwrap_or(0);
            if let Some(part) = parts.get_mut(age) {
                part.count = part.count.saturating_add(1);
                part.large = part.large.saturating_add(u32::from(is_large));
                part.new = part.new.saturating_add(u32::from(is_new));
                part.sum = part.sum.saturating_add(u64::try_from(amount).unwrap_or(0));
            }
        }
        self.newest_at = self.newest_at.max(at);
    }

    pub fn count(&self, length: i64, at: i64) -> i64 {
        self.parts(length, at).map(|part| i64::from(part.count)).sum()
    }

    pub fn large(&self, length: i64, at: i64) -> i64 {
        self.parts(length, at).map(|part| i64::from(part.large)).sum()
    }

    pub fn new_others(&self, length: i64, at: i64) -> i64 {
        self.parts(length, at).map(|part| i64::from(part.new)).sum()
    }

    pub fn sum(&self, length: i64, at: i64) -> u64 {
        self.parts(length, at)
            .fold(0, |sum, part| sum.saturating_add(part.sum))
    }

    /// The parts of a window that the time `at` still sees. A clock that lags sees all of them.
    fn parts(&self, length: i64, at: i64) -> impl Iterator<Item = &Part> {
        let newer_by = usize::try_from(parts_between(length, self.newest_at, at)).unwrap_or(0);
        let ring = LENGTHS
            .into_iter()
            .zip(&self.rings)
            .find(|(known, _)| *known == length);
        let parts = ring.map(|(_, parts)| parts.iter().take(PARTS.saturating_sub(newer_by)));
        parts.into_iter().flatten()
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.signed(self.newest_at);
        for part in self.rings.iter().flatten() {
            writer.unsigned(part.count);
            if part.count > 0 {
                writer.unsigned(part.large);
                writer.unsigned(part.new);
                writer.unsigned(part.sum);
            }
        }
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut windows = Self::new(reader.signed()?);
        for part in windows.rings.iter_mut().flatten() {
            part.count = reader.unsigned()?;
            if part.count > 0 {
                part.large = reader.unsigned()?;
                part.new = reader.unsigned()?;
                part.sum = reader.unsigned()?;
            }
        }
        Ok(windows)
    }
}
