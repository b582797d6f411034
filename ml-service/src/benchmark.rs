//! `ml-service benchmark`: how good the engine and the booster are on data that others have published results on, and how
//! fast. The data is read where `--data` says and is no part of this project.

pub mod book;
pub mod handbook;
pub mod real;
pub mod stream;
pub mod timing;

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Arguments;
use handbook::{Handbook, Track};
use stream::Stream;

/// Mean and standard deviation over the folds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub sd: f64,
}

/// A line of the table: what was measured beside what others published and what we want.
struct Row {
    track: &'static str,
    metric: &'static str,
    value: f64,
    sd: Option<f64>,
    unit: &'static str,
    published: &'static str,
    to_pass: f64,
    stretch: f64,
}

impl Row {
    /// Times are to be small, everything else large.
    fn reaches(&self, goal: f64) -> bool {
        if self.unit.is_empty() {
            self.value >= goal
        } else {
            self.value <= goal
        }
    }

    fn line(&self) -> String {
        let verdict = if self.reaches(self.stretch) {
            "stretch"
        } else if self.reaches(self.to_pass) {
            "pass"
        } else {
            "below"
        };
        let number = |value: f64| {
            if self.unit.is_empty() {
                format!("{value:.3}")
            } else {
                format!("{value:.1} {}", self.unit)
            }
        };
        let sd = self.sd.map(|sd| format!(" ± {sd:.3}")).unwrap_or_default();
        format!(
            "{:<8} {:<26} {:>18} {:>16} {:>10} {:>10}  {verdict}",
            self.track,
            self.metric,
            format!("{}{sd}", number(self.value)),
            self.published,
            number(self.to_pass),
            number(self.stretch),
        )
    }
}

fn print(rows: &[Row]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<8} {:<26} {:>18} {:>16} {:>10} {:>10}",
        "track", "metric", "here", "published", "to pass", "stretch"
    )?;
    for row in rows {
        writeln!(out, "{}", row.line())?;
    }
    Ok(())
}

/// `--data FILE --protocol handbook|bnpp|gmsc|vub [--json]`
pub fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    let data = arguments.path("data")?;
    let protocol: String = arguments
        .optional("protocol")?
        .unwrap_or_else(|| "handbook".to_owned());
    let as_json = arguments.flag("json")?;
    arguments.finish()?;
    let (rows, value) = match protocol.as_str() {
        "handbook" => handbook(&data)?,
        "bnpp" => real(real::bnpp(&data)?, "bnpp", Some(("AP", ".14", 0.165, 0.20))),
        "gmsc" => real(real::gmsc(&data)?, "gmsc", Some(("AUC", ".8696", 0.862, 0.868))),
        "vub" => real(real::vub(&data)?, "vub", None),
        other => bail!("--protocol cannot be {other:?}: handbook, bnpp, gmsc or vub"),
    };
    if as_json {
        writeln!(std::io::stdout(), "{value:#}")?;
    } else {
        print(&rows)?;
    }
    Ok(())
}

fn handbook(data: &Path) -> anyhow::Result<(Vec<Row>, Value)> {
    let handbook = Handbook::new(Stream::read(data)?)?;
    let (a, b) = (handbook.track_a()?, handbook.track_b()?);
    let service = timing::measure(&handbook)?;
    let mut rows = track_rows(
        "A",
        &a,
        [
            (".687-.694", 0.685, 0.694),
            (".872", 0.865, 0.876),
            (".304", 0.300, 0.304),
        ],
    );
    rows.extend(track_rows(
        "B",
        &b,
        [
            (".694", 0.740, 0.760),
            (".879", 0.875, 0.890),
            (".304", 0.306, 0.315),
        ],
    ));
    let saved = b
        .saved
        .map(|saved| spread_row("B", "cost saved", saved, ("-", 0.86, 0.90)));
    rows.extend(saved);
    let time = |metric, value, unit, published, to_pass, stretch| Row {
        track: "service",
        metric,
        value,
        sd: None,
        unit,
        published,
        to_pass,
        stretch,
    };
    rows.extend([
        time(
            "features + score, p99",
            service.score_p99_us,
            "µs",
            "83-121 p50",
            100.0,
            25.0,
        ),
        time(
            "with exact reasons, p99",
            service.reasons_p99_us,
            "µs",
            "-",
            1_000.0,
            300.0,
        ),
        time(
            "train 28 days, one thread",
            service.train_28_days_s,
            "s",
            "4.2",
            30.0,
            8.0,
        ),
    ]);
    Ok((rows, json!({ "A": a, "B": b, "service": service })))
}

fn track_rows(track: &'static str, of: &Track, goals: [(&'static str, f64, f64); 3]) -> Vec<Row> {
    let metrics = [("AP", of.ap), ("AUC", of.auc), ("CP@100", of.cp100)];
    metrics
        .into_iter()
        .zip(goals)
        .map(|((metric, value), goals)| spread_row(track, metric, value, goals))
        .collect()
}

fn spread_row(
    track: &'static str,
    metric: &'static str,
    spread: Spread,
    (published, to_pass, stretch): (&'static str, f64, f64),
) -> Row {
    Row {
        track,
        metric,
        value: spread.mean,
        sd: Some(spread.sd),
        unit: "",
        published,
        to_pass,
        stretch,
    }
}

fn real(
    folds: real::Folds,
    name: &'static str,
    goal: Option<(&'static str, &'static str, f64, f64)>,
) -> (Vec<Row>, Value) {
    let row = |metric, spread| {
        let goals = goal.filter(|(of, ..)| *of == metric);
        let (published, to_pass, stretch) = goals
            .map_or(("-", 0.0, f64::INFINITY), |(_, published, to_pass, stretch)| {
                (published, to_pass, stretch)
            });
        spread_row(name, metric, spread, (published, to_pass, stretch))
    };
    (
        vec![row("AP", folds.ap), row("AUC", folds.auc)],
        json!({ name: folds }),
    )
}
