//! The process of the gateway.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main("gateway", 8080, gateway::serve, gateway::migrate)
}
