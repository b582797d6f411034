//! Registering, and asking who one is.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::UserId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::profile::{Profile, UserName};
use super::{Email, Name, NewUser, User, queries};
use crate::email_verification::Requirement;
use crate::field_keys::Protection;
use crate::messages::{Channel, Content};
use crate::passwords::{About, Password};
use crate::state::AppState;
use crate::telemetry::outcome_of;
use crate::{field_keys, messages, sessions};

/// Who wants to be a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    email: Email,
    password: Password,
    name: Name,
}

/// Who is to be a user, whatever API they came by.
pub struct Registration {
    pub email: Email,
    /// Without one, they log in by mail.
    pub password: Option<Password>,
    pub name: Name,
    pub user_name: Option<UserName>,
    pub profile: Profile,
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
    let registration = Registration {
        email,
        password: Some(password),
        name,
        user_name: None,
        profile: Profile::default(),
    };
    let user = register(&state, registration).await?;
    Ok(HttpResponse::Created().json(UserResponse { user }))
}

/// Registers a customer, whatever API they came by.
pub async fn register(state: &AppState, registration: Registration) -> Result<User, ApiError> {
    let result = insert_customer(state, registration).await;
    metrics::counter!("auth_registrations_total", "outcome" => outcome_of(&result)).increment(1);
    result
}

async fn insert_customer(state: &AppState, registration: Registration) -> Result<User, ApiError> {
    let new = prepare(state, registration).await?;
    state
        .db
        .transaction("register", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            insert(state, connection, &protection, &new, state.clock.now()).await
        })
        .await
}

/// What is dear about a registration, and needs no transaction.
pub async fn prepare(
    state: &AppState,
    Registration {
        email,
        password,
        name,
        user_name,
        profile,
    }: Registration,
) -> Result<NewUser, ApiError> {
    let hash = match &password {
        Some(password) => {
            let hashing = state.hashing.reserve()?;
            let about = About::new(email.as_str(), name.as_str());
            hashing.check_strength(password, about).await?;
            Some(hashing.hash(password).await?)
        }
        None => None,
    };
    Ok(NewUser {
        id: UserId::new(),
        has_password: hash.is_some(),
        password_hash: hash.map_or_else(|| state.hashing.nobodys_hash(), Ok)?,
        email,
        name,
        user_name,
        profile,
    })
}

/// Inserts the customer, and queues the mail that asks whether the e-mail is theirs.
pub async fn insert(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    new: &NewUser,
    now: DateTime<Utc>,
) -> Result<User, ApiError> {
    let user = queries::insert(connection, protection, new, now).await?;
    if state.email_verification != Requirement::Off {
        let (channel, content) = (Channel::Email, Content::EmailVerification);
        messages::queries::queue(connection, protection, channel, &user.email, &content, now).await?;
    }
    Ok(user)
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
        .ok_or_else(sessions::session_revoked)?
        .decrypt(&state.field_keys)?;
    Ok(web::Json(UserResponse { user }))
}
