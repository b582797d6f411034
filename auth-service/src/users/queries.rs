//! Reading and writing users.

use chrono::{DateTime, Utc};
use diesel::dsl::{array_append, array_remove};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::UserId;
use shared::{ApiError, Role};
use uuid::Uuid;

use super::profile::queries::user_name_taken;
use super::{Name, NewUser, Roles, StoredUser, User, email_indexes, email_taken};
use crate::field_keys::{EMAIL, NAME, PROFILE, Protection, USER_NAME};
use crate::schema::users;

/// What a password is checked against.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Pg))]
pub struct Credentials {
    #[diesel(column_name = id)]
    pub user_id: UserId,
    status: String,
    pub password_hash: String,
    pub password_changed_at: DateTime<Utc>,
}

impl Credentials {
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }
}

/// Inserts a customer, or refuses with 409 when the e-mail is taken; the transaction is then to be rolled back.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    new: &NewUser,
    now: DateTime<Utc>,
) -> Result<User, ApiError> {
    let (row, email, name) = (new.id.uuid(), new.email.as_str(), new.name.as_str());
    let roles = Roles(vec![Role::Customer]);
    let user_name = new.user_name.as_ref().map(|name| name.as_str());
    let profile = new.profile.to_text()?;
    let created_at = diesel::insert_into(users::table)
        .values((
            users::id.eq(new.id),
            users::email.eq(protection.plaintext(email)),
            users::name.eq(protection.plaintext(name)),
            users::email_encrypted.eq(protection.encrypt(EMAIL, row, email)?),
            users::name_encrypted.eq(protection.encrypt(NAME, row, name)?),
            users::user_name_encrypted.eq(user_name
                .map(|name| protection.encrypt(USER_NAME, row, name))
                .transpose()?),
            users::profile_encrypted.eq(protection.encrypt(PROFILE, row, &profile)?),
            users::roles.eq(&roles),
            users::password_hash.eq(&new.password_hash),
            users::has_password.eq(new.has_password),
            users::password_changed_at.eq(now),
            users::created_at.eq(now),
            users::updated_at.eq(now),
        ))
        .on_conflict(users::email)
        .do_nothing()
        .returning(users::created_at)
        .get_result(connection)
        .await
        .optional()?
        .ok_or_else(email_taken)?;
    let mut indexes = email_indexes::of(protection, row, EMAIL, email)?;
    if email_indexes::insert(connection, &mut indexes).await? < indexes.len() {
        return Err(email_taken());
    }
    if let Some(name) = user_name {
        let mut indexes = email_indexes::of(protection, row, USER_NAME, name)?;
        if email_indexes::insert(connection, &mut indexes).await? < indexes.len() {
            return Err(user_name_taken());
        }
    }
    // After the indexes are there: a row that `encrypt-fields` is moving from the one to the other is in one of them.
    if protection.reads_plaintext && has_plaintext(connection, new).await? {
        return Err(email_taken());
    }
    Ok(User {
        id: new.id,
        email: email.to_owned(),
        name: name.to_owned(),
        user_name: user_name.map(str::to_owned),
        email_verified: false,
        two_factor: false,
        profile: new.profile.clone(),
        roles,
        created_at,
        updated_at: created_at,
    })
}

/// Whether another user with this e-mail is there in plaintext.
async fn has_plaintext(connection: &mut AsyncPgConnection, new: &NewUser) -> QueryResult<bool> {
    let others = users::table
        .filter(users::email.eq(new.email.as_str()))
        .filter(users::id.ne(new.id));
    diesel::select(diesel::dsl::exists(others))
        .get_result(connection)
        .await
}

pub async fn find_credentials(
    connection: &mut AsyncPgConnection,
    id: Option<UserId>,
) -> QueryResult<Option<Credentials>> {
    // Asked for also where there is nobody: what a refusal takes must not tell.
    users::table
        .find(id.unwrap_or(UserId::from_uuid(Uuid::nil())))
        .select(Credentials::as_select())
        .first(connection)
        .await
        .optional()
}

pub async fn find_active(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Option<StoredUser>> {
    users::table
        .find(id)
        .filter(users::status.eq("active"))
        .select(StoredUser::as_select())
        .first(connection)
        .await
        .optional()
}

/// The user, if still active and with the password that was verified; neither changes until the transaction ends.
pub async fn lock_verified(
    connection: &mut AsyncPgConnection,
    verified: &Credentials,
) -> QueryResult<Option<StoredUser>> {
    users::table
        .find(verified.user_id)
        .filter(users::status.eq("active"))
        .filter(users::password_changed_at.eq(verified.password_changed_at))
        .select(StoredUser::as_select())
        .for_share()
        .first(connection)
        .await
        .optional()
}

/// Sets another password, unless that was done since the current one was verified.
pub async fn change_password(
    connection: &mut AsyncPgConnection,
    verified: &Credentials,
    password_hash: &str,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let unchanged = users::table
        .find(verified.user_id)
        .filter(users::password_changed_at.eq(verified.password_changed_at));
    let rows = diesel::update(unchanged)
        .set((
            users::password_hash.eq(password_hash),
            users::has_password.eq(true),
            users::password_changed_at.eq(now),
            users::updated_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

/// Sets another password, whatever the current one is.
pub async fn reset_password(
    connection: &mut AsyncPgConnection,
    id: UserId,
    password_hash: &str,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    set_hash(connection, id, password_hash, true, now).await
}

/// Leaves the user without a password: nobody knows one that matches this hash.
pub async fn remove_password(
    connection: &mut AsyncPgConnection,
    id: UserId,
    nobodys_hash: &str,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    set_hash(connection, id, nobodys_hash, false, now).await
}

async fn set_hash(
    connection: &mut AsyncPgConnection,
    id: UserId,
    password_hash: &str,
    has_password: bool,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(users::table.find(id))
        .set((
            users::password_hash.eq(password_hash),
            users::has_password.eq(has_password),
            users::password_changed_at.eq(now),
            users::updated_at.eq(now),
        ))
        .execute(connection)
        .await
}

/// Notes that the user reads what is sent to the e-mail.
pub async fn set_email_verified(
    connection: &mut AsyncPgConnection,
    id: UserId,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(users::table.find(id))
        .set((users::email_verified_at.eq(now), users::updated_at.eq(now)))
        .execute(connection)
        .await
}

/// Replaces a hash by another one of the same password, unless it was replaced already.
pub async fn replace_hash(
    connection: &mut AsyncPgConnection,
    verified: &Credentials,
    password_hash: &str,
) -> QueryResult<usize> {
    let unchanged = users::table
        .find(verified.user_id)
        .filter(users::password_hash.eq(&verified.password_hash));
    diesel::update(unchanged)
        .set(users::password_hash.eq(password_hash))
        .execute(connection)
        .await
}

/// Adds a role.
pub async fn add_role(connection: &mut AsyncPgConnection, id: UserId, role: Role) -> QueryResult<usize> {
    let name = Some(role.name());
    diesel::update(users::table.find(id))
        .set((
            users::roles.eq(array_append(array_remove(users::roles, name), name)),
            users::updated_at.eq(diesel::dsl::now),
        ))
        .execute(connection)
        .await
}

pub async fn set_name(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    id: UserId,
    name: &Name,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    diesel::update(users::table.find(id))
        .set((
            users::name.eq(protection.plaintext(name.as_str())),
            users::name_encrypted.eq(protection.encrypt(NAME, id.uuid(), name.as_str())?),
            users::updated_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(())
}
