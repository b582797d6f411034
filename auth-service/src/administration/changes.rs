//! What staff changes about users, whatever API it was asked for by: each is one transaction with its entry in the audit log,
//! and takes effect at once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use serde_json::{Map, Value, json};
use shared::audit::{self, Entry};
use shared::id::UserId;
use shared::{ApiError, Principal, Role};

use super::{
    ADMINISTRATORS, BanReason, UserRecord, UserStatus, check_role_change, queries, require_authority,
};
use crate::login_attempts::device::PresentedDevice;
use crate::messages::{Channel, Content};
use crate::one_time_tokens::Purpose;
use crate::passwords::{About, Password};
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};
use crate::users::User;
use crate::users::handlers::Registration;
use crate::users::profile::Change;
use crate::{api_keys, erasures, field_keys, login_attempts, messages, one_time_tokens, sessions, users};

/// What is to become different about a user.
#[derive(Debug, Default)]
pub struct Update {
    pub change: Change,
    pub email_verified: Option<bool>,
    /// All that the user is to have.
    pub roles: Option<Vec<Role>>,
}

impl Update {
    /// Of a body that says what is to be different, but for the roles.
    pub fn parse(mut body: Map<String, Value>) -> Result<Self, ApiError> {
        let email_verified = match body.remove("email_verified") {
            None => None,
            Some(Value::Bool(verified)) => Some(verified),
            Some(_) => {
                let detail = "expected true or false";
                return Err(ApiError::invalid("invalid_body", "/email_verified", detail));
            }
        };
        let change = Change::parse(body)?;
        if change.email.is_some() && email_verified.is_some() {
            let detail = "a new e-mail is verified by who reads it";
            return Err(ApiError::invalid("invalid_body", "/email_verified", detail));
        }
        Ok(Self {
            change,
            email_verified,
            roles: None,
        })
    }
}

/// All of it or nothing. Who loses a role, or gets one of staff, is logged out everywhere.
pub async fn update(
    state: &AppState,
    principal: &Principal,
    id: UserId,
    update: &Update,
) -> Result<UserRecord, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (now, keys) = (state.clock.now(), &state.field_keys);
    let (record, ended) = state
        .db
        .transaction("update_user", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, keys).await?;
            let locked = queries::lock_for(connection, principal, id, now).await?;
            let before = queries::find(connection, keys, id).await?.user;
            let mut email_verified = before.email_verified;
            let mut entries = Vec::new();
            if !update.change.is_empty() {
                let after = users::profile::queries::apply_and_tell(
                    connection,
                    &protection,
                    keys,
                    before.clone(),
                    &update.change,
                    now,
                )
                .await?;
                email_verified = after.email_verified;
                let changed = changed_members(&before, &after)?;
                if !changed.is_empty() {
                    let entry = Entry::by_user(principal, "user.changed", id);
                    entries.push(entry.change(&(), &json!({ "members": changed }))?);
                }
            }
            if let Some(verified) = update
                .email_verified
                .filter(|verified| *verified != email_verified)
            {
                queries::set_email_verified(connection, id, verified.then_some(now), now).await?;
                let entry = Entry::by_user(principal, "user.email_verified_set", id);
                entries.push(entry.change(&email_verified, &verified)?);
            }
            let mut ended = 0;
            if let Some(roles) = &update.roles {
                let (sessions, entry) =
                    change_roles(connection, principal, id, &locked.roles, roles, now).await?;
                ended = sessions;
                entries.push(entry);
            }
            append_all(connection, &entries).await?;
            Ok((queries::find(connection, keys, id).await?, ended))
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(record)
}

/// By name: what they were is nothing for a log that is never shortened.
fn changed_members(before: &User, after: &User) -> Result<BTreeSet<String>, ApiError> {
    let (before, after) = (members_of(before)?, members_of(after)?);
    let names = before.keys().chain(after.keys());
    let changed = names.filter(|name| before.get(*name) != after.get(*name));
    Ok(changed.cloned().collect())
}

fn members_of(user: &User) -> Result<BTreeMap<String, Value>, ApiError> {
    let profile = serde_json::to_value(&user.profile).map_err(ApiError::internal)?;
    let mut members: BTreeMap<_, _> = serde_json::from_value(profile).map_err(ApiError::internal)?;
    members.insert("email".to_owned(), json!(user.email));
    members.insert("name".to_owned(), json!(user.name));
    members.insert("user_name".to_owned(), json!(user.user_name));
    Ok(members)
}

/// After everything that takes a lock: the log's is the last.
async fn append_all(connection: &mut AsyncPgConnection, entries: &[Entry]) -> QueryResult<()> {
    for entry in entries {
        audit::append(connection, entry).await?;
    }
    Ok(())
}

/// How many sessions it ends, and what there is to be told of it. Who gets a role of staff logs in again, with the second factor
/// that the role may need.
async fn change_roles(
    connection: &mut AsyncPgConnection,
    principal: &Principal,
    id: UserId,
    before: &[Role],
    asked: &[Role],
    now: DateTime<Utc>,
) -> Result<(usize, Entry), ApiError> {
    let of_all = Role::ALL.into_iter();
    let roles: Vec<Role> = of_all.filter(|role| asked.contains(role)).collect();
    check_role_change(principal, id, before, &roles)?;
    queries::set_roles(connection, id, &roles, now).await?;
    let kept = |role: &Role| roles.contains(role);
    let lost: Vec<Role> = before.iter().copied().filter(|role| !kept(role)).collect();
    let gains_staff = roles.iter().any(|role| role.is_staff() && !before.contains(role));
    let mut ended = 0;
    if !lost.is_empty() || gains_staff {
        ended = sessions::queries::revoke_all(connection, id, None, now).await?;
    }
    if !api_keys::roles_of_programs(&lost).is_empty() {
        api_keys::queries::revoke_all(connection, id, now).await?;
    }
    let entry = Entry::by_user(principal, "user.roles_changed", id);
    let entry = entry.change(&json!({ "roles": before }), &json!({ "roles": roles }))?;
    Ok((ended, entry))
}

fn count_ended(sessions: usize) {
    sessions_revoked(Revocation::Administration).increment(u64::try_from(sessions).unwrap_or(u64::MAX));
}

pub async fn ban(
    state: &AppState,
    principal: &Principal,
    id: UserId,
    reason: BanReason,
) -> Result<UserRecord, ApiError> {
    let after = json!({ "status": UserStatus::Disabled, "reason": reason });
    change_status(state, principal, id, UserStatus::Disabled, "user.banned", after).await
}

pub async fn unban(state: &AppState, principal: &Principal, id: UserId) -> Result<UserRecord, ApiError> {
    let after = json!({ "status": UserStatus::Active });
    change_status(state, principal, id, UserStatus::Active, "user.unbanned", after).await
}

async fn change_status(
    state: &AppState,
    principal: &Principal,
    id: UserId,
    status: UserStatus,
    action: &'static str,
    after: Value,
) -> Result<UserRecord, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let now = state.clock.now();
    let (record, ended) = state
        .db
        .transaction(action, async |connection| {
            let user = queries::lock_for(connection, principal, id, now).await?;
            let mut ended = 0;
            if user.status != status.name() {
                queries::set_status(connection, id, status, now).await?;
                if status == UserStatus::Disabled {
                    ended = sessions::queries::revoke_all(connection, id, None, now).await?;
                    api_keys::queries::revoke_all(connection, id, now).await?;
                }
                let entry = Entry::by_user(principal, action, id);
                let entry = entry.change(&json!({ "status": user.status }), &after)?;
                audit::append(connection, &entry).await?;
            }
            Ok((queries::find(connection, &state.field_keys, id).await?, ended))
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(record)
}

/// How many there were.
pub async fn end_sessions(state: &AppState, principal: &Principal, id: UserId) -> Result<usize, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let now = state.clock.now();
    let ended = state
        .db
        .transaction("end_user_sessions", async |connection| {
            queries::lock_for(connection, principal, id, now).await?;
            let ended = sessions::queries::revoke_all(connection, id, None, now).await?;
            let entry = Entry::by_user(principal, "user.sessions_ended", id);
            audit::append(connection, &entry.change(&(), &json!({ "ended": ended }))?).await?;
            Ok(ended)
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(ended)
}

/// Sets another password, ends all sessions, and tells the user by mail.
pub async fn set_password(
    state: &AppState,
    principal: &Principal,
    id: UserId,
    password: &Password,
) -> Result<(), ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (now, keys) = (state.clock.now(), &state.field_keys);
    // A hash is dear: only who may set it has one made.
    let user = queries::find(&mut *state.db.connection().await?, keys, id)
        .await?
        .user;
    require_authority(principal, id, &user.roles.0)?;
    let hashing = state.hashing.reserve()?;
    hashing
        .check_strength(password, About::new(&user.email, &user.name))
        .await?;
    let hash = hashing.hash(password).await?;
    let ended = state
        .db
        .transaction("set_user_password", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, keys).await?;
            queries::lock_for(connection, principal, id, now).await?;
            users::queries::reset_password(connection, id, &hash, now).await?;
            let ended = sessions::queries::revoke_all(connection, id, None, now).await?;
            for purpose in [Purpose::PasswordReset, Purpose::LoginLink, Purpose::LoginCode] {
                one_time_tokens::forget(connection, id, purpose).await?;
            }
            let unknown = PresentedDevice::default();
            let attempts = login_attempts::key_of(keys, &login_attempts::of_user(id), &unknown)?;
            login_attempts::forget(connection, &attempts).await?;
            let email = queries::find(connection, keys, id).await?.user.email;
            let (channel, content) = (Channel::Email, Content::PasswordChanged);
            messages::queries::queue(connection, &protection, channel, &email, &content, now).await?;
            audit::append(connection, &Entry::by_user(principal, "user.password_set", id)).await?;
            Ok(ended)
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(())
}

/// Registers somebody else, with these roles.
pub async fn create(
    state: &AppState,
    principal: &Principal,
    registration: Registration,
    roles: &[Role],
) -> Result<UserRecord, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let now = state.clock.now();
    let new = users::handlers::prepare(state, registration).await?;
    state
        .db
        .transaction("create_user", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let user = users::handlers::insert(state, connection, &protection, &new, now).await?;
            let mut entries = vec![Entry::by_user(principal, "user.created", user.id)];
            if user.roles.0 != roles {
                let (_, entry) =
                    change_roles(connection, principal, user.id, &user.roles.0, roles, now).await?;
                entries.push(entry);
            }
            append_all(connection, &entries).await?;
            queries::find(connection, &state.field_keys, user.id).await
        })
        .await
}

/// Removes a banned user with everything that is kept about them.
pub async fn erase(state: &AppState, principal: &Principal, id: UserId) -> Result<(), ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let now = state.clock.now();
    state
        .db
        .transaction("erase_user", async |connection| {
            let user = queries::lock_for(connection, principal, id, now).await?;
            if user.legal_hold_at.is_some() {
                let detail = "This user is under a legal hold, which compliance has placed.";
                return Err(ApiError::conflict("legal_hold", detail));
            }
            if user.status == UserStatus::Active.name() {
                let detail = "Ban the user first, so that nothing is erased that somebody is using.";
                return Err(ApiError::conflict("user_active", detail));
            }
            queries::erase(connection, id).await?;
            erasures::queue(connection, id, now).await?;
            audit::append(connection, &Entry::by_user(principal, "user.erased", id)).await?;
            Ok(())
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(())
}
