//! Reading and writing users.

use chrono::{DateTime, Utc};
use diesel::dsl::{array_append, array_remove};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::Role;
use shared::id::UserId;

use super::{Email, Name, Roles, User, role_name};
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

/// Inserts a customer; `None` when the e-mail is taken.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    email: &Email,
    name: &Name,
    password_hash: &str,
    now: DateTime<Utc>,
) -> QueryResult<Option<User>> {
    diesel::insert_into(users::table)
        .values((
            users::id.eq(UserId::new()),
            users::email.eq(email.as_str()),
            users::name.eq(name.as_str()),
            users::roles.eq(Roles(vec![Role::Customer])),
            users::password_hash.eq(password_hash),
            users::password_changed_at.eq(now),
            users::created_at.eq(now),
            users::updated_at.eq(now),
        ))
        .on_conflict(users::email)
        .do_nothing()
        .returning(User::as_returning())
        .get_result(connection)
        .await
        .optional()
}

pub async fn find_credentials(
    connection: &mut AsyncPgConnection,
    email: &str,
) -> QueryResult<Option<Credentials>> {
    users::table
        .filter(users::email.eq(email))
        .select(Credentials::as_select())
        .first(connection)
        .await
        .optional()
}

pub async fn find_active(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Option<User>> {
    users::table
        .find(id)
        .filter(users::status.eq("active"))
        .select(User::as_select())
        .first(connection)
        .await
        .optional()
}

/// The user, if still active and with the password that was verified; neither changes until the transaction ends.
pub async fn lock_verified(
    connection: &mut AsyncPgConnection,
    verified: &Credentials,
) -> QueryResult<Option<User>> {
    users::table
        .find(verified.user_id)
        .filter(users::status.eq("active"))
        .filter(users::password_changed_at.eq(verified.password_changed_at))
        .select(User::as_select())
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

/// Adds a role; whether there is such a user.
pub async fn add_role(connection: &mut AsyncPgConnection, email: &Email, role: Role) -> QueryResult<bool> {
    let name = Some(role_name(role));
    let rows = diesel::update(users::table.filter(users::email.eq(email.as_str())))
        .set((
            users::roles.eq(array_append(array_remove(users::roles, name), name)),
            users::updated_at.eq(diesel::dsl::now),
        ))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}
