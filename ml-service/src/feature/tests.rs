//! What the engine promises: nothing is seen before it happened, every replay is the same, and no identifier matters.

use super::*;

const START: i64 = 1_800_000_000;

fn payment(at: i64, account: u128, counterparty: u128, amount: i64) -> Event {
    Event {
        at: START + at,
        account: Key(account),
        counterparty: Key(counterparty),
        device: None,
        address: None,
        amount,
        exponent: 2,
    }
}

fn observed(events: &[Event]) -> States {
    let mut states = States::default();
    events.iter().for_each(|event| observe(event, &mut states));
    states
}

fn get(event: &Event, states: &States, name: &str) -> f64 {
    features(event, states).get(name).unwrap()
}

/// Some thousand payments of a few dozen accounts, and what became known of them a week later.
fn history(seed: u64) -> Vec<(Event, Option<bool>)> {
    let mut number = seed;
    let mut next = move |below: u64| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    let mut at = 0;
    let mut events = Vec::new();
    for _ in 0..2_000 {
        at += i64::try_from(next(3_600)).unwrap();
        let mut event = payment(
            at,
            next(30).into(),
            (100 + next(40)).into(),
            1 + i64::try_from(next(20_000)).unwrap(),
        );
        event.device = (next(2) == 0).then(|| Key((1_000 + next(50)).into()));
        event.address = (next(3) == 0).then(|| Key((2_000 + next(20)).into()));
        events.push((event, (next(4) > 0).then(|| next(10) == 0)));
    }
    events
}

/// The vector of each event, with each label known a week later.
fn replay(history: &[(Event, Option<bool>)]) -> (Vec<Vector>, States) {
    let mut states = States::default();
    let mut unlabelled = history.iter().peekable();
    let mut vectors = Vec::new();
    for (event, _) in history {
        while let Some((known, fraud)) = unlabelled.next_if(|(known, _)| known.at + WEEK <= event.at) {
            if let Some(fraud) = fraud {
                label(known, *fraud, &mut states);
            }
        }
        vectors.push(features(event, &states));
        observe(event, &mut states);
    }
    (vectors, states)
}

fn are_identical(left: &[Vector], right: &[Vector]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(left, right)| left.is_identical(right))
}

#[test]
fn names_are_of_features_and_each_is_there_once() {
    let mut sorted = names().to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), COUNT);
    assert!(
        names()
            .iter()
            .all(|name| !name.contains("_id_") && !name.ends_with("_id"))
    );
    assert_eq!(schema_hash().len(), 64);
}

#[test]
fn a_replay_gives_the_same_bits_also_through_bytes() {
    let history = history(1);
    let (vectors, states) = replay(&history);
    assert!(are_identical(&vectors, &replay(&history).0));

    let mut stored: HashMap<Entity, Vec<u8>> = HashMap::new();
    for ((event, _), vector) in history.iter().zip(&vectors).take(500) {
        let load = |entity: Entity| Some((entity, State::from_bytes(stored.get(&entity)?).unwrap()));
        let mut batch = States(event.entities().filter_map(load).collect());
        // Labels come after a week and the first 500 payments take ten days: until then there are none.
        if event.at < history[0].0.at + WEEK {
            assert!(features(event, &batch).is_identical(vector));
        }
        observe(event, &mut batch);
        stored.extend(batch.0.iter().map(|(entity, state)| (*entity, state.to_bytes())));
    }
    for state in states.0.values() {
        let bytes = state.to_bytes();
        assert_eq!(State::from_bytes(&bytes).as_ref(), Ok(state));
        assert!(bytes.len() < 400, "{}", bytes.len());
    }
}

#[test]
fn other_identifiers_give_the_same_vectors() {
    let history = history(2);
    let renamed: Vec<(Event, Option<bool>)> = history
        .iter()
        .map(|(event, fraud)| {
            let rename = |key: Key| Key(key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ 77);
            let event = Event {
                account: rename(event.account),
                counterparty: rename(event.counterparty),
                device: event.device.map(rename),
                address: event.address.map(rename),
                ..event.clone()
            };
            (event, *fraud)
        })
        .collect();
    assert!(are_identical(&replay(&history).0, &replay(&renamed).0));
}

#[test]
fn nothing_is_seen_of_what_comes_later() {
    let history = history(3);
    let (all, _) = replay(&history);
    let (half, _) = replay(&history[..1_000]);
    assert!(are_identical(&all[..1_000], &half));
}

#[test]
fn windows_slide_and_late_payments_count_in_their_own_time() {
    let states = observed(&[payment(0, 1, 2, 1_000), payment(1_800, 1, 2, 3_000)]);
    let count = |at, name| get(&payment(at, 1, 2, 1), &states, name);
    assert_eq!(count(1_801, "account_count_1h"), 2.0);
    assert_eq!(count(3_601, "account_count_1h"), 1.0);
    assert_eq!(count(7_200, "account_count_1h"), 0.0);
    assert_eq!(count(7_200, "account_count_1d"), 2.0);
    assert_eq!(count(20 * DAY, "account_count_7d"), 0.0);
    assert_eq!(count(20 * DAY, "counterparty_count_30d"), 2.0);
    assert_eq!(count(90 * DAY, "account_count_30d"), 0.0);
    assert_eq!(count(90 * DAY, "account_count"), 2.0);

    let late = observed(&[payment(2 * DAY, 1, 2, 100), payment(0, 1, 2, 100)]);
    assert_eq!(get(&payment(2 * DAY, 1, 2, 1), &late, "account_count_1d"), 1.0);
    assert_eq!(get(&payment(2 * DAY, 1, 2, 1), &late, "account_count_7d"), 2.0);
    assert_eq!(get(&payment(2 * DAY, 1, 2, 1), &late, "account_age_days"), 2.0);
}

#[test]
fn an_unusual_amount_stands_out_and_does_not_become_usual() {
    let mut events: Vec<Event> = (0..20).map(|day| payment(day * DAY, 1, 2, 1_000)).collect();
    events.push(payment(20 * DAY, 1, 2, 900_000));
    let states = observed(&events);
    let again = payment(21 * DAY, 1, 3, 900_000);
    assert!(get(&again, &states, "account_amount_over_usual") > 500.0);
    assert_eq!(get(&again, &states, "account_large_7d"), 1.0);
    assert_eq!(get(&again, &states, "pair_count"), 0.0);
    assert_eq!(get(&again, &states, "amount"), 9_000.0);
    assert!(get(&payment(0, 9, 9, 1), &states, "account_amount_over_usual").is_nan());
}

#[test]
fn a_run_of_frauds_begins_and_ends_with_what_is_known() {
    let mut states = States::default();
    for (day, fraud) in [(0, false), (1, true), (2, true), (3, true)] {
        label(&payment(day * DAY, 1, 2, 100), fraud, &mut states);
    }
    let asked = payment(10 * DAY, 5, 2, 100);
    let get = |states: &States, name| get(&asked, states, name);
    assert_eq!(get(&states, "counterparty_fraud_run"), 3.0);
    assert_eq!(get(&states, "counterparty_fraud_run_days"), 9.0);
    assert_eq!(get(&states, "counterparty_genuine_idle_days"), 10.0);
    assert_eq!(get(&states, "counterparty_risk_7d"), 3.0 / 5.0);
    // One known late from before the run does not end it.
    label(&payment(0, 1, 2, 100), false, &mut states);
    assert_eq!(get(&states, "counterparty_fraud_run"), 3.0);
    label(&payment(4 * DAY, 1, 2, 100), false, &mut states);
    assert_eq!(get(&states, "counterparty_fraud_run"), 0.0);
    assert!(get(&states, "counterparty_fraud_run_days").is_nan());
    assert_eq!(get(&states, "account_frauds_known"), 0.0, "another account's");
}

#[test]
fn a_label_that_changes_counts_as_its_last_alone() {
    let event = payment(0, 1, 2, 100);
    let labelled = |labels: &[bool]| {
        let mut states = observed(std::slice::from_ref(&event));
        label(&event, labels[0], &mut states);
        for fraud in &labels[1..] {
            relabel(&event, *fraud, event.at, &mut states);
        }
        states
    };
    assert_eq!(labelled(&[true, false]), labelled(&[false]));
    assert_eq!(labelled(&[false, true]), labelled(&[true]));
    let toggled: Vec<bool> = (0..1_001).map(|number| number % 2 == 0).collect();
    assert_eq!(labelled(&toggled), labelled(&[true]));

    // Others of the payee stay, whichever was made first, and so do the windows in which they count.
    for (fraud_at, other_at) in [(0, 40 * DAY), (40 * DAY, 0), (3 * DAY, 0)] {
        let (event, other) = (payment(fraud_at, 1, 2, 100), payment(other_at, 3, 2, 100));
        let mut corrected = States::default();
        label(&other, false, &mut corrected);
        label(&event, true, &mut corrected);
        relabel(&event, false, event.at, &mut corrected);
        let mut right = States::default();
        label(&other, false, &mut right);
        label(&event, false, &mut right);
        assert_eq!(corrected, right, "{fraud_at} {other_at}");
    }
    // A review that was labelled when it was asked for, and is corrected when it is known to be posted later.
    let mut corrected = States::default();
    label(&event, true, &mut corrected);
    let posted = payment(2 * DAY, 1, 2, 100);
    relabel(&posted, false, event.at, &mut corrected);
    let at = payment(2 * DAY, 5, 2, 100);
    assert_eq!(get(&at, &corrected, "counterparty_risk_7d"), 0.0);
    assert_eq!(get(&at, &corrected, "counterparty_fraud_run"), 0.0);
}

#[test]
fn origins_are_new_once_and_absent_ones_are_unknown() {
    let from = |device| Event {
        device: Some(Key(device)),
        ..payment(0, 1, 2, 100)
    };
    let states = observed(&[from(7), from(8)]);
    assert_eq!(get(&from(7), &states, "device_is_new"), 0.0);
    assert_eq!(get(&from(9), &states, "device_is_new"), 1.0);
    assert!(get(&payment(0, 1, 2, 100), &states, "device_is_new").is_nan());
    let other = Event {
        account: Key(3),
        ..from(7)
    };
    assert_eq!(get(&other, &states, "device_new_accounts_30d"), 1.0);
}

#[test]
fn extremes_neither_overflow_nor_leave_the_floats() {
    let mut states = States::default();
    let largest = Event {
        at: i64::MAX,
        ..payment(0, 1, 2, i64::MAX)
    };
    let earliest = Event {
        at: i64::MIN + 1,
        ..payment(0, 1, 2, 0)
    };
    for event in [&largest, &earliest, &largest] {
        assert!(
            features(event, &states)
                .0
                .iter()
                .all(|value| value.is_finite() || value.is_nan())
        );
        observe(event, &mut states);
        label(event, true, &mut states);
    }
    for state in states.0.values() {
        assert_eq!(State::from_bytes(&state.to_bytes()).as_ref(), Ok(state));
    }
}

#[test]
fn damaged_states_are_refused() {
    use encoding::DecodeError;
    let states = observed(
        &history(4)[..50]
            .iter()
            .map(|(event, _)| event.clone())
            .collect::<Vec<_>>(),
    );
    for state in states.0.values() {
        let bytes = state.to_bytes();
        for end in 0..bytes.len() {
            assert!(State::from_bytes(&bytes[..end]).is_err());
        }
        assert_eq!(
            State::from_bytes(&[bytes.clone(), vec![0]].concat()),
            Err(DecodeError::Malformed)
        );
        assert_eq!(
            State::from_bytes(&[&[9], &bytes[1..]].concat()),
            Err(DecodeError::Version(9))
        );
    }
    assert_eq!(State::from_bytes(&[1, 0, 0xff]), Err(DecodeError::Truncated));
    assert_eq!(
        State::from_bytes(&[&[1, 0][..], &[0xff; 30]].concat()),
        Err(DecodeError::Malformed)
    );
}
