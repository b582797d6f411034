//! The audit log of the ledger: what people of staff, and other services, changed in it. Transfers are not in it; they are in
//! blocks.

pub mod handlers;

pub use shared::audit::{Entry, append};
