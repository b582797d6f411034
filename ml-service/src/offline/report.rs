//! How good a model is, as one HTML file with its plots inside: nothing is fetched and no script runs.

#![expect(clippy::float_arithmetic, reason = "coordinates are floats")]

use std::fmt::Write;

use crate::evaluation::{self, Scored};
use crate::feature::unsigned;
use crate::model::Model;

const SIZE: f64 = 300.0;
const MARGIN: f64 = 40.0;
const MAX_POINTS: usize = 400;
const BINS: usize = 10;

/// Whatever stands in it comes from a file.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

pub fn html(model: &Model, scored: &[Scored]) -> String {
    let card = model.card();
    let numbers = [
        ("average precision", evaluation::average_precision(scored)),
        ("AUC", evaluation::auc(scored)),
        ("Brier score", evaluation::brier(scored)),
        ("part that is fraud", evaluation::rate(scored)),
    ];
    let rows: String = numbers
        .iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{value:.4}</td></tr>\n"))
        .collect();
    let plots = [
        curve("ROC", "false alarms", "found", &evaluation::roc(scored)),
        curve(
            "Precision and recall",
            "recall",
            "precision",
            &evaluation::precision_recall(scored),
        ),
        curve(
            "Calibration",
            "probability said",
            "part that is fraud",
            &calibration(scored),
        ),
        histogram(scored),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Model {hash}</title>\n\
         <style>body {{ font: 16px sans-serif; max-width: 50em; margin: 2em auto }} svg {{ margin: 1em }} \
         th {{ text-align: left; padding-right: 2em }}</style>\n\
         <h1>How good the model is</h1>\n<p><code>{hash}</code></p>\n\
         <p>Trained on {rows_of} rows, {positives} of them fraud: {data}. Tested on {tested} others.</p>\n\
         <table>\n{rows}</table>\n{plots}</html>\n",
        hash = escape(model.hash()),
        rows_of = card.rows,
        positives = card.positives,
        data = escape(&card.data),
        tested = scored.len(),
        plots = plots.concat(),
    )
}

/// What was said and what was so, in ten equal groups from the least to the most suspicious.
fn calibration(scored: &[Scored]) -> Vec<(f64, f64)> {
    let mut sorted = scored.to_vec();
    sorted.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let groups = sorted.chunks(sorted.len().div_ceil(BINS).max(1));
    let mean = |group: &[Scored]| group.iter().map(|it| it.0).sum::<f64>() / unsigned(evaluation::len(group));
    groups
        .map(|group| (mean(group), evaluation::rate(group)))
        .collect()
}

fn point(x: f64, y: f64) -> String {
    format!("{:.1},{:.1}", MARGIN + x * SIZE, MARGIN + (1.0 - y) * SIZE)
}

fn curve(title: &str, across: &str, up: &str, points: &[(f64, f64)]) -> String {
    // A point for every payment would make megabytes.
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    let shown = points.iter().step_by(step).chain(points.last());
    let line: Vec<String> = shown
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .map(|(x, y)| point(*x, *y))
        .collect();
    let line = format!(
        "<polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"2\" points=\"{}\"/>",
        line.join(" ")
    );
    frame(title, across, up, &line)
}

/// How many payments have a score of each tenth, frauds in front; heights are logarithms.
fn histogram(scored: &[Scored]) -> String {
    let mut counts = [(0_u64, 0_u64); BINS];
    for (probability, is_fraud) in scored {
        let place = (1..BINS).filter(|bin| *probability >= fraction(*bin)).count();
        if let Some((all, frauds)) = counts.get_mut(place) {
            *all += 1;
            *frauds += u64::from(*is_fraud);
        }
    }
    let highest = counts.iter().map(|(all, _)| *all).max().unwrap_or(1);
    let height = |count: u64| unsigned(count + 1).ln() / unsigned(highest + 1).ln();
    let mut bars = String::new();
    for (bin, (all, frauds)) in counts.iter().enumerate() {
        for (count, colour) in [(all, "#9bd"), (frauds, "#c30")] {
            let (left, height) = (MARGIN + fraction(bin) * SIZE, height(*count) * SIZE);
            let (top, width) = (MARGIN + SIZE - height, SIZE / 10.0 - 2.0);
            // Writing to a string does not fail.
            let _ = write!(
                bars,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\">\
                 <title>{count}</title></rect>"
            );
        }
    }
    frame(
        "Scores (frauds in red)",
        "probability",
        "payments (logarithm)",
        &bars,
    )
}

fn fraction(bin: usize) -> f64 {
    unsigned(u64::try_from(bin).unwrap_or(0)) / 10.0
}

fn frame(title: &str, across: &str, up: &str, content: &str) -> String {
    let whole = SIZE + 2.0 * MARGIN;
    let (middle, bottom) = (whole / 2.0, whole - 12.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"{whole}\" role=\"img\" \
         aria-label=\"{title}\">\
         <text x=\"{middle}\" y=\"24\" text-anchor=\"middle\">{title}</text>\
         <rect x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{SIZE}\" height=\"{SIZE}\" fill=\"none\" stroke=\"#999\"/>\
         {content}\
         <text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\" font-size=\"13\">{across}, 0 to 1</text>\
         <text x=\"16\" y=\"{middle}\" text-anchor=\"middle\" font-size=\"13\" \
         transform=\"rotate(-90 16 {middle})\">{up}, 0 to 1</text></svg>\n"
    )
}
