//! Checkpoints: every few seconds the blocks since the last one are brought together and signed.
//!
//! Every replica tries, and the number of a checkpoint is taken once. Blocks are taken in the order of their transactions, and only once every older transaction has
//! ended, so none that commits late is left out. A checkpoint is a signed note; the one after it refers to it, so whoever
//! keeps one can show that nothing before it was changed since.

pub mod handlers;
pub mod queries;
mod signing_key;

use std::time::Duration;

use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

pub use signing_key::{InvalidSigningKey, SigningKey};

/// How long a block waits for its checkpoint, at most, while all is well.
pub const PAUSE: Duration = Duration::from_secs(2);
/// The most blocks that a checkpoint adds; more are left to the next, at once.
pub const MAX_BLOCKS: i64 = 1000;

/// Signs what has been committed, until `shutdown`.
pub async fn run(db: Db, key: SigningKey, shutdown: CancellationToken) {
    let mut is_published = false;
    while !shutdown.is_cancelled() {
        match sign_all(&db, &key, is_published).await {
            Ok(()) => is_published = true,
            Err(error) => tracing::warn!(error = %error, "no checkpoint was written; blocks wait for it"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn sign_all(db: &Db, key: &SigningKey, is_published: bool) -> Result<(), ApiError> {
    let mut conn = db.connection().await?;
    if !is_published {
        queries::publish(&mut conn, key.published()).await?;
    }
    let signed = loop {
        match queries::write_next(&mut conn, key).await {
            Ok(Some(MAX_BLOCKS)) => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // Also of what could not be signed.
    let lag_s = queries::lag(&mut conn).await?;
    metrics::gauge!("ledger_checkpoint_lag_seconds").set(lag_s);
    signed
}
