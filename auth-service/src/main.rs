//! The process of `auth-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main(
        "auth-service",
        8081,
        Some(auth_service::SCHEMA),
        auth_service::serve,
        auth_service::migrate,
        auth_service::COMMANDS,
    )
}
