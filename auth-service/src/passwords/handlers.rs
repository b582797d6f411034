//! Changing one's password.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::Deserialize;
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::authentication::{Authenticated, authenticate};
use super::{About, Password};
use crate::login_attempts::device::PresentedDevice;
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};
use crate::{login_attempts, sessions, users};

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
    let (now, own) = (state.clock.now(), principal.session_id);
    let device = PresentedDevice::of(&request);
    let user = {
        let mut connection = state.db.connection().await?;
        let user = sessions::queries::find_live_user(&mut connection, own, now).await?;
        user.ok_or_else(sessions::session_revoked)?
            .decrypt(&state.field_keys)?
    };
    let Authenticated {
        credentials,
        hashing,
        email_hash,
        ..
    } = authenticate(&state, &user.email, &current_password, &device, now)
        .await
        .map_err(wrong_password)?;
    hashing
        .check_strength(&new_password, About::new(&user.email, &user.name))
        .await?;
    let hash = hashing.hash(&new_password).await?;
    let revoked = state
        .db
        .transaction("change_password", async |connection| {
            // The user's row is locked first, as by a login, so neither can slip past the other.
            let changed = users::queries::change_password(connection, &credentials, &hash, now).await?;
            if !changed {
                return Ok(None);
            }
            let revoked = sessions::queries::revoke_others(connection, user.id, own, now).await?;
            login_attempts::forget(connection, &email_hash).await?;
            Ok(Some(revoked))
        })
        .await?;
    let revoked = revoked.ok_or_else(not_the_current_password)?;
    sessions_revoked(Revocation::PasswordChange).increment(u64::try_from(revoked).unwrap_or(u64::MAX));
    Ok(HttpResponse::NoContent().finish())
}

/// The access token is good, so a wrong password is not a 401, which would make clients log the user out.
fn wrong_password(error: ApiError) -> ApiError {
    if error.code() == "invalid_credentials" {
        not_the_current_password()
    } else {
        error
    }
}

fn not_the_current_password() -> ApiError {
    ApiError::unprocessable("wrong_password", "This is not the current password.")
}
