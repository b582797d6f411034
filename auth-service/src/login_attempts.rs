//! The progressive delay after failed logins: a guesser gets slower and slower, and nobody is ever locked out for good.
//!
//! Known by a keyed hash of the user, whichever of their names is tried, or of a name that nobody has, so that the table reveals
//! nothing and both are slowed down alike. Attempts from a device that has logged in before are counted for that device alone, so
//! that nobody can keep the owner out by guessing. An attempt counts as failed when it begins and success takes all of them back;
//! so guesses that race each other cannot outrun the count, which one upsert keeps.
//!
//! Deliberately accepted: who knows both names of a user can see that they are slowed down together.

pub mod device;

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Int4, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::{Column, FieldError};
use shared::id::UserId;
use shared::{ApiError, FieldKeys};

use crate::schema::login_attempts;
use device::PresentedDevice;

/// Seconds to wait after the first, second, … failure; after all further ones it is the longest.
const DELAYS_S: [i32; 11] = [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, LONGEST_DELAY_S];
const LONGEST_DELAY_S: i32 = 60;
/// Failures are forgotten when nothing was tried for this long.
pub const MEMORY: Duration = Duration::minutes(15);

const WHOSE: Column = Column("auth.login_attempts.whose");
const WHOSE_AND_DEVICE: Column = Column("auth.login_attempts.whose_and_device");

/// Whose attempts are counted, where they are a user's. No name that somebody could log in with has a space.
pub fn of_user(id: UserId) -> String {
    format!("user {id}")
}

/// What somebody's attempts are known by: those of a known device, or those of all others. While the key is being replaced, two
/// replicas may count for themselves.
pub fn key_of(keys: &FieldKeys, whose: &str, device: &PresentedDevice) -> Result<Vec<u8>, FieldError> {
    let key = keys.blind_index_keys().next().ok_or(FieldError::NotEncrypted)?;
    match device.known_for(keys, whose)? {
        Some(device) => keys.blind_index(key, WHOSE_AND_DEVICE, &format!("{device}\n{whose}")),
        None => keys.blind_index(key, WHOSE, whose),
    }
}

/// Counts an attempt, or refuses it with 429 when the last one is not long enough ago.
pub async fn admit(
    connection: &mut AsyncPgConnection,
    key: &[u8],
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let counted = diesel::sql_query(
        // Attempts that race arrive here in another order than their clocks say: without a delay, none is refused.
        "INSERT INTO login_attempts AS attempts (email_hash, failures, last_attempt_at) VALUES ($1, 1, $2) \
         ON CONFLICT (email_hash) DO UPDATE SET last_attempt_at = greatest(attempts.last_attempt_at, $2), failures = \
             CASE WHEN attempts.last_attempt_at < $3 THEN 1 ELSE least(attempts.failures + 1, 1000) END \
         WHERE ($4)[least(attempts.failures, cardinality($4))] = 0 OR attempts.last_attempt_at \
             + make_interval(secs => ($4)[least(attempts.failures, cardinality($4))]) <= $2",
    )
    .bind::<Binary, _>(key)
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now - MEMORY)
    .bind::<Array<Int4>, _>(DELAYS_S.as_slice())
    .execute(connection)
    .await?;
    if counted == 1 {
        return Ok(());
    }
    let last: Option<(i32, DateTime<Utc>)> = login_attempts::table
        .find(key)
        .select((login_attempts::failures, login_attempts::last_attempt_at))
        .first(connection)
        .await
        .optional()?;
    let wait_s = last.map_or(1, |(failures, at)| wait_s(failures, at, now));
    let detail = "Too many attempts to log in with this name. Wait as long as Retry-After says.";
    Err(ApiError::too_many_requests(detail, wait_s))
}

/// Takes all failures back.
pub async fn forget(connection: &mut AsyncPgConnection, key: &[u8]) -> QueryResult<usize> {
    diesel::delete(login_attempts::table.find(key))
        .execute(connection)
        .await
}

/// Whole seconds until the next attempt, at least one.
fn wait_s(failures: i32, last_attempt_at: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    let number = usize::try_from(failures).unwrap_or_default();
    let delay = number.checked_sub(1).and_then(|index| DELAYS_S.get(index));
    let delay = Duration::seconds(i64::from(*delay.unwrap_or(&LONGEST_DELAY_S)));
    let left = (last_attempt_at + delay - now).num_milliseconds();
    u64::try_from(left).unwrap_or_default().div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_a_minute_and_no_further() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let waits: Vec<u64> = (5..13).map(|failures| wait_s(failures, at, at)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait_s(1000, at, at + Duration::milliseconds(58_500)), 2);
        assert_eq!(wait_s(1000, at, at + Duration::minutes(2)), 1);
    }
}
