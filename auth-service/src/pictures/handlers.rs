//! Uploading a picture of oneself, taking it away, and showing it.

use actix_multipart::{Multipart, MultipartError};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, delete, get, put, web};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::error::Problem;
use shared::id::{PictureId, SessionId};
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Principal, json};
use utoipa::ToSchema;

use super::{MAX_FILE_BYTES, Picture, PictureError, make, queries};
use crate::sessions::handlers::must_be_live;
use crate::state::AppState;
use crate::users::User;
use crate::users::profile::{self, Change};
use crate::{field_keys, sessions};

/// A form with one file, called `picture` or `file`: JPEG, PNG, WebP or GIF of at most 5 MiB.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document only: the form is read as it comes")]
pub struct PictureForm {
    #[schema(value_type = String, format = Binary)]
    picture: Vec<u8>,
}

/// Where the picture is.
#[derive(Debug, Serialize, ToSchema)]
pub struct PictureResponse {
    #[schema(example = "https://api.example.com/api/v1/auth/pictures/pic_01h455vb4pex5vsknk084sn02q")]
    pub picture_url: String,
}

/// A picture that has just been uploaded.
pub struct Uploaded {
    pub url: String,
    pub user: User,
    /// Of the file.
    pub original_bytes: usize,
    /// Of what is kept.
    pub kept_bytes: usize,
}

/// Sets the picture of the user.
#[utoipa::path(
    tag = "auth",
    request_body(content = PictureForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Where it is from now on", body = PictureResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_picture`: not a picture, damaged, or of more than 6000 pixels each way", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[put("/api/v1/auth/me/picture")]
pub async fn set_picture(
    state: web::Data<AppState>,
    request: HttpRequest,
    principal: Principal,
    payload: web::Payload,
) -> Result<web::Json<PictureResponse>, ApiError> {
    must_be_live(&state, &principal).await?;
    let uploaded = upload(
        &state,
        principal.session_id,
        Multipart::new(request.headers(), payload),
    )
    .await?;
    Ok(web::Json(PictureResponse {
        picture_url: uploaded.url,
    }))
}

fn url_of(state: &AppState, id: PictureId) -> String {
    state.social.redirect_uri(&format!("/api/v1/auth/pictures/{id}"))
}

/// Takes the file out of a form, and makes the user's picture of it.
pub async fn upload(state: &AppState, session: SessionId, form: Multipart) -> Result<Uploaded, ApiError> {
    // Before the file is read: each takes memory, and then some more.
    let place = state.pictures.try_acquire().map_err(|_| {
        let detail = "Too many pictures are being worked on. Try again shortly.";
        ApiError::unavailable("overloaded", detail)
    })?;
    let file = read_file(form).await?;
    let original_bytes = file.len();
    let made = web::block(move || make(&file)).await;
    drop(place);
    let picture = made.map_err(ApiError::internal)?.map_err(refused)?;
    let kept_bytes = picture.content.len();
    let (url, user) = keep(state, session, Some(&picture)).await?;
    Ok(Uploaded {
        url,
        user,
        original_bytes,
        kept_bytes,
    })
}

/// Sets or removes the picture of a session's user, and tells so in the profile.
pub async fn keep(
    state: &AppState,
    session: SessionId,
    picture: Option<&Picture>,
) -> Result<(String, User), ApiError> {
    let (id, now, keys) = (PictureId::new(), state.clock.now(), &state.field_keys);
    let url = picture.map(|_| url_of(state, id)).unwrap_or_default();
    let member = picture.map_or(Value::Null, |_| Value::from(url.clone()));
    let change = Change::parse(Map::from_iter([("picture".to_owned(), member)]))?;
    let user = state
        .db
        .transaction("keep_picture", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, keys).await?;
            // Again: a file takes a while to arrive.
            sessions::queries::require_live(connection, session, now).await?;
            let session = sessions::queries::find_live(connection, session, now)
                .await?
                .ok_or_else(sessions::session_revoked)?;
            let user = profile::queries::lock(connection, session.user_id).await?;
            let user = user.ok_or_else(sessions::session_revoked)?;
            match picture {
                Some(picture) => queries::set(connection, user.id, id, picture, now).await?,
                None => queries::remove(connection, user.id).await?,
            };
            profile::queries::apply(connection, &protection, keys, user.decrypt(keys)?, &change, now).await
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok((url, user))
}

fn refused(error: PictureError) -> ApiError {
    ApiError::unprocessable("invalid_picture", error.to_string())
}

async fn read_file(mut form: Multipart) -> Result<Vec<u8>, ApiError> {
    while let Some(field) = form.next().await {
        let mut field = field.map_err(malformed)?;
        let is_file = field
            .name()
            .is_some_and(|name| name == "picture" || name == "file");
        let mut file = Vec::new();
        while let Some(piece) = field.next().await {
            file.extend_from_slice(&piece.map_err(malformed)?);
            if file.len() > MAX_FILE_BYTES {
                return Err(json::body_too_large(MAX_FILE_BYTES));
            }
        }
        if is_file {
            return Ok(file);
        }
    }
    Err(ApiError::invalid(
        "invalid_body",
        "/picture",
        "expected a file called `picture`",
    ))
}

fn malformed(error: MultipartError) -> ApiError {
    match error {
        MultipartError::ContentTypeMissing
        | MultipartError::ContentTypeParse
        | MultipartError::ContentTypeIncompatible
        | MultipartError::BoundaryMissing => ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send the file in a form: `Content-Type: multipart/form-data`.",
        ),
        _ => ApiError::bad_request("malformed_body", "The form is malformed or broke off."),
    }
}

/// Takes the picture of the user away.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "There is none any more"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/me/picture")]
pub async fn remove_picture(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<HttpResponse, ApiError> {
    must_be_live(&state, &principal).await?;
    keep(&state, principal.session_id, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A picture. It never changes: another one has another id.
#[utoipa::path(
    tag = "auth",
    params(("picture_id" = String, Path, description = "The id of the picture")),
    responses(
        (status = 200, description = "The picture, as PNG or JPEG", content_type = "image/jpeg", body = Vec<u8>),
        (status = 404, description = "`not_found`: there is none any more", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    )
)]
#[get("/api/v1/auth/pictures/{picture_id}")]
pub async fn get_picture(
    state: web::Data<AppState>,
    id: web::Path<PictureId>,
) -> Result<HttpResponse, ApiError> {
    let mut connection = state.db.connection().await?;
    let picture = queries::find(&mut connection, *id).await?;
    let (media_type, content) = picture.ok_or_else(|| ApiError::not_found("There is no such picture."))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .body(content))
}
