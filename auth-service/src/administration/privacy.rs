//! What the law gives a person: a copy of everything that is kept about them, and its erasure; and the legal hold that
//! forbids the erasure for a time.

use actix_web::{HttpResponse, delete, get, put, web};
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::UserId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, FieldKeys, Principal, Role};
use utoipa::ToSchema;

use super::handlers::SessionRecord;
use super::{UserRecord, changes, queries, require_another};
use crate::api_keys::{self, ApiKey};
use crate::passkeys::handlers::PasskeyRecord;
use crate::social::handlers::SocialAccount;
use crate::state::AppState;
use crate::two_factor::handlers::MethodStatus;
use crate::two_factor::{Kind, method};
use crate::{field_keys, modules, sessions};

/// Everything that is kept about a user, but for secrets and their hashes. A picture is where `user.profile` says.
#[derive(Serialize, ToSchema)]
pub struct PersonalData {
    pub user: UserRecord,
    pub sessions: Vec<SessionRecord>,
    pub social_accounts: Vec<SocialAccount>,
    pub passkeys: Vec<PasskeyRecord>,
    pub second_factors: Vec<SecondFactor>,
    pub api_keys: Vec<ApiKey>,
    pub clients: Vec<ApiKey>,
}

/// A second factor, and where its codes are sent to.
#[derive(Serialize, ToSchema)]
pub struct SecondFactor {
    #[serde(flatten)]
    pub status: MethodStatus,
    #[schema(example = "+14155550123")]
    pub to: Option<String>,
}

impl SecondFactor {
    /// Those of a module that is switched off, too.
    async fn list(
        connection: &mut AsyncPgConnection,
        keys: &FieldKeys,
        user_id: UserId,
    ) -> Result<Vec<Self>, ApiError> {
        if !modules::has_table(connection, "two_factor_methods").await? {
            return Ok(Vec::new());
        }
        let stored = method::list(connection, user_id).await?;
        let factors = stored.iter().map(|method| {
            let to = match method.kind()? {
                Kind::Email | Kind::Sms => {
                    Some(keys.decrypt(field_keys::SECOND_FACTOR, method.id, &method.secret_encrypted)?)
                }
                Kind::Totp | Kind::Passkey | Kind::RecoveryCode => None,
            };
            let status = MethodStatus::of(method)?;
            Ok::<_, ApiError>(Self { status, to })
        });
        factors.collect()
    }
}

/// A copy of what is kept about the user who asks.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "Everything", body = PersonalData), AuthErrors, CommonErrors),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/me/export")]
pub async fn export_me(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<PersonalData>, ApiError> {
    let (now, id, keys) = (state.clock.now(), principal.user_id, &state.field_keys);
    let personal_data = state
        .db
        .transaction("export_me", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let (mut api_keys, mut clients) = (Vec::new(), Vec::new());
            for (kind, into) in [
                (api_keys::Kind::ApiKey, &mut api_keys),
                (api_keys::Kind::Client, &mut clients),
            ] {
                for key in api_keys::queries::list(connection, kind, id, now).await? {
                    into.push(key.decrypt(keys)?);
                }
            }
            Ok(PersonalData {
                user: queries::find(connection, keys, id).await?,
                sessions: SessionRecord::list(connection, keys, id, now).await?,
                social_accounts: SocialAccount::list(connection, keys, id).await?,
                passkeys: PasskeyRecord::list(connection, keys, id).await?,
                second_factors: SecondFactor::list(connection, keys, id).await?,
                api_keys,
                clients,
            })
        })
        .await?;
    Ok(web::Json(personal_data))
}

/// Erases a banned user with everything that is kept about them here; the ledger keeps the id, which then leads to nobody. What fraud
/// scoring keeps follows within seconds, or when a case about them is closed. Mail on its way to them is gone when it has
/// arrived or expired. For `admin`.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 204, description = "Erased"),
        (status = 403, description = "`role_required`, `own_user`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`user_active`: ban the user first; `legal_hold`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/users/{user_id}")]
pub async fn erase_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<HttpResponse, ApiError> {
    changes::erase(&state, &principal, id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Keeps a user from being erased. For `compliance`.
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
#[put("/api/v1/auth/users/{user_id}/legal-hold")]
pub async fn place_legal_hold(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<web::Json<UserRecord>, ApiError> {
    change_legal_hold(&state, &principal, id.into_inner(), true).await
}

/// Lets a user be erased again. For `compliance`.
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
#[delete("/api/v1/auth/users/{user_id}/legal-hold")]
pub async fn lift_legal_hold(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
) -> Result<web::Json<UserRecord>, ApiError> {
    change_legal_hold(&state, &principal, id.into_inner(), false).await
}

async fn change_legal_hold(
    state: &AppState,
    principal: &Principal,
    id: UserId,
    held: bool,
) -> Result<web::Json<UserRecord>, ApiError> {
    principal.require_any(&[Role::Compliance])?;
    require_another(principal, id)?;
    let now = state.clock.now();
    let record = state
        .db
        .transaction("change_legal_hold", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let user = queries::lock(connection, id).await?;
            if user.legal_hold_at.is_some() != held {
                queries::set_legal_hold(connection, id, held.then_some(now)).await?;
                let action = if held {
                    "user.legal_hold_placed"
                } else {
                    "user.legal_hold_lifted"
                };
                let entry = Entry::by_user(principal, action, id);
                let entry = entry.change(
                    &json!({ "legal_hold_at": user.legal_hold_at }),
                    &json!({ "held": held }),
                )?;
                audit::append(connection, &entry).await?;
            }
            queries::find(connection, &state.field_keys, id).await
        })
        .await?;
    Ok(web::Json(record))
}
