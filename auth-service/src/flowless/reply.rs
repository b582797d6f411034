//! The shapes that satisfy every client at once. Each member is there in both spellings; flags are `true` and `false`; times
//! are RFC 3339 in UTC; what some client reads as a text is never null.

use actix_web::HttpResponse;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use chrono::{DateTime, Utc};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use shared::Role;

use super::two_factor::name_of;
use crate::administration::UserStatus;
use crate::login_attempts::device;
use crate::sessions::Session;
use crate::sessions::login::{BegunSession, Login};
use crate::two_factor::Kind;
use crate::two_factor::pending_login::PendingLogin;
use crate::users::User;

const COOKIE: &str = "session_id";
const COOKIE_LIFETIME: CookieDuration = CookieDuration::days(7);
const WAITING_COOKIE_LIFETIME: CookieDuration = CookieDuration::minutes(5);

/// The word for each role, the highest first. Customers are plain users to programs of Flowless.
const TYPES: [(Role, &str); 6] = [
    (Role::Superadmin, "superadmin"),
    (Role::Admin, "admin"),
    (Role::Compliance, "compliance"),
    (Role::Support, "support"),
    (Role::Partner, "partner"),
    (Role::Customer, "user"),
];

/// The one that stands for all that the user may do.
pub fn highest_role(user: &User) -> Role {
    let mut roles = TYPES.iter().map(|(role, _)| *role);
    let highest = roles.find(|role| user.roles.0.contains(role));
    highest.unwrap_or(Role::Customer)
}

pub fn role_of_type(user_type: &str) -> Option<Role> {
    let user_type = if user_type == "customer" {
        "user"
    } else {
        user_type
    };
    let found = TYPES.iter().find(|(_, name)| *name == user_type);
    found.map(|(role, _)| *role)
}

/// The roles that users of this type have, if it takes one, and have not.
pub fn roles_of_type(highest: Role) -> (Option<Role>, Vec<Role>) {
    let higher = TYPES
        .iter()
        .map(|(role, _)| *role)
        .take_while(|role| *role != highest);
    (
        Some(highest).filter(|role| *role != Role::Customer),
        higher.collect(),
    )
}

fn user_type(user: &User) -> &'static str {
    let highest = highest_role(user);
    let found = TYPES.iter().find(|(role, _)| *role == highest);
    found.map_or("user", |(_, name)| name)
}

/// A user as clients see it. Sessions are checked with every request of a backend, so this is written without a tree in between.
pub struct UserMembers<'u> {
    user: &'u User,
    status: UserStatus,
}

impl<'u> UserMembers<'u> {
    /// Of a user who asks, and so is not banned.
    fn of(user: &'u User) -> Self {
        Self {
            user,
            status: UserStatus::Active,
        }
    }
}

impl Serialize for UserMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (user, profile) = (self.user, &self.user.profile);
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("id", &user.id)?;
        members.serialize_entry("email", &user.email)?;
        members.serialize_entry("name", &user.name)?;
        both(&mut members, ["first_name", "firstName"], &user.name)?;
        both(&mut members, ["last_name", "lastName"], &profile.last_name)?;
        both(&mut members, ["user_name", "userName"], &user.user_name)?;
        members.serialize_entry("username", &user.user_name)?;
        both(&mut members, ["user_type", "userType"], user_type(user))?;
        members.serialize_entry("picture", &profile.picture)?;
        members.serialize_entry("phone", &profile.phone)?;
        members.serialize_entry("mobile", &profile.mobile)?;
        both(&mut members, ["is_verified", "isVerified"], &user.email_verified)?;
        let is_banned = self.status == UserStatus::Disabled;
        both(&mut members, ["is_banned", "isBanned"], &is_banned)?;
        both(&mut members, ["is_locked", "isLocked"], &false)?;
        both(&mut members, ["two_factor", "twoFactor"], &user.two_factor)?;
        both(&mut members, ["first_time", "firstTime"], &false)?;
        members.serialize_entry("lang", &profile.lang)?;
        members.serialize_entry("tmz", &profile.tmz)?;
        members.serialize_entry("bio", &profile.bio)?;
        members.serialize_entry("dob", &profile.dob)?;
        members.serialize_entry("gender", &profile.gender)?;
        both(
            &mut members,
            ["recovery_email", "recoveryEmail"],
            &profile.recovery_email,
        )?;
        both(
            &mut members,
            ["display_name", "displayName"],
            &profile.display_name,
        )?;
        both(
            &mut members,
            ["reference_id", "referenceId"],
            &profile.reference_id,
        )?;
        members.serialize_entry("metadata", &profile.metadata)?;
        both(&mut members, ["deleted_at", "deletedAt"], &())?;
        both(&mut members, ["deletion_reason", "deletionReason"], &())?;
        both(&mut members, ["created_at", "createdAt"], &user.created_at)?;
        both(&mut members, ["updated_at", "updatedAt"], &user.updated_at)?;
        members.end()
    }
}

/// A session as clients see it, who know it by `credential`.
pub struct SessionMembers<'s> {
    session: &'s Session,
    credential: &'s str,
}

impl Serialize for SessionMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (session, client) = (self.session, &self.session.client);
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("id", self.credential)?;
        both(&mut members, ["session_id", "sessionId"], self.credential)?;
        both(&mut members, ["user_id", "userId"], &session.user_id)?;
        both(
            &mut members,
            ["ip_address", "ipAddress"],
            client.ip.as_deref().unwrap_or_default(),
        )?;
        both(
            &mut members,
            ["user_agent", "userAgent"],
            client.user_agent.as_deref().unwrap_or_default(),
        )?;
        both(&mut members, ["device_id", "deviceId"], &client.device_id)?;
        both(&mut members, ["two_factor_verified", "twoFactorVerified"], &1)?;
        both(&mut members, ["created_at", "createdAt"], &session.created_at)?;
        both(&mut members, ["updated_at", "updatedAt"], &session.last_used_at)?;
        both(
            &mut members,
            ["last_used_at", "lastUsedAt"],
            &session.last_used_at,
        )?;
        both(
            &mut members,
            ["expires_at", "expiresAt"],
            &session.idle_expires_at,
        )?;
        members.end()
    }
}

/// A session that goes on, and its user.
#[derive(Serialize)]
pub struct ValidSession<'s> {
    valid: bool,
    user: UserMembers<'s>,
    session: SessionMembers<'s>,
    session_id: &'s str,
    #[serde(rename = "sessionId")]
    session_id_again: &'s str,
    expires_at: DateTime<Utc>,
    #[serde(rename = "expiresAt")]
    expires_at_again: DateTime<Utc>,
    requires_2fa: bool,
    message: &'s str,
}

impl<'s> ValidSession<'s> {
    pub fn new(user: &'s User, session: &'s Session, credential: &'s str, message: &'s str) -> Self {
        Self {
            valid: true,
            user: UserMembers::of(user),
            session: SessionMembers { session, credential },
            session_id: credential,
            session_id_again: credential,
            expires_at: session.idle_expires_at,
            expires_at_again: session.idle_expires_at,
            requires_2fa: false,
            message,
        }
    }
}

pub fn user(user: &User) -> Value {
    tree(&UserMembers::of(user))
}

pub fn user_who_is(user: &User, status: UserStatus) -> Value {
    tree(&UserMembers { user, status })
}

/// `credential` is what the client knows the session by.
pub fn session(session: &Session, credential: &str) -> Value {
    tree(&SessionMembers { session, credential })
}

pub fn session_members(user: &User, session: &Session, credential: &str, message: &str) -> Value {
    tree(&ValidSession::new(user, session, credential, message))
}

/// Adds `userId` to `user_id`, where a tree is made anyway.
pub fn spell_both(value: &mut Value) {
    let Value::Object(members) = value else { return };
    let camel: Vec<(String, Value)> = members
        .iter()
        .filter(|(name, _)| name.contains('_'))
        .map(|(name, value)| (in_camel_case(name), value.clone()))
        .collect();
    members.extend(camel);
}

fn in_camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        text.push_str(&first.to_ascii_uppercase());
        text.push_str(rest);
    }
    text
}

/// For answers that have it twice, or with more in it.
fn tree(members: &impl Serialize) -> Value {
    // Only a key that is no text, or a failing `Serialize`, has no tree; there is neither here.
    serde_json::to_value(members).unwrap_or_default()
}

/// Writes a member in both of its spellings.
fn both<M: SerializeMap>(
    members: &mut M,
    spellings: [&'static str; 2],
    value: &(impl Serialize + ?Sized),
) -> Result<(), M::Error> {
    for spelling in spellings {
        members.serialize_entry(spelling, value)?;
    }
    Ok(())
}

/// A success with these members at the top, and once more in `data`.
pub fn twice(members: Value) -> HttpResponse {
    let data = with(members, "success", json!(true));
    secret(&with(data.clone(), "data", data))
}

/// The same object with another member.
pub fn with(mut members: Value, name: &str, value: Value) -> Value {
    if let Value::Object(members) = &mut members {
        members.insert(name.to_owned(), value);
    }
    members
}

/// A success that tells nothing but that it was one.
pub fn done(message: &str) -> HttpResponse {
    twice(json!({ "message": message }))
}

/// What a login answers, and whatever leads to a session.
pub fn login(login: &Login, message: &str) -> HttpResponse {
    login_with(login, message, Value::Null)
}

/// The same with more members.
pub fn login_with(login: &Login, message: &str, more: Value) -> HttpResponse {
    match login {
        Login::Session(begun) => begun_with(begun, message, more),
        Login::Pending(pending) => waiting(pending),
    }
}

/// A login whose second factor is missing: no success, and nothing of it in `data`, where clients look for a session.
fn waiting(pending: &PendingLogin) -> HttpResponse {
    let credential = pending.secret.reveal();
    let methods = pending.methods.iter().filter(|kind| **kind != Kind::RecoveryCode);
    let methods: Vec<Value> = methods
        .map(|kind| json!({ "id": name_of(*kind), "method": name_of(*kind), "status": "active" }))
        .collect();
    let mut answer = secret(&json!({
        "success": false,
        "requires_2fa": true,
        "session_id": credential,
        "sessionId": credential,
        "available_methods": methods,
        "requires_setup": pending.enrolling,
        "message": "Two-factor authentication required",
        "user": { "id": pending.user.id, "email": pending.user.email },
    }));
    set_cookie(&mut answer, &credential, WAITING_COOKIE_LIFETIME);
    answer
}

/// What leads to a session answers, with more members.
pub fn begun_with(begun: &BegunSession, message: &str, more: Value) -> HttpResponse {
    let credential = begun.secret.reveal();
    let mut members = session_members(&begun.user, &begun.session, &credential, message);
    if let (Some(members), Value::Object(more)) = (members.as_object_mut(), more) {
        members.extend(more);
    }
    let mut answer = twice(members);
    begun_cookies(&mut answer, begun);
    answer
}

pub fn session_cookie(answer: &mut HttpResponse, login: &Login) {
    match login {
        Login::Session(begun) => begun_cookies(answer, begun),
        Login::Pending(pending) => set_cookie(answer, &pending.secret.reveal(), WAITING_COOKIE_LIFETIME),
    }
}

fn begun_cookies(answer: &mut HttpResponse, begun: &BegunSession) {
    set_cookie(answer, &begun.secret.reveal(), COOKIE_LIFETIME);
    // A token of ours is made of characters that a cookie may have.
    drop(answer.add_cookie(&device::cookie(&begun.device_token)));
}

/// The user at the top and, flat, in `data`, with `more` beside the one.
pub fn profile(of: &User, more: Value) -> HttpResponse {
    described(user(of), more)
}

/// The same of a user in the words of these paths.
pub fn described(user: Value, more: Value) -> HttpResponse {
    let data = with(user.clone(), "user", user.clone());
    let data = with(data, "success", json!(true));
    let mut top = Map::new();
    top.insert("success".to_owned(), json!(true));
    top.insert("user".to_owned(), user);
    top.insert("data".to_owned(), data);
    if let Value::Object(more) = more {
        top.extend(more);
    }
    secret(&Value::Object(top))
}

/// An answer that no cache is to keep.
pub fn secret(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

fn set_cookie(answer: &mut HttpResponse, value: &str, lifetime: CookieDuration) {
    let cookie = Cookie::build(COOKIE, value.to_owned())
        .path("/")
        .http_only(true)
        .secure(true)
        .same_site(SameSite::Strict)
        .max_age(lifetime)
        .finish();
    // A credential of ours is made of characters that a cookie may have.
    drop(answer.add_cookie(&cookie));
}

pub fn forget_cookie(answer: &mut HttpResponse) {
    set_cookie(answer, "", CookieDuration::ZERO);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_two_spellings() {
        for (snake, camel) in [
            ("user_id", "userId"),
            ("id", "id"),
            ("last_used_at", "lastUsedAt"),
        ] {
            assert_eq!(in_camel_case(snake), camel);
        }
    }
}
