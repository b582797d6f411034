//! Devices that are not asked for the second factor again. A device has a token and presents it with each login as
//! `X-Remembered-Device`; it stands for the second factor only, never for the first.

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::UserId;

use crate::schema::{remembered_devices, users};
use crate::sessions::Secret;

pub const LIFETIME: Duration = Duration::days(30);

/// A new token for the device of a user who has just given a second factor.
pub async fn remember(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<Secret, ApiError> {
    let token = Secret::remembered_device()?;
    diesel::insert_into(remembered_devices::table)
        .values((
            remembered_devices::token_hash.eq(token.hash()),
            remembered_devices::user_id.eq(user_id),
            remembered_devices::created_at.eq(now),
            remembered_devices::expires_at.eq(now + LIFETIME),
        ))
        .execute(connection)
        .await?;
    Ok(token)
}

/// Whether the user's device with this token is remembered. Another password forgets it.
pub async fn is_remembered(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let device = remembered_devices::table
        .find(token_hash)
        .inner_join(users::table)
        .filter(remembered_devices::user_id.eq(user_id))
        .filter(remembered_devices::expires_at.gt(now))
        .filter(remembered_devices::created_at.ge(users::password_changed_at))
        .select(remembered_devices::user_id);
    diesel::select(diesel::dsl::exists(device))
        .get_result(connection)
        .await
}

pub async fn forget_all(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<usize> {
    diesel::delete(remembered_devices::table.filter(remembered_devices::user_id.eq(user_id)))
        .execute(connection)
        .await
}
