//! Whether an error that a test meets is one that the OpenAPI documents promise: each operation lists, per status, the codes
//! it answers in backticks. A test that meets another one fails, so the documents cannot fall behind.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let texts = [
        include_str!("../../auth-service/openapi.json"),
        include_str!("../../accounts-service/openapi.json"),
        include_str!("../../transactions-service/openapi.json"),
        include_str!("../../ml-service/openapi.json"),
    ];
    // The service's own test says so when its document cannot be read.
    texts
        .iter()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect()
});

/// `METHOD /path` and the description of every operation of the public API.
pub fn operations() -> impl Iterator<Item = (String, &'static Value)> {
    let items = DOCUMENTS
        .iter()
        .filter_map(|document| document.get("paths")?.as_object());
    items.flatten().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

/// Panics when `method path` is a documented operation that does not promise this error. Other paths promise nothing.
#[track_caller]
pub fn assert_promised(method: &str, path: &str, status: u16, code: &str) {
    let Some(operation) = find_operation(method, path) else {
        return;
    };
    let responses = operation.get("responses");
    let description =
        responses.and_then(|responses| responses.get(status.to_string())?.get("description")?.as_str());
    let promised = description.is_some_and(|description| description.contains(&format!("`{code}`")));
    assert!(
        promised,
        "{method} {path} answered {status} `{code}`, which its OpenAPI document does not promise: it says {description:?}"
    );
}

fn find_operation(method: &str, path: &str) -> Option<&'static Value> {
    let mut matching = operations().filter(|(name, _)| {
        let template = name.split_once(' ').filter(|(of, _)| *of == method);
        template.is_some_and(|(_, template)| matches(template, path))
    });
    matching.next().map(|(_, operation)| operation)
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(expected, part)| expected == part || expected.starts_with('{'))
}
