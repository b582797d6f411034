//! Sessions and refresh tokens in the database. Who locks several rows takes the user's first, then the session's, then the
//! token's.

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::{Encrypted, FieldError};
use shared::id::{SessionId, UserId};
use shared::{ApiError, FieldKeys};
use uuid::Uuid;

use super::{Client, Session, idle_expiry, session_revoked};
use crate::field_keys::{DEVICE_ID, IP, Protection, USER_AGENT};
use crate::instance;
use crate::schema::{refresh_tokens, sessions, users};
use crate::users::StoredUser;

/// More sessions than anybody has devices.
const MAX_LISTED: i64 = 200;

/// Whether a session has not come to its end.
#[diesel::dsl::auto_type]
pub fn goes_on(now: DateTime<Utc>) -> _ {
    sessions::revoked_at
        .is_null()
        .and(sessions::idle_expires_at.gt(now))
}

/// A session that is about to begin.
pub struct NewSession {
    pub id: SessionId,
    pub secret_hash: Vec<u8>,
    pub refresh_token_hash: Vec<u8>,
    pub amr: Vec<String>,
    pub client: Client,
}

pub async fn begin(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user_id: UserId,
    new: NewSession,
    now: DateTime<Utc>,
) -> Result<Session, ApiError> {
    let lifetime_s = instance::queries::settings(connection).await?.session_lifetime_s;
    let expires_at = now + Duration::seconds(lifetime_s.into());
    let idle_expires_at = idle_expiry(expires_at, now);
    let encrypt = |column, text: &Option<String>| {
        let encrypted = text
            .as_ref()
            .map(|text| protection.encrypt(column, new.id.uuid(), text));
        encrypted.transpose()
    };
    diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(new.id),
            sessions::secret_hash.eq(&new.secret_hash),
            sessions::user_id.eq(user_id),
            sessions::ip_encrypted.eq(encrypt(IP, &new.client.ip)?),
            sessions::user_agent_encrypted.eq(encrypt(USER_AGENT, &new.client.user_agent)?),
            sessions::device_id_encrypted.eq(encrypt(DEVICE_ID, &new.client.device_id)?),
            sessions::amr.eq(&new.amr),
            sessions::created_at.eq(now),
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(expires_at),
            sessions::idle_expires_at.eq(idle_expires_at),
        ))
        .execute(connection)
        .await?;
    insert_refresh_token(connection, new.id, &new.refresh_token_hash, now).await?;
    Ok(Session {
        id: new.id,
        user_id,
        client: new.client,
        amr: new.amr,
        authenticated_at: now,
        created_at: now,
        last_used_at: now,
        expires_at,
        idle_expires_at,
    })
}

async fn insert_refresh_token(
    connection: &mut AsyncPgConnection,
    session_id: SessionId,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(refresh_tokens::table)
        .values((
            refresh_tokens::token_hash.eq(token_hash),
            refresh_tokens::session_id.eq(session_id),
            refresh_tokens::created_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// A session as the database has it. The plaintext is there only of those that a version from before field encryption knows.
#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions, check_for_backend(diesel::pg::Pg))]
pub struct StoredSession {
    id: SessionId,
    user_id: UserId,
    ip: Option<String>,
    user_agent: Option<String>,
    ip_encrypted: Option<Encrypted>,
    user_agent_encrypted: Option<Encrypted>,
    device_id_encrypted: Option<Encrypted>,
    amr: Vec<Option<String>>,
    authenticated_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
}

impl StoredSession {
    pub fn decrypt(self, keys: &FieldKeys) -> Result<Session, FieldError> {
        let row = self.id.uuid();
        let read = |column, encrypted: Option<Encrypted>| {
            encrypted
                .map(|value| keys.decrypt(column, row, &value))
                .transpose()
        };
        Ok(Session {
            id: self.id,
            user_id: self.user_id,
            client: Client {
                ip: read(IP, self.ip_encrypted)?.or(self.ip),
                user_agent: read(USER_AGENT, self.user_agent_encrypted)?.or(self.user_agent),
                device_id: read(DEVICE_ID, self.device_id_encrypted)?,
                ..Client::default()
            },
            amr: self.amr.into_iter().flatten().collect(),
            authenticated_at: self.authenticated_at.unwrap_or(self.created_at),
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            expires_at: self.expires_at,
            idle_expires_at: self.idle_expires_at,
        })
    }
}

/// The user's sessions that go on, the one used last first.
pub async fn list_live(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> QueryResult<Vec<StoredSession>> {
    sessions::table
        .filter(sessions::user_id.eq(user_id))
        .filter(goes_on(now))
        .order((sessions::last_used_at.desc(), sessions::id.desc()))
        .limit(MAX_LISTED)
        .select(StoredSession::as_select())
        .load(connection)
        .await
}

/// Moves the end of a session that is used, unless it has ended meanwhile.
pub async fn note_use(
    connection: &mut AsyncPgConnection,
    session: &mut Session,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    session.last_used_at = now;
    session.idle_expires_at = idle_expiry(session.expires_at, now);
    let live = sessions::table.find(session.id).filter(goes_on(now));
    diesel::update(live)
        .set((
            sessions::last_used_at.eq(session.last_used_at),
            sessions::idle_expires_at.eq(session.idle_expires_at),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// A session that goes on, of an active user.
pub async fn find_live(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<Option<LiveSession>> {
    sessions::table
        .inner_join(users::table)
        .filter(sessions::id.eq(id))
        .filter(goes_on(now))
        .filter(users::status.eq("active"))
        .select(LiveSession::as_select())
        .first(connection)
        .await
        .optional()
}

/// The active user of a session that goes on.
pub async fn find_live_user(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<Option<StoredUser>> {
    sessions::table
        .inner_join(users::table)
        .filter(sessions::id.eq(id))
        .filter(goes_on(now))
        .filter(users::status.eq("active"))
        .select(StoredUser::as_select())
        .first(connection)
        .await
        .optional()
}

/// A session that goes on.
#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions, check_for_backend(diesel::pg::Pg))]
pub struct LiveSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub expires_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    amr: Vec<Option<String>>,
    authenticated_at: Option<DateTime<Utc>>,
}

impl LiveSession {
    pub fn amr(&self) -> Vec<String> {
        self.amr.iter().flatten().cloned().collect()
    }

    pub fn authenticated_at(&self) -> DateTime<Utc> {
        self.authenticated_at.unwrap_or(self.created_at)
    }
}

/// Locks a session that goes on.
pub async fn lock_live(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<Option<LiveSession>> {
    sessions::table
        .find(id)
        .filter(goes_on(now))
        .select(LiveSession::as_select())
        .for_no_key_update()
        .first(connection)
        .await
        .optional()
}

/// Notes that the user has just proved who they are, by which methods altogether.
pub async fn note_authentication(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    amr: &[String],
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(sessions::table.find(id))
        .set((sessions::amr.eq(amr), sessions::authenticated_at.eq(now)))
        .execute(connection)
        .await
}

/// Notes that a second factor was given: for a session that was begun or stepped up while the module is on.
pub async fn note_second_factor(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(sessions::table.find(id))
        .set(sessions::two_factor_verified_at.eq(now))
        .execute(connection)
        .await
}

/// Locks the session that a refresh token was given to, so that its tokens are used one at a time.
pub async fn lock_live_by_refresh_token(
    connection: &mut AsyncPgConnection,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<LiveSession>> {
    let session_of_token = refresh_tokens::table
        .find(token_hash)
        .select(refresh_tokens::session_id)
        .single_value();
    sessions::table
        .filter(sessions::id.nullable().eq(session_of_token))
        .filter(goes_on(now))
        .select(LiveSession::as_select())
        .for_no_key_update()
        .first(connection)
        .await
        .optional()
}

/// Uses a refresh token up, and keeps its successor for who repeats the attempt. Of any number of attempts one succeeds.
pub async fn use_refresh_token(
    connection: &mut AsyncPgConnection,
    token_hash: &[u8],
    successor_sealed: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let unused = refresh_tokens::table
        .find(token_hash)
        .filter(refresh_tokens::used_at.is_null());
    let rows = diesel::update(unused)
        .set((
            refresh_tokens::used_at.eq(now),
            refresh_tokens::successor_sealed.eq(successor_sealed),
        ))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

/// The sealed successor of a refresh token that was used after `since`.
pub async fn find_successor(
    connection: &mut AsyncPgConnection,
    token_hash: &[u8],
    since: DateTime<Utc>,
) -> QueryResult<Option<Vec<u8>>> {
    let sealed: Option<Option<Vec<u8>>> = refresh_tokens::table
        .find(token_hash)
        .filter(refresh_tokens::used_at.gt(since))
        .select(refresh_tokens::successor_sealed)
        .first(connection)
        .await
        .optional()?;
    Ok(sealed.flatten())
}

/// Gives a session its next refresh token, and notes that it was used.
pub async fn renew(
    connection: &mut AsyncPgConnection,
    session: &LiveSession,
    next_token_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    insert_refresh_token(connection, session.id, next_token_hash, now).await?;
    diesel::update(sessions::table.find(session.id))
        .set((
            sessions::last_used_at.eq(now),
            sessions::idle_expires_at.eq(idle_expiry(session.expires_at, now)),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends a session; whether it still went on.
pub async fn revoke(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let live = sessions::table.find(id).filter(goes_on(now));
    let rows = diesel::update(live)
        .set(sessions::revoked_at.eq(now))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

/// Ends a session of this user; whether it still went on.
pub async fn revoke_own(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    id: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let live = sessions::table
        .find(id)
        .filter(sessions::user_id.eq(user_id))
        .filter(goes_on(now));
    let rows = diesel::update(live)
        .set(sessions::revoked_at.eq(now))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

/// Ends the sessions of a user that go on, but for the one that is kept; how many.
pub async fn revoke_all(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    kept: Option<SessionId>,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    let kept = kept.unwrap_or(SessionId::from_uuid(Uuid::nil()));
    let live = sessions::table
        .filter(sessions::user_id.eq(user_id))
        .filter(sessions::id.ne(kept))
        .filter(goes_on(now));
    diesel::update(live)
        .set(sessions::revoked_at.eq(now))
        .execute(connection)
        .await
}

/// Locks the user of a session that goes on, so that no ban or other change of credentials slips past what this transaction does;
/// refuses it when the session has ended.
pub async fn require_live(
    connection: &mut AsyncPgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let of_session = sessions::table.find(id).select(sessions::user_id).single_value();
    users::table
        .filter(users::id.nullable().eq(of_session))
        .select(users::id)
        .for_no_key_update()
        .execute(connection)
        .await?;
    // By another statement, which sees what was committed while the lock was waited for.
    match find_live_user(connection, id, now).await? {
        Some(_) => Ok(()),
        None => Err(session_revoked()),
    }
}

/// Ends the session that a refresh token was given to, used or not; whether there was one.
pub async fn revoke_by_refresh_token(
    connection: &mut AsyncPgConnection,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let session: Option<SessionId> = refresh_tokens::table
        .find(token_hash)
        .select(refresh_tokens::session_id)
        .first(connection)
        .await
        .optional()?;
    match session {
        Some(session) => {
            revoke(connection, session, now).await?;
            Ok(true)
        }
        None => Ok(false),
    }
}
