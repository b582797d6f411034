//! Settings and bridge secrets, for administrators.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::BridgeSecretId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal, Role};
use utoipa::ToSchema;

use super::queries::{self, SettingsChange};
use super::{BridgeSecret, SecretKind, Settings, ValidationMode};
use crate::sessions::handlers::secret_answer;
use crate::sessions::{self, Secret};
use crate::state::AppState;
use crate::users::Name;

const ADMINS: [Role; 2] = [Role::Admin, Role::Superadmin];
const MIN_LIFETIME_S: i32 = 3_600;
const MAX_LIFETIME_S: i32 = 30 * 86_400;

/// How logins are.
#[derive(Serialize, ToSchema)]
pub struct SettingsResponse {
    pub validation_mode: ValidationMode,
    /// A session ends this long after its login, however much it is used; and when it was not used for seven days.
    #[schema(example = 2_592_000)]
    pub session_lifetime_s: i32,
    /// Whether registering over `/auth/register/public` takes a bridge secret.
    pub secret_for_registration: bool,
    pub updated_at: DateTime<Utc>,
}

impl From<Settings> for SettingsResponse {
    fn from(settings: Settings) -> Self {
        Self {
            validation_mode: settings.validation_mode(),
            session_lifetime_s: settings.session_lifetime_s,
            secret_for_registration: settings.secret_for_registration,
            updated_at: settings.updated_at,
        }
    }
}

/// What is to be different.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSettings {
    validation_mode: Option<ValidationMode>,
    #[schema(minimum = 3600, maximum = 2_592_000)]
    session_lifetime_s: Option<i32>,
    secret_for_registration: Option<bool>,
}

/// The settings of logins.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The settings", body = SettingsResponse),
        (status = 403, description = "`role_required`: for administrators", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/instance-settings")]
pub async fn get_settings(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<SettingsResponse>, ApiError> {
    principal.require_any(&ADMINS)?;
    let mut connection = state.db.connection().await?;
    Ok(web::Json(queries::settings(&mut connection).await?.into()))
}

/// Changes settings of logins. Sessions that have begun keep their lifetime.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The settings as they are now", body = SettingsResponse),
        (status = 403, description = "`role_required`: for administrators", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[patch("/api/v1/auth/instance-settings")]
pub async fn change_settings(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<ChangeSettings>,
) -> Result<web::Json<SettingsResponse>, ApiError> {
    principal.require_any(&ADMINS)?;
    let body = body.into_inner();
    let lifetimes = MIN_LIFETIME_S..=MAX_LIFETIME_S;
    if body
        .session_lifetime_s
        .is_some_and(|lifetime_s| !lifetimes.contains(&lifetime_s))
    {
        let problem = format!("expected {MIN_LIFETIME_S} to {MAX_LIFETIME_S} seconds");
        return Err(ApiError::invalid("invalid_body", "/session_lifetime_s", problem));
    }
    let change = SettingsChange {
        validation_mode: body.validation_mode.map(ValidationMode::stored),
        session_lifetime_s: body.session_lifetime_s,
        secret_for_registration: body.secret_for_registration,
        updated_at: state.clock.now(),
    };
    let changed = state
        .db
        .transaction("change_settings", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, state.clock.now()).await?;
            let before = SettingsResponse::from(queries::lock_settings(connection).await?);
            let after = SettingsResponse::from(queries::change_settings(connection, &change).await?);
            let entry = Entry::by_user(&principal, "instance_settings.changed", "instance_settings");
            audit::append(connection, &entry.change(&before, &after)?).await?;
            Ok(after)
        })
        .await?;
    state.instance.changed();
    Ok(web::Json(changed))
}

/// A bridge secret, without the secret.
#[derive(Serialize, ToSchema)]
pub struct BridgeSecretResponse {
    pub id: BridgeSecretId,
    pub name: String,
    pub kind: SecretKind,
    pub created_at: DateTime<Utc>,
}

impl From<BridgeSecret> for BridgeSecretResponse {
    fn from(secret: BridgeSecret) -> Self {
        Self {
            kind: secret.kind(),
            id: secret.id,
            name: secret.name,
            created_at: secret.created_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct BridgeSecretsResponse {
    pub bridge_secrets: Vec<BridgeSecretResponse>,
}

/// Who is to have a secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBridgeSecret {
    name: Name,
    kind: SecretKind,
}

/// A new bridge secret.
#[derive(Serialize, ToSchema)]
pub struct NewBridgeSecretResponse {
    /// Shown only here: send it as `X-Bridge-Secret`.
    #[schema(example = "brs_B3ZKQ0mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E")]
    pub secret: String,
    #[serde(flatten)]
    pub bridge_secret: BridgeSecretResponse,
}

/// The bridge secrets in use; those of the environment are not among them.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The secrets, without themselves", body = BridgeSecretsResponse),
        (status = 403, description = "`role_required`: for administrators", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/bridge-secrets")]
pub async fn list_bridge_secrets(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<BridgeSecretsResponse>, ApiError> {
    principal.require_any(&ADMINS)?;
    let mut connection = state.db.connection().await?;
    let secrets = queries::list_secrets(&mut connection).await?;
    Ok(web::Json(BridgeSecretsResponse {
        bridge_secrets: secrets.into_iter().map(BridgeSecretResponse::from).collect(),
    }))
}

/// Makes a bridge secret. Of each kind there are at most two, so that one can take the place of the other.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The secret, shown only here", body = NewBridgeSecretResponse),
        (status = 403, description = "`role_required`: for administrators", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`two_bridge_secrets`: revoke one first", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/bridge-secrets")]
pub async fn make_bridge_secret(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<NewBridgeSecret>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&ADMINS)?;
    let NewBridgeSecret { name, kind } = body.into_inner();
    let secret = Secret::bridge()?;
    let now = state.clock.now();
    let made = state
        .db
        .transaction("make_bridge_secret", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let made = queries::insert_secret(connection, name.as_str(), kind, &secret.hash(), now)
                .await?
                .ok_or_else(two_bridge_secrets)?;
            let entry = Entry::by_user(&principal, "bridge_secret.made", made.id);
            audit::append(connection, &entry.change(&(), &json!({ "kind": kind }))?).await?;
            Ok(made)
        })
        .await?;
    state.instance.changed();
    let mut answer = secret_answer(NewBridgeSecretResponse {
        secret: secret.reveal(),
        bridge_secret: made.into(),
    });
    *answer.status_mut() = actix_web::http::StatusCode::CREATED;
    Ok(answer)
}

/// Revokes a bridge secret: within a second no replica takes it any more.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Revoked"),
        (status = 403, description = "`role_required`: for administrators", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/bridge-secrets/{bridge_secret_id}")]
pub async fn revoke_bridge_secret(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<BridgeSecretId>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&ADMINS)?;
    let (id, now) = (id.into_inner(), state.clock.now());
    state
        .db
        .transaction("revoke_bridge_secret", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            if !queries::revoke_secret(connection, id, now).await? {
                return Err(ApiError::not_found("There is no bridge secret with this id."));
            }
            audit::append(
                connection,
                &Entry::by_user(&principal, "bridge_secret.revoked", id),
            )
            .await?;
            Ok(())
        })
        .await?;
    state.instance.changed();
    Ok(HttpResponse::NoContent().finish())
}

fn two_bridge_secrets() -> ApiError {
    let detail = "There are two secrets of this kind already. Revoke one first.";
    ApiError::conflict("two_bridge_secrets", detail)
}
