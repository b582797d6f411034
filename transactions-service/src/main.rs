//! The process of `transactions-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main(
        "transactions-service",
        8083,
        Some(transactions_service::SCHEMA),
        transactions_service::serve,
        transactions_service::migrate,
        &[],
    )
}
