//! What our files are called and what is not written in them.

use std::path::Path;

use super::{assert_none, files_in, read};

#[test]
fn files_are_named_for_what_is_in_them() {
    let banned = ["mod", "utils", "util", "helpers", "common", "misc", "types"];
    let named_so = |path: &Path| {
        let mut parts = path.iter().map(|part| part.to_string_lossy());
        parts.any(|part| banned.contains(&part.strip_suffix(".rs").unwrap_or(&part)))
    };
    let problems: Vec<String> = rust_files()
        .iter()
        .filter(|path| named_so(Path::new(path)))
        .cloned()
        .collect();
    assert_none(
        &problems,
        "A file is named for its noun. Instead of foo/mod.rs write foo.rs; instead of utils.rs, a file for each subject:",
    );
}

#[test]
fn every_file_says_at_its_top_what_it_is_for() {
    let says = |path: &String| {
        let text = read(Path::new(path));
        // Diesel writes its own first line.
        text.starts_with("//!") || text.starts_with("// @generated")
    };
    let problems: Vec<String> = rust_files().into_iter().filter(|path| !says(path)).collect();
    assert_none(
        &problems,
        "Begin the file with a `//!` paragraph: what, why, and what is deliberately absent:",
    );
}

#[test]
fn nothing_is_written_that_we_do_not_write() {
    // In two parts, so that this file does not break its own rule.
    let banned = [
        (
            concat!("#[", "allow("),
            "#[expect(…, reason = …)], which says when it is no longer needed",
        ),
        (concat!("#![", "allow("), "#![expect(…, reason = …)]"),
        (concat!("TO", "DO"), "an issue, or the thing itself"),
        (concat!("FIX", "ME"), "an issue, or the thing itself"),
        (concat!("pub use ", "*"), "the names, one by one"),
        (concat!("::*;", " //"), "the names, one by one"),
        (
            concat!("struct ", "Transaction "),
            "transfer, posting or payment: the word belongs to the database",
        ),
    ];
    let mut problems = Vec::new();
    for path in rust_files() {
        for (number, line) in read(Path::new(&path)).lines().enumerate() {
            let found = banned.iter().filter(|(text, _)| line.contains(text));
            problems.extend(
                found.map(|(text, instead)| format!("{path}:{}: `{text}`: write {instead}", number + 1)),
            );
            if line.trim_start().starts_with("pub use ") && line.contains("::*") {
                problems.push(format!("{path}:{}: name what is re-exported", number + 1));
            }
        }
    }
    assert_none(&problems, "Write something else:");
}

#[test]
fn nothing_refers_to_somebodys_machine() {
    // Homebrew on Linux lives in a home directory of its own on every machine.
    let everywhere = concat!("/home", "/linuxbrew");
    let homes = [
        concat!("/home", "/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/work", "/main"),
        concat!("\"/t", "mp/"),
    ];
    let mut problems = Vec::new();
    for path in files_in(".") {
        for (number, line) in read(&path).replace(everywhere, "").lines().enumerate() {
            if homes.iter().any(|home| line.contains(home)) {
                problems.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert_none(
        &problems,
        "Use a path relative to the work tree, or find it at run time:",
    );
}

fn rust_files() -> Vec<String> {
    files_in(".")
        .iter()
        .map(|path| path.display().to_string())
        .filter(|path| path.ends_with(".rs"))
        .collect()
}
