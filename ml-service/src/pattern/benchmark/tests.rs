//! A small simulation in the form of AMLSim, made here, with two patterns among ordinary payments.

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// 60 accounts that pay each other ordinarily; 1, 2, 3 pay in a circle, and 4, 5, 6 split what they send to 7.
fn nodes() -> String {
    let rows = (0..60).map(|node| format!("{node},{},100.00,-1\n", u8::from((1..=7).contains(&node))));
    "nodeid,isFraud,init_balance,fraudStep\n".to_owned() + &rows.collect::<String>()
}

fn transfers() -> String {
    let mut rows = Vec::new();
    for step in 1..100_u32 {
        // Amounts and partners without a pattern, the same each time the test runs.
        let (from, to) = (step * 7 % 60, (step * 13 + 20) % 60);
        if from != to {
            rows.push((
                step,
                format!("{from},{to},{}.{},{step}", 100 + step * 37 % 400, step % 10),
            ));
        }
    }
    for (step, edge) in [(10, "1,2"), (30, "2,3"), (50, "3,1")] {
        rows.push((step, format!("{edge},77.5,{step}")));
    }
    for (step, sender) in [(20, 4), (40, 5), (60, 6)] {
        rows.extend((0..3).map(|part| (step, format!("{sender},7,{}.25,{step}", 3 + part))));
    }
    rows.sort_by_key(|(step, _)| *step);
    let rows = rows.iter().map(|(_, row)| format!("{row}\n"));
    "sourceNodeId,targetNodeId,value,time\n".to_owned() + &rows.collect::<String>()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len().try_into().unwrap());
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn the_patterns_of_a_simulation_are_found_and_counted() {
    let file = archive(&[
        ("set/nodes.csv", &nodes()),
        ("set/transactions.csv", &transfers()),
    ]);
    let outcome = read("set.tgz", &file[..]).unwrap().run(&parameters());
    assert_eq!(outcome.launderers, 7);
    let counts = |alerts, named, right| Counts { alerts, named, right };
    assert_eq!(outcome.by_pattern[&Pattern::Cycle], counts(1, 3, 3));
    assert_eq!(outcome.by_pattern[&Pattern::FanIn], counts(1, 3, 3));
    let table = outcome.table();
    assert!(
        table.contains("cycle                 1         3           3    100.0 %  42.8 %"),
        "{table}"
    );
}

#[test]
fn a_bad_archive_is_refused_with_the_place() {
    let rows = transfers();
    let bad_value = rows.replacen("77.5", "77.555", 1);
    let bad_number = rows.replacen("1,2,", "one,2,", 1);
    let nodes = nodes();
    let refusal = |files: &[(&str, &str)]| match read("set.tgz", &archive(files)[..]) {
        Ok(_) => panic!("{files:?} was read"),
        Err(error) => format!("{error:#}"),
    };
    let missing = refusal(&[("nodes.csv", &nodes)]);
    assert!(
        missing.ends_with("has no nodes.csv, or no transactions.csv"),
        "{missing}"
    );
    let value = refusal(&[("nodes.csv", &nodes), ("transactions.csv", &bad_value)]);
    assert!(
        value.starts_with("transactions.csv, line 12, value: 77.555"),
        "{value}"
    );
    let number = refusal(&[("nodes.csv", &nodes), ("transactions.csv", &bad_number)]);
    assert!(
        number.contains("transactions.csv") && number.contains("line: 12"),
        "{number}"
    );
    let refused = read("set.tgz", &b"no archive"[..]).err().unwrap().to_string();
    assert!(refused.contains("no tar.gz"), "{refused}");
    let cut = archive(&[("nodes.csv", &nodes), ("transactions.csv", &rows)]);
    assert!(read("set.tgz", &cut[..cut.len() / 2]).is_err());
}

#[test]
fn what_is_installed_is_what_the_service_can_read() {
    let installed = installed().unwrap();
    assert_eq!(installed.min_amount, 50);
    assert_eq!(installed.structuring.thresholds["USD"], 10_000);
}
