//! What partners make go wrong on purpose, to try how their programs bear it. Only where `SANDBOX_FAULTS` is set, which production
//! refuses; elsewhere the endpoints are not there, and keys are only names. Webhooks have faults of their own (`webhook`).
//!
//! - An `Idempotency-Key` that begins with `sandbox-lose-answer` has its effect, and the answer is lost: 503 with the outcome
//!   unknown. Sent again it gets the answer.
//! - One that begins with `sandbox-delay-answer` is answered five seconds after its effect.
//! - A hold is expired now, and the clock that schedules go by is moved forward.

use std::time::Duration;

use actix_web::{post, web};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::HoldId;
use shared::idempotency::IdempotencyKey;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use crate::hold::handlers::find_of;
use crate::hold::{HoldRecord, expiry, queries};
use crate::state::State;

const DELAY: Duration = Duration::from_secs(5);
const MAX_ADVANCE_S: i64 = 366 * 24 * 3600;
/// The clock goes no further than to its end.
const LAST_YEAR: i32 = 2100;

/// What goes wrong with an answer after its effect is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    Lost,
    Delayed,
}

impl AnswerFault {
    /// What the name of a key asks for.
    pub fn of(key: &IdempotencyKey) -> Option<Self> {
        let key = key.as_str();
        if key.starts_with("sandbox-lose-answer") {
            Some(Self::Lost)
        } else {
            key.starts_with("sandbox-delay-answer").then_some(Self::Delayed)
        }
    }
}

pub async fn delay() {
    tokio::time::sleep(DELAY).await;
}

/// Expire one of your holds now. In the sandbox only.
#[utoipa::path(
    tag = "sandbox",
    responses(
        (status = 200, description = "The hold, whose time is up", body = HoldRecord),
        (status = 404, description = "`not_found`: there is none, you are no side of it, or this is no sandbox", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/sandbox/holds/{hold_id}/expire")]
pub async fn expire_hold_now(
    principal: Principal,
    hold_id: web::Path<HoldId>,
    state: web::Data<State>,
) -> Result<web::Json<HoldRecord>, ApiError> {
    require_sandbox(&state)?;
    find_of(&principal, *hold_id, &state).await?;
    let mut conn = state.db.connection().await?;
    queries::expire_now(&mut conn, *hold_id).await?;
    let row = queries::find(&mut conn, *hold_id).await?;
    drop(conn);
    expiry::end(&state.db, &state.lanes, row, true).await?;
    let row = find_of(&principal, *hold_id, &state).await?;
    Ok(web::Json(row.into_record()?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdvanceClock {
    /// By how much: 1 to 31,622,400, a year.
    #[serde(deserialize_with = "seconds")]
    #[schema(minimum = 1, maximum = 31622400, example = 86400)]
    seconds: i64,
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let seconds = i64::deserialize(deserializer)?;
    (1..=MAX_ADVANCE_S)
        .contains(&seconds)
        .then_some(seconds)
        .ok_or_else(|| serde::de::Error::custom(format!("expected 1 to {MAX_ADVANCE_S}")))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SandboxClock {
    /// What time it is for schedules.
    now: DateTime<Utc>,
}

/// Move the clock that schedules go by forward. In the sandbox only.
///
/// It is everybody's, and of one replica; it is right again when that restarts. Access tokens, holds and webhooks go by the real
/// time.
#[utoipa::path(
    tag = "sandbox",
    responses(
        (status = 200, description = "What time it is now", body = SandboxClock),
        (status = 404, description = "`not_found`: this is no sandbox", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`clock_too_far`: it would be later than the year 2100", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/sandbox/clock/advance")]
pub async fn advance_clock(
    _principal: Principal,
    request: Json<AdvanceClock>,
    state: web::Data<State>,
) -> Result<web::Json<SandboxClock>, ApiError> {
    require_sandbox(&state)?;
    let by = TimeDelta::seconds(request.seconds);
    if !state.clock.advance_if(by, |then| then.year() <= LAST_YEAR) {
        return Err(ApiError::unprocessable(
            "clock_too_far",
            format!("The clock goes to the end of {LAST_YEAR}. Restart the sandbox to set it right."),
        ));
    }
    Ok(web::Json(SandboxClock {
        now: state.clock.now(),
    }))
}

fn require_sandbox(state: &State) -> Result<(), ApiError> {
    if state.webhooks.sandbox_faults {
        return Ok(());
    }
    Err(ApiError::not_found("This is no sandbox."))
}
