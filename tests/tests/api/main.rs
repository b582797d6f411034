//! The platform as its users meet it: through the gateway, over HTTP, on a real database. One module for each area.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod access;
mod accounts;
mod auth;
mod concurrency;
mod events;
mod gateway;
mod holds;
mod legs;
mod outages;
mod processes;
mod returns;
mod reviews;
mod sessions;
mod tokens;
mod transfers;
mod webhooks;
