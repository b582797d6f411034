//! How much may leave an account: read by its owner, changed by staff. The ledger keeps the limits and counts against them.

use actix_web::{get, put, web};
use serde::{Deserialize, Deserializer};
use shared::clients::transactions::{Actor, LimitUse, Limits, SetLimits};
use shared::error::Problem;
use shared::id::AccountId;
use shared::money::MAX_AMOUNT;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Denial, Json, Principal, Role};
use utoipa::ToSchema;

use super::queries;
use crate::state::AppState;

const STAFF: [Role; 2] = [Role::Compliance, Role::Admin];
const MAX_REASON: usize = 140;

/// All three limits; `null` lifts one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimitsRequest {
    /// Minor units of one transfer, withdrawal or hold.
    #[serde(deserialize_with = "limit")]
    #[schema(required, minimum = 0, maximum = 9007199254740991_i64, example = 100000)]
    per_transfer: Option<i64>,
    /// Minor units of what is posted on a day (UTC), with all that is held.
    #[serde(deserialize_with = "limit")]
    #[schema(required, minimum = 0, maximum = 9007199254740991_i64, example = 500000)]
    daily: Option<i64>,
    /// The same of a month.
    #[serde(deserialize_with = "limit")]
    #[schema(required, minimum = 0, maximum = 9007199254740991_i64, example = 2000000)]
    monthly: Option<i64>,
    /// For the audit log: 1 to 140 characters, and no personal data.
    #[serde(deserialize_with = "reason")]
    #[schema(min_length = 1, max_length = 140, example = "Raised after the yearly review")]
    reason: String,
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let limit = Option::<i64>::deserialize(deserializer)?;
    limit
        .is_none_or(|limit| (0..=MAX_AMOUNT).contains(&limit))
        .then_some(limit)
        .ok_or_else(|| serde::de::Error::custom(format!("expected 0 to {MAX_AMOUNT}, or null")))
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let reason = String::deserialize(deserializer)?;
    let valid = (1..=MAX_REASON).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    valid.then_some(reason).ok_or_else(|| {
        serde::de::Error::custom("expected 1 to 140 characters, none of them a control character")
    })
}

/// How much may leave one of your accounts, and how much has. `compliance` and `admin` see it of any account.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "The limits, and what counts against them", body = LimitUse),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/accounts/{account_id}/limits")]
pub async fn get_account_limits(
    principal: Principal,
    account_id: web::Path<AccountId>,
    state: web::Data<AppState>,
) -> Result<web::Json<LimitUse>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *account_id).await?;
    drop(conn);
    if !principal.has_any(&STAFF) {
        principal.require_owner(row.owner_id)?;
    }
    Ok(web::Json(state.ledger.limits(row.id).await?))
}

/// Change how much may leave an account. For `compliance` and `admin`, and never for the account's owner.
///
/// It counts from the next transfer on; what was already spent and held today and this month counts against the new limits. The
/// change is in the audit log. When the ledger cannot be reached the answer is 503, and it can be sent again.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "Changed, now or before", body = LimitUse),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[put("/api/v1/accounts/{account_id}/limits")]
pub async fn set_account_limits(
    principal: Principal,
    account_id: web::Path<AccountId>,
    request: Json<SetLimitsRequest>,
    state: web::Data<AppState>,
) -> Result<web::Json<LimitUse>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *account_id).await?;
    drop(conn);
    if row.owner_id == principal.user_id {
        return Err(ApiError::forbidden(
            "separation_of_duties",
            "Nobody changes the limits of their own account.",
        )
        .denied(Denial::Forbidden));
    }
    let request = request.into_inner();
    let limits = SetLimits {
        limits: Limits {
            per_transfer: request.per_transfer,
            daily: request.daily,
            monthly: request.monthly,
        },
        reason: request.reason,
        actor: Actor::from(&principal),
    };
    Ok(web::Json(state.ledger.set_limits(row.id, &limits).await?))
}
