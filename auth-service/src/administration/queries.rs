//! Users as staff sees and changes them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::UserId;
use shared::page::Limit;
use shared::{ApiError, FieldKeys, Principal, Role};

use super::{UserRecord, UserStatus, no_such_user, require_authority};
use crate::schema::{sessions, users};
use crate::users::{Roles, StoredUser};

type Row = (StoredUser, String, Option<DateTime<Utc>>);

fn record((user, status, legal_hold_at): Row, keys: &FieldKeys) -> Result<UserRecord, ApiError> {
    Ok(UserRecord {
        user: user.decrypt(keys)?,
        status: match status.as_str() {
            "active" => UserStatus::Active,
            _ => UserStatus::Disabled,
        },
        legal_hold_at,
    })
}

/// Newest first: all of them before `before`, or the one who is `only`.
pub async fn list(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    only: Option<UserId>,
    before: Option<UserId>,
    limit: Limit,
) -> Result<Vec<UserRecord>, ApiError> {
    let mut found = users::table
        .select((StoredUser::as_select(), users::status, users::legal_hold_at))
        .order(users::id.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(before) = before {
        found = found.filter(users::id.lt(before));
    }
    if let Some(only) = only {
        found = found.filter(users::id.eq(only));
    }
    let rows: Vec<Row> = found.load(connection).await?;
    rows.into_iter().map(|row| record(row, keys)).collect()
}

pub async fn find(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    id: UserId,
) -> Result<UserRecord, ApiError> {
    let found = list(connection, keys, Some(id), None, Limit::default()).await?;
    found.into_iter().next().ok_or_else(no_such_user)
}

/// What a change of a user is decided by; it stays so until the transaction ends.
pub struct Locked {
    pub roles: Vec<Role>,
    pub status: String,
    pub legal_hold_at: Option<DateTime<Utc>>,
}

/// The same, for `principal`, who may change it and whose own session goes on.
pub async fn lock_for(
    connection: &mut AsyncPgConnection,
    principal: &Principal,
    id: UserId,
    now: DateTime<Utc>,
) -> Result<Locked, ApiError> {
    crate::sessions::queries::require_live(connection, principal.session_id, now).await?;
    let user = lock(connection, id).await?;
    require_authority(principal, id, &user.roles)?;
    Ok(user)
}

pub async fn lock(connection: &mut AsyncPgConnection, id: UserId) -> Result<Locked, ApiError> {
    let row: Option<(Roles, String, Option<DateTime<Utc>>)> = users::table
        .find(id)
        .select((users::roles, users::status, users::legal_hold_at))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    let (roles, status, legal_hold_at) = row.ok_or_else(no_such_user)?;
    Ok(Locked {
        roles: roles.0,
        status,
        legal_hold_at,
    })
}

pub async fn set_roles(
    connection: &mut AsyncPgConnection,
    id: UserId,
    roles: &[Role],
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(users::table.find(id))
        .set((users::roles.eq(Roles(roles.to_vec())), users::updated_at.eq(now)))
        .execute(connection)
        .await
}

pub async fn set_status(
    connection: &mut AsyncPgConnection,
    id: UserId,
    status: UserStatus,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(users::table.find(id))
        .set((users::status.eq(status.name()), users::updated_at.eq(now)))
        .execute(connection)
        .await
}

pub async fn set_legal_hold(
    connection: &mut AsyncPgConnection,
    id: UserId,
    since: Option<DateTime<Utc>>,
) -> QueryResult<usize> {
    diesel::update(users::table.find(id))
        .set(users::legal_hold_at.eq(since))
        .execute(connection)
        .await
}

/// Removes a user with everything that is kept about them.
pub async fn erase(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<()> {
    diesel::delete(sessions::table.filter(sessions::user_id.eq(id)))
        .execute(connection)
        .await?;
    diesel::delete(users::table.find(id)).execute(connection).await?;
    Ok(())
}
