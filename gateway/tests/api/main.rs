//! The gateway as its clients meet it: the real process code on a port of its own, in front of services that tell what they
//! were sent, with tokens that are really signed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails its test"
)]

mod access;
mod answers;
mod cors;
mod docs;
mod failures;
mod forwarding;
mod limits;
mod sessions;
mod stack;
