//! Schedules, as clients make and steer them.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::clients::transactions::Direction;
use shared::id::{AccountId, ScheduleId};
use shared::idempotency::{IdempotencyKey, REPLAYED_HEADER, fingerprint, key_reused};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors, StepUpErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Denial, Json, Outcome, Page, Principal};
use utoipa::{IntoParams, ToSchema};

use super::calendar::Calendar;
use super::queries::{self, NewSchedule, RunRow, ScheduleRow, Standing};
use super::{Schedule, ScheduleRun, ScheduleStatus};
use crate::book::Refusal;
use crate::ledger_account;
use crate::state::State;
use crate::transfer::TransferOrder;
use crate::transfer::handlers::{CreateTransfer, TransferFields};

/// Of one user, without those that are over.
const MAX_LIVE: i64 = 200;
/// How far away the first run may be.
const STARTS_WITHIN: TimeDelta = TimeDelta::days(5 * 366);

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSchedule {
    /// What is transferred each time. Without `effective_date` and `dry_run`.
    #[schema(value_type = TransferFields)]
    transfer: CreateTransfer,
    calendar: Calendar,
    /// Only try it: the answer is 200 and the schedule as it would be, with its next runs, and nothing of it is kept.
    #[serde(default, skip_serializing)]
    dry_run: bool,
}

/// Schedule a transfer: once, or again and again by a calendar.
///
/// Each run is decided when its time comes, like a transfer that is asked for then: what would be refused fails, with the
/// reason in `failure` and in the list of runs, and three failures in a row end the schedule. Nothing is held before.
#[utoipa::path(
    tag = "transfer schedules",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    responses(
        (status = 200, description = "Of a dry run: what would be made", body = Schedule),
        (status = 201, description = "Made. A repetition answers with the schedule as it is now", body = Schedule),
        (status = 422, description = "`same_account`, `invalid_legs`, `unbalanced_legs`, `account_not_found`, `currency_mismatch`, `invalid_schedule`, `starts_in_the_past`, `starts_too_late`, `too_many_schedules`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        StepUpErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfer-schedules")]
pub async fn create_transfer_schedule(
    principal: Principal,
    key: IdempotencyKey,
    request: Json<CreateSchedule>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let fingerprint = fingerprint("POST /transfer-schedules", &request.0)?;
    let request = request.into_inner();
    let dry_run = request.dry_run;
    let mut conn = state.db.connection().await?;
    let known = queries::find_by_key(&mut conn, principal.user_id, key.as_str()).await?;
    drop(conn);
    if let Some(known) = known {
        return replay(known, &fingerprint);
    }
    let now = state.clock.now();
    let order = request
        .transfer
        .clone()
        .into_order(principal.user_id, now.date_naive())?;
    if !dry_run {
        state.step_up.check(&principal, &[(&key, &order.legs)])?;
    }
    let mut conn = state.db.connection().await?;
    check_accounts(&mut conn, &order).await?;
    drop(conn);
    let new = NewSchedule {
        owner_id: principal.user_id,
        key: key.as_str().to_owned(),
        fingerprint: fingerprint.to_vec(),
        first_run_at: first_run(&request.calendar, now)?,
        transfer: kept(&request.transfer)?,
        calendar: request.calendar,
    };
    let row = ScheduleRow::new(new, &state.clock);
    if dry_run {
        let schedule = Schedule {
            dry_run,
            ..row.into_schedule()?
        };
        return Ok(HttpResponse::Ok().json(schedule));
    }
    let kept = state
        .db
        .transaction("create_schedule", async |conn| {
            queries::lock_owner(conn, row.owner_id).await?;
            if let Some(known) = queries::find_by_key(conn, row.owner_id, &row.key).await? {
                return Ok(known);
            }
            if queries::count_live(conn, row.owner_id).await? >= MAX_LIVE {
                let detail = format!("You have {MAX_LIVE} schedules that are not over. Cancel one first.");
                return Err(ApiError::unprocessable("too_many_schedules", detail).outcome(Outcome::None));
            }
            queries::insert(conn, &row).await?;
            Ok(queries::find(conn, row.id).await?)
        })
        .await?;
    if kept.id != row.id {
        return replay(kept, &fingerprint);
    }
    Ok(HttpResponse::Created().json(kept.into_schedule()?))
}

fn replay(known: ScheduleRow, fingerprint: &[u8]) -> Result<HttpResponse, ApiError> {
    if known.fingerprint != fingerprint {
        return Err(key_reused());
    }
    metrics::counter!("idempotent_replays_total").increment(1);
    Ok(HttpResponse::build(StatusCode::CREATED)
        .insert_header((REPLAYED_HEADER, "true"))
        .json(known.into_schedule()?))
}

fn first_run(calendar: &Calendar, now: DateTime<Utc>) -> Result<DateTime<Utc>, ApiError> {
    let refused = |code: &'static str, detail: &'static str| {
        Err(ApiError::unprocessable(code, detail).outcome(Outcome::None))
    };
    match calendar.occurrence(0) {
        None => refused("invalid_schedule", "`last_on` is before `first_on`."),
        Some(_) if calendar.repeat.is_none() && (calendar.last_on.is_some() || calendar.times.is_some()) => {
            refused("invalid_schedule", "`last_on` and `times` need a `repeat`.")
        }
        Some(first) if first.due_at <= now => {
            refused("starts_in_the_past", "The first run would be in the past.")
        }
        Some(first) if first.due_at > now + STARTS_WITHIN => {
            refused("starts_too_late", "The first run is at most five years away.")
        }
        Some(first) => Ok(first.due_at),
    }
}

/// The payer's accounts are the caller's, and all have the right currency. The rest is decided when it runs.
async fn check_accounts(conn: &mut AsyncPgConnection, order: &TransferOrder) -> Result<(), ApiError> {
    let ids: Vec<AccountId> = order.legs.iter().map(|leg| leg.account_id).collect();
    let accounts = ledger_account::queries::find_many(conn, &ids).await?;
    for (pointer, leg) in order.pointed_legs() {
        let account = accounts.iter().find(|account| account.id == leg.account_id);
        let account = account.filter(|account| match leg.direction {
            Direction::Debit => account.holder_id == Some(order.initiated_by),
            Direction::Credit => account.holder_id.is_some(),
        });
        let account = account.ok_or(Refusal::AccountNotFound(pointer))?;
        if account.currency != leg.currency {
            return Err(Refusal::CurrencyMismatch(pointer).into());
        }
    }
    Ok(())
}

/// The transfer as it is kept.
fn kept(transfer: &CreateTransfer) -> Result<serde_json::Value, ApiError> {
    if transfer.is_dry_run() || transfer.effective_date().is_some() {
        return Err(ApiError::unprocessable(
            "invalid_schedule",
            "`dry_run` stands beside the transfer, and `effective_date` is the day of the run.",
        )
        .outcome(Outcome::None));
    }
    let mut kept = serde_json::to_value(transfer).map_err(ApiError::internal)?;
    if let Some(members) = kept.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    Ok(kept)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSchedules {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<ScheduleId>>,
    status: Option<ScheduleStatus>,
}

/// List your schedules, newest first.
#[utoipa::path(
    tag = "transfer schedules",
    params(ListSchedules),
    responses((status = 200, description = "A page of schedules", body = Page<Schedule>), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfer-schedules")]
pub async fn list_transfer_schedules(
    principal: Principal,
    query: web::Query<ListSchedules>,
    state: web::Data<State>,
) -> Result<web::Json<Page<Schedule>>, ApiError> {
    let mut conn = state.db.connection().await?;
    let after = query.after.map(|cursor| cursor.0);
    let rows = queries::list(&mut conn, principal.user_id, query.status, after, query.limit).await?;
    let schedules = rows
        .into_iter()
        .map(ScheduleRow::into_schedule)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(schedules, query.limit, |it| it.id)))
}

/// Look at one of your schedules, with its next runs.
#[utoipa::path(
    tag = "transfer schedules",
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfer-schedules/{schedule_id}")]
pub async fn get_transfer_schedule(
    principal: Principal,
    schedule_id: web::Path<ScheduleId>,
    state: web::Data<State>,
) -> Result<web::Json<Schedule>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = own(queries::find(&mut conn, *schedule_id).await?, &principal)?;
    Ok(web::Json(row.into_schedule()?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRuns {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<i32>>,
}

/// List what became of the runs of one of your schedules, newest first.
#[utoipa::path(
    tag = "transfer schedules",
    params(ListRuns),
    responses(
        (status = 200, description = "A page of runs", body = Page<ScheduleRun>),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfer-schedules/{schedule_id}/runs")]
pub async fn list_schedule_runs(
    principal: Principal,
    schedule_id: web::Path<ScheduleId>,
    query: web::Query<ListRuns>,
    state: web::Data<State>,
) -> Result<web::Json<Page<ScheduleRun>>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = own(queries::find(&mut conn, *schedule_id).await?, &principal)?;
    let before = query.after.map(|cursor| cursor.0);
    let rows = queries::list_runs(&mut conn, row.id, before, query.limit).await?;
    let runs = rows
        .into_iter()
        .map(RunRow::into_run)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(runs, query.limit, |run| run.occurrence)))
}

/// Stop a schedule for a while. A run that has begun is still made. What is due before it is resumed is left out.
#[utoipa::path(
    tag = "transfer schedules",
    responses(
        (status = 200, description = "Paused, now or before", body = Schedule),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`schedule_over`: it is completed, cancelled or failed", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfer-schedules/{schedule_id}/pause")]
pub async fn pause_transfer_schedule(
    principal: Principal,
    schedule_id: web::Path<ScheduleId>,
    state: web::Data<State>,
) -> Result<web::Json<Schedule>, ApiError> {
    steer(&state, &principal, *schedule_id, paused).await
}

/// Go on with a schedule that was paused or failed, with the first run that is still to come.
#[utoipa::path(
    tag = "transfer schedules",
    responses(
        (status = 200, description = "Active, now or before", body = Schedule),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`schedule_over`: it is completed or cancelled, or no run is left", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfer-schedules/{schedule_id}/resume")]
pub async fn resume_transfer_schedule(
    principal: Principal,
    schedule_id: web::Path<ScheduleId>,
    state: web::Data<State>,
) -> Result<web::Json<Schedule>, ApiError> {
    steer(&state, &principal, *schedule_id, resumed).await
}

/// End a schedule for good. A run that has begun is still made.
#[utoipa::path(
    tag = "transfer schedules",
    responses(
        (status = 200, description = "Cancelled, now or before", body = Schedule),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`schedule_over`: it is completed", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfer-schedules/{schedule_id}/cancel")]
pub async fn cancel_transfer_schedule(
    principal: Principal,
    schedule_id: web::Path<ScheduleId>,
    state: web::Data<State>,
) -> Result<web::Json<Schedule>, ApiError> {
    steer(&state, &principal, *schedule_id, cancelled).await
}

/// Changes how a schedule stands, under its lock; `change` answers `None` where nothing changes.
async fn steer(
    state: &State,
    principal: &Principal,
    id: ScheduleId,
    change: fn(&ScheduleRow, DateTime<Utc>) -> Result<Option<Standing>, ApiError>,
) -> Result<web::Json<Schedule>, ApiError> {
    let now = state.clock.now();
    let row = state
        .db
        .transaction("steer_schedule", async |conn| {
            let row = own(queries::lock(conn, id).await?, principal)?;
            match change(&row, now)? {
                Some(standing) => {
                    queries::set_standing(conn, id, standing).await?;
                    Ok(queries::find(conn, id).await?)
                }
                None => Ok(row),
            }
        })
        .await?;
    Ok(web::Json(row.into_schedule()?))
}

fn paused(row: &ScheduleRow, _now: DateTime<Utc>) -> Result<Option<Standing>, ApiError> {
    match row.status()? {
        ScheduleStatus::Paused => Ok(None),
        ScheduleStatus::Active => stopped(row, ScheduleStatus::Paused).map(Some),
        _ => Err(over("A schedule that is over cannot be paused.")),
    }
}

fn cancelled(row: &ScheduleRow, _now: DateTime<Utc>) -> Result<Option<Standing>, ApiError> {
    match row.status()? {
        ScheduleStatus::Cancelled => Ok(None),
        ScheduleStatus::Completed => Err(over("All runs of the schedule have been made.")),
        _ => stopped(row, ScheduleStatus::Cancelled).map(Some),
    }
}

fn stopped(row: &ScheduleRow, status: ScheduleStatus) -> Result<Standing, ApiError> {
    Ok(Standing {
        status,
        next_occurrence: row.next_occurrence,
        next_run_at: None,
        failures_in_a_row: row.failures_in_a_row,
        failure: row.failure()?,
    })
}

fn resumed(row: &ScheduleRow, now: DateTime<Utc>) -> Result<Option<Standing>, ApiError> {
    match row.status()? {
        ScheduleStatus::Active => return Ok(None),
        ScheduleStatus::Paused | ScheduleStatus::Failed => {}
        _ => return Err(over("A schedule that is over cannot be resumed.")),
    }
    let next = row.calendar()?.next_after(row.next_number()?, now);
    let next =
        next.ok_or_else(|| over("No run of the schedule is left. Make a new one, or cancel this one."))?;
    Ok(Some(Standing {
        status: ScheduleStatus::Active,
        next_occurrence: i32::try_from(next.number).map_err(ApiError::internal)?,
        next_run_at: Some(next.due_at),
        failures_in_a_row: 0,
        failure: row.failure()?,
    }))
}

fn over(detail: &'static str) -> ApiError {
    ApiError::unprocessable("schedule_over", detail).outcome(Outcome::None)
}

fn own(row: ScheduleRow, principal: &Principal) -> Result<ScheduleRow, ApiError> {
    if row.owner_id == principal.user_id {
        return Ok(row);
    }
    Err(ApiError::not_found("There is no such schedule, or it is not yours.").denied(Denial::NotOwner))
}
