//! `ml-service aml-benchmark`: the patterns on simulated payments of AMLSim, whose launderers are known. One step of the simulation
//! counts as a day. It says how many of the accounts that alerts name are launderers, and how many launderers are named: with
//! parameters that fit the simulation, and with those that a new installation has, or that a file has.
//!
//! Deliberately absent: a copy of the data, which is read from the archive that the operator names.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::Currency;
use uuid::Uuid;

use super::cycle::Cycle;
use super::fan_in::FanIn;
use super::rapid_movement::RapidMovement;
use super::structuring::Structuring;
use super::{DAY_S, Finding, History, Movement, Parameters, Pattern, each_once, find};
use crate::arguments::Arguments;

const USAGE: &str = "--data FILE.tgz [--parameters FILE.json]";
/// What a new installation looks for stands in the migration alone.
const INSTALLED: &str = include_str!("../../migrations/2026-11-22-000624_patterns/up.sql");
/// Unpacked, of each file of the archive.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

#[derive(Debug, Deserialize)]
struct NodeRow {
    nodeid: u64,
    #[serde(rename = "isFraud")]
    is_fraud: u8,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransferRow {
    source_node_id: u64,
    target_node_id: u64,
    value: String,
    time: u32,
}

/// What there is, by a first reading of the archive.
pub struct Simulation {
    launderers: HashSet<Uuid>,
    movements: Vec<Movement>,
}

/// What the patterns found in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub by_pattern: BTreeMap<Pattern, Counts>,
    pub all: Counts,
    pub launderers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub alerts: usize,
    /// Accounts that they name.
    pub named: usize,
    /// Launderers among them.
    pub right: usize,
}

/// A `tar.gz` with `nodes.csv` and `transactions.csv`, in whatever folder.
pub fn read(name: &str, source: impl Read) -> anyhow::Result<Simulation> {
    let mut archive = tar::Archive::new(GzDecoder::new(source));
    let (mut nodes, mut transfers) = (None, None);
    for entry in archive
        .entries()
        .with_context(|| format!("{name} is no tar.gz"))?
    {
        let entry = entry.with_context(|| format!("{name} is no tar.gz, or is cut off"))?;
        let inside = entry.path()?.into_owned();
        match inside.file_name().and_then(|it| it.to_str()) {
            Some("nodes.csv") => nodes = Some(rows::<NodeRow>(entry, &inside)?),
            Some("transactions.csv") => transfers = Some(rows::<TransferRow>(entry, &inside)?),
            _ => {}
        }
    }
    let (Some(nodes), Some(transfers)) = (nodes, transfers) else {
        bail!("{name} has no nodes.csv, or no transactions.csv");
    };
    Simulation::of(&nodes, transfers)
}

fn rows<T: DeserializeOwned>(source: impl Read, name: &Path) -> anyhow::Result<Vec<T>> {
    let mut reader = csv::Reader::from_reader(source.take(MAX_BYTES));
    // The error of a row names its line and its field.
    reader
        .deserialize()
        .collect::<Result<_, _>>()
        .with_context(|| name.display().to_string())
}

/// An account of the simulation.
fn account(number: u64) -> Uuid {
    Uuid::from_u128(number.into())
}

/// `163.3` in hundredths, without a float.
fn hundredths(value: &str) -> Option<i64> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 2 {
        return None;
    }
    format!("{whole}{decimals:0<2}").parse().ok().filter(|it| *it > 0)
}

impl Simulation {
    fn of(nodes: &[NodeRow], transfers: Vec<TransferRow>) -> anyhow::Result<Self> {
        let currency: Currency = "USD".parse()?;
        let mut movements = Vec::new();
        for (row, transfer) in transfers.into_iter().enumerate() {
            let line = row.saturating_add(2);
            let amount = hundredths(&transfer.value)
                .with_context(|| format!("transactions.csv, line {line}, value: {}", transfer.value))?;
            movements.push(Movement {
                transfer_id: Uuid::from_u128(u128::try_from(row)?),
                from: account(transfer.source_node_id),
                to: account(transfer.target_node_id),
                amount,
                currency,
                at: i64::from(transfer.time).saturating_mul(DAY_S),
                crosses_edge: false,
            });
        }
        movements.sort_by_key(|it| it.at);
        let launderers = nodes.iter().filter(|node| node.is_fraud != 0);
        Ok(Self {
            launderers: launderers.map(|node| account(node.nodeid)).collect(),
            movements,
        })
    }

    /// What each movement completes, when they come one after the other.
    pub fn run(&self, parameters: &Parameters) -> Outcome {
        let mut history = History::default();
        let mut findings: HashMap<_, Finding> = HashMap::new();
        for movement in self.movements.iter().filter(|it| parameters.is_looked_at(it)) {
            history.push(movement.clone());
            for finding in find(movement, &history, parameters) {
                findings
                    .entry((finding.pattern, finding.account, finding.window))
                    .or_insert(finding);
            }
        }
        let findings = each_once(findings.into_values());
        let by_pattern = Pattern::ALL.map(|pattern| {
            let of_it = findings.iter().filter(|it| it.pattern == pattern);
            (pattern, self.count(of_it))
        });
        Outcome {
            by_pattern: by_pattern.into(),
            all: self.count(findings.iter()),
            launderers: self.launderers.len(),
        }
    }

    fn count<'a>(&self, findings: impl Iterator<Item = &'a Finding>) -> Counts {
        let (mut alerts, mut named) = (0_usize, BTreeSet::new());
        for finding in findings {
            alerts = alerts.saturating_add(1);
            named.extend(&finding.accounts);
        }
        Counts {
            alerts,
            named: named.len(),
            right: named.iter().filter(|it| self.launderers.contains(*it)).count(),
        }
    }
}

/// What a new installation looks for.
pub fn installed() -> anyhow::Result<Parameters> {
    let (_, rest) = INSTALLED
        .split_once("VALUES ('")
        .context("the migration has no parameters")?;
    let (json, _) = rest.split_once("');").context("the parameters have no end")?;
    Ok(serde_json::from_str(json)?)
}

/// What fits the simulation: its amounts are small, its days far apart, a launderer splits what it sends, and nothing in it is
/// reported from a threshold on.
pub fn parameters() -> Parameters {
    Parameters {
        min_amount: 0,
        structuring: Structuring {
            thresholds: BTreeMap::new(),
            min_percent: 50,
            min_transfers: 3,
        },
        rapid_movement: RapidMovement {
            window_hours: 24,
            min_amount: 1,
            min_percent: 95,
            max_percent: 105,
            max_payers: 3,
        },
        fan_in: FanIn {
            window_days: 120,
            min_senders: 2,
            min_transfers_a_day: 2,
            min_amount: 1,
            min_percent_out: 0,
        },
        cycle: Cycle {
            window_days: 120,
            min_accounts: 3,
            max_accounts: 6,
            tolerance_percent: 0,
            min_amount: 0,
            in_order: false,
        },
    }
}

impl Outcome {
    /// For a terminal.
    pub fn table(&self) -> String {
        let mut text = String::from("pattern          alerts  accounts  launderers  precision  recall\n");
        let mut line = |name: &str, counts: &Counts| {
            let precision = percent(counts.right, counts.named);
            let recall = percent(counts.right, self.launderers);
            let Counts { alerts, named, right } = counts;
            text.push_str(&format!(
                "{name:15} {alerts:7} {named:9} {right:11} {precision:>10} {recall:>7}\n"
            ));
        };
        for (pattern, counts) in &self.by_pattern {
            line(pattern.name(), counts);
        }
        line("all together", &self.all);
        text + &format!("{} launderers in all\n", self.launderers)
    }
}

/// `97.4 %`
fn percent(part: usize, whole: usize) -> String {
    match part.saturating_mul(1000).checked_div(whole) {
        Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
        None => "-".to_owned(),
    }
}

/// `aml-benchmark --data FILE [--parameters FILE]`
pub fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::of_process(USAGE)?;
    let path = arguments.path("data")?;
    let given: Option<PathBuf> = arguments.optional("parameters")?;
    arguments.finish()?;
    let name = path.display().to_string();
    let file = File::open(&path).with_context(|| format!("{name} cannot be opened"))?;
    let simulation = read(&name, file)?;
    let (what, others) = match given {
        None => ("as installed".to_owned(), installed()?),
        Some(path) => {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let parameters = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            (path.display().to_string(), parameters)
        }
    };
    println!(
        "fitted to the simulation\n{}",
        simulation.run(&parameters()).table()
    );
    println!("{what}\n{}", simulation.run(&others).table());
    Ok(())
}

#[cfg(test)]
mod tests;
