//! Seeing what a user sees: an access token in the user's name that says who acts (`act`, RFC 8693), is good for looking
//! only and for five minutes, cannot be renewed, and ends with the session of who asked for it.

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::UserId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Denial, Json, Principal, Role, Scope};
use utoipa::ToSchema;

use super::{queries, require_another};
use crate::access_tokens::{self, Grant};
use crate::sessions;
use crate::sessions::handlers::{TokenType, secret_answer};
use crate::state::AppState;

const WHO_MAY: [Role; 3] = [Role::Support, Role::Admin, Role::Superadmin];

/// The number of the case that needs it, for the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9-]{1,32}$", example = "CASE-1042")]
pub struct Ticket(String);

impl<'de> Deserialize<'de> for Ticket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if plain && (1..=32).contains(&text.len()) {
            return Ok(Self(text));
        }
        Err(serde::de::Error::custom(
            "expected 1 to 32 letters, digits and `-`",
        ))
    }
}

/// What it is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImpersonateRequest {
    ticket: Ticket,
}

/// A token for looking at what the user sees.
#[derive(Serialize, ToSchema)]
pub struct ImpersonationResponse {
    pub access_token: String,
    pub token_type: TokenType,
    /// Seconds until it expires, for good.
    #[schema(example = 300)]
    pub expires_in: i64,
    #[schema(example = "read")]
    pub scope: Scope,
}

/// Gives an access token with which a customer's accounts can be looked at as the customer sees them, and nothing changed. For
/// `support` and `admin`; the audit log has it.
#[utoipa::path(
    tag = "users",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "The token", body = ImpersonationResponse),
        (status = 403, description = "`role_required`, `own_user`, `staff_user`: nobody acts for a member of staff", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/users/{user_id}/impersonate")]
pub async fn impersonate_user(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<UserId>,
    body: Json<ImpersonateRequest>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&WHO_MAY)?;
    let (id, now, ticket) = (id.into_inner(), state.clock.now(), body.into_inner().ticket);
    require_another(&principal, id)?;
    let roles = state
        .db
        .transaction("impersonate", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let user = queries::lock(connection, id).await?;
            if user.roles.iter().any(|role| role.is_staff()) {
                let detail = "Nobody acts for a member of staff.";
                return Err(ApiError::forbidden("staff_user", detail).denied(Denial::Forbidden));
            }
            let entry = Entry::by_user(&principal, "user.impersonated", id);
            audit::append(connection, &entry.change(&(), &json!({ "ticket": ticket }))?).await?;
            Ok(user.roles)
        })
        .await?;
    let scopes = [Scope::Read];
    let grant = Grant {
        user_id: id,
        session_id: principal.session_id,
        client_id: None,
        roles: &roles,
        amr: &[],
        scopes: Some(&scopes),
        actor: Some(principal.user_id),
    };
    let access_token = state
        .signing_keys
        .issue_until(&grant, now, now + access_tokens::LIFETIME);
    Ok(secret_answer(ImpersonationResponse {
        access_token: access_token.map_err(ApiError::internal)?,
        token_type: TokenType::Bearer,
        expires_in: access_tokens::LIFETIME.num_seconds(),
        scope: Scope::Read,
    }))
}
