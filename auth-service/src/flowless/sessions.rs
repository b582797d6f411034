//! A user's own sessions, listed and ended. No client that we know asks for them, and these are the paths that one would try.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use shared::id::SessionId;

use super::failure::Failure;
use super::input::Input;
use super::reply;
use crate::sessions::list::{no_such_session, revoke_all, revoke_one, sessions_of};
use crate::state::AppState;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/sessions", web::get().to(list))
        .route("/sessions", web::delete().to(end_others))
        .route("/sessions/{id}", web::delete().to(end));
}

async fn list(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let principal = input.session(&state).await?.principal();
    let sessions = sessions_of(&state, &principal).await?;
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|session| {
            let mut members = json!({
                "id": session.id,
                "current": session.current,
                "ip_address": session.ip.as_deref().unwrap_or_default(),
                "user_agent": session.user_agent.as_deref().unwrap_or_default(),
                "device_id": session.device_id,
                "created_at": session.created_at,
                "last_used_at": session.last_used_at,
                "expires_at": session.idle_expires_at,
            });
            reply::spell_both(&mut members);
            members
        })
        .collect();
    Ok(reply::twice(json!({ "sessions": sessions })))
}

/// By the id that the list tells, which is no credential.
async fn end(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let principal = input.session(&state).await?.principal();
    let id: SessionId = path.parse().map_err(|_| no_such_session())?;
    revoke_one(&state, &principal, id).await?;
    Ok(reply::done("Session revoked"))
}

/// All but the one that asks.
async fn end_others(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let principal = input.session(&state).await?.principal();
    let revoked = revoke_all(&state, &principal, Some(principal.session_id)).await?;
    Ok(reply::twice(
        json!({ "message": "Other sessions revoked", "revoked": revoked }),
    ))
}
