//! The commands that work on files and need no database: `generate`, `features`, `train`, `evaluate`, `explain`, `benchmark`.
//! What they read and write is a payment a line; `payments` says how.

pub mod payments;
pub mod report;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::arguments::Arguments;
use crate::benchmark;
use crate::evaluation::{self, Scored};
use crate::feature::{self, Vector};
use crate::generator::{self, Size};
use crate::model::ensemble::Ensemble;
use crate::model::{Card, Model};
use crate::replay::{Label, LabelledEvent, replay};
use crate::training::{Parameters, Table, train};

/// What the shipped model is made of.
const SHIPPED: Size = Size {
    accounts: 2_000,
    days: 150,
};
/// Where the test begins, in percent of the time.
const TEST: i64 = 75;

/// Name, what it is told, and what it does.
type Command = (&'static str, &'static str, fn(Arguments) -> anyhow::Result<()>);

pub const COMMANDS: [Command; 6] = [
    (
        "generate",
        "--out FILE [--seed N] [--accounts N] [--days N]",
        generate,
    ),
    ("features", "--data FILE --out FILE", features),
    (
        "train",
        "--out FILE [--data FILE] [--test-from UNIX_SECONDS] [--about TEXT] [--seed N] [--trees N] [--report FILE]",
        train_model,
    ),
    ("evaluate", "--model FILE --data FILE [--report FILE]", evaluate),
    ("explain", "--model FILE --data FILE --line N", explain),
    (
        "benchmark",
        "--data FILE [--protocol handbook|bnpp|gmsc|vub] [--json]",
        benchmark::run,
    ),
];

/// Runs the command `name` of this process.
pub fn run(name: &str) -> anyhow::Result<()> {
    let command = COMMANDS.iter().find(|(known, ..)| *known == name);
    let (_, usage, run) = command.with_context(|| format!("there is no command {name}"))?;
    run(Arguments::of_process(usage)?)
}

fn generate(mut arguments: Arguments) -> anyhow::Result<()> {
    let out = arguments.path("out")?;
    let seed = arguments.optional("seed")?.unwrap_or(1);
    let size = Size {
        accounts: arguments.optional("accounts")?.unwrap_or(SHIPPED.accounts),
        days: arguments.optional("days")?.unwrap_or(SHIPPED.days),
    };
    arguments.finish()?;
    ensure!((1..=100_000).contains(&size.accounts), "1 to 100,000 accounts");
    ensure!((1..=1_000).contains(&size.days), "1 to 1,000 days");
    payments::write(&out, &generator::generate(seed, size))
}

fn features(mut arguments: Arguments) -> anyhow::Result<()> {
    let (data, out) = (arguments.path("data")?, arguments.path("out")?);
    arguments.finish()?;
    let events = payments::read(&data)?;
    let mut writer =
        csv::Writer::from_path(&out).with_context(|| format!("{} cannot be written", out.display()))?;
    writer.write_record(feature::names().iter().chain(&["fraud"]))?;
    let mut failed = None;
    replay(&events, |labelled, vector| {
        let fraud = labelled
            .label
            .map(|label| u8::from(label.is_fraud).to_string())
            .unwrap_or_default();
        let number = |value: &f64| {
            if value.is_nan() {
                String::new()
            } else {
                value.to_string()
            }
        };
        let written = writer.write_record(vector.iter().map(number).chain([fraud]));
        failed = failed.take().or(written.err());
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(writer.flush()?),
    }
}

/// The rows of a file that are learnt from, and those that are tested on, which are later than anything that was known.
pub struct Split {
    pub learnt: Table,
    pub tested: Table,
    pub amounts: Vec<f64>,
    pub first_at: i64,
    pub last_at: i64,
    pub cut_at: i64,
}

/// What is not labelled is only history. The test begins at `test_from`, or with the last quarter of the time.
pub fn split(events: &[LabelledEvent], test_from: Option<i64>) -> anyhow::Result<Split> {
    let first = events.first().context("there are no payments")?.event.at;
    let last = events.last().context("there are no payments")?.event.at;
    let cut_at = test_from.unwrap_or(first + (last - first) / 100 * TEST);
    let mut split = Split {
        learnt: Table::new(feature::names().iter().copied()),
        tested: Table::new(feature::names().iter().copied()),
        amounts: Vec::new(),
        first_at: first,
        last_at: last,
        cut_at,
    };
    let mut failed = None;
    replay(events, |labelled, vector| {
        let at = labelled.event.at;
        let pushed = match labelled.label {
            Some(Label { is_fraud, known_at }) if known_at <= cut_at => split.learnt.push(&vector, is_fraud),
            Some(label) if at >= cut_at => {
                split.amounts.extend(vector.get("amount"));
                split.tested.push(&vector, label.is_fraud)
            }
            _ => Ok(()),
        };
        failed = failed.take().or(pushed.err());
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(split),
    }
}

/// A model of `events`, tested on those from `test_from` on.
pub fn train_on(
    events: &[LabelledEvent],
    test_from: Option<i64>,
    about: &str,
    parameters: Parameters,
) -> anyhow::Result<(Vec<u8>, Model, Vec<Scored>)> {
    let split = split(events, test_from)?;
    let ensemble = train(&split.learnt, &parameters)?;
    let scored = score(&ensemble, &split.tested);
    let positives = split.learnt.labels().iter().filter(|label| **label).count();
    let card = Card {
        data: about.to_owned(),
        schema: feature::schema_hash(),
        features: split.learnt.names().to_vec(),
        rows: u64::try_from(split.learnt.len())?,
        positives: u64::try_from(positives)?,
        first_at: Some(split.first_at),
        last_at: Some(split.cut_at.min(split.last_at)),
        labels_until: Some(split.cut_at),
        parameters,
        metrics: metrics(&scored, &split.amounts),
    };
    let (bytes, model) = Model::save(card, ensemble)?;
    Ok((bytes, model, scored))
}

fn score(ensemble: &Ensemble, table: &Table) -> Vec<Scored> {
    let labels = table.labels().iter().enumerate();
    labels
        .map(|(row, label)| {
            (
                evaluation::probability(ensemble.log_odds(&table.row(row))),
                *label,
            )
        })
        .collect()
}

/// None of a test without payments: zeros would look like a bad model.
fn metrics(scored: &[Scored], amounts: &[f64]) -> BTreeMap<String, f64> {
    if scored.is_empty() {
        return BTreeMap::new();
    }
    let payments = scored
        .iter()
        .zip(amounts)
        .map(|((probability, is_fraud), amount)| (*probability, *amount, *is_fraud));
    let metrics = [
        ("average_precision", evaluation::average_precision(scored)),
        ("auc", evaluation::auc(scored)),
        ("brier", evaluation::brier(scored)),
        ("cost_saved", evaluation::COSTS.saved(payments)),
        ("fraud_rate", evaluation::rate(scored)),
    ];
    // JSON has no NaN: a test without frauds has no metrics of them.
    let finite = metrics.into_iter().filter(|(_, value)| value.is_finite());
    finite.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn train_model(mut arguments: Arguments) -> anyhow::Result<()> {
    let out = arguments.path("out")?;
    let data: Option<PathBuf> = arguments.optional("data")?;
    let about: Option<String> = arguments.optional("about")?;
    let report: Option<PathBuf> = arguments.optional("report")?;
    let test_from: Option<i64> = arguments.optional("test-from")?;
    let seed = arguments.optional("seed")?.unwrap_or(1);
    let trees = arguments
        .optional("trees")?
        .unwrap_or(Parameters::default().trees);
    arguments.finish()?;
    ensure!((1..=2_000).contains(&trees), "1 to 2,000 trees");
    let parameters = Parameters {
        trees,
        seed,
        ..Parameters::default()
    };
    let (events, about) = match &data {
        Some(data) => (
            payments::read(data)?,
            about.unwrap_or_else(|| "payments from a file".to_owned()),
        ),
        None => (
            generator::generate(seed, SHIPPED),
            format!(
                "payments of {} accounts in {} days, generated from seed {seed}",
                SHIPPED.accounts, SHIPPED.days
            ),
        ),
    };
    let (bytes, model, scored) = train_on(&events, test_from, &about, parameters)?;
    write(&out, &bytes)?;
    if let Some(report) = report {
        write(&report, report::html(&model, &scored).as_bytes())?;
    }
    print_metrics(&model.card().metrics, &model)
}

fn evaluate(mut arguments: Arguments) -> anyhow::Result<()> {
    let model = read_model(&arguments.path("model")?)?;
    let events = payments::read(&arguments.path("data")?)?;
    let report: Option<PathBuf> = arguments.optional("report")?;
    arguments.finish()?;
    let (mut scored, mut amounts) = (Vec::new(), Vec::new());
    replay(&events, |labelled, vector| {
        if let Some(label) = labelled.label {
            scored.push((model.probability(&vector), label.is_fraud));
            amounts.extend(vector.get("amount"));
        }
    });
    if let Some(report) = report {
        write(&report, report::html(&model, &scored).as_bytes())?;
    }
    print_metrics(&metrics(&scored, &amounts), &model)
}

fn print_metrics(metrics: &BTreeMap<String, f64>, model: &Model) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "model {}", model.hash())?;
    for (name, value) in metrics {
        writeln!(out, "{name:<18} {value:.4}")?;
    }
    Ok(())
}

fn explain(mut arguments: Arguments) -> anyhow::Result<()> {
    let model = read_model(&arguments.path("model")?)?;
    let data = arguments.path("data")?;
    let line: usize = arguments.required("line")?;
    arguments.finish()?;
    let events = payments::read(&data)?;
    let place = line.checked_sub(2).filter(|place| *place < events.len());
    let place = place.with_context(|| {
        format!(
            "{} has payments in the lines 2 to {}",
            data.display(),
            events.len() + 1
        )
    })?;
    let mut found: Option<Vector> = None;
    let mut next = 0;
    replay(&events, |_, vector| {
        if next == place {
            found = Some(vector);
        }
        next += 1;
    });
    let vector = found.context("no such payment")?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "probability {:.4} by model {}",
        model.probability(&vector),
        model.hash()
    )?;
    for reason in model.reasons(&vector) {
        writeln!(
            out,
            "{:+.3}  {}: {}",
            reason.contribution, reason.code, reason.detail
        )?;
    }
    writeln!(out, "\nexpected log-odds {:+.4}", model.ensemble().expected())?;
    for ((name, value), contribution) in vector.named().zip(model.contributions(&vector)) {
        writeln!(out, "{contribution:+.4}  {name} = {value}")?;
    }
    Ok(())
}

fn read_model(path: &Path) -> anyhow::Result<Model> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Model::load(&bytes).with_context(|| path.display().to_string())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests;
