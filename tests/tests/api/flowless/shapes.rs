//! The shape of each reply, against each thing that some client breaks at.

use chrono::DateTime;
use serde_json::{Value, json};

use super::{Program, SECRET, register, start, text};

const FLAGS: [&str; 8] = [
    "is_verified",
    "isVerified",
    "two_factor",
    "twoFactor",
    "first_time",
    "firstTime",
    "is_banned",
    "is_locked",
];

/// Both spellings, because some clients read the one and some the other.
#[track_caller]
fn both(value: &Value, snake: &str, camel: &str) {
    assert!(value.get(snake).is_some(), "no {snake} in {value}");
    assert_eq!(
        value[snake], value[camel],
        "{snake} and {camel} differ in {value}"
    );
}

#[track_caller]
fn assert_moment(value: &Value) {
    let text = text(value);
    assert!(text.ends_with('Z'), "{text} has no time zone that clients read");
    DateTime::parse_from_rfc3339(text).unwrap();
}

#[track_caller]
pub fn assert_user(user: &Value) {
    assert!(text(&user["id"]).starts_with("usr_"), "{user}");
    for flag in FLAGS {
        assert!(user[flag].is_boolean(), "{flag} is no flag in {user}");
    }
    for (snake, camel) in [
        ("user_type", "userType"),
        ("last_name", "lastName"),
        ("user_name", "userName"),
        ("created_at", "createdAt"),
        ("updated_at", "updatedAt"),
        ("display_name", "displayName"),
        ("reference_id", "referenceId"),
    ] {
        both(user, snake, camel);
    }
    both(user, "user_name", "username");
    for member in [
        "email",
        "name",
        "picture",
        "phone",
        "lang",
        "metadata",
        "mobile",
        "tmz",
        "bio",
        "dob",
        "recovery_email",
        "deleted_at",
        "deletion_reason",
        "gender",
    ] {
        assert!(user.get(member).is_some(), "no {member} in {user}");
    }
    assert_moment(&user["created_at"]);
    assert_moment(&user["updated_at"]);
}

#[track_caller]
pub fn assert_session(session: &Value, credential: &str, user: &Value) {
    assert_eq!(session["id"], credential, "{session}");
    assert_eq!(session["user_id"], user["id"], "{session}");
    for (snake, camel) in [
        ("user_id", "userId"),
        ("expires_at", "expiresAt"),
        ("created_at", "createdAt"),
        ("last_used_at", "lastUsedAt"),
        ("ip_address", "ipAddress"),
        ("user_agent", "userAgent"),
    ] {
        both(session, snake, camel);
    }
    for member in ["expires_at", "created_at", "last_used_at", "updated_at"] {
        assert_moment(&session[member]);
    }
    // Null makes one of the clients fail.
    assert!(
        session["ip_address"].is_string() && session["user_agent"].is_string(),
        "{session}"
    );
    assert_eq!(session["two_factor_verified"], 1, "{session}");
}

/// A session with its user, at the top or in `data`.
#[track_caller]
fn assert_session_members(value: &Value) {
    assert_eq!(value["success"], true, "{value}");
    both(value, "session_id", "sessionId");
    both(value, "expires_at", "expiresAt");
    assert_moment(&value["expires_at"]);
    assert_user(&value["user"]);
    assert_session(&value["session"], text(&value["session_id"]), &value["user"]);
    // One client takes this for the status of the answer, a number.
    assert!(!value["status"].is_string(), "{value}");
}

/// What a login answers: everything at the top, and the same once more in `data`.
#[track_caller]
pub fn assert_login(answer: &Value) {
    assert_session_members(answer);
    assert_session_members(&answer["data"]);
    let mut top = answer.clone();
    let data = top.as_object_mut().unwrap().remove("data").unwrap();
    assert_eq!(top, data);
    assert!(text(&answer["session_id"]).starts_with("ses_"), "{answer}");
}

/// What is asked about oneself: the user at the top, and flat in `data`.
#[track_caller]
pub fn assert_profile(answer: &Value) {
    assert_eq!(answer["success"], true, "{answer}");
    assert_user(&answer["user"]);
    assert_user(&answer["data"]);
    assert_eq!(answer["data"]["user"], answer["user"]);
    assert_eq!(answer["data"]["success"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_has_the_shape_that_satisfies_every_client() {
    let platform = start().await;
    let program = Program::new(&platform);
    let registered = register(&program, "ada").await;
    assert_login(&registered);
    let credential = text(&registered["session_id"]).to_owned();
    let ada = program.in_session(&credential);
    for path in ["/auth/validation", "/auth/validate", "/auth/session/current"] {
        let valid = ada.get(path).await.must_be(200);
        assert_login(&valid);
        assert_eq!(
            (&valid["valid"], &valid["requires_2fa"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(valid["session_id"], credential);
    }
    for path in ["/auth/user/me", "/auth/me", "/auth/profile"] {
        let me = ada.get(path).await.must_be(200);
        assert_profile(&me);
        both(&me, "session_id", "sessionId");
        both(&me, "expires_at", "expiresAt");
    }
    let backend = program.with("x-bridge-secret", SECRET);
    let body = json!({ "session_id": credential });
    let valid = backend.post("/auth/bridge/validate", body).await.must_be(200);
    assert_session_members(&valid);
    // A client that finds `data` looks there for everything.
    assert!(valid.get("data").is_none(), "{valid}");
    assert_eq!(valid["valid"], true);
    assert!(valid["cached"].is_boolean());
    assert!(
        ["ultra", "unified", "db"].contains(&text(&valid["cacheSource"])),
        "{valid}"
    );
    assert_moment(&valid["timestamp"]);
    platform.stop().await.unwrap();
}
