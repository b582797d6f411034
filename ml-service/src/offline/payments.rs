//! Payments as a file: `at` (Unix seconds), `account`, `counterparty`, `device`, `address` (any words; the last two may be
//! empty), `amount` (minor units), `exponent` (decimals of the currency), `fraud` (0, 1, or empty if nobody knows), `known_at`
//! (when it became known) and perhaps `refused` (1 if it never happened). In any order; those of one second in their own.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::feature::{Event, Key};
use crate::replay::{Label, LabelledEvent};
use crate::tabular_file::TabularFile;

pub const COLUMNS: [&str; 10] = [
    "at",
    "account",
    "counterparty",
    "device",
    "address",
    "amount",
    "exponent",
    "fraud",
    "known_at",
    REFUSED,
];
/// The only column that may be missing.
const REFUSED: &str = "refused";

pub fn read(path: &Path) -> anyhow::Result<Vec<LabelledEvent>> {
    of(TabularFile::open(path)?)
}

pub fn of(file: TabularFile) -> anyhow::Result<Vec<LabelledEvent>> {
    let mut columns = [0; COLUMNS.len() - 1];
    for (column, name) in columns.iter_mut().zip(COLUMNS) {
        *column = file.column(name)?;
    }
    let refused = file.column(REFUSED).ok();
    let [
        at,
        account,
        counterparty,
        device,
        address,
        amount,
        exponent,
        fraud,
        known_at,
    ] = columns;
    let mut numbers: HashMap<String, u128> = HashMap::new();
    let mut key = move |word: &str| {
        let next = u128::try_from(numbers.len()).unwrap_or(u128::MAX);
        Key(*numbers.entry(word.to_owned()).or_insert(next))
    };
    let mut events: Vec<LabelledEvent> = Vec::new();
    file.for_each(|row| {
        let id = |column| row.parse(column, "an id", |id| (!id.is_empty()).then(|| id.to_owned()));
        let time = |column| {
            row.parse(column, "Unix seconds", |text| {
                text.parse().ok().filter(|at| (0..=1 << 40).contains(at))
            })
        };
        let event = Event {
            at: time(at)?,
            account: key(&id(account)?),
            counterparty: key(&id(counterparty)?),
            device: Some(row.text(device))
                .filter(|word| !word.is_empty())
                .map(&mut key),
            address: Some(row.text(address))
                .filter(|word| !word.is_empty())
                .map(&mut key),
            amount: row.parse(amount, "a positive whole number of minor units", |text| {
                text.parse()
                    .ok()
                    .filter(|amount| (1..=shared::money::MAX_AMOUNT).contains(amount))
            })?,
            exponent: row.parse(exponent, "0 to 4 decimals", |text| {
                text.parse().ok().filter(|exponent| *exponent <= 4)
            })?,
        };
        let label = match row.text(fraud) {
            "" => None,
            _ => Some(Label {
                is_fraud: row.flag(fraud)?,
                known_at: time(known_at)?,
            }),
        };
        let refused = match refused {
            Some(column) if !row.text(column).is_empty() => row.flag(column)?,
            _ => false,
        };
        events.push(LabelledEvent {
            event,
            label,
            refused,
        });
        Ok(())
    })?;
    ensure!(!events.is_empty(), "the file has no payments");
    // Stable: who comes first within a second stays first.
    events.sort_by_key(|labelled| labelled.event.at);
    Ok(events)
}

pub fn write(path: &Path, events: &[LabelledEvent]) -> anyhow::Result<()> {
    let mut writer =
        csv::Writer::from_path(path).with_context(|| format!("{} cannot be written", path.display()))?;
    writer.write_record(COLUMNS)?;
    let origin = |key: Option<Key>| key.map(|key| key.0.to_string()).unwrap_or_default();
    for LabelledEvent {
        event,
        label,
        refused,
    } in events
    {
        writer.write_record([
            event.at.to_string(),
            event.account.0.to_string(),
            event.counterparty.0.to_string(),
            origin(event.device),
            origin(event.address),
            event.amount.to_string(),
            event.exponent.to_string(),
            label
                .map(|label| u8::from(label.is_fraud).to_string())
                .unwrap_or_default(),
            label.map(|label| label.known_at.to_string()).unwrap_or_default(),
            u8::from(*refused).to_string(),
        ])?;
    }
    Ok(writer.flush()?)
}
