//! Each requirement that a table of ours lists names tests, and they exist; and no requirement of the chapters that we claim is
//! left out.

use std::collections::BTreeSet;
use std::path::Path;

use super::{assert_none, files_in, read};

const TABLE: &str = "auth-service/asvs.md";
/// The sections of ASVS 5.0 that are listed in full, and how many requirements each has.
const SECTIONS: [(&str, u32); 16] = [
    ("6.1", 3),
    ("6.2", 12),
    ("6.3", 8),
    ("6.4", 6),
    ("6.5", 8),
    ("6.6", 4),
    ("6.7", 2),
    ("6.8", 4),
    ("7.1", 3),
    ("7.2", 4),
    ("7.3", 2),
    ("7.4", 5),
    ("7.5", 3),
    ("7.6", 2),
    ("9.1", 3),
    ("9.2", 4),
];

/// The cells of each row about a requirement.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let is_row = |line: &&str| {
        let cell = line.strip_prefix("| ");
        cell.is_some_and(|cell| cell.starts_with(|first: char| first.is_ascii_digit()))
    };
    text.lines()
        .filter(is_row)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_tests_that_requirements_name_exist() {
    let sources: Vec<String> = files_in(".")
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| read(path))
        .collect();
    let text = read(Path::new(TABLE));
    let mut problems = Vec::new();
    for row in rows(&text) {
        let [number, _level, _requirement, _how, shown] = row[..] else {
            problems.push(format!("{row:?} has not five cells"));
            continue;
        };
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let tests: Vec<&str> = tests.into_iter().filter(|name| name.contains("::")).collect();
        let says_why = shown.starts_with("does not apply: ") || shown.starts_with("not claimed: ");
        if tests.is_empty() && shown != "the same" && !says_why {
            problems.push(format!("{number} names no test, and does not say why"));
        }
        for test in tests {
            let name = format!("fn {}(", test.rsplit("::").next().unwrap_or_default());
            if !sources.iter().any(|source| source.contains(&name)) {
                problems.push(format!("{number}: there is no test {test}"));
            }
        }
    }
    assert_none(
        &problems,
        "Name the test that shows it, or say why there is none:",
    );
}

#[test]
fn no_requirement_of_the_chapters_is_left_out_or_there_twice() {
    let text = read(Path::new(TABLE));
    let rows = rows(&text);
    let listed: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    let mut problems = Vec::new();
    if listed.len() < rows.len() {
        problems.push("a requirement is there twice".to_owned());
    }
    for (section, count) in SECTIONS {
        let numbers = (1..=count).map(|number| format!("{section}.{number}"));
        problems.extend(numbers.filter(|number| !listed.contains(number.as_str())));
    }
    assert_none(&problems, "Add a row, and what meets it:");
}
