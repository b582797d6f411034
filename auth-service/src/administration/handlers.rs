//! Looking at users, and changing what they may.

use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::{SessionId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, FieldKeys, Json, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::queries;
use super::{ADMINISTRATORS, BanReason, READERS, UserRecord, UserStatus, check_role_change};
use crate::sessions::Session;
use crate::state::AppState;
use crate::telemetry::{Revocation, sessions_revoked};
use crate::users::{Email, Name, email_indexes};
use crate::{api_keys, field_keys, sessions, users};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListUsers {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<UserId>>,
    /// Only the user with exactly this e-mail: nothing else of an encrypted one can be searched.
    #[param(value_type = Option<String>)]
    email: Option<Email>,
}

/// Users, newest first. For staff.
#[utoipa::path(
    tag = "users",
    params(ListUsers),
    responses(
        (status = 200, description = "A page of users", body = Page<UserRecord>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/users")]
pub async fn list_users(
    state: web::Data<AppState>,
    principal: Principal,
    query: web::Query<ListUsers>,
) -> Result<web::Json<Page<UserRecord>>, ApiError> {
    principal.require_any(&READERS)?;
    let query = query.into_inner();
    let mut connection = state.db.connection().await?;
    let only = match &query.email {
        Some(email) => {
            match email_indexes::find_user(&mut connection, &state.field_keys, email.as_str()).await? {
                Some(user) => Some(user),
                None => return Ok(web::Json(Page::new(Vec::new(), query.limit, user_id))),
            }
        }
        None => None,
    };
    let before = query.after.map(|cursor| cursor.0);
    let found = queries::list(&mut connection, &state.field_keys, only, before, query.limit).await?;
    Ok(web::Json(Page::new(found, query.limit, user_id)))
}

fn user_id(record: &UserRecord) -> UserId {
    record.user.id
}

/// One user. For staff.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The user", body = UserRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/users/{user_id}")]
pub async fn get_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<web::Json<UserRecord>, ApiError> {
    principal.require_any(&READERS)?;
    let mut connection = state.db.connection().await?;
    Ok(web::Json(
        queries::find(&mut connection, &state.field_keys, id.into_inner()).await?,
    ))
}

/// What may be corrected for a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUserRequest {
    name: Name,
}

/// Corrects a user's name. For `admin`.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The user", body = UserRecord),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[patch("/api/v1/auth/users/{user_id}")]
pub async fn update_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
    body: Json<UpdateUserRequest>,
) -> Result<web::Json<UserRecord>, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (id, now, name) = (id.into_inner(), state.clock.now(), body.into_inner().name);
    let record = state
        .db
        .transaction("update_user", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            queries::lock_for(connection, &principal, id, now).await?;
            users::queries::set_name(connection, &protection, id, &name, now).await?;
            audit::append(connection, &Entry::by_user(&principal, "user.renamed", id)).await?;
            queries::find(connection, &state.field_keys, id).await
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(web::Json(record))
}

/// All roles that the user is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRolesRequest {
    roles: Vec<Role>,
}

/// Gives and takes roles. For `admin`; administrators are made and changed by a `superadmin` only, and nobody changes their own
/// roles. Who loses one is logged out everywhere at once.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The user", body = UserRecord),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[put("/api/v1/auth/users/{user_id}/roles")]
pub async fn set_roles(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
    body: Json<SetRolesRequest>,
) -> Result<web::Json<UserRecord>, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (id, now, asked) = (id.into_inner(), state.clock.now(), body.into_inner().roles);
    let roles: Vec<Role> = Role::ALL
        .into_iter()
        .filter(|role| asked.contains(role))
        .collect();
    let (record, ended) = state
        .db
        .transaction("set_roles", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let user = queries::lock(connection, id).await?;
            check_role_change(&principal, id, &user.roles, &roles)?;
            queries::set_roles(connection, id, &roles, now).await?;
            let lost: Vec<Role> = user
                .roles
                .iter()
                .copied()
                .filter(|role| !roles.contains(role))
                .collect();
            let mut ended = 0;
            if !lost.is_empty() {
                ended = sessions::queries::revoke_all(connection, id, None, now).await?;
            }
            if !api_keys::roles_of_programs(&lost).is_empty() {
                api_keys::queries::revoke_all(connection, id, now).await?;
            }
            let entry = Entry::by_user(&principal, "user.roles_changed", id);
            let entry = entry.change(&json!({ "roles": user.roles }), &json!({ "roles": roles }))?;
            audit::append(connection, &entry).await?;
            Ok((queries::find(connection, &state.field_keys, id).await?, ended))
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(web::Json(record))
}

fn count_ended(sessions: usize) {
    sessions_revoked(Revocation::Administration).increment(u64::try_from(sessions).unwrap_or(u64::MAX));
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    reason: BanReason,
}

/// Bans a user, who is logged out everywhere at once and whose API keys and clients are revoked. For `admin`.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The user", body = UserRecord),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/users/{user_id}/ban")]
pub async fn ban_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
    body: Json<BanRequest>,
) -> Result<web::Json<UserRecord>, ApiError> {
    let after = json!({ "status": UserStatus::Disabled, "reason": body.into_inner().reason });
    let id = id.into_inner();
    change_status(&state, &principal, id, UserStatus::Disabled, "user.banned", after).await
}

/// Lets a banned user log in again. For `admin`.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The user", body = UserRecord),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/users/{user_id}/unban")]
pub async fn unban_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<web::Json<UserRecord>, ApiError> {
    let after = json!({ "status": UserStatus::Active });
    let id = id.into_inner();
    change_status(&state, &principal, id, UserStatus::Active, "user.unbanned", after).await
}

async fn change_status(
    state: &AppState,
    principal: &Principal,
    id: UserId,
    status: UserStatus,
    action: &'static str,
    after: serde_json::Value,
) -> Result<web::Json<UserRecord>, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let now = state.clock.now();
    let (record, ended) = state
        .db
        .transaction(action, async |connection| {
            let user = queries::lock_for(connection, principal, id, now).await?;
            let mut ended = 0;
            if user.status != status.name() {
                queries::set_status(connection, id, status, now).await?;
                if status == UserStatus::Disabled {
                    ended = sessions::queries::revoke_all(connection, id, None, now).await?;
                    api_keys::queries::revoke_all(connection, id, now).await?;
                }
                let entry = Entry::by_user(principal, action, id);
                let entry = entry.change(&json!({ "status": user.status }), &after)?;
                audit::append(connection, &entry).await?;
            }
            Ok((queries::find(connection, &state.field_keys, id).await?, ended))
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(web::Json(record))
}

/// A login as staff sees it.
#[derive(Serialize, ToSchema)]
pub struct SessionRecord {
    id: SessionId,
    ip: Option<String>,
    user_agent: Option<String>,
    device_id: Option<String>,
    /// How the user proved who they are, by RFC 8176.
    amr: Vec<String>,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl SessionRecord {
    pub async fn list(
        connection: &mut AsyncPgConnection,
        keys: &FieldKeys,
        user_id: UserId,
        now: DateTime<Utc>,
    ) -> Result<Vec<Self>, ApiError> {
        let stored = sessions::queries::list_live(connection, user_id, now).await?;
        let records = stored
            .into_iter()
            .map(|stored| Ok::<_, ApiError>(Self::new(stored.decrypt(keys)?)));
        records.collect()
    }

    fn new(session: Session) -> Self {
        Self {
            id: session.id,
            ip: session.client.ip,
            user_agent: session.client.user_agent,
            device_id: session.client.device_id,
            amr: session.amr,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct SessionRecords {
    data: Vec<SessionRecord>,
}

/// A user's sessions that go on, newest first. For staff.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The sessions", body = SessionRecords),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/users/{user_id}/sessions")]
pub async fn list_user_sessions(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<web::Json<SessionRecords>, ApiError> {
    principal.require_any(&READERS)?;
    let mut connection = state.db.connection().await?;
    let now = state.clock.now();
    Ok(web::Json(SessionRecords {
        data: SessionRecord::list(&mut connection, &state.field_keys, id.into_inner(), now).await?,
    }))
}

/// Ends all sessions of a user. For `admin`.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 204, description = "Ended"),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/users/{user_id}/sessions")]
pub async fn end_user_sessions(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (id, now) = (id.into_inner(), state.clock.now());
    let ended = state
        .db
        .transaction("end_user_sessions", async |connection| {
            queries::lock_for(connection, &principal, id, now).await?;
            let ended = sessions::queries::revoke_all(connection, id, None, now).await?;
            let entry = Entry::by_user(&principal, "user.sessions_ended", id);
            audit::append(connection, &entry.change(&(), &json!({ "ended": ended }))?).await?;
            Ok(ended)
        })
        .await?;
    count_ended(ended);
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(HttpResponse::NoContent().finish())
}
