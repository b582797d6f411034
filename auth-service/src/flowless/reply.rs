//! The shapes that satisfy every client at once. Each member is there in both spellings; flags are `true` and `false`; times
//! are RFC 3339 in UTC; what some client reads as a text is never null.

use actix_web::HttpResponse;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use serde_json::{Map, Value, json};
use shared::Role;

use crate::sessions::Session;
use crate::sessions::login::Login;
use crate::users::User;

const COOKIE: &str = "session_id";
const COOKIE_LIFETIME: CookieDuration = CookieDuration::days(7);

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

pub fn user(user: &User) -> Value {
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
        "is_banned": false,
        "is_locked": false,
        "two_factor": false,
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
fn spell_both(value: &mut Value) {
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
    let credential = login.secret.reveal();
    let mut members = session_members(&login.user, &login.session, &credential, message);
    if let (Some(members), Value::Object(more)) = (members.as_object_mut(), more) {
        members.extend(more);
    }
    let mut answer = twice(members);
    session_cookie(&mut answer, login);
    answer
}

pub fn session_cookie(answer: &mut HttpResponse, login: &Login) {
    set_cookie(answer, &login.secret.reveal(), COOKIE_LIFETIME);
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
