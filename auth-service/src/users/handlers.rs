//! Registering, and asking who one is.

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::{Email, Name, User, queries};
use crate::passwords::{About, Password};
use crate::sessions;
use crate::state::AppState;

/// Who wants to be a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    email: Email,
    password: Password,
    name: Name,
}

/// A user, as registration and `me` answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserResponse {
    pub user: User,
}

/// Registers a customer.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "Registered; log in next", body = UserResponse),
        (status = 409, description = "`email_taken`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`weak_password`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/register")]
pub async fn register_user(
    state: web::Data<AppState>,
    body: Json<RegisterRequest>,
) -> Result<HttpResponse, ApiError> {
    let RegisterRequest {
        email,
        password,
        name,
    } = body.into_inner();
    let hashing = state.hashing.reserve()?;
    hashing
        .check_strength(&password, About::new(email.as_str(), name.as_str()))
        .await?;
    let hash = hashing.hash(&password).await?;
    let mut connection = state.db.connection().await?;
    let user = queries::insert(&mut connection, &email, &name, &hash, state.clock.now()).await?;
    let user = user.ok_or_else(|| {
        ApiError::conflict(
            "email_taken",
            "There is already a user with this e-mail. Log in instead.",
        )
    })?;
    Ok(HttpResponse::Created().json(UserResponse { user }))
}

/// The user whose access token this is.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The user", body = UserResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/me")]
pub async fn get_me(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<UserResponse>, ApiError> {
    let mut connection = state.db.connection().await?;
    let user = sessions::queries::find_live_user(&mut connection, principal.session_id, state.clock.now())
        .await?
        .ok_or_else(sessions::session_revoked)?;
    Ok(web::Json(UserResponse { user }))
}
