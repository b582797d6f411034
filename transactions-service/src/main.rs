//! The process of `transactions-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::process::main(
        "transactions-service",
        8083,
        transactions_service::serve,
        transactions_service::migrate,
    )
}
