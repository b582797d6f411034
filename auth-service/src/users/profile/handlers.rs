//! Changing what is known about oneself.

use actix_web::{patch, web};
use chrono::Duration;
use serde_json::{Map, Value};
use shared::error::Problem;
use shared::id::SessionId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};

use super::{Change, Profile, queries};
use crate::state::AppState;
use crate::throttles::Limit;
use crate::users::User;
use crate::users::handlers::UserResponse;
use crate::{field_keys, sessions, throttles};

/// How long after a login the e-mail can be changed: a session that somebody found open must not become theirs.
const EMAIL_CHANGE_AFTER_LOGIN: Duration = Duration::hours(1);

/// Each sends a mail to an e-mail that may be a stranger's.
const EMAIL_CHANGES: Limit = Limit {
    name: "change of e-mail",
    uses: 5,
    window: Duration::hours(1),
};

/// Changes the user's own name, user name, e-mail or profile: what is absent stays as it is, what is null is removed.
#[utoipa::path(
    tag = "auth",
    request_body = Profile,
    responses(
        (status = 200, description = "The user as it is now; after a change of the e-mail it has to be verified again", body = UserResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`recent_login_required`: the e-mail is changed within an hour after logging in", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`, `user_name_taken`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[patch("/api/v1/auth/me")]
pub async fn change_me(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<Map<String, Value>>,
) -> Result<web::Json<UserResponse>, ApiError> {
    let change = Change::parse(body.into_inner())?;
    let user = change_user(&state, principal.session_id, &change).await?;
    Ok(web::Json(UserResponse { user }))
}

/// Changes the user of a session that goes on.
pub async fn change_user(state: &AppState, session: SessionId, change: &Change) -> Result<User, ApiError> {
    let now = state.clock.now();
    let changed = state
        .db
        .transaction("change_user", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            // The lock first: a ban, or another end of the session, that this waits for must be seen.
            sessions::queries::require_live(connection, session, now).await?;
            let session = sessions::queries::find_live(connection, session, now)
                .await?
                .ok_or_else(sessions::session_revoked)?;
            if change.is_critical() && now - session.created_at > EMAIL_CHANGE_AFTER_LOGIN {
                return Err(recent_login_required());
            }
            let user = queries::lock(connection, session.user_id).await?;
            let user = user
                .ok_or_else(sessions::session_revoked)?
                .decrypt(&state.field_keys)?;
            if change
                .email
                .as_ref()
                .is_some_and(|email| email.as_str() != user.email)
            {
                let (keys, whom) = (&state.field_keys, user.id.to_string());
                throttles::admit(connection, keys, EMAIL_CHANGES, &whom, now).await?;
            }
            queries::apply_and_tell(connection, &protection, &state.field_keys, user, change, now).await
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(changed)
}

fn recent_login_required() -> ApiError {
    let detail = "The e-mail can be changed within an hour after logging in. Log in again.";
    ApiError::forbidden("recent_login_required", detail)
}
