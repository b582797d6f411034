//! Each requirement that a table of ours lists names tests, and they exist.

use std::path::Path;

use super::{assert_none, files_in, read};

const TABLES: [&str; 1] = ["auth-service/asvs.md"];

#[test]
fn the_tests_that_requirements_name_exist() {
    let sources: Vec<String> = files_in(".")
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| read(path))
        .collect();
    let mut problems = Vec::new();
    for table in TABLES {
        let text = read(Path::new(table));
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| ") && line.contains(char::is_numeric))
            .collect();
        assert!(rows.len() > 20, "{table} lists next to nothing");
        for row in rows {
            let last = row
                .trim_end_matches(['|', ' '])
                .rsplit('|')
                .next()
                .unwrap_or_default();
            let tests: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
            if tests.is_empty() && !last.contains("the same") {
                problems.push(format!("{table}: no test in {row}"));
            }
            for test in tests {
                let name = format!("fn {}(", test.rsplit("::").next().unwrap_or_default());
                if !sources.iter().any(|source| source.contains(&name)) {
                    problems.push(format!("{table}: there is no test {test}"));
                }
            }
        }
    }
    assert_none(&problems, "Name the test that shows it:");
}
