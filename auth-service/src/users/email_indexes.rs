//! Finding users by their e-mail or user name, which the database does not know: it has a keyed hash of each, under each key
//! that is in use. That two users never have the same is kept by the primary key of these. A user name has no `@`, so no
//! text is both.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::{Column, FieldError};
use shared::id::UserId;
use shared::{ApiError, FieldKeys};
use uuid::Uuid;

use crate::field_keys::{EMAIL, Protection, USER_NAME};
use crate::schema::email_indexes;

#[derive(Insertable)]
#[diesel(table_name = email_indexes)]
pub struct EmailIndex {
    value: Vec<u8>,
    key_number: i32,
    user_id: Uuid,
}

/// The indexes of a user with this text in one of the columns `EMAIL` and `USER_NAME`.
pub fn of(
    protection: &Protection<'_>,
    user_id: Uuid,
    column: Column,
    text: &str,
) -> Result<Vec<EmailIndex>, FieldError> {
    let values = protection.blind_indexes(column, text)?.into_iter();
    let indexes = values.map(|(number, value)| EmailIndex {
        value,
        key_number: number.into(),
        user_id,
    });
    Ok(indexes.collect())
}

/// Inserts those that are not there; how many. In one order, so that two who insert the same never wait for each other.
pub async fn insert(connection: &mut AsyncPgConnection, indexes: &mut [EmailIndex]) -> QueryResult<usize> {
    indexes.sort_by(|one, other| one.value.cmp(&other.value));
    diesel::insert_into(email_indexes::table)
        .values(&*indexes)
        .on_conflict(email_indexes::value)
        .do_nothing()
        .execute(connection)
        .await
}

/// Has a user found by another text than before; whether nobody else is.
pub async fn replace(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    keys: &FieldKeys,
    user_id: Uuid,
    column: Column,
    old: Option<&str>,
    new: Option<&str>,
) -> Result<bool, ApiError> {
    if let Some(old) = old {
        let values = values_of(keys, column, old)?;
        let indexes = email_indexes::table
            .filter(email_indexes::user_id.eq(user_id))
            .filter(email_indexes::value.eq_any(values));
        diesel::delete(indexes).execute(connection).await?;
    }
    let Some(new) = new else { return Ok(true) };
    // Whom only a version from before field encryption has written is found by the plaintext.
    let is_free = column != EMAIL || find_user(connection, keys, new).await?.is_none();
    let mut indexes = of(protection, user_id, column, new)?;
    Ok(is_free && insert(connection, &mut indexes).await? == indexes.len())
}

/// What a text is found by, under every key there is.
fn values_of(keys: &FieldKeys, column: Column, text: &str) -> Result<Vec<Vec<u8>>, FieldError> {
    let numbers = keys.blind_index_keys();
    numbers
        .map(|number| keys.blind_index(number, column, text))
        .collect()
}

/// The same for users that are there; each of these indexes then leads to its user.
pub async fn complete(
    connection: &mut AsyncPgConnection,
    mut indexes: Vec<EmailIndex>,
) -> Result<usize, ApiError> {
    let inserted = insert(connection, &mut indexes).await?;
    let found: HashMap<Vec<u8>, Uuid> = email_indexes::table
        .filter(email_indexes::value.eq_any(indexes.iter().map(|index| &index.value)))
        .select((email_indexes::value, email_indexes::user_id))
        .load(connection)
        .await?
        .into_iter()
        .collect();
    for EmailIndex { value, user_id, .. } in &indexes {
        if let Some(other) = found.get(value).filter(|found| *found != user_id) {
            let problem = anyhow::anyhow!(
                "the users {user_id} and {other} have the same e-mail or user name: remove one"
            );
            return Err(ApiError::internal(problem));
        }
    }
    Ok(inserted)
}

pub async fn remove(
    connection: &mut AsyncPgConnection,
    users: &[Uuid],
    key_numbers: &[i32],
) -> QueryResult<usize> {
    let indexes = email_indexes::table
        .filter(email_indexes::user_id.eq_any(users))
        .filter(email_indexes::key_number.eq_any(key_numbers));
    diesel::delete(indexes).execute(connection).await
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: UserId,
}

/// The user with this e-mail or user name. Whom only a version from before field encryption has written is found by the plaintext.
pub async fn find_user(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    login_name: &str,
) -> Result<Option<UserId>, ApiError> {
    let column = if login_name.contains('@') {
        EMAIL
    } else {
        USER_NAME
    };
    let values = values_of(keys, column, login_name)?;
    let found: Option<Found> = diesel::sql_query(
        "SELECT user_id AS id FROM email_indexes WHERE value = ANY ($1)
         UNION ALL SELECT id FROM users WHERE email = $2 LIMIT 1",
    )
    .bind::<Array<Binary>, _>(values)
    .bind::<Text, _>(login_name)
    .get_result(connection)
    .await
    .optional()?;
    Ok(found.map(|found| found.id))
}
