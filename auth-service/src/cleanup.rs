//! The job that removes what has ended: sessions with their refresh tokens, refresh tokens used long ago, old failures, what has
//! expired, revocations that concern nobody any more.
//!
//! Every replica runs it. A batch is one short statement that skips what another replica is removing, or waits for a batch of that
//! one where rows cannot be locked.

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
            tracing::warn!(%error, "nothing could be cleaned up; the next time may do better");
        }
    }
}

/// Rows of a table that are removed.
pub struct Ended {
    pub table: &'static str,
    key: &'static str,
    /// Null of rows that have not ended.
    pub time: &'static str,
    /// How long they are kept from then on.
    pub keep: chrono::Duration,
    /// Locking a row needs the privilege to update it, which the service does not have where it never does.
    lock: &'static str,
}

const fn ended(table: &'static str, key: &'static str, time: &'static str, keep: chrono::Duration) -> Ended {
    let lock = "FOR UPDATE SKIP LOCKED";
    Ended {
        table,
        key,
        time,
        keep,
        lock,
    }
}

impl Ended {
    const fn never_updated(self) -> Self {
        Self { lock: "", ..self }
    }
}

const AT_ONCE: chrono::Duration = chrono::Duration::zero();

pub const ENDED: [Ended; 15] = [
    ended("sessions", "id", "idle_expires_at", KEEP_ENDED),
    ended("refresh_tokens", "token_hash", "used_at", KEEP_USED),
    ended(
        "login_attempts",
        "email_hash",
        "last_attempt_at",
        login_attempts::MEMORY,
    ),
    ended("passkey_ceremonies", "id", "expires_at", AT_ONCE).never_updated(),
    ended("pending_logins", "id", "expires_at", AT_ONCE),
    ended("two_factor_codes", "method_id, asked_by", "expires_at", AT_ONCE),
    ended("remembered_devices", "token_hash", "expires_at", AT_ONCE),
    ended(
        "two_factor_attempts",
        "user_id",
        "last_attempt_at",
        two_factor::attempts::MEMORY,
    ),
    ended("api_keys", "id", "expires_at", KEEP_KEYS),
    ended("revocations", "number", "revoked_at", revocations::KEEP).never_updated(),
    ended("messages", "id", "ended_at", KEEP_MESSAGES),
    ended("one_time_tokens", "token_hash", "expires_at", AT_ONCE),
    ended("social_logins", "state_hash", "expires_at", AT_ONCE),
    ended("throttles", "key", "ends_at", AT_ONCE),
    ended("cache_invalidations", "id", "created_at", KEEP_CHANGES).never_updated(),
];

/// Removes what has ended by `now`. What fails at one table is logged, and the others go on.
pub async fn clean_up(db: &Db, now: DateTime<Utc>) -> Result<(), ApiError> {
    let mut connection = db.connection().await?;
    let forgotten = in_batches(&mut connection, &forget_successors(), now - REPEATABLE_FOR).await;
    warn_of_failure("refresh_tokens", forgotten);
    for ended in &ENDED {
        let removed = remove(&mut connection, ended, now).await;
        warn_of_failure(ended.table, removed);
    }
    Ok(())
}

fn warn_of_failure(table: &str, done: QueryResult<()>) {
    if let Err(error) = done {
        tracing::warn!(table, %error, "cleaning up failed; the next time may do better");
    }
}

async fn remove(connection: &mut AsyncPgConnection, ended: &Ended, now: DateTime<Utc>) -> QueryResult<()> {
    let Ended {
        table,
        key,
        time,
        keep,
        lock,
    } = ended;
    if !modules::has_table(connection, table).await? {
        return Ok(());
    }
    let delete_batch = format!(
        "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {time} < $1 LIMIT {BATCH} {lock})"
    );
    in_batches(connection, &delete_batch, now - *keep).await
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
