//! The faults that the ledger survives, one module for each kind. Each prints a line of a table: what was tried, what was
//! acknowledged, and what of that was lost, which is nothing but in the control.
//!
//! Those that are about restarts, paused replicas and upgrades are in `tests/operations`, with what operates them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod accounts;
mod cases;
mod commit_proxy;
mod contention;
mod disk_full;
mod evaluator;
mod kills;
mod ledger_model;
mod load;
mod lost_replies;
mod model;
mod one_hold;
mod steps;
mod table;
mod terminated;
mod world;
