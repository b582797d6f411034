//! The one OpenAPI 3.1 document of the platform, merged from the documents that the services check in.
//!
//! Two services may describe the same component only in the same words: what clients generate from it has one name.

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

const DOCUMENTS: [(&str, &str); 4] = [
    ("auth-service", include_str!("../../auth-service/openapi.json")),
    (
        "accounts-service",
        include_str!("../../accounts-service/openapi.json"),
    ),
    (
        "transactions-service",
        include_str!("../../transactions-service/openapi.json"),
    ),
    ("ml-service", include_str!("../../ml-service/openapi.json")),
];

const DESCRIPTION: &str = "\
Accounts, payments and transfers on a double-entry ledger.

**Authentication.** `POST /api/v1/auth/register` makes a user, `POST /api/v1/auth/login` answers an `access_token`. Send it as \
`Authorization: Bearer <access_token>`; it is valid for five minutes, and `POST /api/v1/auth/refresh` gives the next one. Instead, the \
login's `session_id` can be sent as `X-Session-ID`, and an API key as `Authorization: Bearer flk_…`.

**Money** is a whole number of minor units with an ISO 4217 currency: `1050` and `USD` are $10.50.

**Moving money** needs an `Idempotency-Key` header. The same key with the same body answers the same again and moves nothing twice.

**Errors** are RFC 9457 `application/problem+json` with a stable `code`. Where money was to move, `outcome` tells what became of it; \
after `unknown`, send the same request with the same key again. Any operation can also answer 504 `upstream_timeout`.

**Limits** are told by the `RateLimit` and `RateLimit-Policy` headers. After 429 or 503, wait as long as `Retry-After` says.";

/// The merged document.
pub fn document() -> anyhow::Result<Value> {
    merge(&DOCUMENTS)
}

fn merge(documents: &[(&str, &str)]) -> anyhow::Result<Value> {
    let (mut paths, mut components, mut tags) = (Map::new(), Map::new(), Map::new());
    for (service, text) in documents {
        let document: Value =
            serde_json::from_str(text).with_context(|| format!("the document of {service}"))?;
        for (path, item) in objects(&document, "paths") {
            ensure!(
                paths.insert(path.clone(), item.clone()).is_none(),
                "{service} describes {path} a second time"
            );
        }
        for (section, named) in objects(&document, "components") {
            let Value::Object(into) = components.entry(section).or_insert_with(|| json!({})) else {
                bail!("components.{section} of {service} is not an object");
            };
            for (name, component) in named.as_object().into_iter().flatten() {
                add_same(into, name, component)
                    .with_context(|| format!("components.{section} of {service}"))?;
            }
        }
        for tag in document
            .get("tags")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = tag.get("name").and_then(Value::as_str).unwrap_or_default();
            add_same(&mut tags, name, tag).with_context(|| format!("tags of {service}"))?;
        }
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flowlet API",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.into_iter().map(|(_, tag)| tag).collect::<Vec<_>>(),
        "paths": paths,
        "components": components,
    }))
}

fn objects<'a>(document: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    document.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn add_same(into: &mut Map<String, Value>, name: &str, value: &Value) -> anyhow::Result<()> {
    match into.get(name) {
        Some(there) => ensure!(there == value, "`{name}` is described in two ways"),
        None => drop(into.insert(name.to_owned(), value.clone())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{self, Service};

    fn sample(path: &str, schema: &str) -> String {
        format!(
            r#"{{"openapi": "3.1.0", "tags": [{{"name": "t"}}],
                "paths": {{"{path}": {{"get": {{"security": [{{"access_token": []}}]}}}}}},
                "components": {{"schemas": {{"Problem": {schema}}}}}}}"#
        )
    }

    #[test]
    fn paths_components_and_tags_come_together() {
        let (a, b) = (
            sample("/a", r#"{"type": "object"}"#),
            sample("/b", r#"{"type": "object"}"#),
        );
        let merged = merge(&[("one", &a), ("two", &b)]).unwrap();
        assert_eq!(merged["paths"].as_object().unwrap().len(), 2);
        assert_eq!(merged["tags"], json!([{"name": "t"}]));
        assert_eq!(
            merged["paths"]["/b"]["get"]["security"],
            json!([{"access_token": []}])
        );
        assert_eq!(
            merged["components"]["schemas"],
            json!({"Problem": {"type": "object"}})
        );
    }

    #[test]
    fn a_component_described_in_two_ways_is_named() {
        let (a, b) = (
            sample("/a", r#"{"type": "object"}"#),
            sample("/b", r#"{"type": "string"}"#),
        );
        let error = format!("{:#}", merge(&[("one", &a), ("two", &b)]).unwrap_err());
        assert!(
            error.contains("components.schemas of two") && error.contains("Problem"),
            "{error}"
        );
    }

    #[test]
    fn a_path_of_two_services_is_named() {
        let a = sample("/a", "{}");
        let error = merge(&[("one", &a), ("two", &a)]).unwrap_err().to_string();
        assert!(error.contains("two describes /a"), "{error}");
    }

    #[test]
    fn every_documented_path_is_routed_to_its_service() {
        for ((_, text), service) in DOCUMENTS.iter().zip([
            Service::Auth,
            Service::Accounts,
            Service::Transactions,
            Service::Ml,
        ]) {
            let document: Value = serde_json::from_str(text).unwrap();
            for (path, _) in objects(&document, "paths") {
                let found = routes::find(path).map(|(service, _)| service);
                assert_eq!(found, Some(service), "{path} is documented but not routed");
            }
        }
    }

    #[test]
    fn operations_need_a_token_where_the_gateway_asks_for_one() {
        let document = document().unwrap();
        for (path, item) in objects(&document, "paths") {
            let asked = matches!(routes::find(path), Some((_, routes::Access::Token)));
            for (method, operation) in item.as_object().unwrap() {
                let documented = operation
                    .get("security")
                    .is_some_and(|security| security != &json!([{}]));
                assert_eq!(documented, asked, "security of {method} {path}");
            }
        }
    }
}
