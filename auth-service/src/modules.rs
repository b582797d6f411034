//! Modules: parts of this service that an administrator switches on and off while it runs.
//!
//! A module is a row, and whether it is on is asked of the database where it matters, so every replica knows at once. What a
//! module needs of the database is made when it is first switched on, by functions that its migration brought and that
//! `switch_module` runs as the owner of the schema; the service's own role makes no tables. A module that is switched off
//! keeps its rows, and nothing looks at them.

use actix_web::{get, put, web};
use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal, Role};
use utoipa::ToSchema;

use crate::schema::modules;
use crate::sessions;
use crate::state::AppState;
use crate::two_factor::handlers::recent_user;

const ADMINISTRATORS: [Role; 2] = [Role::Admin, Role::Superadmin];

pub const TWO_FACTOR: &str = "two-factor";

/// A part of the service that can be switched off.
#[derive(Debug, Queryable, Selectable, QueryableByName, Serialize, ToSchema)]
#[diesel(table_name = modules, check_for_backend(diesel::pg::Pg))]
pub struct Module {
    #[schema(example = "two-factor")]
    pub name: String,
    pub enabled: bool,
    /// How many of its migrations have run; 0 until it is first switched on.
    pub version: i32,
    pub changed_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ModuleList {
    pub items: Vec<Module>,
}

/// Whether the module is to be on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchModuleRequest {
    enabled: bool,
}

/// Whether a module is on, at this moment.
pub async fn is_enabled(connection: &mut AsyncPgConnection, name: &str) -> QueryResult<bool> {
    let enabled = modules::table
        .find(name)
        .filter(modules::enabled)
        .select(modules::name);
    diesel::select(diesel::dsl::exists(enabled))
        .get_result(connection)
        .await
}

/// Whether there is such a table: those of a module are made when it is first switched on.
pub async fn has_table(connection: &mut AsyncPgConnection, table: &str) -> QueryResult<bool> {
    diesel::select(
        sql::<Bool>("to_regclass(")
            .bind::<Text, _>(table)
            .sql(") IS NOT NULL"),
    )
    .get_result(connection)
    .await
}

async fn switch(connection: &mut AsyncPgConnection, name: &str, on: bool) -> QueryResult<Option<Module>> {
    diesel::sql_query("SELECT name, enabled, version, changed_at FROM switch_module($1, $2)")
        .bind::<Text, _>(name)
        .bind::<Bool, _>(on)
        .get_result(connection)
        .await
        .optional()
}

/// Refuses whoever is no administrator, or was one in a session that has ended.
pub async fn require_administrator(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    principal: &Principal,
) -> Result<(), ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    sessions::queries::find_live_user(connection, principal.session_id, state.clock.now())
        .await?
        .map(drop)
        .ok_or_else(sessions::session_revoked)
}

/// The modules there are. For `admin`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "All modules", body = ModuleList),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/modules")]
pub async fn list_modules(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<ModuleList>, ApiError> {
    let mut connection = state.db.connection().await?;
    require_administrator(&state, &mut connection, &principal).await?;
    let items = modules::table
        .select(Module::as_select())
        .order(modules::name)
        .load(&mut connection)
        .await?;
    Ok(web::Json(ModuleList { items }))
}

/// Switch a module on or off, for all replicas at once. For `admin`.
///
/// What it needs of the database is made when it is first switched on. Switched off, it keeps what it has for the next time.
#[utoipa::path(
    tag = "auth",
    params(("name" = String, Path, description = "The module", example = "two-factor")),
    responses(
        (status = 200, description = "The module as it is now", body = Module),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`, `insufficient_user_authentication`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: there is no such module", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[put("/api/v1/auth/modules/{name}")]
pub async fn switch_module(
    state: web::Data<AppState>,
    principal: Principal,
    name: web::Path<String>,
    body: Json<SwitchModuleRequest>,
) -> Result<web::Json<Module>, ApiError> {
    // On its own: in one transaction with the switch, two who switch would each hold what the other waits for.
    let mut connection = state.db.connection().await?;
    require_administrator(&state, &mut connection, &principal).await?;
    // A stolen access token must not be enough to take the second factor from everybody.
    recent_user(&state, &mut connection, &principal).await?;
    drop(connection);
    let module = state
        .db
        .transaction("switch_module", async |connection| {
            let module = switch(connection, &name, body.enabled)
                .await?
                .ok_or_else(|| ApiError::not_found("There is no such module."))?;
            let entry = Entry::by_user(&principal, "module.switched", &module.name);
            let entry = entry.change(&(), &json!({ "enabled": module.enabled }))?;
            audit::append(connection, &entry).await?;
            Ok(module)
        })
        .await?;
    tracing::info!(
        module = module.name,
        enabled = module.enabled,
        "a module was switched"
    );
    Ok(web::Json(module))
}
