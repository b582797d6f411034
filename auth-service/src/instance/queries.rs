//! Settings and bridge secrets in the database.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::BridgeSecretId;

use super::{BridgeSecret, SecretKind, Settings, ValidationMode};
use crate::schema::{bridge_secrets, instance_settings};

pub async fn settings(connection: &mut AsyncPgConnection) -> QueryResult<Settings> {
    instance_settings::table
        .select(Settings::as_select())
        .first(connection)
        .await
}

/// The settings, which stay so until the transaction ends.
pub async fn lock_settings(connection: &mut AsyncPgConnection) -> QueryResult<Settings> {
    instance_settings::table
        .select(Settings::as_select())
        .for_no_key_update()
        .first(connection)
        .await
}

/// What is to become different; nothing of what is none.
#[derive(AsChangeset)]
#[diesel(table_name = instance_settings)]
pub struct SettingsChange {
    pub validation_mode: Option<&'static str>,
    pub session_lifetime_s: Option<i32>,
    pub secret_for_registration: Option<bool>,
    pub updated_at: DateTime<Utc>,
}

impl ValidationMode {
    pub fn stored(self) -> &'static str {
        self.name()
    }
}

pub async fn change_settings(
    connection: &mut AsyncPgConnection,
    change: &SettingsChange,
) -> QueryResult<Settings> {
    diesel::update(instance_settings::table)
        .set(change)
        .returning(Settings::as_select())
        .get_result(connection)
        .await
}

/// The secrets that are not revoked, the oldest first.
pub async fn list_secrets(connection: &mut AsyncPgConnection) -> QueryResult<Vec<BridgeSecret>> {
    bridge_secrets::table
        .filter(bridge_secrets::revoked_at.is_null())
        .order(bridge_secrets::created_at)
        .select(BridgeSecret::as_select())
        .load(connection)
        .await
}

/// Inserts a secret into the first free place of its kind; none when both are taken.
pub async fn insert_secret(
    connection: &mut AsyncPgConnection,
    name: &str,
    kind: SecretKind,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<BridgeSecret>, ApiError> {
    for slot in [1, 2] {
        let inserted = diesel::insert_into(bridge_secrets::table)
            .values((
                bridge_secrets::id.eq(BridgeSecretId::new()),
                bridge_secrets::secret_hash.eq(secret_hash),
                bridge_secrets::name.eq(name),
                bridge_secrets::kind.eq(kind.name()),
                bridge_secrets::slot.eq(slot),
                bridge_secrets::created_at.eq(now),
            ))
            .on_conflict_do_nothing()
            .returning(BridgeSecret::as_select())
            .get_result(connection)
            .await
            .optional()?;
        if inserted.is_some() {
            return Ok(inserted);
        }
    }
    Ok(None)
}

/// Revokes a secret; whether it was one.
pub async fn revoke_secret(
    connection: &mut AsyncPgConnection,
    id: BridgeSecretId,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let live = bridge_secrets::table
        .find(id)
        .filter(bridge_secrets::revoked_at.is_null());
    let rows = diesel::update(live)
        .set(bridge_secrets::revoked_at.eq(now))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}
