//! The job that removes what has ended: sessions with their refresh tokens, refresh tokens used long ago, old failures, what has
//! expired, revocations that concern nobody any more.
//!
//! Every replica runs it. A batch is one short statement that skips what another replica is removing, so nothing waits.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::{ApiError, Clock, Db};
use tokio_util::sync::CancellationToken;

use crate::sessions::cache::KEEP_CHANGES;
use crate::sessions::refresh_token::REPEATABLE_FOR;
use crate::{login_attempts, modules, revocations, two_factor};

const INTERVAL: Duration = Duration::from_secs(600);
const BATCH: usize = 500;
/// How long a session can still be looked at by whoever investigates, counted from when it ended or would have ended.
const KEEP_ENDED: chrono::Duration = chrono::Duration::days(1);
/// How long an API key that has ended can still be looked at.
const KEEP_KEYS: chrono::Duration = chrono::Duration::days(90);
/// A used refresh token that comes again later than this is refused like an unknown one, without ending the session.
const KEEP_USED: chrono::Duration = chrono::Duration::days(7);
/// What became of a message can be asked for this long; to whom it went and what was in it is gone with its end.
const KEEP_MESSAGES: chrono::Duration = chrono::Duration::days(30);

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
    let mut connection = db.connection().await?;
    in_batches(&mut connection, &forget_successors(), now - REPEATABLE_FOR).await?;
    for (table, key, time, before) in [
        ("sessions", "id", "idle_expires_at", now - KEEP_ENDED),
        ("refresh_tokens", "token_hash", "used_at", now - KEEP_USED),
        (
            "login_attempts",
            "email_hash",
            "last_attempt_at",
            now - login_attempts::MEMORY,
        ),
        ("passkey_ceremonies", "id", "expires_at", now),
        ("pending_logins", "id", "expires_at", now),
        ("two_factor_codes", "method_id, asked_by", "expires_at", now),
        ("remembered_devices", "token_hash", "expires_at", now),
        (
            "two_factor_attempts",
            "user_id",
            "last_attempt_at",
            now - two_factor::attempts::MEMORY,
        ),
        ("api_keys", "id", "expires_at", now - KEEP_KEYS),
        ("revocations", "number", "revoked_at", now - revocations::KEEP),
        ("messages", "id", "ended_at", now - KEEP_MESSAGES),
        ("one_time_tokens", "token_hash", "expires_at", now),
        ("social_logins", "state_hash", "expires_at", now),
        ("throttles", "key", "ends_at", now),
        ("cache_invalidations", "id", "created_at", now - KEEP_CHANGES),
    ] {
        if !modules::has_table(&mut connection, table).await? {
            continue;
        }
        let delete_batch = format!(
            "DELETE FROM {table} WHERE ({key}) IN \
             (SELECT {key} FROM {table} WHERE {time} < $1 LIMIT {BATCH} FOR UPDATE SKIP LOCKED)"
        );
        in_batches(&mut connection, &delete_batch, before).await?;
    }
    Ok(())
}

/// They are of use for some seconds only.
fn forget_successors() -> String {
    format!(
        "UPDATE refresh_tokens SET successor_sealed = NULL WHERE token_hash IN \
         (SELECT token_hash FROM refresh_tokens WHERE successor_sealed IS NOT NULL AND used_at < $1 \
         LIMIT {BATCH} FOR UPDATE SKIP LOCKED)"
    )
}

/// Repeats `statement` until there is nothing left from before `before`.
async fn in_batches(
    connection: &mut AsyncPgConnection,
    statement: &str,
    before: DateTime<Utc>,
) -> QueryResult<()> {
    let mut done = BATCH;
    while done == BATCH {
        let statement = diesel::sql_query(statement).bind::<Timestamptz, _>(before);
        done = statement.execute(connection).await?;
    }
    Ok(())
}
