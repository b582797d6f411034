//! The whole platform in one place: what `cargo dev` runs and what the tests of the whole run against, which are the same
//! code. [`postgres`] is a private database server, [`database`] our databases in it, [`platform`] the five services on
//! top, [`client`] somebody who uses them, [`traffic`] several who do not stop, [`load`] as many as they can take,
//! [`authenticator`] what they hold in their hands. [`processor_time`] is what all of it costs, and [`tools`] are the programs that check what
//! an operator relies on.
//!
//! Deliberately absent: any rule of the services. What is known here is how to start them and what they promise.

pub mod authenticator;
pub mod client;
pub mod contract;
pub mod database;
pub mod inbox;
pub mod invariants;
pub mod load;
pub mod platform;
pub mod postgres;
pub mod processor_time;
pub mod programs;
pub mod redis;
pub mod sbom;
pub mod secrets;
pub mod service;
pub mod tools;
pub mod traffic;

pub use client::{Answer, Client, Customer};
pub use platform::Platform;
pub use service::Service;
