//! How often a user's codes are guessed at. After a few wrong ones there is a pause, which doubles up to an hour, over all
//! logins of the user together: a new login gives no new guesses. Success takes all of it back.

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Int4, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::UserId;

use crate::schema::two_factor_attempts;

/// Seconds to wait after the first, second, … wrong code; after all further ones it is the longest.
const PAUSES_S: [i32; 16] = [
    0,
    0,
    0,
    0,
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
    256,
    512,
    1024,
    LONGEST_PAUSE_S,
];
const LONGEST_PAUSE_S: i32 = 3600;
/// They are forgotten when nothing was tried for this long.
pub const MEMORY: Duration = Duration::days(1);

/// Counts an attempt, or refuses it with 429 during a pause. Counted before the code is looked at, and by one statement, so
/// guesses that race each other are counted like guesses in a row.
pub async fn admit(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let counted = diesel::sql_query(
        "INSERT INTO two_factor_attempts AS attempts (user_id, failures, last_attempt_at) VALUES ($1, 1, $2) \
         ON CONFLICT (user_id) DO UPDATE SET last_attempt_at = greatest(attempts.last_attempt_at, $2), failures = \
             CASE WHEN attempts.last_attempt_at < $3 THEN 1 ELSE least(attempts.failures + 1, 1000) END \
         WHERE ($4)[least(attempts.failures, cardinality($4))] = 0 OR attempts.last_attempt_at \
             + make_interval(secs => ($4)[least(attempts.failures, cardinality($4))]) <= $2",
    )
    .bind::<Uuid, _>(user_id.uuid())
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now - MEMORY)
    .bind::<Array<Int4>, _>(PAUSES_S.as_slice())
    .execute(connection)
    .await?;
    if counted == 1 {
        return Ok(());
    }
    let last: Option<(i32, DateTime<Utc>)> = two_factor_attempts::table
        .find(user_id)
        .select((
            two_factor_attempts::failures,
            two_factor_attempts::last_attempt_at,
        ))
        .first(connection)
        .await
        .optional()?;
    let wait_s = last.map_or(1, |(failures, at)| wait_s(failures, at, now));
    let detail =
        "Too many wrong codes. Wait as long as Retry-After says, or use a recovery code or a passkey.";
    Err(ApiError::too_many_requests(detail, wait_s))
}

fn wait_s(failures: i32, at: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or_default();
    let pause = PAUSES_S.get(index).copied().unwrap_or(LONGEST_PAUSE_S);
    let left = at + Duration::seconds(pause.into()) - now;
    // Rounded up, and never none.
    u64::try_from((left.num_milliseconds() + 999) / 1000)
        .unwrap_or_default()
        .max(1)
}

pub async fn forget(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<usize> {
    diesel::delete(two_factor_attempts::table.find(user_id))
        .execute(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_an_hour_and_no_further() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let waits: Vec<u64> = [5, 6, 7, 15, 16, 17, 1000]
            .map(|failures| wait_s(failures, at, at))
            .into();
        assert_eq!(waits, [1, 2, 4, 1024, 3600, 3600, 3600]);
        assert_eq!(wait_s(16, at, at + Duration::minutes(59)), 60);
    }
}
