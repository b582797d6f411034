//! What is remembered of an account, a counterparty, a device or an address, and the little that is of a pair. Integers
//! only, so that it is the same wherever and in whichever build it is computed.

#![expect(
    clippy::float_arithmetic,
    reason = "only what is read as a feature, never what is kept"
)]

use super::encoding::{DecodeError, Reader, Writer};
use super::window::Windows;
use super::{Event, Key, LabelRecord, float, unsigned};

const ORIGINS: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub first_at: i64,
    pub last_at: i64,
    pub amounts: Amounts,
    pub windows: Windows,
    pub labels: LabelRecord,
    pub origins: Origins,
}

/// Of a whole life, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub count: u64,
    pub max: i64,
    sum: u128,
    squares: u128,
    /// Each at most three times the mean before it, so that one large payment does not make the next look usual.
    clipped_sum: u128,
}

/// Where an account's last payments came from: parts of hashes, newest first, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    devices: [u32; ORIGINS],
    addresses: [u32; ORIGINS],
}

/// A payer and a payee.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    pub count: u32,
    pub last_at: i64,
    sum: u128,
}

impl Profile {
    pub fn new(at: i64) -> Self {
        Self {
            first_at: at,
            last_at: at,
            amounts: Amounts::default(),
            windows: Windows::new(at),
            labels: LabelRecord::default(),
            origins: Origins::default(),
        }
    }

    pub fn observe(&mut self, at: i64, amount: i64, is_large: bool, is_new: bool) {
        self.first_at = self.first_at.min(at);
        self.last_at = self.last_at.max(at);
        self.amounts.add(amount);
        self.windows.add(at, amount, is_large, is_new);
    }

    /// The mean of its payments, not moved much by a few large ones. None before there is one.
    pub fn usual_amount(&self) -> Option<i64> {
        self.amounts.usual()
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.signed(self.first_at);
        writer.signed(self.last_at);
        self.amounts.write(writer);
        self.windows.write(writer);
        self.labels.write(writer);
        self.origins.write(writer);
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            first_at: reader.signed()?,
            last_at: reader.signed()?,
            amounts: Amounts::read(reader)?,
            windows: Windows::read(reader)?,
            labels: LabelRecord::read(reader)?,
            origins: Origins::read(reader)?,
        })
    }
}

impl Amounts {
    fn add(&mut self, amount: i64) {
        let clipped = self
            .usual()
            .map_or(amount, |usual| amount.min(usual.saturating_mul(3)));
        let amount_squared = u128::from(amount.unsigned_abs()).pow(2);
        self.count = self.count.saturating_add(1);
        self.max = self.max.max(amount);
        self.sum = self.sum.saturating_add(u128::from(amount.unsigned_abs()));
        self.squares = self.squares.saturating_add(amount_squared);
        self.clipped_sum = self
            .clipped_sum
            .saturating_add(u128::from(clipped.unsigned_abs()));
    }

    fn usual(&self) -> Option<i64> {
        let usual = self.clipped_sum.checked_div(u128::from(self.count))?;
        Some(i64::try_from(usual).unwrap_or(i64::MAX).max(1))
    }

    fn deviation(&self) -> Option<(f64, f64)> {
        let count = unsigned(self.count);
        let mean = unsigned(self.sum) / count;
        let variance = unsigned(self.squares) / count - mean * mean;
        (self.count > 1).then(|| (mean, variance.max(0.0).sqrt()))
    }

    /// By how many standard deviations `amount` is more than the mean.
    pub fn deviations(&self, amount: i64) -> f64 {
        self.deviation().map_or(f64::NAN, |(mean, deviation)| {
            (float(amount) - mean) / (deviation + 1.0)
        })
    }

    /// The standard deviation as a part of the mean.
    pub fn variation(&self) -> f64 {
        self.deviation()
            .map_or(f64::NAN, |(mean, deviation)| deviation / (mean + 1.0))
    }

    fn write(&self, writer: &mut Writer) {
        writer.unsigned(self.count);
        writer.signed(self.max);
        writer.unsigned(self.sum);
        writer.unsigned(self.squares);
        writer.unsigned(self.clipped_sum);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            count: reader.unsigned()?,
            max: reader.signed()?,
            sum: reader.unsigned()?,
            squares: reader.unsigned()?,
            clipped_sum: reader.unsigned()?,
        })
    }
}

impl Origins {
    pub fn remember(&mut self, device: Option<Key>, address: Option<Key>) {
        for (known, key) in [(&mut self.devices, device), (&mut self.addresses, address)] {
            let Some(tag) = key.map(hash) else { continue };
            let place = known.iter().position(|it| *it == tag).unwrap_or(ORIGINS - 1);
            if let Some(newer) = known.get_mut(..=place) {
                newer.rotate_right(1);
                newer.iter_mut().take(1).for_each(|it| *it = tag);
            }
        }
    }

    /// Whether the event's device and its address are not among them.
    pub fn lack(&self, event: &Event) -> (bool, bool) {
        let lacks = |known: &[u32], key: Option<Key>| key.is_some_and(|key| !known.contains(&hash(key)));
        (
            lacks(&self.devices, event.device),
            lacks(&self.addresses, event.address),
        )
    }

    fn write(&self, writer: &mut Writer) {
        self.devices
            .iter()
            .chain(&self.addresses)
            .for_each(|tag| writer.unsigned(*tag));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut origins = Self::default();
        for tag in origins.devices.iter_mut().chain(&mut origins.addresses) {
            *tag = reader.unsigned()?;
        }
        Ok(origins)
    }
}

impl Pair {
    pub fn observe(&mut self, at: i64, amount: i64) {
        self.last_at = if self.count == 0 { at } else { self.last_at.max(at) };
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(u128::from(amount.unsigned_abs()));
    }

    /// Minor units, at least one.
    pub fn mean(&self) -> i64 {
        let mean = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        i64::try_from(mean).unwrap_or(i64::MAX).max(1)
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.unsigned(self.count);
        writer.signed(self.last_at);
        writer.unsigned(self.sum);
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            count: reader.unsigned()?,
            last_at: reader.signed()?,
            sum: reader.unsigned()?,
        })
    }
}

/// Ids are often made of the time or counted up: all bits have to depend on all of them (the end of SplitMix64).
fn hash(key: Key) -> u32 {
    let [mut mixed, high] =
        [key.0, key.0 >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
    mixed ^= high.rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // Zero is no origin.
    u32::try_from(mixed >> 32).unwrap_or(0) | 1 << 31
}
