//! Typed clients of service-to-service calls, beside the types they put on the wire. The callee's handlers use the same
//! types, so the two ends cannot drift apart.

pub mod auth;
pub mod ml;
pub mod transactions;
