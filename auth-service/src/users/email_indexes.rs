//! Finding users by their e-mail, which the database does not know: it has a keyed hash of it, under each key that is in
//! use. That two users never have the same is kept by the primary key of these.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::FieldError;
use shared::id::UserId;
use shared::{ApiError, FieldKeys};
use uuid::Uuid;

use crate::field_keys::{EMAIL, Protection};
use crate::schema::email_indexes;

#[derive(Insertable)]
#[diesel(table_name = email_indexes)]
pub struct EmailIndex {
    value: Vec<u8>,
    key_number: i32,
    user_id: Uuid,
}

/// The indexes that a user with this e-mail has.
pub fn of(protection: &Protection<'_>, user_id: Uuid, email: &str) -> Result<Vec<EmailIndex>, FieldError> {
    let values = protection.email_indexes(email)?.into_iter();
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
            let problem = anyhow::anyhow!("the users {user_id} and {other} have the same e-mail: remove one");
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

/// The user with this e-mail. Whom only a version from before field encryption has written is found by the plaintext.
pub async fn find_user(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    email: &str,
) -> Result<Option<UserId>, ApiError> {
    let values = keys
        .blind_index_keys()
        .map(|number| keys.blind_index(number, EMAIL, email))
        .collect::<Result<Vec<_>, _>>()?;
    let found: Option<Found> = diesel::sql_query(
        "SELECT user_id AS id FROM email_indexes WHERE value = ANY ($1)
         UNION ALL SELECT id FROM users WHERE email = $2 LIMIT 1",
    )
    .bind::<Array<Binary>, _>(values)
    .bind::<Text, _>(email)
    .get_result(connection)
    .await
    .optional()?;
    Ok(found.map(|found| found.id))
}
