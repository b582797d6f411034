//! Every environment variable is documented where it is read.

use std::collections::BTreeSet;
use std::path::Path;

use platform::Service;

use super::{assert_none, files_in, read};

/// Read on behalf of every service by `shared::config`, `shared::process`, `shared::telemetry` and `shared::trace`.
const OF_EVERY_PROCESS: [&str; 7] = [
    "BIND_ADDRESS",
    "FLOWLET_ENV",
    "LOG_FORMAT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER_ARG",
    "RUST_LOG",
];
/// Read by `DbConfig::from_env`.
const OF_THE_POOL: [&str; 2] = ["DATABASE_URL", "DATABASE_MAX_CONNECTIONS"];

/// Read by `FieldKeys::from_env`.
const OF_FIELD_KEYS: [&str; 2] = ["BLIND_INDEX_KEYS", "FIELD_KEYS"];

/// Read by `shared::db::migrate` and `shared::db::roles`.
const OF_THE_SCHEMA: [&str; 2] = ["ADMIN_DATABASE_URL", "MIGRATION_DATABASE_URL"];

#[test]
fn the_top_of_config_rs_names_exactly_the_variables_that_are_read() {
    let mut problems = Vec::new();
    for service in Service::ALL {
        let path = format!("{}/src/config.rs", service.name());
        let config = read(Path::new(&path));
        let (documented, read) = (documented(&config), variables_of(service));
        for name in read.difference(&documented) {
            problems.push(format!("{path}: {name} is read and not documented"));
        }
        for name in documented.difference(&read) {
            problems.push(format!("{path}: {name} is documented and not read"));
        }
    }
    assert_none(
        &problems,
        "The comment at the top of config.rs lists the service's variables, each in backticks:",
    );
}

fn documented(config: &str) -> BTreeSet<String> {
    let comment = config.lines().map_while(|line| line.strip_prefix("//!"));
    let quoted = comment.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned));
    quoted.filter(|text| is_variable(text)).collect()
}

fn variables_of(service: Service) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = OF_EVERY_PROCESS.iter().map(ToString::to_string).collect();
    for file in files_in(&format!("{}/src", service.name())) {
        let text = read(&file);
        let in_config = file.ends_with("src/config.rs");
        if text.contains("DbConfig::from_env") {
            names.extend(OF_THE_POOL.iter().map(ToString::to_string));
        }
        if text.contains("FieldKeys::from_env") {
            names.extend(OF_FIELD_KEYS.iter().map(ToString::to_string));
        }
        if text.contains("migrate_from_env") {
            names.extend(OF_THE_SCHEMA.iter().map(ToString::to_string));
        }
        let code = text.lines().take_while(|line| !line.contains("#[cfg(test)]"));
        for line in code.filter(|line| in_config || line.contains("env.")) {
            let literals = line.split('"').skip(1).step_by(2);
            names.extend(literals.filter(|text| is_variable(text)).map(str::to_owned));
        }
    }
    names
}

fn is_variable(text: &str) -> bool {
    text.len() > 2
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text
            .chars()
            .all(|character| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_')
}
