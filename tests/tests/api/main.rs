//! The platform as its users meet it: through the gateway, over HTTP, on a real database. One module for each area.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod access;
mod accounts;
mod administration;
mod alerts;
mod api_keys;
mod audit_log;
mod auth;
mod cleanup;
mod concurrency;
mod enumeration;
mod events;
mod exports;
mod facts;
mod flowless;
mod fraud;
mod fraud_lists;
mod fraud_rules;
mod gateway;
mod history;
mod holds;
mod insights;
mod legs;
mod limits;
mod mail;
mod models;
mod modules;
mod outages;
mod parties;
mod passkeys;
mod passwords;
mod patterns;
mod pictures;
mod processes;
mod proofs;
mod returns;
mod reviews;
mod revocations;
mod risk;
mod sandbox;
mod schedules;
mod searches;
mod sessions;
mod smtp;
mod social;
mod step_up;
mod tokens;
mod tours;
mod transfers;
mod two_factor;
mod webhooks;
