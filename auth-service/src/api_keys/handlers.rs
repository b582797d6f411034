//! A user's own API keys: made, listed, replaced and revoked by whoever has logged in, never by a key.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::Duration;
use serde::{Deserialize, Serialize};
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::ApiKeyId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::queries::{self, NewKey};
use super::{ApiKey, Kind, NewKeyRequest, Secret, not_found};
use crate::sessions::handlers::secret_created;
use crate::state::AppState;
use crate::{access_tokens, field_keys, sessions};

const MAX_OVERLAP: Duration = Duration::days(7);

/// A key with its secret, which is shown only here.
#[derive(Serialize, ToSchema)]
pub struct NewApiKey {
    /// Send it as `Authorization: Bearer <key>`.
    #[schema(example = "flk_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8q1w2e3")]
    pub key: String,
    #[serde(flatten)]
    pub api_key: ApiKey,
}

#[derive(Serialize, ToSchema)]
pub struct ApiKeys {
    pub data: Vec<ApiKey>,
}

/// For how long the old key stays good.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceKeyRequest {
    /// Seconds: 300 to seven days, or 0 to end it at once; a day unless told.
    #[serde(default = "a_day")]
    #[schema(minimum = 0, maximum = 604800)]
    overlap_s: u32,
}

fn a_day() -> u32 {
    86_400
}

/// Makes an API key, with which a program asks in the user's name, for what its scopes allow: `read`, `write`, `money`. A user
/// has at most 20.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The key, which is not shown again", body = NewApiKey),
        (status = 422, description = "`too_many_keys`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/api-keys")]
pub async fn create_api_key(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<NewKeyRequest>,
) -> Result<HttpResponse, ApiError> {
    let (now, body) = (state.clock.now(), body.into_inner());
    let new = NewKey::of_request(Kind::ApiKey, principal.user_id, &body, now)?;
    let secret = Secret::generate(Kind::ApiKey)?;
    let api_key = state
        .db
        .transaction("create_api_key", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let key = queries::insert(connection, &protection, &new, &secret, now).await?;
            let entry = Entry::by_user(&principal, "api_key.created", key.id).change(&(), &key.scopes)?;
            audit::append(connection, &entry).await?;
            Ok(key)
        })
        .await?;
    Ok(created(api_key, &secret))
}

fn created(api_key: ApiKey, secret: &Secret) -> HttpResponse {
    secret_created(NewApiKey {
        key: secret.reveal(),
        api_key,
    })
}

/// The user's API keys that are good, newest first.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "The keys, without their secrets", body = ApiKeys), AuthErrors, CommonErrors),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/api-keys")]
pub async fn list_api_keys(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<ApiKeys>, ApiError> {
    let now = state.clock.now();
    let mut connection = state.db.connection().await?;
    let keys = queries::list(&mut connection, Kind::ApiKey, principal.user_id, now).await?;
    let data = keys.into_iter().map(|key| key.decrypt(&state.field_keys));
    Ok(web::Json(ApiKeys {
        data: data.collect::<Result<_, _>>()?,
    }))
}

/// Makes a key that takes another one's place, with the same name, scopes, networks and lifetime. Both are good for as long as the
/// overlap says; a key that was itself about to be replaced ends at once, so that there are never more than two.
#[utoipa::path(
    tag = "auth",
    params(("key_id" = String, Path)),
    responses(
        (status = 201, description = "The new key, which is not shown again", body = NewApiKey),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already_replaced`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`too_many_keys`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/api-keys/{key_id}/replace")]
pub async fn replace_api_key(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<ApiKeyId>,
    body: Json<ReplaceKeyRequest>,
) -> Result<HttpResponse, ApiError> {
    let (now, id) = (state.clock.now(), id.into_inner());
    let overlap = Duration::seconds(body.into_inner().overlap_s.into());
    // An access token that was given for the old key must not outlive it.
    if !overlap.is_zero() && !(access_tokens::LIFETIME..=MAX_OVERLAP).contains(&overlap) {
        let detail = "expected 0, or 300 to 604800";
        return Err(ApiError::invalid("invalid_body", "/overlap_s", detail));
    }
    let secret = Secret::generate(Kind::ApiKey)?;
    let api_key = state
        .db
        .transaction("replace_api_key", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let old = queries::lock_live(connection, Kind::ApiKey, id, now)
                .await?
                .filter(|key| key.user_id == principal.user_id)
                .ok_or_else(not_found)?
                .decrypt(&state.field_keys)?;
            if old.replaced_by.is_some() {
                return Err(ApiError::conflict(
                    "already_replaced",
                    "Another key has taken its place.",
                ));
            }
            if let Some(older) = queries::predecessor(connection, id).await? {
                queries::revoke(connection, older, now).await?;
            }
            let new = NewKey {
                kind: Kind::ApiKey,
                user_id: principal.user_id,
                name: &old.name,
                scopes: &old.scopes,
                allowed_networks: &old.allowed_networks,
                expires_at: now + (old.expires_at - old.created_at),
            };
            let key = queries::insert(connection, &protection, &new, &secret, now).await?;
            if overlap.is_zero() {
                queries::revoke(connection, id, now).await?;
            } else {
                queries::replace(connection, id, key.id, old.expires_at.min(now + overlap)).await?;
            }
            let entry = Entry::by_user(&principal, "api_key.replaced", id).change(&(), &key.id)?;
            audit::append(connection, &entry).await?;
            Ok(key)
        })
        .await?;
    Ok(created(api_key, &secret))
}

/// Revokes a key. It is refused at once, also by who has just accepted it.
#[utoipa::path(
    tag = "auth",
    params(("key_id" = String, Path)),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/api-keys/{key_id}")]
pub async fn revoke_api_key(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<ApiKeyId>,
) -> Result<HttpResponse, ApiError> {
    let (now, id) = (state.clock.now(), id.into_inner());
    state
        .db
        .transaction("revoke_api_key", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let key = queries::lock_live(connection, Kind::ApiKey, id, now).await?;
            key.filter(|key| key.user_id == principal.user_id)
                .ok_or_else(not_found)?;
            queries::revoke(connection, id, now).await?;
            audit::append(connection, &Entry::by_user(&principal, "api_key.revoked", id)).await?;
            Ok(())
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
