//! The process of `auth-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main("auth-service", 8081, auth_service::serve, auth_service::migrate)
}
