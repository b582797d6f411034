//! A stream of payments in the form of the Handbook's: a line for each, with its second, day, customer, terminal, amount and
//! whether it was a fraud.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::feature::{Event, Key};
use crate::progress::Progress;
use crate::tabular_file::{Row, TabularFile};

/// 2018-04-01, the Handbook's day 0.
const EPOCH: i64 = 1_522_540_800;
const MAX_SECONDS: i64 = 100 * 366 * 86_400;
const MAX_MINOR: i64 = 100_000_000_000_000;

#[derive(Clone, Debug)]
pub struct Payment {
    pub event: Event,
    /// From the first day of the stream.
    pub day: i64,
    pub customer: u32,
    pub terminal: u32,
    pub is_fraud: bool,
}

/// All payments by time; those of one second by their amounts, so that the order of lines does not matter.
#[derive(Clone, Debug)]
pub struct Stream {
    pub payments: Vec<Payment>,
    pub days: i64,
}

/// Ids of any form, numbered.
#[derive(Default)]
struct Ids(HashMap<String, u32>);

impl Ids {
    fn number(&mut self, id: &str) -> anyhow::Result<u32> {
        if let Some(number) = self.0.get(id) {
            return Ok(*number);
        }
        let number = u32::try_from(self.0.len())?;
        self.0.insert(id.to_owned(), number);
        Ok(number)
    }
}

impl Stream {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::of(TabularFile::open(path)?)
    }

    pub fn of(file: TabularFile) -> anyhow::Result<Self> {
        let names = [
            "TX_TIME_SECONDS",
            "TX_TIME_DAYS",
            "CUSTOMER_ID",
            "TERMINAL_ID",
            "TX_AMOUNT",
            "TX_FRAUD",
        ];
        let mut columns = [0; 6];
        for (column, name) in columns.iter_mut().zip(names) {
            *column = file.column(name)?;
        }
        let [seconds, days, customer, terminal, amount, fraud] = columns;
        let (mut customers, mut terminals) = (Ids::default(), Ids::default());
        let mut payments = Vec::new();
        let mut progress = Progress::start("reading", None);
        file.for_each(|row| {
            let id = |column| {
                row.parse(column, "an id", |id| {
                    (!id.is_empty()).then_some(id).map(str::to_owned)
                })
            };
            let customer = customers.number(&id(customer)?)?;
            let terminal = terminals.number(&id(terminal)?)?;
            payments.push(Payment {
                event: Event {
                    at: EPOCH + second(row, seconds)?,
                    account: Key(customer.into()),
                    counterparty: Key(terminal.into()),
                    device: None,
                    address: None,
                    amount: row.parse(amount, "an amount of at most 1,000,000,000,000.00", minor_units)?,
                    exponent: 2,
                },
                day: row.parse(days, "a day, 0 or more", |text| {
                    text.parse().ok().filter(|day| (0..=MAX_SECONDS).contains(day))
                })?,
                customer,
                terminal,
                is_fraud: row.flag(fraud)?,
            });
            progress.advance(1);
            Ok(())
        })?;
        progress.finish();
        payments.sort_by_key(|payment| (payment.event.at, payment.event.amount, payment.is_fraud));
        let days = payments.iter().map(|payment| payment.day);
        let (first, last) = (days.clone().min(), days.max());
        let (first, last) = first.zip(last).context("the file has no payments")?;
        payments.iter_mut().for_each(|payment| payment.day -= first);
        let in_order = payments.is_sorted_by_key(|payment| payment.day);
        ensure!(in_order, "TX_TIME_DAYS does not grow with TX_TIME_SECONDS");
        Ok(Self {
            payments,
            days: last - first + 1,
        })
    }
}

fn second(row: &Row<'_>, column: usize) -> anyhow::Result<i64> {
    row.parse(column, "a second, 0 or more", |text| {
        text.parse()
            .ok()
            .filter(|second| (0..=MAX_SECONDS).contains(second))
    })
}

/// Cents of a decimal number; what is less than a cent is dropped.
fn minor_units(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let cents: String = fraction.chars().chain("00".chars()).take(2).collect();
    let minor: i64 = format!("{whole}{cents}").parse().ok()?;
    (minor <= MAX_MINOR).then_some(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "TX_TIME_SECONDS,TX_TIME_DAYS,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n";

    fn read(rows: &str) -> anyhow::Result<Stream> {
        let content = format!("{HEADER}{rows}").into_bytes();
        Stream::of(TabularFile::of(
            Path::new("a.csv"),
            Box::new(std::io::Cursor::new(content)),
        )?)
    }

    fn error(rows: &str) -> String {
        format!("{:#}", read(rows).unwrap_err())
    }

    #[test]
    fn ids_are_words_or_numbers_and_days_begin_anywhere() {
        let stream =
            read("864001,10,c-1,éclair,57.16,0\n950401,11,c-2,7,146.0,1\n864002,10,c-1,7,3,0\n").unwrap();
        let seen: Vec<_> = stream
            .payments
            .iter()
            .map(|payment| {
                (
                    payment.day,
                    payment.customer,
                    payment.terminal,
                    payment.event.amount,
                    payment.is_fraud,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (0, 0, 0, 5_716, false),
                (0, 0, 1, 300, false),
                (1, 1, 1, 14_600, true)
            ]
        );
        assert_eq!(stream.days, 2);
    }

    #[test]
    fn a_bad_row_is_named_by_file_line_and_column() {
        let good = "1,0,1,1,5,0\n";
        for (bad, what) in [
            (
                "2,0,1,1,nan,0\n",
                "a.csv, line 3, column TX_AMOUNT: expected an amount",
            ),
            ("2,0,1,1,-5,0\n", "a.csv, line 3, column TX_AMOUNT"),
            ("2,0,1,1,1e300,0\n", "a.csv, line 3, column TX_AMOUNT"),
            (
                "2,0,1,1,99999999999999999999,0\n",
                "a.csv, line 3, column TX_AMOUNT",
            ),
            ("-2,0,1,1,5,0\n", "a.csv, line 3, column TX_TIME_SECONDS"),
            ("2,x,1,1,5,0\n", "a.csv, line 3, column TX_TIME_DAYS"),
            (
                "2,0,,1,5,0\n",
                "a.csv, line 3, column CUSTOMER_ID: expected an id",
            ),
            (
                "2,0,1,1,5,2\n",
                "a.csv, line 3, column TX_FRAUD: expected 0 or 1, found \"2\"",
            ),
            ("2,0,1,1,5\n", "a.csv, line 3: 5 columns instead of 6"),
        ] {
            let error = error(&format!("{good}{bad}"));
            assert!(error.starts_with(what), "{error}");
        }
        assert_eq!(error(""), "the file has no payments");
        let other = TabularFile::of(Path::new("b.csv"), Box::new("a,b\n1,2\n".as_bytes())).unwrap();
        let error = Stream::of(other).unwrap_err().to_string();
        assert!(
            error.starts_with("b.csv, line 1: there is no column TX_TIME_SECONDS"),
            "{error}"
        );
    }
}
