//! The process of `ml-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main(
        "ml-service",
        8084,
        Some(ml_service::SCHEMA),
        ml_service::serve,
        ml_service::migrate,
        ml_service::COMMANDS,
    )
}
