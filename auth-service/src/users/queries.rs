//! Reading and writing users.

use chrono::{DateTime, Utc};
use diesel::dsl::{array_append, array_remove};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::UserId;
use shared::{ApiError, FieldKeys, Role};

use super::{Name, NewUser, Roles, StoredUser, User, email_indexes, email_taken};
use crate::field_keys::{EMAIL, NAME, Protection};
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
    let created_at = diesel::insert_into(users::table)
        .values((
            users::id.eq(new.id),
            users::email.eq(protection.plaintext(email)),
            users::name.eq(protection.plaintext(name)),
            users::email_encrypted.eq(protection.encrypt(EMAIL, row, email)?),
            users::name_encrypted.eq(protection.encrypt(NAME, row, name)?),
            users::roles.eq(&roles),
            users::password_hash.eq(&new.password_hash),
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
    let mut indexes = email_indexes::of(protection, row, email)?;
    if email_indexes::insert(connection, &mut indexes).await? < indexes.len() {
        return Err(email_taken());
    }
    // After the indexes are there: a row that `encrypt-fields` is moving from the one to the other is in one of them.
    if protection.reads_plaintext && has_plaintext(connection, new).await? {
        return Err(email_taken());
    }
    Ok(User {
        id: new.id,
        email: email.to_owned(),
        name: name.to_owned(),
        roles,
        created_at,
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
    keys: &FieldKeys,
    email: &str,
) -> Result<Option<Credentials>, ApiError> {
    let Some(user) = email_indexes::find_user(connection, keys, email).await? else {
        return Ok(None);
    };
    Ok(users::table
        .find(user)
        .select(Credentials::as_select())
        .first(connection)
        .await
        .optional()?)
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
            users::password_changed_at.eq(now),
            users::updated_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(rows == 1)
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
