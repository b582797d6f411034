//! What the database knows about keys. Who writes personal data holds the lock shared until the transaction ends; who
//! changes a status holds it alone, so that nobody is in the middle of writing what is about to be wrong.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::KeyNumber;
use shared::{ApiError, Db, FieldKeys};

use super::{
    ACTIVE, BLIND_INDEX, ENCRYPTION, KeyProblem, KnownKey, PLAINTEXT, Protection, RETIRED, active_number,
    check_value, verify,
};
use crate::schema::{field_keys, users};

const PLAINTEXT_IS_WRITTEN: &str = "personal data are written in plaintext too, for a version from before field \
     encryption that may be running: run `auth-service encrypt-fields` when none is";

/// What this transaction, and any that ends after it began, writes personal data with.
pub async fn begin_writing<'k>(
    connection: &mut AsyncPgConnection,
    keys: &'k FieldKeys,
) -> Result<Protection<'k>, ApiError> {
    // A statement of its own: the next one sees what was committed while this one waited.
    diesel::sql_query("SELECT pg_advisory_xact_lock_shared(hashtext('auth.field_keys'))")
        .execute(connection)
        .await?;
    let known = list(connection).await?;
    Protection::new(keys, &known).map_err(ApiError::internal)
}

/// Waits until nobody writes personal data, and keeps it so until the transaction ends.
pub async fn lock_alone(connection: &mut AsyncPgConnection) -> QueryResult<Vec<KnownKey>> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('auth.field_keys'))")
        .execute(connection)
        .await?;
    list(connection).await
}

async fn list(connection: &mut AsyncPgConnection) -> QueryResult<Vec<KnownKey>> {
    let rows: Vec<(String, i32, String, Option<Vec<u8>>)> = field_keys::table
        .select((
            field_keys::purpose,
            field_keys::number,
            field_keys::status,
            field_keys::check_value,
        ))
        .load(connection)
        .await?;
    let known = rows
        .into_iter()
        .map(|(purpose, number, status, check_value)| KnownKey {
            purpose,
            number,
            status,
            check_value,
        });
    Ok(known.collect())
}

/// Makes the configured keys those of an empty database, and tells whether they are those of this one.
pub async fn check_in(db: &Db, keys: &FieldKeys) -> Result<Result<(), KeyProblem>, ApiError> {
    db.transaction("check_field_keys", async |connection| {
        let known = lock_alone(connection).await?;
        for (purpose, first) in [
            (ENCRYPTION, keys.encryption_keys().next()),
            (BLIND_INDEX, keys.blind_index_keys().next()),
        ] {
            if let (None, Some(number)) = (active_number(&known, purpose), first) {
                insert(connection, keys, purpose, number, ACTIVE).await?;
            }
        }
        if active_number(&known, PLAINTEXT).is_some() {
            if has_users(connection).await? {
                tracing::warn!("{PLAINTEXT_IS_WRITTEN}");
            } else {
                set_status(connection, PLAINTEXT, 0, RETIRED).await?;
            }
        }
        Ok(verify(keys, &list(connection).await?))
    })
    .await
}

/// Whether a key that was known at the start is still enough, which another process may have changed since.
pub async fn is_checked_in(db: &Db, keys: &FieldKeys) -> bool {
    let Ok(mut connection) = db.connection().await else {
        return false;
    };
    let known = list(&mut connection).await;
    known.is_ok_and(|known| verify(keys, &known).is_ok())
}

async fn has_users(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(users::table.select(users::id)))
        .get_result(connection)
        .await
}

pub async fn insert(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    purpose: &str,
    number: KeyNumber,
    status: &str,
) -> Result<(), ApiError> {
    diesel::insert_into(field_keys::table)
        .values((
            field_keys::purpose.eq(purpose),
            field_keys::number.eq(i32::from(number)),
            field_keys::status.eq(status),
            field_keys::check_value.eq(check_value(keys, purpose, number)?),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

pub async fn set_status(
    connection: &mut AsyncPgConnection,
    purpose: &str,
    number: i32,
    status: &str,
) -> QueryResult<usize> {
    diesel::update(field_keys::table.find((purpose, number)))
        .set((
            field_keys::status.eq(status),
            field_keys::changed_at.eq(diesel::dsl::now),
        ))
        .execute(connection)
        .await
}
