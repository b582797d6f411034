//! Who one is, and changing what is known about oneself.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::input::Input;
use super::reply;
use crate::state::AppState;
use crate::users::profile::Change;
use crate::users::profile::handlers::change_user;

/// What a user may change, by all of its names.
const NAMES: [(&str, &[&str]); 16] = [
    ("email", &["email"]),
    ("name", &["name", "first_name", "firstName"]),
    ("user_name", &["user_name", "userName", "username"]),
    ("last_name", &["last_name", "lastName"]),
    ("display_name", &["display_name", "displayName"]),
    ("phone", &["phone"]),
    ("mobile", &["mobile"]),
    ("bio", &["bio"]),
    ("dob", &["dob"]),
    ("gender", &["gender"]),
    ("recovery_email", &["recovery_email", "recoveryEmail"]),
    ("reference_id", &["reference_id", "referenceId"]),
    ("lang", &["lang"]),
    ("tmz", &["tmz"]),
    ("picture", &["picture"]),
    ("metadata", &["metadata"]),
];

pub fn configure(config: &mut web::ServiceConfig) {
    for path in ["/user/me", "/me", "/profile"] {
        config.route(path, web::get().to(show));
    }
    config
        .route("/user/me", web::put().to(change))
        .route("/profile", web::put().to(change))
        .route("/profile", web::patch().to(change));
}

/// A bridge secret is not asked for, and a wrong one is refused.
async fn show(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    input.secret(&state).await?;
    let valid = input.session(&state).await?;
    let credential = input.credential().unwrap_or_default();
    let session = json!({
        "session": reply::session(&valid.session, credential),
        "session_id": credential,
        "sessionId": credential,
        "expires_at": valid.session.idle_expires_at,
        "expiresAt": valid.session.idle_expires_at,
    });
    Ok(reply::profile(&valid.user, session))
}

async fn change(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let change = Change::parse(changed(&input.into_body()))?;
    let user = change_user(&state, valid.session.id, &change).await?;
    Ok(reply::profile(
        &user,
        json!({ "message": "Profile updated successfully" }),
    ))
}

/// Clients send every member that they know, null where their user has changed nothing; only metadata is removed by that. What is
/// not the user's to change, such as `user_type`, is sent too, and left out here.
pub fn changed(body: &Map<String, Value>) -> Map<String, Value> {
    let mut changed = Map::new();
    for (ours, theirs) in NAMES {
        let sent = theirs.iter().find_map(|name| body.get(*name));
        match sent {
            Some(Value::Null) if ours != "metadata" => {}
            Some(Value::String(text)) if text.trim().is_empty() => {
                changed.insert(ours.to_owned(), Value::Null);
            }
            Some(value) => {
                changed.insert(ours.to_owned(), value.clone());
            }
            None => {}
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_changes_nothing_but_metadata_and_nobody_makes_themselves_an_administrator() {
        let body = json!({
            "name": "Ada", "lastName": "L", "phone": null, "bio": "", "metadata": null, "user_type": "admin",
            "two_factor": true, "id": "usr_1",
        });
        let Value::Object(body) = body else { unreachable!() };
        assert_eq!(
            Value::Object(changed(&body)),
            json!({ "name": "Ada", "last_name": "L", "bio": null, "metadata": null })
        );
    }
}
