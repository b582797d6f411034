//! Second factors of users in the database.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::field_key::Encrypted;
use shared::id::{SecondFactorId, UserId};
use uuid::Uuid;

use super::Kind;
use crate::field_keys::{Protection, SECOND_FACTOR};
use crate::schema::two_factor_methods;

/// A method as the database has it.
#[derive(Queryable, Selectable)]
#[diesel(table_name = two_factor_methods, check_for_backend(Pg))]
pub struct StoredMethod {
    pub id: Uuid,
    pub user_id: UserId,
    kind: String,
    /// Of TOTP the shared secret, else where codes are sent to.
    pub secret_encrypted: Encrypted,
    pub created_at: DateTime<Utc>,
    /// It counts from here on.
    pub activated_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

impl StoredMethod {
    pub fn kind(&self) -> Result<Kind, ApiError> {
        Kind::from_name(&self.kind)
            .ok_or_else(|| ApiError::internal(anyhow::anyhow!("a second factor of an unknown kind")))
    }
}

/// All of a user's methods, those that do not count yet among them.
pub async fn list(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<Vec<StoredMethod>> {
    two_factor_methods::table
        .filter(two_factor_methods::user_id.eq(user_id))
        .select(StoredMethod::as_select())
        .order(two_factor_methods::created_at)
        .load(connection)
        .await
}

pub async fn find(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    kind: Kind,
) -> QueryResult<Option<StoredMethod>> {
    two_factor_methods::table
        .filter(two_factor_methods::user_id.eq(user_id))
        .filter(two_factor_methods::kind.eq(kind.name()))
        .select(StoredMethod::as_select())
        .first(connection)
        .await
        .optional()
}

/// Begins to set a method up, in place of one that was begun before. 409 when the user has one of its kind already.
pub async fn begin(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user_id: UserId,
    kind: Kind,
    secret: &str,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let begun = two_factor_methods::table
        .filter(two_factor_methods::user_id.eq(user_id))
        .filter(two_factor_methods::kind.eq(kind.name()))
        .filter(two_factor_methods::activated_at.is_null());
    diesel::delete(begun).execute(connection).await?;
    let id = SecondFactorId::new().uuid();
    let rows = diesel::insert_into(two_factor_methods::table)
        .values((
            two_factor_methods::id.eq(id),
            two_factor_methods::user_id.eq(user_id),
            two_factor_methods::kind.eq(kind.name()),
            two_factor_methods::secret_encrypted.eq(protection.encrypt(SECOND_FACTOR, id, secret)?),
            two_factor_methods::created_at.eq(now),
        ))
        .on_conflict((two_factor_methods::user_id, two_factor_methods::kind))
        .do_nothing()
        .execute(connection)
        .await?;
    if rows == 1 {
        return Ok(());
    }
    Err(method_exists())
}

/// 409: there is one already.
pub fn method_exists() -> ApiError {
    ApiError::conflict(
        "method_exists",
        "There is a second factor already. Log in with it, and remove it before you set up another.",
    )
}

/// Has a method count from now on; whether it did not before.
pub async fn activate(connection: &mut AsyncPgConnection, id: Uuid, now: DateTime<Utc>) -> QueryResult<bool> {
    let begun = two_factor_methods::table
        .find(id)
        .filter(two_factor_methods::activated_at.is_null());
    let rows = diesel::update(begun)
        .set(two_factor_methods::activated_at.eq(now))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

pub async fn note_use(
    connection: &mut AsyncPgConnection,
    id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(two_factor_methods::table.find(id))
        .set(two_factor_methods::last_used_at.eq(now))
        .execute(connection)
        .await
}

pub async fn remove_all(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<usize> {
    diesel::delete(two_factor_methods::table.filter(two_factor_methods::user_id.eq(user_id)))
        .execute(connection)
        .await
}

/// Removes a method; whether there was one.
pub async fn remove(connection: &mut AsyncPgConnection, user_id: UserId, kind: Kind) -> QueryResult<bool> {
    let method = two_factor_methods::table
        .filter(two_factor_methods::user_id.eq(user_id))
        .filter(two_factor_methods::kind.eq(kind.name()));
    Ok(diesel::delete(method).execute(connection).await? == 1)
}
