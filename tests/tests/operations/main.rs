//! What an operator relies on: manifests, containers, metrics, logs, alerts, recovery, rotation, upgrades. One module for each.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod containers;
mod field_encryption;
mod installation;
mod logs;
mod manifests;
mod metrics;
mod observability;
mod readiness;
mod recovery;
mod replicas;
mod rotation;
mod secrets;
mod supply_chain;
mod traces;
mod upgrades;
