//! How often something may be asked for: so many times in a window that begins with the first. One statement counts, so
//! requests that race each other are counted like requests in a row.
//!
//! Known by a keyed hash, so what is counted, such as an e-mail, is not in the database. What is counted need not exist, so a
//! refusal reveals nothing either.

use chrono::{DateTime, Duration, Utc};
use diesel::sql_types::{Binary, Integer, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::{Column, FieldError};
use shared::{ApiError, FieldKeys};

const KEY: Column = Column("auth.throttles.key");

/// So many uses in a window.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub name: &'static str,
    pub uses: i32,
    pub window: Duration,
}

#[derive(diesel::QueryableByName)]
struct Counted {
    #[diesel(sql_type = Integer)]
    uses: i32,
    #[diesel(sql_type = Timestamptz)]
    ends_at: DateTime<Utc>,
}

/// Counts a use of `limit` by or about `whom`, or refuses it with 429 until the window ends.
pub async fn admit(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    limit: Limit,
    whom: &str,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let number = keys.blind_index_keys().next().ok_or(FieldError::NoKey)?;
    let key = keys.blind_index(number, KEY, &format!("{}\n{whom}", limit.name))?;
    let counted: Counted = diesel::sql_query(
        "INSERT INTO throttles AS t (key, uses, ends_at) VALUES ($1, 1, $2)
         ON CONFLICT (key) DO UPDATE SET
             uses = CASE WHEN t.ends_at <= $3 THEN 1 ELSE least(t.uses + 1, 1000000) END,
             ends_at = CASE WHEN t.ends_at <= $3 THEN $2 ELSE t.ends_at END
         RETURNING uses, ends_at",
    )
    .bind::<Binary, _>(key)
    .bind::<Timestamptz, _>(now + limit.window)
    .bind::<Timestamptz, _>(now)
    .get_result(connection)
    .await?;
    if counted.uses <= limit.uses {
        return Ok(());
    }
    let left = u64::try_from((counted.ends_at - now).num_seconds()).unwrap_or_default();
    let detail = "Asked for too often. Wait as long as Retry-After says.";
    Err(ApiError::too_many_requests(detail, left.max(1)))
}
