//! The shapes that satisfy every client at once. Each member is there in both spellings; flags are `true` and `false`; times
//! are RFC 3339 in UTC; what some client reads as a text is never null.

use actix_web::HttpResponse;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
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

/// A user who asks, and so is not banned.
pub fn user(user: &User) -> Value {
    user_who_is(user, UserStatus::Active)
}

pub fn user_who_is(user: &User, status: UserStatus) -> Value {
    let profile = &user.profile;
    let mut members = json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "first_name": user.name,
        "last_name": profile.last_name,
        "user_name": user.user_name,
        "username": user.user_name,
        "user_type": user_type(user),
        "picture": profile.picture,
        "phone": profile.phone,
        "mobile": profile.mobile,
        "is_verified": user.email_verified,
        "is_banned": status == UserStatus::Disabled,
        "is_locked": false,
        "two_factor": user.two_factor,
        "first_time": false,
        "lang": profile.lang,
        "tmz": profile.tmz,
        "bio": profile.bio,
        "dob": profile.dob,
        "gender": profile.gender,
        "recovery_email": profile.recovery_email,
        "display_name": profile.display_name,
        "reference_id": profile.reference_id,
        "metadata": profile.metadata,
        "deleted_at": null,
        "deletion_reason": null,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    });
    spell_both(&mut members);
    members
}

/// `credential` is what the client knows the session by.
pub fn session(session: &Session, credential: &str) -> Value {
    let mut members = json!({
        "id": credential,
        "session_id": credential,
        "user_id": session.user_id,
        "ip_address": session.client.ip.as_deref().unwrap_or_default(),
        "user_agent": session.client.user_agent.as_deref().unwrap_or_default(),
        "device_id": session.client.device_id,
        "two_factor_verified": 1,
        "created_at": session.created_at,
        "updated_at": session.last_used_at,
        "last_used_at": session.last_used_at,
        "expires_at": session.idle_expires_at,
    });
    spell_both(&mut members);
    members["two_factor_verified"] = json!(1);
    members
}

/// Adds `userId` to `user_id`.
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

pub fn session_members(of: &User, the_session: &Session, credential: &str, message: &str) -> Value {
    json!({
        "valid": true,
        "user": user(of),
        "session": session(the_session, credential),
        "session_id": credential,
        "sessionId": credential,
        "expires_at": the_session.idle_expires_at,
        "expiresAt": the_session.idle_expires_at,
        "requires_2fa": false,
        "message": message,
    })
}

/// The user at the top and, flat, in `data`, with `more` beside the one.
pub fn profile(of: &User, more: Value) -> HttpResponse {
    described(user(of), more)
}

/// The same of a user in the words of these paths.
pub fn described(user: Value, more: Value) -> HttpResponse {
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
pub fn secret(body: &Value) -> HttpResponse {
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
