//! What Flowlet's proofs consist of, and how they are checked. `transactions-service` makes them with this code, the program
//! `flowlet-verify` checks them with it, and `README.md` says all that is needed to check them without either.
//!
//! - [`encoding`]: the bytes that are hashed; [`merkle`]: the trees over the hashes
//! - [`fact`]: what is proven of a transfer; [`block`]: the facts of one database transaction
//! - [`checkpoint`], [`note`]: what is signed, and how
//! - [`proof`], [`export`]: checking one transfer, and everything
//!
//! Deliberately light: a hash, a signature and JSON, and nothing of the service.

pub mod block;
pub mod checkpoint;
pub mod encoding;
pub mod export;
pub mod fact;
pub mod merkle;
pub mod note;
pub mod proof;

pub use block::Block;
pub use checkpoint::Checkpoint;
pub use encoding::Hash;
pub use fact::Fact;
pub use note::Keys;
