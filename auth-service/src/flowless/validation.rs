//! Whether the caller's own session goes on, and having it looked up anew.

use actix_web::{HttpResponse, web};

use super::failure::Failure;
use super::input::{Input, session_of};
use super::reply;
use crate::state::AppState;

pub fn configure(config: &mut web::ServiceConfig) {
    for path in ["/validation", "/validate", "/session/current"] {
        config.route(path, web::get().to(validate));
    }
    config
        .route("/validation", web::post().to(validate_sent))
        .route("/invalidate/me", web::post().to(invalidate));
}

async fn validate(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    respond(&state, input.credential()).await
}

/// An old client sends the session in the body.
async fn validate_sent(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let sent = input.text(&["sessionId", "session_id"])?;
    respond(&state, sent.or(input.credential())).await
}

async fn respond(state: &AppState, credential: Option<&str>) -> Result<HttpResponse, Failure> {
    let valid = session_of(state, credential).await?;
    let members = reply::session_members(
        &valid.user,
        &valid.session,
        credential.unwrap_or_default(),
        "Session is valid",
    );
    Ok(reply::twice(members))
}

/// Everything that is kept of the user is outdated from here on.
async fn invalidate(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    state.session_cache.invalidate(&state.db, &valid.session).await?;
    Ok(reply::done("Cache invalidated"))
}
