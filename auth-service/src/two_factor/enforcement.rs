//! Which roles need a second factor. Whoever has such a role and no second factor sets one up before the login goes on.

use actix_web::{get, put, web};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::UserId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal, Role};
use utoipa::ToSchema;

use super::handlers::recent_user;
use super::require_enabled;
use crate::modules::{TWO_FACTOR, require_administrator};
use crate::schema::two_factor_required_roles;
use crate::state::AppState;

/// The roles that need a second factor.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequiredRoles {
    #[schema(max_items = 6)]
    roles: Vec<Role>,
}

#[derive(QueryableByName)]
struct Required {
    #[diesel(sql_type = Bool)]
    required: bool,
}

/// Whether one of the user's roles needs a second factor.
pub async fn is_required(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<bool> {
    let row: Required = diesel::sql_query(
        "SELECT EXISTS (SELECT FROM users JOIN two_factor_required_roles ON role = ANY (roles) WHERE id = $1) AS required",
    )
    .bind::<Uuid, _>(user_id.uuid())
    .get_result(connection)
    .await?;
    Ok(row.required)
}

async fn list(connection: &mut AsyncPgConnection) -> Result<RequiredRoles, ApiError> {
    let names: Vec<String> = two_factor_required_roles::table
        .select(two_factor_required_roles::role)
        .order(two_factor_required_roles::role)
        .load(connection)
        .await?;
    let roles = Role::ALL.into_iter();
    let roles = roles.filter(|role| names.iter().any(|name| name == role.name()));
    Ok(RequiredRoles {
        roles: roles.collect(),
    })
}

/// The roles that need a second factor. For `admin`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The roles", body = RequiredRoles),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/two-factor/required-roles")]
pub async fn get_required_roles(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<RequiredRoles>, ApiError> {
    let mut connection = state.db.connection().await?;
    require_administrator(&state, &mut connection, &principal).await?;
    require_enabled(&mut connection).await?;
    Ok(web::Json(list(&mut connection).await?))
}

/// Choose the roles that need a second factor. For `admin`. It applies from the next login on.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The roles as they are now", body = RequiredRoles),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`, `insufficient_user_authentication`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[put("/api/v1/auth/two-factor/required-roles")]
pub async fn set_required_roles(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<RequiredRoles>,
) -> Result<web::Json<RequiredRoles>, ApiError> {
    let names: Vec<&str> = body.roles.iter().map(|role| role.name()).collect();
    let roles = state
        .db
        .transaction("set_required_roles", async |connection| {
            require_administrator(&state, connection, &principal).await?;
            require_enabled(connection).await?;
            recent_user(&state, connection, &principal).await?;
            let before = list(connection).await?;
            diesel::delete(two_factor_required_roles::table)
                .execute(connection)
                .await?;
            let rows: Vec<_> = names
                .iter()
                .map(|name| two_factor_required_roles::role.eq(*name))
                .collect();
            diesel::insert_into(two_factor_required_roles::table)
                .values(rows)
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            let after = list(connection).await?;
            let entry = Entry::by_user(&principal, "required_roles.changed", TWO_FACTOR);
            audit::append(connection, &entry.change(&before, &after)?).await?;
            Ok(after)
        })
        .await?;
    tracing::info!(roles = ?roles.roles, "the roles that need a second factor were changed");
    Ok(web::Json(roles))
}
