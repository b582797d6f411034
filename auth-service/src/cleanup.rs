//! The job that removes what has ended: sessions with their refresh tokens, refresh tokens used long ago, old failures,
//! revocations that concern nobody any more.
//!
//! Every replica runs it. A batch is one short statement that skips what another replica is removing, so nothing waits.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl;
use shared::{ApiError, Clock, Db};
use tokio_util::sync::CancellationToken;

use crate::schema::refresh_tokens;
use crate::sessions::refresh_token::REPEATABLE_FOR;
use crate::{login_attempts, revocations};

const INTERVAL: Duration = Duration::from_secs(600);
const BATCH: usize = 500;
/// How long a session can still be looked at by whoever investigates, counted from when it ended or would have ended.
const KEEP_ENDED: chrono::Duration = chrono::Duration::days(1);
/// How long an API key that has ended can still be looked at.
const KEEP_KEYS: chrono::Duration = chrono::Duration::days(90);
/// A used refresh token that comes again later than this is refused like an unknown one, without ending the session.
const KEEP_USED: chrono::Duration = chrono::Duration::days(7);

/// Cleans up now and then, until `shutdown`.
pub async fn run(db: Db, clock: Clock, shutdown: CancellationToken) {
    while shutdown
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        if let Some(Err(error)) = shutdown.run_until_cancelled(clean_up(&db, clock.now())).await {
            tracing::warn!(%error, "cleaning up failed; the next time may do better");
        }
    }
}

async fn clean_up(db: &Db, now: DateTime<Utc>) -> Result<(), ApiError> {
    forget_successors(db, now).await?;
    for (table, key, time, before) in [
        ("sessions", "id", "idle_expires_at", now - KEEP_ENDED),
        ("refresh_tokens", "token_hash", "used_at", now - KEEP_USED),
        (
            "login_attempts",
            "email_hash",
            "last_attempt_at",
            now - login_attempts::MEMORY,
        ),
        ("api_keys", "id", "expires_at", now - KEEP_KEYS),
        ("revocations", "number", "revoked_at", now - revocations::KEEP),
    ] {
        let delete_batch = format!(
            "DELETE FROM {table} WHERE {key} IN \
             (SELECT {key} FROM {table} WHERE {time} < $1 LIMIT {BATCH} FOR UPDATE SKIP LOCKED)"
        );
        let mut connection = db.connection().await?;
        let mut deleted = BATCH;
        while deleted == BATCH {
            let statement = diesel::sql_query(&delete_batch).bind::<Timestamptz, _>(before);
            deleted = statement.execute(&mut connection).await?;
        }
    }
    Ok(())
}

/// They are of use for some seconds only.
async fn forget_successors(db: &Db, now: DateTime<Utc>) -> Result<(), ApiError> {
    let mut connection = db.connection().await?;
    let used = refresh_tokens::table
        .filter(refresh_tokens::used_at.lt(now - REPEATABLE_FOR))
        .filter(refresh_tokens::successor_sealed.is_not_null());
    diesel::update(used)
        .set(refresh_tokens::successor_sealed.eq(None::<Vec<u8>>))
        .execute(&mut connection)
        .await?;
    Ok(())
}
