//! Each pattern beside what only looks like it.

use super::*;

const T0: i64 = 1_790_000_000 - 1_790_000_000 % DAY_S;

pub fn parameters() -> Parameters {
    let migration = include_str!("../../migrations/2026-11-22-000624_patterns/up.sql");
    let json = migration.split_once("INSERT INTO pattern_parameters").unwrap().1;
    let json = json.split('\'').nth(1).unwrap();
    serde_json::from_str(json).unwrap()
}

/// From one account to another, in whole dollars, hours after the start of a day.
fn moved(from: u128, to: u128, dollars: i64, hour: i64) -> Movement {
    let id = (from << 96) | (to << 64) | u128::try_from(dollars * 10_000 + hour).unwrap();
    Movement {
        transfer_id: Uuid::from_u128(id),
        from: Uuid::from_u128(from),
        to: Uuid::from_u128(to),
        amount: dollars * 100,
        currency: "USD".parse().unwrap(),
        at: T0 + hour * HOUR_S,
        crosses_edge: false,
    }
}

/// What is found when these come one after the other, as `pattern: account: sentence`.
fn found(movements: Vec<Movement>) -> Vec<String> {
    let parameters = parameters();
    let mut history = History::default();
    let mut findings = Vec::new();
    for movement in movements {
        history.push(movement.clone());
        findings.extend(find(&movement, &history, &parameters));
    }
    each_once(findings)
        .iter()
        .map(|it| format!("{}: {}: {}", it.pattern.name(), it.account.as_u128(), it.sentence))
        .collect()
}

#[test]
fn parts_under_the_threshold_on_one_day_are_structuring() {
    let parts = |hours: [i64; 3], amounts: [i64; 3]| {
        let to = [2, 3, 4];
        let each = hours.into_iter().zip(amounts).zip(to);
        each.map(|((hour, dollars), to)| moved(1, to, dollars, hour))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(parts([8, 12, 23], [9_900, 9_500, 9_000])),
        ["structuring: 1: sent 28400.00 USD on one day in 3 transfers, each under 10000.00 USD"]
    );
    // The third comes the day after; one is what has to be reported anyway; they are ordinary amounts.
    for (hours, amounts) in [
        ([8, 12, 24], [9_900, 9_500, 9_000]),
        ([8, 12, 23], [9_900, 9_500, 10_000]),
        ([8, 12, 23], [4_000, 4_000, 4_000]),
    ] {
        assert_eq!(found(parts(hours, amounts)), [""; 0], "{hours:?} {amounts:?}");
    }
    let received = vec![
        moved(2, 1, 9_900, 1),
        moved(3, 1, 9_900, 2),
        moved(4, 1, 9_900, 3),
    ];
    assert_eq!(
        found(received),
        ["structuring: 1: received 29700.00 USD on one day in 3 transfers, each under 10000.00 USD"]
    );
}

#[test]
fn the_threshold_is_that_of_the_currency() {
    let yen = |to: u128, amount: i64| Movement {
        amount,
        currency: "JPY".parse().unwrap(),
        ..moved(1, to, 1, 5)
    };
    assert_eq!(
        found(vec![yen(2, 990_000), yen(3, 990_000), yen(4, 990_000)]).len(),
        1
    );
    let unlisted = |to: u128| Movement {
        currency: "BHD".parse().unwrap(),
        ..yen(to, 9_900_000)
    };
    assert_eq!(found(vec![unlisted(2), unlisted(3), unlisted(4)]), [""; 0]);
}

#[test]
fn money_that_goes_out_as_it_came_is_rapid_movement() {
    let through = |dollars: i64, hours: i64| vec![moved(1, 2, 4_000, 0), moved(2, 3, dollars, hours)];
    assert_eq!(
        found(through(3_900, 5)),
        ["rapid_movement: 2: received 4000.00 USD and sent 3900.00 USD on within 24 hours"]
    );
    for (dollars, hours) in [(3_900, 25), (1_000, 5), (9_000, 5)] {
        assert_eq!(found(through(dollars, hours)), [""; 0], "{dollars} {hours}");
    }
    // A shop is paid by many, and pays its supplier in the evening.
    let mut shop: Vec<Movement> = (10..30).map(|payer| moved(payer, 2, 200, 3)).collect();
    shop.push(moved(2, 3, 4_000, 5));
    assert_eq!(found(shop).iter().filter(|it| it.starts_with("rapid")).count(), 0);
}

#[test]
fn many_senders_to_one_that_sends_it_on_is_fan_in() {
    let mut movements: Vec<Movement> = (10..20).map(|sender| moved(sender, 2, 500, 24)).collect();
    assert_eq!(found(movements.clone()), [""; 0]);
    movements.push(moved(2, 3, 4_500, 100));
    let fan_in = "fan_in: 2: received 5000.00 USD from 10 senders within 7 days, and sent 4500.00 USD on";
    assert_eq!(found(movements.clone()), [fan_in]);
    movements.push(moved(2, 4, 400, 101));
    assert_eq!(found(movements.clone()).len(), 1, "one alert in a window");
    movements.drain(..3);
    assert_eq!(found(movements), [""; 0]);
}

#[test]
fn money_that_comes_back_round_is_a_cycle() {
    let ring = vec![moved(1, 2, 1_000, 0), moved(2, 3, 970, 30), moved(3, 1, 950, 60)];
    assert_eq!(
        found(ring.clone()),
        ["cycle: 1: 950.00 USD went round 3 accounts and came back within 30 days"]
    );
    let backwards = vec![moved(3, 1, 950, 0), moved(2, 3, 970, 30), moved(1, 2, 1_000, 60)];
    let unlike = vec![moved(1, 2, 1_000, 0), moved(2, 3, 300, 30), moved(3, 1, 950, 60)];
    let late = vec![
        moved(1, 2, 1_000, 0),
        moved(2, 3, 970, 30),
        moved(3, 1, 950, 31 * 24),
    ];
    let pair = vec![moved(1, 2, 1_000, 0), moved(2, 1, 1_000, 60)];
    for movements in [backwards, unlike, late, pair] {
        assert_eq!(found(movements.clone()), [""; 0], "{movements:?}");
    }
    // A payment of what somebody deposited, and the payee withdraws, begins and ends outside.
    let mut deposited = vec![
        moved(9, 1, 1_000, 0),
        moved(1, 2, 1_000, 1),
        moved(2, 9, 1_000, 2),
    ];
    assert_eq!(found(deposited.clone()).len(), 1);
    for place in [0, 2] {
        deposited[place].crosses_edge = true;
    }
    assert_eq!(found(deposited), [""; 0]);
    // Other ways out of an account do not hide it, and it is found in a history in which order is not known beforehand.
    let mut busy = ring;
    busy.extend((50..80).map(|to| moved(2, to, 980, 31)));
    busy.sort_by_key(|it| it.at);
    assert_eq!(found(busy).len(), 1);
}

#[test]
fn a_search_ends_in_a_dense_net_without_a_cycle() {
    // 40 accounts, each of which pays all later ones: as many ways as subsets, and none leads back.
    let mut movements: Vec<Movement> = Vec::new();
    for from in 1..40_u128 {
        movements.extend((from + 1..=40).map(|to| moved(from, to, 1_000, i64::try_from(from).unwrap())));
    }
    let closing = moved(40, 41, 1_000, 100);
    movements.push(closing.clone());
    movements.push(moved(41, 1, 1_000, 2));
    let history = History::of(movements);
    assert_eq!(cycle::find(&closing, &history, &parameters().cycle), None);
}

#[test]
fn parameters_that_are_not_understood_are_refused() {
    let mut json = serde_json::to_value(parameters()).unwrap();
    json["cycle"]["min_acounts"] = 3.into();
    assert!(serde_json::from_value::<Parameters>(json).is_err());
}
