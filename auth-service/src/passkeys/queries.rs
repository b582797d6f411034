//! Passkeys and challenges in the database. Who locks several rows takes the user's first, then the passkey's.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use shared::ApiError;
use shared::authorization::AuthorizedTransfer;
use shared::field_key::Encrypted;
use shared::id::{CeremonyId, PasskeyId, UserId};
use webauthn_rs::Webauthn;
use webauthn_rs::prelude::{Passkey, PublicKeyCredential};

use super::{Assertion, Ceremony, CeremonyResponse, LIFETIME, MAX, PasskeyName, Purpose, verify};
use crate::field_keys::{PASSKEY_NAME, Protection};
use crate::schema::{passkey_ceremonies, passkeys};

/// A passkey as the database has it.
#[derive(Queryable, Selectable)]
#[diesel(table_name = passkeys, check_for_backend(Pg))]
pub struct StoredPasskey {
    pub id: PasskeyId,
    credential: Value,
    pub name_encrypted: Encrypted,
    pub created_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
}

impl StoredPasskey {
    fn passkey(&self) -> Result<Passkey, ApiError> {
        serde_json::from_value(self.credential.clone()).map_err(ApiError::internal)
    }
}

pub async fn list(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<Vec<StoredPasskey>> {
    passkeys::table
        .filter(passkeys::user_id.eq(user_id))
        .select(StoredPasskey::as_select())
        .order(passkeys::id)
        .load(connection)
        .await
}

/// The credentials of a user's passkeys.
pub async fn credentials(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
) -> Result<Vec<Passkey>, ApiError> {
    let stored = list(connection, user_id).await?;
    stored.iter().map(StoredPasskey::passkey).collect()
}

pub async fn exist(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<bool> {
    let own = passkeys::table
        .filter(passkeys::user_id.eq(user_id))
        .select(passkeys::id);
    diesel::select(diesel::dsl::exists(own))
        .get_result(connection)
        .await
}

/// Whose passkey this is, before anything of it was checked.
pub async fn claimed_user(
    connection: &mut AsyncPgConnection,
    answer: &PublicKeyCredential,
) -> QueryResult<Option<UserId>> {
    passkeys::table
        .filter(passkeys::credential_id.eq(answer.get_credential_id()))
        .select(passkeys::user_id)
        .first(connection)
        .await
        .optional()
}

/// Inserts a passkey; 409 when the authenticator has been registered before, 422 when the user has too many. The caller
/// holds a lock on the user.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user_id: UserId,
    passkey: &Passkey,
    name: &PasskeyName,
    now: DateTime<Utc>,
) -> Result<PasskeyId, ApiError> {
    if list(connection, user_id).await?.len() >= MAX {
        return Err(ApiError::unprocessable(
            "too_many_passkeys",
            format!("You have {MAX} passkeys. Remove one first."),
        ));
    }
    let id = PasskeyId::new();
    let rows = diesel::insert_into(passkeys::table)
        .values((
            passkeys::id.eq(id),
            passkeys::user_id.eq(user_id),
            passkeys::credential_id.eq(passkey.cred_id().as_slice()),
            passkeys::credential.eq(serde_json::to_value(passkey).map_err(ApiError::internal)?),
            passkeys::name_encrypted.eq(protection.encrypt(PASSKEY_NAME, id.uuid(), &name.0)?),
            passkeys::created_at.eq(now),
        ))
        .on_conflict(passkeys::credential_id)
        .do_nothing()
        .execute(connection)
        .await?;
    if rows == 1 {
        return Ok(id);
    }
    Err(ApiError::conflict(
        "passkey_exists",
        "This passkey has been registered before.",
    ))
}

/// Gives a passkey another name; whether the user has it.
pub async fn rename(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user_id: UserId,
    id: PasskeyId,
    name: &PasskeyName,
) -> Result<bool, ApiError> {
    let own = passkeys::table.find(id).filter(passkeys::user_id.eq(user_id));
    let name = protection.encrypt(PASSKEY_NAME, id.uuid(), &name.0)?;
    let rows = diesel::update(own)
        .set(passkeys::name_encrypted.eq(name))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

/// Removes a passkey; whether the user had it.
pub async fn remove(connection: &mut AsyncPgConnection, user_id: UserId, id: PasskeyId) -> QueryResult<bool> {
    let own = passkeys::table.find(id).filter(passkeys::user_id.eq(user_id));
    Ok(diesel::delete(own).execute(connection).await? == 1)
}

pub async fn remove_all(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<usize> {
    diesel::delete(passkeys::table.filter(passkeys::user_id.eq(user_id)))
        .execute(connection)
        .await
}

/// Gives a challenge out.
pub async fn begin(
    connection: &mut AsyncPgConnection,
    ceremony: Ceremony,
    now: DateTime<Utc>,
) -> Result<CeremonyResponse, ApiError> {
    let id = CeremonyId::new();
    let transfer = ceremony.transfer.as_ref().map(serde_json::to_value);
    diesel::insert_into(passkey_ceremonies::table)
        .values((
            passkey_ceremonies::id.eq(id),
            passkey_ceremonies::purpose.eq(ceremony.purpose.name()),
            passkey_ceremonies::user_id.eq(ceremony.user_id),
            passkey_ceremonies::state.eq(ceremony.state),
            passkey_ceremonies::transfer.eq(transfer.transpose().map_err(ApiError::internal)?),
            passkey_ceremonies::expires_at.eq(now + LIFETIME),
        ))
        .execute(connection)
        .await?;
    Ok(CeremonyResponse {
        ceremony_id: id,
        options: ceremony.options,
        nonce: ceremony.nonce,
        transfer: ceremony.transfer,
    })
}

/// Uses a challenge up. Of any number of answers to it one is looked at.
pub async fn use_up(
    connection: &mut AsyncPgConnection,
    id: CeremonyId,
    purpose: Purpose,
    user_id: Option<UserId>,
    now: DateTime<Utc>,
) -> QueryResult<Option<(Value, Option<Value>)>> {
    let given = passkey_ceremonies::table
        .find(id)
        .filter(passkey_ceremonies::purpose.eq(purpose.name()))
        .filter(passkey_ceremonies::user_id.is_not_distinct_from(user_id))
        .filter(passkey_ceremonies::expires_at.gt(now));
    diesel::delete(given)
        .returning((passkey_ceremonies::state, passkey_ceremonies::transfer))
        .get_result(connection)
        .await
        .optional()
}

/// What a user has proved with a passkey.
pub struct Proved {
    /// What was agreed to with it.
    pub transfer: Option<AuthorizedTransfer>,
}

/// Whether the answer is right, and of a passkey of `user_id`. To be committed either way: the challenge is used up.
pub async fn check(
    connection: &mut AsyncPgConnection,
    webauthn: &Webauthn,
    purpose: Purpose,
    user_id: UserId,
    assertion: &Assertion,
    now: DateTime<Utc>,
) -> Result<Option<Proved>, ApiError> {
    let asked = (purpose != Purpose::Login).then_some(user_id);
    let Some((state, transfer)) = use_up(connection, assertion.ceremony_id, purpose, asked, now).await?
    else {
        return Ok(None);
    };
    let stored: Option<StoredPasskey> = passkeys::table
        .filter(passkeys::credential_id.eq(assertion.credential.get_credential_id()))
        .filter(passkeys::user_id.eq(user_id))
        .select(StoredPasskey::as_select())
        .for_update()
        .first(connection)
        .await
        .optional()?;
    let Some(stored) = stored else { return Ok(None) };
    let passkey = match verify(webauthn, state, stored.passkey()?, &assertion.credential) {
        Ok(passkey) => passkey,
        Err(error) => {
            tracing::info!(passkey_id = %stored.id, error = format!("{error:#}"), "a passkey's answer is refused");
            return Ok(None);
        }
    };
    diesel::update(passkeys::table.find(stored.id))
        .set((
            passkeys::credential.eq(serde_json::to_value(passkey).map_err(ApiError::internal)?),
            passkeys::last_used_at.eq(now),
        ))
        .execute(connection)
        .await?;
    let transfer = transfer.map(serde_json::from_value).transpose();
    Ok(Some(Proved {
        transfer: transfer.map_err(ApiError::internal)?,
    }))
}
