//! Changing one's password.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::Deserialize;
use shared::error::Problem;
use shared::id::SessionId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::authentication::{Authenticated, authenticate};
use super::{About, Password};
use crate::login_attempts::device::PresentedDevice;
use crate::messages::{Channel, Content};
use crate::one_time_tokens::Purpose;
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};
use crate::{field_keys, login_attempts, messages, one_time_tokens, sessions, users};

/// The current password, and the one to have from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePasswordRequest {
    current_password: Password,
    new_password: Password,
}

/// Changes the user's password and revokes all of the user's other sessions.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Changed; every other session is revoked"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_password`: not the current password; `weak_password`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/password/change")]
pub async fn change_password(
    state: web::Data<AppState>,
    request: HttpRequest,
    principal: Principal,
    body: Json<ChangePasswordRequest>,
) -> Result<HttpResponse, ApiError> {
    let ChangePasswordRequest {
        current_password,
        new_password,
    } = body.into_inner();
    let device = PresentedDevice::of(&request);
    let (current, new) = (&current_password, &new_password);
    change(&state, principal.session_id, &device, current, new).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Changes the password of the user of a session, and revokes all of the user's others.
pub async fn change(
    state: &AppState,
    own: SessionId,
    device: &PresentedDevice,
    current_password: &Password,
    new_password: &Password,
) -> Result<(), ApiError> {
    let now = state.clock.now();
    let user = {
        let mut connection = state.db.connection().await?;
        let user = sessions::queries::find_live_user(&mut connection, own, now).await?;
        user.ok_or_else(sessions::session_revoked)?
            .decrypt(&state.field_keys)?
    };
    let Authenticated {
        credentials,
        hashing,
        attempts,
        ..
    } = authenticate(state, &user.email, current_password, device, now)
        .await
        .map_err(wrong_password)?;
    hashing
        .check_strength(new_password, About::new(&user.email, &user.name))
        .await?;
    let hash = hashing.hash(new_password).await?;
    let revoked = state
        .db
        .transaction("change_password", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            // The user's row is locked first, as by a login, so neither can slip past the other.
            let changed = users::queries::change_password(connection, &credentials, &hash, now).await?;
            if !changed {
                return Ok(None);
            }
            let revoked = sessions::queries::revoke_all(connection, user.id, Some(own), now).await?;
            login_attempts::forget(connection, &attempts).await?;
            one_time_tokens::forget(connection, user.id, Purpose::PasswordReset).await?;
            let (channel, content) = (Channel::Email, Content::PasswordChanged);
            messages::queries::queue(connection, &protection, channel, &user.email, &content, now).await?;
            Ok(Some(revoked))
        })
        .await?;
    let revoked = revoked.ok_or_else(not_the_current_password)?;
    sessions_revoked(Revocation::PasswordChange).increment(u64::try_from(revoked).unwrap_or(u64::MAX));
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(())
}

/// The access token is good, so a wrong password is not a 401, which would make clients log the user out.
pub fn wrong_password(error: ApiError) -> ApiError {
    if error.code() == "invalid_credentials" {
        not_the_current_password()
    } else {
        error
    }
}

fn not_the_current_password() -> ApiError {
    ApiError::unprocessable("wrong_password", "This is not the current password.")
}
