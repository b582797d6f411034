//! What training has to be: repeatable, and honest.

use super::*;
use crate::feature::Key;

const SMALL: Size = Size {
    accounts: 120,
    days: 60,
};

fn parameters() -> Parameters {
    Parameters {
        trees: 20,
        learning_rate: 0.2,
        depth: 4,
        bins: 256,
        ..Parameters::default()
    }
}

fn average_precision(events: &[LabelledEvent]) -> f64 {
    let (_, _, scored) = train_on(events, None, "test", parameters()).unwrap();
    evaluation::average_precision(&scored)
}

#[test]
fn a_seed_gives_the_same_file_and_the_file_the_same_model() {
    let events = generator::generate(3, SMALL);
    let (bytes, model, scored) = train_on(&events, None, "test", parameters()).unwrap();
    let again = train_on(&generator::generate(3, SMALL), None, "test", parameters()).unwrap();
    assert!(bytes == again.0, "not the same bytes");
    let loaded = Model::load(&bytes).unwrap();
    assert_eq!(loaded, model);
    let html = report::html(&model, &scored);
    assert_eq!(html.matches("<svg ").count(), 4);
    assert!(!html.contains("NaN") && !html.contains("<script"));
}

#[test]
fn it_learns_what_is_there_and_nothing_from_shuffled_labels() {
    let mut events = generator::generate(4, SMALL);
    let honest = average_precision(&events);
    let base = events
        .iter()
        .filter(|event| event.label.is_some_and(|label| label.is_fraud))
        .count();
    let base = f64::from(u32::try_from(base).unwrap()) / f64::from(u32::try_from(events.len()).unwrap());
    assert!(honest > 10.0 * base, "{honest} of {base}");
    // Each payment gets the fate of another, a third of the way round.
    let labels: Vec<bool> = events.iter().map(|event| event.label.unwrap().is_fraud).collect();
    let count = labels.len();
    for (place, event) in events.iter_mut().enumerate() {
        let other = (place * 7_919 + count / 3) % count;
        event.label = event.label.map(|label| Label {
            is_fraud: labels[other],
            ..label
        });
    }
    let shuffled = average_precision(&events);
    assert!(shuffled < 4.0 * base, "{shuffled} of {base}");
}

#[test]
fn labels_at_arrival_would_help_which_is_why_nobody_gets_them() {
    let events = generator::generate(5, SMALL);
    let mut early = events.clone();
    for event in &mut early {
        let known_at = event.event.at + 1;
        event.label = event.label.map(|label| Label { known_at, ..label });
    }
    let (late, early) = (average_precision(&events), average_precision(&early));
    assert!(early > late, "{early} {late}");
}

#[test]
fn identifiers_are_not_learnt() {
    let events = generator::generate(6, SMALL);
    let mut renamed = events.clone();
    for LabelledEvent { event, .. } in &mut renamed {
        let rename = |key: Key| Key(key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ 5);
        event.account = rename(event.account);
        event.counterparty = rename(event.counterparty);
        event.device = event.device.map(rename);
        event.address = event.address.map(rename);
    }
    let model = |events: &[LabelledEvent]| train_on(events, None, "test", parameters()).unwrap().0;
    assert!(model(&events) == model(&renamed));
}

#[test]
fn a_file_of_payments_is_read_as_it_was_written() {
    let events = generator::generate(
        7,
        Size {
            accounts: 10,
            days: 10,
        },
    );
    let path = std::env::temp_dir().join(format!("flowlet-payments-{}.csv", std::process::id()));
    payments::write(&path, &events).unwrap();
    let read = payments::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(read.len(), events.len());
    let vectors = |events: &[LabelledEvent]| {
        let mut bits = Vec::new();
        replay(events, |_, vector| bits.push(vector.0.map(f64::to_bits)));
        bits
    };
    assert!(vectors(&read) == vectors(&events));
    assert!(
        read.iter()
            .zip(&events)
            .all(|(read, event)| read.label == event.label)
    );
}

#[test]
fn lines_come_in_any_order_and_what_was_refused_is_in_nobodys_history() {
    let header = "known_at,fraud,exponent,amount,address,device,counterparty,account,at,refused\n";
    let rows = "9,0,2,300,,,b,a,7,\n8,1,2,200,,,b,a,6,1\n7,0,2,100,,,b,a,5,0\n";
    let content = std::io::Cursor::new(format!("{header}{rows}").into_bytes());
    let file = crate::tabular_file::TabularFile::of(Path::new("p.csv"), Box::new(content)).unwrap();
    let events = payments::of(file).unwrap();
    let mut seen = Vec::new();
    replay(&events, |labelled, vector| {
        seen.push((labelled.event.amount, vector.get("account_count").unwrap()));
    });
    assert_eq!(seen, [(100, 0.0), (200, 1.0), (300, 1.0)]);
    let split = split(&events, Some(8)).unwrap();
    assert_eq!(
        (split.learnt.labels(), split.tested.len()),
        (&[false, true][..], 0)
    );
    assert!(metrics(&[], &[]).is_empty());
}

#[test]
fn a_bad_payment_is_named_by_file_line_and_column() {
    let header = "at,account,counterparty,device,address,amount,exponent,fraud,known_at\n";
    let error = |rows: &str| {
        let content = std::io::Cursor::new(format!("{header}{rows}").into_bytes());
        let file = crate::tabular_file::TabularFile::of(Path::new("p.csv"), Box::new(content)).unwrap();
        format!("{:#}", payments::of(file).unwrap_err())
    };
    for (row, what) in [
        (
            "x,a,b,,,100,2,,\n",
            "p.csv, line 2, column at: expected Unix seconds, found \"x\"",
        ),
        ("5,a,b,,,0,2,,\n", "p.csv, line 2, column amount"),
        ("5,a,b,,,NaN,2,,\n", "p.csv, line 2, column amount"),
        ("5,a,b,,,100,2,1,\n", "p.csv, line 2, column known_at"),
        ("5,a,b,,,100,9,,\n", "p.csv, line 2, column exponent"),
        ("5,a,,,,100,2,,\n", "p.csv, line 2, column counterparty"),
    ] {
        let error = error(row);
        assert!(error.starts_with(what), "{error}");
    }
}
