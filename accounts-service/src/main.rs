//! The process of `accounts-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main(
        "accounts-service",
        8082,
        Some(accounts_service::SCHEMA),
        accounts_service::serve,
        accounts_service::migrate,
        &[],
    )
}
