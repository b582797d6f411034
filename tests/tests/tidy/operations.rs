//! What the OpenAPI documents say about each operation, so that a client's author never has to guess.

use std::collections::BTreeMap;

use platform::contract::operations;
use serde_json::Value;

use super::assert_none;

#[test]
fn every_operation_tells_what_it_does_and_everything_it_can_answer() {
    let mut problems = Vec::new();
    for (name, operation) in operations().filter(|(name, _)| !is_of_oauth(name)) {
        let mut statuses = vec!["400", "429", "500", "503"];
        if operation.get("security").is_some() {
            statuses.push("401");
        }
        if operation.get("requestBody").is_some() {
            statuses.extend(["413", "415"]);
        }
        let responses = operation["responses"].as_object().unwrap();
        let missing = statuses.iter().filter(|status| !responses.contains_key(**status));
        problems.extend(missing.map(|status| format!("{name} does not say when it answers {status}")));
        for member in ["summary", "operationId", "tags"] {
            if operation.get(member).is_none() {
                problems.push(format!("{name} has no {member}"));
            }
        }
        for (status, response) in responses {
            problems.extend(problem_with(status, response).map(|what| format!("{name}: {status} {what}")));
        }
    }
    assert_none(
        &problems,
        "Complete the #[utoipa::path(…)] or the doc comment of the handler:",
    );
}

/// What these answer is said by RFC 6749, 7009 and 7662.
fn is_of_oauth(name: &str) -> bool {
    name.contains(" /oauth/")
}

fn problem_with(status: &str, response: &Value) -> Option<String> {
    let description = response["description"].as_str().unwrap_or_default();
    if description.is_empty() {
        return Some("has no description".to_owned());
    }
    let failed = status.starts_with(['4', '5']);
    let is_problem = response.pointer("/content/application~1problem+json").is_some();
    if failed && !is_problem {
        return Some("is not application/problem+json".to_owned());
    }
    (failed && !description.contains('`')).then(|| "names no code in backticks".to_owned())
}

#[test]
fn no_two_operations_have_the_same_id() {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_default();
        names.entry(id).or_default().push(name);
    }
    names.retain(|_, names| names.len() > 1);
    let problems: Vec<String> = names
        .iter()
        .map(|(id, names)| format!("{id}: {}", names.join(", ")))
        .collect();
    assert_none(
        &problems,
        "Rename a handler: generated clients name their functions after these ids:",
    );
}
