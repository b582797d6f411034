//! A user's own sessions: where they are logged in, and ending that.

use actix_web::{HttpResponse, delete, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::SessionId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal};
use utoipa::{IntoParams, ToSchema};

use super::{Session, queries, session_revoked};
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};

/// A login that goes on.
#[derive(Serialize, ToSchema)]
pub struct SessionResponse {
    pub id: SessionId,
    /// Whether this is the session that asks.
    pub current: bool,
    /// The address and the program that logged in, and what it calls its device.
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub device_id: Option<String>,
    /// How the user proved who they are, by RFC 8176.
    pub amr: Vec<String>,
    pub created_at: DateTime<Utc>,
    /// To within a few minutes.
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless it is used before, and when it ends however much it is used.
    pub idle_expires_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl SessionResponse {
    fn new(session: Session, current: SessionId) -> Self {
        Self {
            current: session.id == current,
            id: session.id,
            ip: session.client.ip,
            user_agent: session.client.user_agent,
            device_id: session.client.device_id,
            amr: session.amr,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            idle_expires_at: session.idle_expires_at,
            expires_at: session.expires_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct SessionsResponse {
    pub sessions: Vec<SessionResponse>,
}

#[derive(Serialize, ToSchema)]
pub struct RevokedResponse {
    pub revoked: usize,
}

/// Which of the user's sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// This session as well.
    #[serde(default)]
    include_current: bool,
}

/// The user's sessions that go on, at most 200, the one used last first.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "The sessions", body = SessionsResponse), AuthErrors, CommonErrors),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/sessions")]
pub async fn list_sessions(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<SessionsResponse>, ApiError> {
    let sessions = sessions_of(&state, &principal).await?;
    Ok(web::Json(SessionsResponse { sessions }))
}

pub async fn sessions_of(state: &AppState, principal: &Principal) -> Result<Vec<SessionResponse>, ApiError> {
    let now = state.clock.now();
    let mut connection = state.db.connection().await?;
    queries::find_live(&mut connection, principal.session_id, now)
        .await?
        .ok_or_else(session_revoked)?;
    let stored = queries::list_live(&mut connection, principal.user_id, now).await?;
    let sessions = stored.into_iter().map(|stored| {
        let session = stored.decrypt(&state.field_keys)?;
        Ok(SessionResponse::new(session, principal.session_id))
    });
    sessions.collect()
}

/// Ends one of the user's sessions.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "`not_found`: no session of the user that goes on", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/sessions/{session_id}")]
pub async fn revoke_session(
    state: web::Data<AppState>,
    principal: Principal,
    session_id: web::Path<SessionId>,
) -> Result<HttpResponse, ApiError> {
    revoke_one(&state, &principal, *session_id).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub async fn revoke_one(state: &AppState, principal: &Principal, id: SessionId) -> Result<(), ApiError> {
    let now = state.clock.now();
    let mut connection = state.db.connection().await?;
    if !queries::revoke_own(&mut connection, principal.user_id, id, now).await? {
        return Err(no_such_session());
    }
    drop(connection);
    sessions_revoked(Revocation::Logout).increment(1);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(())
}

pub fn no_such_session() -> ApiError {
    ApiError::not_found("You have no session with this id, or it has ended.")
}

/// Ends all other sessions of the user, and this one too if asked.
#[utoipa::path(
    tag = "auth",
    params(Which),
    responses((status = 200, description = "How many have ended", body = RevokedResponse), AuthErrors, CommonErrors),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/sessions")]
pub async fn revoke_sessions(
    state: web::Data<AppState>,
    principal: Principal,
    which: web::Query<Which>,
) -> Result<web::Json<RevokedResponse>, ApiError> {
    let kept = (!which.include_current).then_some(principal.session_id);
    let revoked = revoke_all(&state, &principal, kept).await?;
    Ok(web::Json(RevokedResponse { revoked }))
}

/// How many, but for the one that is kept.
pub async fn revoke_all(
    state: &AppState,
    principal: &Principal,
    kept: Option<SessionId>,
) -> Result<usize, ApiError> {
    let now = state.clock.now();
    let mut connection = state.db.connection().await?;
    queries::find_live(&mut connection, principal.session_id, now)
        .await?
        .ok_or_else(session_revoked)?;
    let revoked = queries::revoke_all(&mut connection, principal.user_id, kept, now).await?;
    drop(connection);
    sessions_revoked(Revocation::Logout).increment(u64::try_from(revoked).unwrap_or(u64::MAX));
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(revoked)
}
