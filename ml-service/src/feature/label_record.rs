//! What became known of an entity's payments, days after they were made: frauds and genuine ones. A run of frauds at a
//! payee says that it is in the wrong hands, and when it began says how long that may go on.

use super::encoding::{DecodeError, Reader, Writer};
use super::window::{MONTH, PARTS, Parts, WEEK, advance, parts_between};

const LENGTHS: [i64; 2] = [WEEK, MONTH];

/// All times are those of the payments: how late a label is does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRecord {
    pub frauds: u32,
    pub known: u32,
    /// Frauds since the last payment that was known to be genuine.
    pub run: u32,
    /// Those of the run that were of a usual amount for their account: then the payee is the likelier cause.
    pub ordinary_run: u32,
    pub run_began_at: Option<i64>,
    pub last_fraud_at: Option<i64>,
    pub last_genuine_at: Option<i64>,
    /// Frauds and known ones in the week and the month before the newest payment that is known of.
    rings: [Parts<(u32, u32)>; LENGTHS.len()],
}

impl LabelRecord {
    pub fn add(&mut self, at: i64, fraud: bool, is_ordinary: bool) {
        self.count(at, fraud);
        self.known = self.known.saturating_add(1);
        if fraud {
            self.frauds = self.frauds.saturating_add(1);
            self.last_fraud_at = self.last_fraud_at.max(Some(at));
            // One that is known late and was made before a genuine one belongs to an older run.
            if self.last_genuine_at.is_none_or(|genuine_at| at >= genuine_at) {
                self.run = self.run.saturating_add(1);
                self.ordinary_run = self.ordinary_run.saturating_add(u32::from(is_ordinary));
                self.run_began_at = Some(self.run_began_at.map_or(at, |began_at| began_at.min(at)));
            }
        } else {
            self.last_genuine_at = self.last_genuine_at.max(Some(at));
            if self.run_began_at.is_some_and(|began_at| at >= began_at) {
                (self.run, self.ordinary_run, self.run_began_at) = (0, 0, None);
            }
        }
    }

    /// Counts out a payment of which the opposite was counted in: all but a run that it ended, which is not known any more.
    pub fn take_back(&mut self, at: i64, fraud: bool) {
        let newest_at = self.newest_at().unwrap_or(at);
        for (length, parts) in LENGTHS.into_iter().zip(&mut self.rings) {
            let age = usize::try_from(parts_between(length, at, newest_at)).unwrap_or(0);
            if let Some((frauds, known)) = parts.get_mut(age) {
                *frauds = frauds.saturating_sub(u32::from(fraud));
                *known = known.saturating_sub(1);
            }
        }
        self.known = self.known.saturating_sub(1);
        self.frauds = self.frauds.saturating_sub(u32::from(fraud));
        // The rings stand at the newest of both, so only the older of them may go.
        if self.frauds == 0 && self.last_genuine_at >= self.last_fraud_at {
            self.last_fraud_at = None;
        }
        if self.frauds == self.known && self.last_fraud_at >= self.last_genuine_at {
            self.last_genuine_at = None;
        }
    }

    fn count(&mut self, at: i64, fraud: bool) {
        let newest_at = self.newest_at().unwrap_or(at);
        for (length, parts) in LENGTHS.into_iter().zip(&mut self.rings) {
            let newer_by = parts_between(length, newest_at, at);
            advance(parts, newer_by);
            let age = usize::try_from(newer_by.saturating_neg()).unwrap_or(0);
            if let Some((frauds, known)) = parts.get_mut(age) {
                *frauds = frauds.saturating_add(u32::from(fraud));
                *known = known.saturating_add(1);
            }
        }
    }

    fn newest_at(&self) -> Option<i64> {
        self.last_fraud_at.max(self.last_genuine_at)
    }

    /// Frauds and known payments in the last `length` of what is known.
    pub fn recent(&self, length: i64) -> (u64, u64) {
        let ring = LENGTHS
            .into_iter()
            .zip(&self.rings)
            .find(|(known, _)| *known == length);
        let parts = ring.into_iter().flat_map(|(_, parts)| parts);
        parts.fold((0, 0), |(frauds, known), part| {
            (frauds + u64::from(part.0), known + u64::from(part.1))
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.unsigned(self.known);
        if self.known == 0 {
            return;
        }
        for number in [self.frauds, self.run, self.ordinary_run] {
            writer.unsigned(number);
        }
        for time in [self.run_began_at, self.last_fraud_at, self.last_genuine_at] {
            writer.time(time);
        }
        for (frauds, known) in self.rings.iter().flatten() {
            writer.unsigned(*known);
            if *known > 0 {
                writer.unsigned(*frauds);
            }
        }
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let known = reader.unsigned()?;
        if known == 0 {
            return Ok(Self::default());
        }
        let (frauds, run, ordinary_run) = (reader.unsigned()?, reader.unsigned()?, reader.unsigned()?);
        let (run_began_at, last_fraud_at, last_genuine_at) = (reader.time()?, reader.time()?, reader.time()?);
        let mut rings = [[(0, 0); PARTS]; LENGTHS.len()];
        for (frauds, known) in rings.iter_mut().flatten() {
            *known = reader.unsigned()?;
            if *known > 0 {
                *frauds = reader.unsigned()?;
            }
        }
        Ok(Self {
            frauds,
            known,
            run,
            ordinary_run,
            run_began_at,
            last_fraud_at,
            last_genuine_at,
            rings,
        })
    }
}
