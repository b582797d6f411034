//! Payments of people that do not exist, to train the model that the service comes with: habits, and frauds in the ways that
//! are known from real ones. Integers and one seed, so that everybody gets the same.
//!
//! It teaches a model what is odd, not how often fraud happens anywhere: a model trained on one's own payments is better.

use std::collections::BTreeSet;

use crate::feature::{Event, Key};
use crate::replay::{Label, LabelledEvent};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;
/// 2025-01-01.
const START: i64 = 1_735_689_600;
const EXPONENT: u8 = 2;

/// How much is made.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub accounts: u64,
    pub days: i64,
}

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn between(&mut self, first: i64, last: i64) -> i64 {
        let span = u64::try_from(last - first + 1).unwrap_or(1);
        first + i64::try_from(self.below(span)).unwrap_or(0)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let index = self.below(u64::try_from(from.len()).ok()?);
        from.get(usize::try_from(index).ok()?).copied()
    }

    /// A hundredfold factor around 100, now and then far above it.
    fn spread(&mut self) -> i64 {
        let ordinary = self.between(30, 170);
        if self.one_in(25) {
            ordinary * self.between(2, 8)
        } else {
            ordinary
        }
    }
}

/// What somebody does when nothing is wrong.
struct Habits {
    key: Key,
    since: i64,
    /// Minor units.
    usual: i64,
    /// Payments in ten days.
    frequency: i64,
    payees: Vec<Key>,
    devices: Vec<Key>,
    addresses: Vec<Key>,
}

struct World {
    random: Random,
    keys: u128,
    end: i64,
    events: Vec<LabelledEvent>,
    /// Each with when it opens.
    shops: Vec<(Key, i64)>,
    /// Shops in the wrong hands, and from when to when.
    taken_over: Vec<(Key, i64, i64)>,
}

/// In the order of time.
pub fn generate(seed: u64, size: Size) -> Vec<LabelledEvent> {
    let mut world = World {
        random: Random(seed),
        keys: 0,
        end: START + size.days * DAY,
        events: Vec::new(),
        shops: Vec::new(),
        taken_over: Vec::new(),
    };
    for number in 0..(size.accounts / 4).max(10) {
        let opens_at = if number % 3 == 0 {
            world.random.between(START, world.end)
        } else {
            START
        };
        let shop = (world.key(), opens_at);
        world.shops.push(shop);
    }
    world.take_over_shops(size);
    let people: Vec<Habits> = (0..size.accounts).map(|_| world.person()).collect();
    for person in &people {
        world.live(person, &people);
    }
    // A few of each in a hundred accounts each month.
    let frauds = i64::try_from(size.accounts).unwrap_or(0) * size.days / 30;
    for _ in 0..frauds / 60 {
        world.account_takeover(&people);
        world.card_testing(&people);
    }
    for _ in 0..frauds / 600 {
        world.mule(&people);
    }
    for _ in 0..frauds / 100 {
        world.collection(&people);
    }
    let mut events = world.events;
    events.retain(|labelled| labelled.event.at < world.end);
    events.sort_by_key(|labelled| (labelled.event.at, labelled.event.account, labelled.event.amount));
    events
}

impl World {
    fn key(&mut self) -> Key {
        self.keys += 1;
        Key(self.keys)
    }

    fn open_shop(&mut self, at: i64) -> Option<Key> {
        let shop = self.random.pick(&self.shops);
        shop.filter(|(_, opens_at)| *opens_at <= at).map(|(shop, _)| shop)
    }

    fn take_over_shops(&mut self, size: Size) {
        let taken: BTreeSet<Key> = (0..size.accounts / 60)
            .filter_map(|_| self.random.pick(&self.shops).map(|(shop, _)| shop))
            .collect();
        for shop in taken {
            let from = START + self.random.between(5, size.days.max(6)) * DAY;
            let until = from + self.random.between(5, 28) * DAY;
            self.taken_over.push((shop, from, until));
        }
    }

    fn person(&mut self) -> Habits {
        let late = self.random.one_in(4);
        let since = if late {
            self.random.between(START, self.end)
        } else {
            START
        };
        let shops = self.random.between(2, 14);
        let friends = self.random.between(1, 6);
        let mut payees: Vec<Key> = (0..shops).filter_map(|_| self.open_shop(since)).collect();
        payees.extend((0..friends).map(|_| self.key()).collect::<Vec<_>>());
        let devices = self.random.between(1, 2);
        let addresses = self.random.between(1, 3);
        Habits {
            key: self.key(),
            since,
            usual: self.random.between(8, 60) * self.random.between(20, 300),
            frequency: self.random.between(2, 22),
            payees,
            devices: (0..devices).map(|_| self.key()).collect(),
            addresses: (0..addresses).map(|_| self.key()).collect(),
        }
    }

    /// Everything that somebody pays by themselves, which is sometimes odd: a new telephone, a journey, a new sofa.
    fn live(&mut self, person: &Habits, people: &[Habits]) {
        let mut devices = person.devices.clone();
        let mut at = person.since + self.random.between(0, 3 * DAY);
        while at < self.end {
            let night = at.rem_euclid(DAY) < 6 * HOUR && !self.random.one_in(8);
            if night {
                at += 6 * HOUR;
            }
            if self.random.one_in(150) {
                let new = self.key();
                devices.splice(..1, [new]);
            }
            let payee = match self.random.below(20) {
                0 => self.open_shop(at),
                1 if self.random.one_in(3) => {
                    let index = usize::try_from(self.random.below(u64::try_from(people.len()).unwrap_or(1)));
                    people.get(index.unwrap_or(0)).map(|other| other.key)
                }
                2 if self.random.one_in(4) => Some(self.key()),
                _ => self.random.pick(&person.payees),
            };
            let address = if self.random.one_in(30) {
                Some(self.key())
            } else {
                self.random.pick(&person.addresses)
            };
            let amount = (person.usual * self.random.spread() / 100).max(50);
            let mut event = Event {
                at,
                account: person.key,
                counterparty: payee.unwrap_or(person.key),
                device: self.random.pick(&devices),
                address,
                amount,
                exponent: EXPONENT,
            };
            // Some clients do not say where they are.
            if self.random.one_in(10) {
                (event.device, event.address) = (None, None);
            }
            let is_taken_over = self
                .taken_over
                .iter()
                .any(|(shop, from, until)| *shop == event.counterparty && (*from..*until).contains(&at));
            let is_fraud = is_taken_over && !self.random.one_in(4);
            self.push(event, is_fraud);
            let mean_s = 10 * DAY / person.frequency;
            at += self.random.between(1, 2 * mean_s);
            if self.random.one_in(12) {
                at += self.random.between(60, HOUR) - mean_s / 2;
                at = at.max(person.since);
            }
        }
    }

    fn push(&mut self, event: Event, is_fraud: bool) {
        let delay = if self.random.one_in(5) {
            self.random.between(7 * DAY, 30 * DAY)
        } else {
            self.random.between(DAY / 2, 7 * DAY)
        };
        // One fraud in twenty is never noticed.
        let is_fraud = is_fraud && !self.random.one_in(20);
        let known_at = event.at + if is_fraud { delay } else { delay.max(5 * DAY) };
        let label = Label { is_fraud, known_at };
        self.events.push(LabelledEvent {
            event,
            label: Some(label),
            refused: false,
        });
    }

    fn anyone<'a>(&mut self, people: &'a [Habits]) -> Option<&'a Habits> {
        let index = self.random.below(u64::try_from(people.len()).ok()?);
        people.get(usize::try_from(index).ok()?)
    }

    /// When somebody is robbed: once they have a history, more often than not at night.
    fn moment(&mut self, victim: &Habits) -> Option<i64> {
        let first = victim.since + 5 * DAY;
        if first >= self.end {
            return None;
        }
        let at = self.random.between(first, self.end);
        Some(if self.random.one_in(2) {
            at - at.rem_euclid(DAY) + self.random.between(0, 6 * HOUR)
        } else {
            at
        })
    }

    /// Somebody else has the password: a new device and address, a few large payments to payees never seen.
    fn account_takeover(&mut self, people: &[Habits]) {
        let Some(victim) = self.anyone(people) else { return };
        let Some(mut at) = self.moment(victim) else { return };
        let (device, address, payee) = (self.key(), self.key(), self.key());
        for number in 0..self.random.between(1, 6) {
            let counterparty = if number == 0 || self.random.one_in(2) {
                payee
            } else {
                self.key()
            };
            let event = Event {
                at,
                account: victim.key,
                counterparty,
                device: Some(device),
                address: Some(address),
                amount: victim.usual * self.random.between(150, 2_000) / 100,
                exponent: EXPONENT,
            };
            self.push(event, true);
            at += self.random.between(30, HOUR);
        }
    }

    /// Small payments that try whether it works, then a large one.
    fn card_testing(&mut self, people: &[Habits]) {
        let Some(victim) = self.anyone(people) else { return };
        let Some(mut at) = self.moment(victim) else { return };
        let device = self.random.one_in(2).then(|| self.key());
        let tries = self.random.between(3, 9);
        for number in 0..=tries {
            let amount = if number == tries {
                victim.usual * self.random.between(200, 1_200) / 100
            } else {
                self.random.between(50, 300)
            };
            let counterparty = self.open_shop(at).unwrap_or(victim.key);
            let event = Event {
                at,
                account: victim.key,
                counterparty,
                device,
                address: None,
                amount,
                exponent: EXPONENT,
            };
            self.push(event, true);
            at += self.random.between(20, 600);
        }
    }

    /// Friends collect for a present, or a new shop is the talk of the town: a new payee whom many pay, and nothing is wrong.
    fn collection(&mut self, people: &[Habits]) {
        let payee = self.key();
        let mut at = self.random.between(START, self.end);
        for _ in 0..self.random.between(2, 25) {
            let Some(payer) = self.anyone(people) else { return };
            if payer.since < at {
                let event = Event {
                    at,
                    account: payer.key,
                    counterparty: payee,
                    device: self.random.pick(&payer.devices),
                    address: self.random.pick(&payer.addresses),
                    amount: (payer.usual * self.random.between(10, 250) / 100).max(50),
                    exponent: EXPONENT,
                };
                self.push(event, false);
            }
            at += self.random.between(60, 8 * HOUR);
        }
    }

    /// People who do not know each other are talked into paying one new payee within days, from their own devices.
    fn mule(&mut self, people: &[Habits]) {
        let payee = self.key();
        let mut at = self.random.between(START + 10 * DAY, self.end);
        for _ in 0..self.random.between(4, 25) {
            let Some(victim) = self.anyone(people) else { return };
            if victim.since < at {
                let event = Event {
                    at,
                    account: victim.key,
                    counterparty: payee,
                    device: self.random.pick(&victim.devices),
                    address: self.random.pick(&victim.addresses),
                    amount: victim.usual * self.random.between(200, 1_500) / 100,
                    exponent: EXPONENT,
                };
                self.push(event, true);
            }
            at += self.random.between(300, 8 * HOUR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size {
        accounts: 200,
        days: 40,
    };

    #[test]
    fn a_seed_gives_the_same_payments_and_another_gives_others() {
        let events = generate(7, SMALL);
        assert_eq!(events, generate(7, SMALL));
        assert_ne!(events, generate(8, SMALL));
    }

    #[test]
    fn payments_are_in_order_and_some_are_fraud() {
        let events = generate(1, SMALL);
        assert!(events.is_sorted_by_key(|labelled| labelled.event.at));
        assert!(events.iter().all(|labelled| labelled.event.amount > 0));
        let known = events.iter().filter_map(|labelled| labelled.label);
        assert!(
            known
                .clone()
                .zip(&events)
                .all(|(label, labelled)| label.known_at > labelled.event.at)
        );
        let frauds = known.filter(|label| label.is_fraud).count();
        assert!(
            (events.len() / 200..events.len() / 15).contains(&frauds),
            "{frauds} of {}",
            events.len()
        );
    }
}
