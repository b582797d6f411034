//! The process of the gateway.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main("gateway", 8080, None, gateway::serve, gateway::migrate, &[])
}
