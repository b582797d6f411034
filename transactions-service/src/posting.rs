//! Postings, as they are read: an account's history with its running balance, and what its balance was at a moment.
//!
//! Within an account they are numbered without a gap and dated in the order of their numbers, because both are given under
//! the account's lock. So a moment is found among them by halving, without an index over time.

pub mod handlers;
pub mod queries;
