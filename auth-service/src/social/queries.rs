//! Accounts at providers, and visits to them, in the database.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::Encrypted;
use shared::id::{SessionId, SocialAccountId, UserId};
use shared::{ApiError, FieldKeys};

use super::{Identity, ProviderName};
use crate::field_keys::{Protection, SOCIAL_EMAIL, SOCIAL_SUBJECT};
use crate::schema::{social_accounts, social_logins};
use crate::sessions::sha256;

/// What an account is known by.
fn identity_hash(identity: &Identity) -> Vec<u8> {
    sha256(&format!("{}\n{}", identity.issuer, identity.subject))
}

/// A browser that is leaving for a provider.
pub struct NewVisit<'v> {
    pub state: &'v str,
    pub browser: &'v str,
    pub provider: ProviderName,
    pub callback: &'v str,
    pub session_id: Option<SessionId>,
}

pub async fn begin_visit(
    connection: &mut AsyncPgConnection,
    visit: &NewVisit<'_>,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::insert_into(social_logins::table)
        .values((
            social_logins::state_hash.eq(sha256(visit.state)),
            social_logins::browser_hash.eq(sha256(visit.browser)),
            social_logins::provider.eq(visit.provider.name()),
            social_logins::callback.eq(visit.callback),
            social_logins::session_id.eq(visit.session_id),
            social_logins::created_at.eq(now),
            social_logins::expires_at.eq(expires_at),
        ))
        .execute(connection)
        .await
}

/// Ends the visit of this state and browser: where it was to come back to, and the session that it was begun in. Of many returns one succeeds.
pub async fn end_visit(
    connection: &mut AsyncPgConnection,
    provider: ProviderName,
    state: &str,
    browser: &str,
    now: DateTime<Utc>,
) -> QueryResult<Option<(String, Option<SessionId>)>> {
    let visit = social_logins::table
        .find(sha256(state))
        .filter(social_logins::browser_hash.eq(sha256(browser)))
        .filter(social_logins::provider.eq(provider.name()))
        .filter(social_logins::expires_at.gt(now));
    diesel::delete(visit)
        .returning((social_logins::callback, social_logins::session_id))
        .get_result(connection)
        .await
        .optional()
}

/// Whose account it is.
pub async fn find_user(
    connection: &mut AsyncPgConnection,
    identity: &Identity,
) -> QueryResult<Option<UserId>> {
    social_accounts::table
        .filter(social_accounts::identity_hash.eq(identity_hash(identity)))
        .select(social_accounts::user_id)
        .first(connection)
        .await
        .optional()
}

pub async fn note_use(
    connection: &mut AsyncPgConnection,
    identity: &Identity,
    user_id: UserId,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    let account = social_accounts::table
        .filter(social_accounts::identity_hash.eq(identity_hash(identity)))
        .filter(social_accounts::user_id.eq(user_id));
    diesel::update(account)
        .set(social_accounts::last_used_at.eq(now))
        .execute(connection)
        .await
}

/// Links an account to a user; not when it is somebody's, or the user has another one of this provider.
pub async fn link(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user_id: UserId,
    identity: &Identity,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let id = SocialAccountId::new();
    let email = identity
        .email
        .as_ref()
        .map(|email| protection.encrypt(SOCIAL_EMAIL, id.uuid(), email.as_str()))
        .transpose()?;
    let linked = diesel::insert_into(social_accounts::table)
        .values((
            social_accounts::id.eq(id),
            social_accounts::user_id.eq(user_id),
            social_accounts::provider.eq(identity.provider.name()),
            social_accounts::identity_hash.eq(identity_hash(identity)),
            social_accounts::subject_encrypted.eq(protection.encrypt(
                SOCIAL_SUBJECT,
                id.uuid(),
                &identity.subject,
            )?),
            social_accounts::email_encrypted.eq(email),
            social_accounts::created_at.eq(now),
            social_accounts::last_used_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(linked == 1)
}

pub async fn unlink(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    provider: ProviderName,
) -> QueryResult<usize> {
    let account = social_accounts::table
        .filter(social_accounts::user_id.eq(user_id))
        .filter(social_accounts::provider.eq(provider.name()));
    diesel::delete(account).execute(connection).await
}

pub async fn unlink_all(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<usize> {
    diesel::delete(social_accounts::table.filter(social_accounts::user_id.eq(user_id)))
        .execute(connection)
        .await
}

/// An account of a user, as it is stored.
#[derive(Queryable, Selectable)]
#[diesel(table_name = social_accounts, check_for_backend(diesel::pg::Pg))]
pub struct StoredAccount {
    id: SocialAccountId,
    pub provider: String,
    subject_encrypted: Encrypted,
    email_encrypted: Option<Encrypted>,
    pub created_at: DateTime<Utc>,
}

impl StoredAccount {
    pub fn id(&self) -> SocialAccountId {
        self.id
    }

    /// The subject and the e-mail.
    pub fn decrypt(&self, keys: &FieldKeys) -> Result<(String, Option<String>), ApiError> {
        let row = self.id.uuid();
        let email = self.email_encrypted.as_ref();
        let email = email
            .map(|email| keys.decrypt(SOCIAL_EMAIL, row, email))
            .transpose()?;
        Ok((keys.decrypt(SOCIAL_SUBJECT, row, &self.subject_encrypted)?, email))
    }
}

/// The accounts of a user, in the order they were linked.
pub async fn list(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<Vec<StoredAccount>> {
    social_accounts::table
        .filter(social_accounts::user_id.eq(user_id))
        .order(social_accounts::id)
        .select(StoredAccount::as_select())
        .load(connection)
        .await
}
