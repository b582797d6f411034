//! Looking at users, and changing what they may.

use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::error::Problem;
use shared::id::{SessionId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, FieldKeys, Json, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::changes::{self, Update};
use super::{BanReason, READERS, UserRecord, queries};
use crate::passwords::Password;
use crate::sessions::{self, Session};
use crate::state::AppState;
use crate::users::profile::Profile;
use crate::users::{Email, email_indexes};

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

/// Corrects a user's name, user name, e-mail or profile: what is absent stays as it is, what is null is removed. Whether the e-mail is
/// verified can be said too, as `email_verified`. For `admin`.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    request_body = Profile,
    responses(
        (status = 200, description = "The user; a new e-mail has to be verified again", body = UserRecord),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`, `user_name_taken`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[patch("/api/v1/auth/users/{user_id}")]
pub async fn update_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
    body: Json<Map<String, Value>>,
) -> Result<web::Json<UserRecord>, ApiError> {
    let update = Update::parse(body.into_inner())?;
    let record = changes::update(&state, &principal, id.into_inner(), &update).await?;
    Ok(web::Json(record))
}

/// All roles that the user is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRolesRequest {
    roles: Vec<Role>,
}

/// Gives and takes roles. For `admin`; administrators are made and changed by a `superadmin` only, and nobody changes their own
/// roles. Who loses one, or gets one of staff, is logged out everywhere at once.
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
    let update = Update {
        roles: Some(body.into_inner().roles),
        ..Update::default()
    };
    let record = changes::update(&state, &principal, id.into_inner(), &update).await?;
    Ok(web::Json(record))
}

/// The password that a user is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPasswordRequest {
    new_password: Password,
}

/// Sets another password for a user, who is told by mail and logged out everywhere at once. For `admin`; for administrators by a
/// `superadmin` only.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 204, description = "Set"),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`weak_password`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[put("/api/v1/auth/users/{user_id}/password")]
pub async fn set_user_password(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
    body: Json<SetPasswordRequest>,
) -> Result<HttpResponse, ApiError> {
    changes::set_password(&state, &principal, id.into_inner(), &body.new_password).await?;
    Ok(HttpResponse::NoContent().finish())
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
    let record = changes::ban(&state, &principal, id.into_inner(), body.into_inner().reason).await?;
    Ok(web::Json(record))
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
    Ok(web::Json(
        changes::unban(&state, &principal, id.into_inner()).await?,
    ))
}

/// A login as staff sees it.
#[derive(Serialize, ToSchema)]
pub struct SessionRecord {
    pub id: SessionId,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub device_id: Option<String>,
    /// How the user proved who they are, by RFC 8176.
    amr: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
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
    changes::end_sessions(&state, &principal, id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}
