//! Users as staff sees and changes them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{self, Array, BigInt, Nullable, Text};
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

/// Numbered pages go no further than this, and count no more: each of them reads all that come before it.
pub const MOST_NUMBERED: i64 = 10_000;

/// What a numbered page is of, and where it begins.
#[derive(Clone, Debug, Default)]
pub struct Numbered {
    pub only: Option<UserId>,
    /// Who has this role and none of `without`.
    pub with: Option<Role>,
    pub without: Vec<Role>,
    pub oldest_first: bool,
    pub offset: i64,
    pub limit: i64,
}

#[derive(QueryableByName)]
struct NumberedIds {
    #[diesel(sql_type = Array<sql_types::Uuid>)]
    ids: Vec<UserId>,
    #[diesel(sql_type = BigInt)]
    total: i64,
}

/// A page of users, and how many there are on all.
pub async fn numbered_page(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    page: &Numbered,
) -> Result<(Vec<UserRecord>, i64), ApiError> {
    let order = if page.oldest_first { "ASC" } else { "DESC" };
    // Customers are everywhere; whoever is something else is found by an index of their own.
    let of_staff = page.with.map_or("", |_| "AND roles <> '{customer}'");
    let names = |roles: &[Role]| roles.iter().map(|role| role.name()).collect::<Vec<_>>();
    let NumberedIds { ids, total } = diesel::sql_query(format!(
        "WITH found AS (
             SELECT id FROM users WHERE ($1 IS NULL OR id = $1) AND roles @> $2 AND NOT roles && $3 {of_staff}
             ORDER BY id {order} LIMIT {MOST_NUMBERED})
         SELECT ARRAY(SELECT id FROM found ORDER BY id {order} OFFSET $4 LIMIT $5) AS ids,
             (SELECT count(*) FROM found) AS total"
    ))
    .bind::<Nullable<sql_types::Uuid>, _>(page.only)
    .bind::<Array<Text>, _>(names(page.with.as_slice()))
    .bind::<Array<Text>, _>(names(&page.without))
    .bind::<BigInt, _>(page.offset)
    .bind::<BigInt, _>(page.limit)
    .get_result(connection)
    .await?;
    let rows: Vec<Row> = users::table
        .filter(users::id.eq_any(&ids))
        .select((StoredUser::as_select(), users::status, users::legal_hold_at))
        .load(connection)
        .await?;
    let records = rows.into_iter().map(|row| record(row, keys));
    let mut records: Vec<UserRecord> = records.collect::<Result<_, _>>()?;
    records.sort_by_key(|record| ids.iter().position(|id| *id == record.user.id));
    Ok((records, total))
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

/// Says whether the user reads what is sent to the e-mail, and since when.
pub async fn set_email_verified(
    connection: &mut AsyncPgConnection,
    id: UserId,
    since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(users::table.find(id))
        .set((users::email_verified_at.eq(since), users::updated_at.eq(now)))
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
