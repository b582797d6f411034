//! Grafana's boards: each is one that Grafana loads, lays out as it was meant, and labels so that it can be read.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{assert_none, directory, files};

/// How many columns a board has.
const COLUMNS: u64 = 24;

pub struct Board {
    pub file: String,
    pub json: Value,
}

pub fn boards() -> Vec<Board> {
    let files = files(&directory().join("grafana/dashboards"), "json");
    let boards = files.iter().map(|path| Board {
        file: path.file_name().unwrap().to_string_lossy().into_owned(),
        json: serde_json::from_str(&fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    });
    boards.collect()
}

impl Board {
    fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().unwrap().iter()
    }

    fn variables(&self) -> impl Iterator<Item = &Value> {
        self.json["templating"]["list"].as_array().unwrap().iter()
    }

    /// Every query, of panels, annotations and variables, as Prometheus would get it.
    pub fn expressions(&self) -> Vec<String> {
        let targets = self
            .panels()
            .filter_map(|panel| panel["targets"].as_array())
            .flatten();
        let annotations = self.json["annotations"]["list"].as_array().unwrap().iter();
        let mut expressions: Vec<String> = targets
            .chain(annotations)
            .filter_map(|query| query["expr"].as_str())
            .map(|expression| expression.replace("$__rate_interval", "5m"))
            .collect();
        // `label_values(metric, label)` is Grafana's own: it asks for the values that the label has.
        let queries = self
            .variables()
            .filter_map(|variable| variable["definition"].as_str());
        expressions.extend(queries.map(|query| {
            let arguments = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = arguments.unwrap().rsplit_once(", ").unwrap();
            format!("count by ({label}) ({selector})")
        }));
        expressions
    }
}

fn text<'value>(value: &'value Value, pointer: &str) -> &'value str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn every_board_and_every_panel_has_a_name_of_its_own() {
    let (mut problems, mut names) = (Vec::new(), BTreeSet::new());
    for board in boards() {
        for name in [text(&board.json, "/uid"), text(&board.json, "/title")] {
            if name.is_empty() || !names.insert(name.to_owned()) {
                problems.push(format!("{}: another board is called `{name}`", board.file));
            }
        }
        let mut ids = BTreeSet::new();
        for panel in board.panels() {
            if !ids.insert(panel["id"].as_u64().unwrap()) {
                problems.push(format!("{}: two panels have the id {}", board.file, panel["id"]));
            }
        }
    }
    assert_none(&problems, "Grafana would show one of the two:");
}

#[test]
fn no_panel_covers_another() {
    let mut problems = Vec::new();
    for board in boards() {
        let mut covered = BTreeSet::new();
        for panel in board.panels() {
            let [x, y, width, height] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            let mut cells = (x..x + width).flat_map(|column| (y..y + height).map(move |line| (column, line)));
            if x + width > COLUMNS || !cells.all(|cell| covered.insert(cell)) {
                problems.push(format!("{}: {}", board.file, text(panel, "/title")));
            }
        }
    }
    assert_none(&problems, "These panels lie over others, or over the edge:");
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let mut problems = Vec::new();
    for board in boards() {
        let variables: BTreeSet<&str> = board
            .variables()
            .map(|variable| text(variable, "/name"))
            .collect();
        if board
            .variables()
            .all(|variable| text(variable, "/type") != "datasource")
        {
            problems.push(format!(
                "{}: there is no variable for the data source",
                board.file
            ));
        }
        for panel in board.panels().filter(|panel| text(panel, "/type") != "row") {
            let mut problem =
                |what: &str| problems.push(format!("{}: {}: {what}", board.file, text(panel, "/title")));
            if text(panel, "/title").is_empty() || text(panel, "/description").is_empty() {
                problem("has no title or no description");
            }
            if text(panel, "/fieldConfig/defaults/unit").is_empty() {
                problem("has no unit");
            }
            let targets = panel["targets"].as_array().unwrap();
            let letters: BTreeSet<&str> = targets.iter().map(|target| text(target, "/refId")).collect();
            if targets.is_empty() || letters.len() != targets.len() {
                problem("has no query, or two with the same refId");
            }
            for asked in targets.iter().chain([panel]) {
                if text(asked, "/datasource/uid") != "${datasource}" {
                    problem("does not ask the data source that was chosen");
                }
            }
            for target in targets {
                // After each `$` there is the name of a variable.
                let names = text(target, "/expr").split('$').skip(1);
                let names = names.map(|rest| {
                    rest.split(|next: char| !next.is_ascii_alphanumeric() && next != '_')
                        .next()
                });
                for name in names.flatten().filter(|name| !name.starts_with("__")) {
                    if !variables.contains(name) {
                        problem(&format!("the board has no variable {name}"));
                    }
                }
            }
        }
    }
    assert_none(&problems, "A board is read by somebody in a hurry:");
}
