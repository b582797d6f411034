//! What the model sees of a payment: numbers about it, its account, the counterparty, the two together, the device and the
//! address, as far as they were known when it was asked for. Training replays the past through these functions and serving
//! calls the same ones, so that the model meets in service what it has learnt from.
//!
//! Pure and deterministic: time is an argument, state is integers, every number is computed in one order, and two replicas
//! or a replay a year later get the same bits. Deliberately absent: any I/O, any clock, and every identifier; a key only
//! chooses whose state is read.

#![expect(
    clippy::float_arithmetic,
    reason = "features are floats, made of integers here and nowhere else"
)]

pub mod encoding;
pub mod label_record;
pub mod profile;
pub mod window;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::LazyLock;

use aws_lc_rs::digest;

use label_record::LabelRecord;
pub use profile::{Pair, Profile};
use window::{DAY, HOUR, MONTH, WEEK};

/// Changes whenever a feature, or what one means, does: a model is only right about what it was trained on.
pub const SCHEMA: &str = "flowlet-features-1";

/// How many numbers a vector has.
pub const COUNT: usize = 52;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Who somebody is to the engine: an id, or a keyed hash of what must not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u128);

/// A payment, or an attempt of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unix seconds.
    pub at: i64,
    pub account: Key,
    pub counterparty: Key,
    pub device: Option<Key>,
    pub address: Option<Key>,
    /// Minor units.
    pub amount: i64,
    /// Decimals of the currency: 2 for USD, 0 for JPY.
    pub exponent: u8,
}

/// Something with a state of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// A payer.
    Account(Key),
    /// A payee.
    Counterparty(Key),
    /// A payer and a payee.
    Pair(Key, Key),
    Device(Key),
    Address(Key),
}

/// What is remembered of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Pair(Pair),
    Profile(Box<Profile>),
}

/// The states that a batch of events works on. An entity without one was never seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(pub HashMap<Entity, State>);

/// The features of one event, in the order of [`names`]. What is not known is NaN.
#[derive(Clone, Debug)]
pub struct Vector(pub [f64; COUNT]);

impl Event {
    /// Those whose states [`features`] reads and [`observe`] and [`label`] change.
    pub fn entities(&self) -> impl Iterator<Item = Entity> {
        let always = [
            Entity::Account(self.account),
            Entity::Counterparty(self.counterparty),
            Entity::Pair(self.account, self.counterparty),
        ];
        let origin = [self.device.map(Entity::Device), self.address.map(Entity::Address)];
        always.into_iter().chain(origin.into_iter().flatten())
    }
}

impl States {
    fn profile(&self, entity: &Entity) -> Option<&Profile> {
        match self.0.get(entity) {
            Some(State::Profile(profile)) => Some(profile),
            Some(State::Pair(_)) | None => None,
        }
    }

    fn profile_mut(&mut self, entity: Entity, at: i64) -> Option<&mut Profile> {
        let unseen = || State::Profile(Box::new(Profile::new(at)));
        match self.0.entry(entity).or_insert_with(unseen) {
            State::Profile(profile) => Some(profile),
            State::Pair(_) => None,
        }
    }

    fn pair(&self, event: &Event) -> Option<&Pair> {
        match self.0.get(&Entity::Pair(event.account, event.counterparty)) {
            Some(State::Pair(pair)) => Some(pair),
            Some(State::Profile(_)) | None => None,
        }
    }
}

impl Deref for Vector {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.0
    }
}

impl Vector {
    /// Name and value of each.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        names().iter().copied().zip(self.0)
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.named()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Whether two vectors are the same, bit for bit.
    pub fn is_identical(&self, other: &Self) -> bool {
        let bits = |vector: &Self| vector.0.map(f64::to_bits);
        bits(self) == bits(other)
    }
}

/// The features of `event`, from what happened before it. Nothing is changed.
pub fn features(event: &Event, states: &States) -> Vector {
    let finite = |value: f64| if value.is_finite() { value } else { f64::NAN };
    Vector(named_features(event, states).map(|(_, value)| finite(value)))
}

/// Counts `event` in. Payments that did not happen are not observed, so that nobody builds a history of attempts.
pub fn observe(event: &Event, states: &mut States) {
    let account = states.profile(&Entity::Account(event.account));
    let usual = account.and_then(Profile::usual_amount);
    let is_large = usual.is_some_and(|usual| is_large(event.amount, usual));
    let is_new_pair = states.pair(event).is_none();
    let (is_new_device, is_new_address) = account.map_or((true, true), |it| it.origins.lack(event));
    for entity in event.entities() {
        let is_new = match entity {
            Entity::Account(_) | Entity::Counterparty(_) => is_new_pair,
            Entity::Device(_) => is_new_device,
            Entity::Address(_) => is_new_address,
            Entity::Pair(..) => {
                let unseen = || State::Pair(Pair::default());
                if let State::Pair(pair) = states.0.entry(entity).or_insert_with(unseen) {
                    pair.observe(event.at, event.amount);
                }
                continue;
            }
        };
        if let Some(profile) = states.profile_mut(entity, event.at) {
            profile.observe(event.at, event.amount, is_large, is_new);
            if matches!(entity, Entity::Account(_)) {
                profile.origins.remember(event.device, event.address);
            }
        }
    }
}

/// Counts in what became known about an event. The engine never sees a label before somebody has given it.
pub fn label(event: &Event, fraud: bool, states: &mut States) {
    each_label_record(event, states, |record, is_ordinary| {
        record.add(event.at, fraud, is_ordinary);
    });
}

/// Counts in that an event was the opposite of what was said of it before, when it was known to have happened at `before_at`.
pub fn relabel(event: &Event, fraud: bool, before_at: i64, states: &mut States) {
    each_label_record(event, states, |record, is_ordinary| {
        record.add(event.at, fraud, is_ordinary);
        record.take_back(before_at, !fraud);
    });
}

fn each_label_record(event: &Event, states: &mut States, change: impl Fn(&mut LabelRecord, bool)) {
    let usual = states
        .profile(&Entity::Account(event.account))
        .and_then(Profile::usual_amount);
    let is_ordinary = usual.is_none_or(|usual| !is_large(event.amount, usual));
    for entity in event
        .entities()
        .filter(|entity| !matches!(entity, Entity::Pair(..)))
    {
        if let Some(profile) = states.profile_mut(entity, event.at) {
            change(&mut profile.labels, is_ordinary);
        }
    }
}

/// The names of a vector's numbers.
pub fn names() -> &'static [&'static str; COUNT] {
    static NAMES: LazyLock<[&'static str; COUNT]> = LazyLock::new(|| {
        let nobody = Event {
            at: 0,
            account: Key(0),
            counterparty: Key(0),
            device: None,
            address: None,
            amount: 0,
            exponent: 0,
        };
        named_features(&nobody, &States::default()).map(|(name, _)| name)
    });
    &NAMES
}

/// SHA-256 of [`SCHEMA`] and [`names`], in hexadecimal.
pub fn schema_hash() -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for name in [SCHEMA].iter().chain(names()) {
        context.update(name.as_bytes());
        context.update(b"\n");
    }
    let hash = context.finish();
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(amount: i64, usual: i64) -> bool {
    amount > usual.saturating_mul(3)
}

/// Each name stands beside what it is computed from.
fn named_features(event: &Event, states: &States) -> [(&'static str, f64); COUNT] {
    let at = event.at;
    let account = states.profile(&Entity::Account(event.account));
    let counterparty = states.profile(&Entity::Counterparty(event.counterparty));
    let device = event.device.and_then(|key| states.profile(&Entity::Device(key)));
    let address = event
        .address
        .and_then(|key| states.profile(&Entity::Address(key)));
    let pair = states.pair(event);
    let amount = float(event.amount);
    let unit = float(10_i64.saturating_pow(u32::from(event.exponent)));
    let (is_new_device, is_new_address) = account.map_or((true, true), |it| it.origins.lack(event));
    let count =
        |profile: Option<&Profile>, window| profile.map_or(0.0, |it| float(it.windows.count(window, at)));
    let large = |window| account.map_or(0.0, |it| float(it.windows.large(window, at)));
    let mean = |profile: Option<&Profile>, window| {
        profile.map_or(f64::NAN, |it| {
            ratio(it.windows.sum(window, at), it.windows.count(window, at))
        })
    };
    let usual = account.and_then(Profile::usual_amount).map_or(f64::NAN, float);
    let labels = |profile: Option<&Profile>| profile.map(|it| it.labels.clone()).unwrap_or_default();
    let (of_account, of_counterparty) = (labels(account), labels(counterparty));
    let of_device = labels(device);
    let new_others = |profile: Option<&Profile>, window| {
        profile.map_or(0.0, |it| float(it.windows.new_others(window, at)))
    };
    let of_origin = |is_new: bool, key: Option<Key>| key.map_or(f64::NAN, |_| float(i64::from(is_new)));
    [
        ("amount", amount / unit),
        ("hour", float(at.rem_euclid(DAY) / HOUR)),
        ("weekday", float((at.div_euclid(DAY) + 3).rem_euclid(7))),
        ("account_count_1h", count(account, HOUR)),
        ("account_count_1d", count(account, DAY)),
        ("account_count_7d", count(account, WEEK)),
        ("account_count_30d", count(account, MONTH)),
        (
            "account_count",
            account.map_or(0.0, |it| unsigned(it.amounts.count)),
        ),
        ("account_amount_over_usual", amount / usual),
        ("account_amount_over_mean_1d", amount / mean(account, DAY)),
        ("account_amount_over_mean_7d", amount / mean(account, WEEK)),
        ("account_amount_over_mean_30d", amount / mean(account, MONTH)),
        (
            "account_amount_over_max",
            account.map_or(f64::NAN, |it| amount / float(it.amounts.max)),
        ),
        (
            "account_amount_deviations",
            account.map_or(f64::NAN, |it| it.amounts.deviations(event.amount)),
        ),
        (
            "account_variation",
            account.map_or(f64::NAN, |it| it.amounts.variation()),
        ),
        ("account_mean_7d_over_usual", mean(account, WEEK) / usual),
        ("account_large_1d", large(DAY)),
        ("account_large_7d", large(WEEK)),
        ("account_large_30d", large(MONTH)),
        ("account_usual", usual / unit),
        ("account_age_days", days(account.map(|it| it.first_at), at)),
        ("account_idle_days", days(account.map(|it| it.last_at), at)),
        ("account_new_counterparties_1d", new_others(account, DAY)),
        ("account_new_counterparties_30d", new_others(account, MONTH)),
        ("account_frauds_known", unsigned(of_account.frauds)),
        ("account_risk_7d", risk(of_account.recent(WEEK))),
        ("account_risk_30d", risk(of_account.recent(MONTH))),
        ("account_fraud_idle_days", days(of_account.last_fraud_at, at)),
        ("pair_count", pair.map_or(0.0, |it| unsigned(it.count))),
        ("pair_idle_days", days(pair.map(|it| it.last_at), at)),
        (
            "pair_amount_over_mean",
            pair.map_or(f64::NAN, |it| amount / float(it.mean())),
        ),
        ("counterparty_count_1h", count(counterparty, HOUR)),
        ("counterparty_count_1d", count(counterparty, DAY)),
        ("counterparty_count_7d", count(counterparty, WEEK)),
        ("counterparty_count_30d", count(counterparty, MONTH)),
        (
            "counterparty_amount_over_usual",
            counterparty
                .and_then(Profile::usual_amount)
                .map_or(f64::NAN, |usual| amount / float(usual)),
        ),
        (
            "counterparty_age_days",
            days(counterparty.map(|it| it.first_at), at),
        ),
        (
            "counterparty_idle_days",
            days(counterparty.map(|it| it.last_at), at),
        ),
        ("counterparty_new_accounts_1d", new_others(counterparty, DAY)),
        ("counterparty_new_accounts_30d", new_others(counterparty, MONTH)),
        ("counterparty_fraud_run", unsigned(of_counterparty.run)),
        (
            "counterparty_ordinary_fraud_run",
            unsigned(of_counterparty.ordinary_run),
        ),
        (
            "counterparty_fraud_run_days",
            days(of_counterparty.run_began_at, at),
        ),
        (
            "counterparty_fraud_idle_days",
            days(of_counterparty.last_fraud_at, at),
        ),
        (
            "counterparty_genuine_idle_days",
            days(of_counterparty.last_genuine_at, at),
        ),
        ("counterparty_risk_7d", risk(of_counterparty.recent(WEEK))),
        ("counterparty_risk_30d", risk(of_counterparty.recent(MONTH))),
        ("device_is_new", of_origin(is_new_device, event.device)),
        ("device_new_accounts_30d", new_others(device, MONTH)),
        ("device_risk_30d", risk(of_device.recent(MONTH))),
        ("address_is_new", of_origin(is_new_address, event.address)),
        ("address_new_accounts_30d", new_others(address, MONTH)),
    ]
}

/// Frauds among what is known, leaning to none while little is.
fn risk((frauds, known): (u64, u64)) -> f64 {
    if known == 0 {
        return f64::NAN;
    }
    unsigned(frauds) / (unsigned(known) + 1.0)
}

fn days(since: Option<i64>, at: i64) -> f64 {
    since.map_or(f64::NAN, |since| {
        float(at.saturating_sub(since).max(0)) / SECONDS_PER_DAY
    })
}

fn ratio(sum: u64, count: i64) -> f64 {
    if count == 0 {
        return f64::NAN;
    }
    unsigned(sum) / float(count)
}

#[expect(clippy::as_conversions, reason = "beyond 2^53 the nearest float will do")]
pub(crate) fn float(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::as_conversions, reason = "beyond 2^53 the nearest float will do")]
pub(crate) fn unsigned(number: impl Into<u128>) -> f64 {
    number.into() as f64
}

#[cfg(test)]
mod tests;
