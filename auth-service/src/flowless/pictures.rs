//! Pictures of users.

use actix_multipart::Multipart;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::failure::Failure;
use super::input::{Input, session_of_request};
use super::reply;
use crate::pictures::handlers::{keep, upload};
use crate::state::AppState;

pub fn configure(config: &mut web::ServiceConfig) {
    for path in ["/upload/picture", "/profile/picture"] {
        config
            .route(path, web::post().to(set))
            .route(path, web::delete().to(remove));
    }
}

async fn set(
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    let valid = session_of_request(&state, &request).await?;
    let form = Multipart::new(request.headers(), payload);
    let uploaded = upload(&state, valid.session.id, form).await?;
    let ratio = uploaded.original_bytes.checked_div(uploaded.kept_bytes.max(1));
    let mut data = reply::user(&uploaded.user);
    let more = json!({
        "success": true,
        "picture_url": uploaded.url,
        "url": uploaded.url,
        "file_size": uploaded.kept_bytes,
        "original_size": uploaded.original_bytes,
        "compression_ratio": ratio,
        "method": "server",
        "message": "Profile picture uploaded successfully",
        "user": data.clone(),
    });
    if let (Some(members), Some(more)) = (data.as_object_mut(), more.as_object()) {
        members.extend(more.clone());
    }
    Ok(reply::secret(&json!({
        "success": true,
        "message": "Profile picture uploaded successfully",
        "timestamp": state.clock.now(),
        "data": data,
    })))
}

async fn remove(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let (_, user) = keep(&state, valid.session.id, None).await?;
    Ok(reply::profile(
        &user,
        json!({ "message": "Profile picture removed" }),
    ))
}
