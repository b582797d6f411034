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
use crate::sessions::Session;
use crate::sessions::login::{BegunSession, Login};
use crate::two_factor::Kind;
use crate::two_factor::pending_login::PendingLogin;
use crate::users::User;

const COOKIE: &str = "session_id";
const COOKIE_LIFETIME: CookieDuration = CookieDuration::days(7);
const WAITING_COOKIE_LIFETIME: CookieDuration = CookieDuration::minutes(5);

/// One word for what the user may do: customers are plain users to programs of Flowless.
pub fn user_type(user: &User) -> &'static str {
    let roles = &user.roles.0;
    let first = [
        (Role::Superadmin, "superadmin"),
        (Role::Admin, "admin"),
        (Role::Compliance, "compliance"),
        (Role::Support, "support"),
        (Role::Partner, "partner"),
    ];
    let found = first.iter().find(|(role, _)| roles.contains(role));
    found.map_or("user", |(_, name)| name)
}

/// A user as clients see it. Sessions are checked with every request of a backend, so this is written without a tree in between.
pub struct UserMembers<'u>(&'u User);

impl Serialize for UserMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (user, profile) = (self.0, &self.0.profile);
        let mut members = serializer.serialize_map(None)?;
        both(&mut members, "id", &user.id)?;
        both(&mut members, "email", &user.email)?;
        both(&mut members, "name", &user.name)?;
        both(&mut members, "first_name", &user.name)?;
        both(&mut members, "last_name", &profile.last_name)?;
        both(&mut members, "user_name", &user.user_name)?;
        both(&mut members, "username", &user.user_name)?;
        both(&mut members, "user_type", user_type(user))?;
        both(&mut members, "picture", &profile.picture)?;
        both(&mut members, "phone", &profile.phone)?;
        both(&mut members, "mobile", &profile.mobile)?;
        both(&mut members, "is_verified", &user.email_verified)?;
        both(&mut members, "is_banned", &false)?;
        both(&mut members, "is_locked", &false)?;
        both(&mut members, "two_factor", &false)?;
        both(&mut members, "first_time", &false)?;
        both(&mut members, "lang", &profile.lang)?;
        both(&mut members, "tmz", &profile.tmz)?;
        both(&mut members, "bio", &profile.bio)?;
        both(&mut members, "dob", &profile.dob)?;
        both(&mut members, "gender", &profile.gender)?;
        both(&mut members, "recovery_email", &profile.recovery_email)?;
        both(&mut members, "display_name", &profile.display_name)?;
        both(&mut members, "reference_id", &profile.reference_id)?;
        both(&mut members, "metadata", &profile.metadata)?;
        both(&mut members, "deleted_at", &())?;
        both(&mut members, "deletion_reason", &())?;
        both(&mut members, "created_at", &user.created_at)?;
        both(&mut members, "updated_at", &user.updated_at)?;
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
        both(&mut members, "id", self.credential)?;
        both(&mut members, "session_id", self.credential)?;
        both(&mut members, "user_id", &session.user_id)?;
        both(
            &mut members,
            "ip_address",
            client.ip.as_deref().unwrap_or_default(),
        )?;
        both(
            &mut members,
            "user_agent",
            client.user_agent.as_deref().unwrap_or_default(),
        )?;
        both(&mut members, "device_id", &client.device_id)?;
        both(&mut members, "two_factor_verified", &1)?;
        both(&mut members, "created_at", &session.created_at)?;
        both(&mut members, "updated_at", &session.last_used_at)?;
        both(&mut members, "last_used_at", &session.last_used_at)?;
        both(&mut members, "expires_at", &session.idle_expires_at)?;
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
    session_id_in_camel_case: &'s str,
    expires_at: DateTime<Utc>,
    #[serde(rename = "expiresAt")]
    expires_at_in_camel_case: DateTime<Utc>,
    requires_2fa: bool,
    message: &'s str,
}

impl<'s> ValidSession<'s> {
    pub fn new(user: &'s User, session: &'s Session, credential: &'s str, message: &'s str) -> Self {
        Self {
            valid: true,
            user: UserMembers(user),
            session: SessionMembers { session, credential },
            session_id: credential,
            session_id_in_camel_case: credential,
            expires_at: session.idle_expires_at,
            expires_at_in_camel_case: session.idle_expires_at,
            requires_2fa: false,
            message,
        }
    }
}

pub fn user(user: &User) -> Value {
    tree(&UserMembers(user))
}

/// `credential` is what the client knows the session by.
pub fn session(session: &Session, credential: &str) -> Value {
    tree(&SessionMembers { session, credential })
}

pub fn session_members(user: &User, session: &Session, credential: &str, message: &str) -> Value {
    tree(&ValidSession::new(user, session, credential, message))
}

/// For answers that have it twice, or with more in it.
fn tree(members: &impl Serialize) -> Value {
    // Only a key that is no text, or a failing `Serialize`, has no tree; there is neither here.
    serde_json::to_value(members).unwrap_or_default()
}

/// Writes `user_id` and `userId`.
fn both<M: SerializeMap>(
    members: &mut M,
    name: &str,
    value: &(impl Serialize + ?Sized),
) -> Result<(), M::Error> {
    members.serialize_entry(name, value)?;
    if name.contains('_') {
        members.serialize_entry(&in_camel_case(name), value)?;
    }
    Ok(())
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

/// A success with these members at the top, and once more in `data`.
pub fn twice(members: Value) -> HttpResponse {
    let mut data = members;
    data["success"] = json!(true);
    let mut top = data.clone();
    top["data"] = data;
    secret(&top)
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
    set_cookie(&mut answer, &credential, COOKIE_LIFETIME);
    answer
}

pub fn session_cookie(answer: &mut HttpResponse, login: &Login) {
    match login {
        Login::Session(begun) => set_cookie(answer, &begun.secret.reveal(), COOKIE_LIFETIME),
        Login::Pending(pending) => set_cookie(answer, &pending.secret.reveal(), WAITING_COOKIE_LIFETIME),
    }
}

/// The user at the top and, flat, in `data`, with `more` beside the one.
pub fn profile(of: &User, more: Value) -> HttpResponse {
    let user = user(of);
    let mut data = user.clone();
    data["user"] = user.clone();
    data["success"] = json!(true);
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
