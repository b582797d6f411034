//! The queue of alerts: looking, claiming, giving back, escalating, noting. Deciding is in `decisions`.

use actix_web::{get, post, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::{AlertId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Json, Page, Principal};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::history::{self, HistoryEntry, Line};
use super::queries::{self, AlertRow, Assignee};
use super::{Action, AlertRecord, AlertStatus, decisions};
use crate::analyst::{Note, Reason, SENIORS, STAFF};
use crate::state::State;

/// Where a page of the queue starts, and one of the closed, by id alone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Place {
    due_at: DateTime<Utc>,
    id: Uuid,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAlerts {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<Place>>,
    /// Everything that is not closed, unless told.
    status: Option<AlertStatus>,
    /// `me`, `none`, or the id of a user: who has claimed it. Not of closed ones.
    #[param(max_length = 64)]
    assignee: Option<String>,
    /// Only those opened before this moment (RFC 3339). Not of closed ones.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    opened_before: Option<DateTime<Utc>>,
}

/// An alert with what is known about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertWithHistory {
    #[serde(flatten)]
    alert: AlertRecord,
    /// Oldest first; the newest 500.
    history: Vec<HistoryEntry>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalateAlert {
    reason: Reason,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddNote {
    text: Note,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddEvidence {
    text: Note,
    /// Where it is kept, such as the number of a file, or the id of a transfer.
    reference: Option<Reason>,
}

/// The queue of alerts: what is due first comes first, so what is overdue leads it. Closed ones are listed with
/// `status=closed`, the newest first. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListAlerts),
    responses(
        (status = 200, description = "A page of alerts", body = Page<AlertRecord>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/alerts")]
pub async fn list_alerts(
    principal: Principal,
    query: web::Query<ListAlerts>,
    state: web::Data<State>,
) -> Result<web::Json<Page<AlertRecord>>, ApiError> {
    principal.require_any(&STAFF)?;
    let query = query.into_inner();
    let after = query.after.map(|it| it.0);
    let mut conn = state.db.connection().await?;
    let rows = if query.status == Some(AlertStatus::Closed) {
        let after = after.map(|place| AlertId::from_uuid(place.id));
        queries::list_closed(&mut conn, after, query.limit.rows_to_load()).await?
    } else {
        let assignee = match query.assignee.as_deref() {
            None => Assignee::Anyone,
            Some("none") => Assignee::Nobody,
            Some("me") => Assignee::One(principal.user_id),
            Some(id) => Assignee::One(id.parse::<UserId>().map_err(|error| {
                ApiError::bad_request("invalid_query", format!("assignee: `me`, `none`, or {error}"))
            })?),
        };
        queries::list_open(
            &mut conn,
            query.status,
            assignee,
            query.opened_before,
            after.map(|place| (place.due_at, place.id)),
            query.limit.rows_to_load(),
        )
        .await?
    };
    let now = state.clock.now();
    let records = rows.into_iter().map(|row| row.into_record(now));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let place = |it: &AlertRecord| Place {
        due_at: it.due_at,
        id: it.id.uuid(),
    };
    Ok(web::Json(Page::new(records, query.limit, place)))
}

/// Look at an alert, with all that was done with it. Why its transfer was scored as it was, `GET /api/v1/fraud/decisions/{id}`
/// tells. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The alert", body = AlertWithHistory),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/alerts/{alert_id}")]
pub async fn get_alert(
    principal: Principal,
    id: web::Path<AlertId>,
    state: web::Data<State>,
) -> Result<web::Json<AlertWithHistory>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let alert = queries::find(&mut conn, *id).await?;
    let history = history::of_alert(&mut conn, *id).await?;
    Ok(web::Json(AlertWithHistory {
        alert: alert.into_record(state.clock.now())?,
        history,
    }))
}

/// Take an alert, so that nobody else does. Of several who try, one gets it; who has it gets it again. What was escalated goes
/// to `admin` only. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Yours", body = AlertRecord),
        (status = 403, description = "`role_required`, `escalated`, `separation_of_duties`: it is about you", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`claimed_by_another`, `alert_closed`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/alerts/{alert_id}/claim")]
pub async fn claim_alert(
    principal: Principal,
    id: web::Path<AlertId>,
    state: web::Data<State>,
) -> Result<web::Json<AlertRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let (id, user) = (*id, principal.user_id);
    let row = state
        .db
        .transaction("claim_alert", async |conn| {
            let alert = queries::lock(conn, id).await?;
            if alert.escalated_at.is_some() && !principal.has_any(&SENIORS) {
                let detail = "It was escalated, so an admin takes it.";
                return Err(ApiError::forbidden("escalated", detail));
            }
            if alert.status()? == AlertStatus::Closed {
                return Err(closed());
            }
            if alert.claimed_by == Some(user) {
                return Ok(alert);
            }
            decisions::require_no_party(conn, &alert, user).await?;
            let claimed = queries::claim(conn, id, user).await?;
            let claimed = claimed.ok_or_else(another_has_it)?;
            history::write(
                conn,
                &Line::of(claimed.case_id, Action::Claimed).alert(id).by(user),
            )
            .await?;
            Ok(claimed)
        })
        .await?;
    Ok(web::Json(row.into_record(state.clock.now())?))
}

/// Give an alert back to the queue. For whoever has claimed it, or for `admin`, who also takes a decision back that the ledger has
/// not carried out within ten minutes.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Given back", body = AlertRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not_claimed`, `claimed_by_another`, `already_decided`, `alert_closed`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/alerts/{alert_id}/release")]
pub async fn release_alert(
    principal: Principal,
    id: web::Path<AlertId>,
    state: web::Data<State>,
) -> Result<web::Json<AlertRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let (id, user) = (*id, principal.user_id);
    let row = state
        .db
        .transaction("release_alert", async |conn| {
            let alert = queries::lock(conn, id).await?;
            match principal.has_any(&SENIORS) {
                true => decisions::take_stuck_one_back(conn, &alert, state.clock.now()).await?,
                false => require_claimed(&alert, user)?,
            }
            if alert.status()? == AlertStatus::Open {
                return Err(not_claimed());
            }
            let released = queries::release(conn, id).await?;
            history::write(
                conn,
                &Line::of(alert.case_id, Action::Released).alert(id).by(user),
            )
            .await?;
            Ok(released)
        })
        .await?;
    Ok(web::Json(row.into_record(state.clock.now())?))
}

/// Hand an alert to somebody senior: it goes back to the queue, from which only `admin` takes it. For whoever
/// has claimed it.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Escalated", body = AlertRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not_claimed`, `claimed_by_another`, `already_decided`, `alert_closed`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/alerts/{alert_id}/escalate")]
pub async fn escalate_alert(
    principal: Principal,
    id: web::Path<AlertId>,
    request: Json<EscalateAlert>,
    state: web::Data<State>,
) -> Result<web::Json<AlertRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let (id, user) = (*id, principal.user_id);
    let row = state
        .db
        .transaction("escalate_alert", async |conn| {
            let alert = queries::lock(conn, id).await?;
            require_claimed(&alert, user)?;
            let escalated = queries::escalate(conn, id, user).await?;
            let line = Line::of(alert.case_id, Action::Escalated).alert(id).by(user);
            history::write(conn, &line.text(request.reason.as_str())).await?;
            Ok(escalated)
        })
        .await?;
    Ok(web::Json(row.into_record(state.clock.now())?))
}

/// Note something about an alert, for whoever reads it next. It cannot be changed. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 204, description = "Noted"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/alerts/{alert_id}/notes")]
pub async fn add_alert_note(
    principal: Principal,
    id: web::Path<AlertId>,
    request: Json<AddNote>,
    state: web::Data<State>,
) -> Result<actix_web::HttpResponse, ApiError> {
    let text = request.text.as_str();
    add(&state, &principal, *id, Action::Note, text, None).await
}

/// Add what was found out about an alert, and where it is kept. It cannot be changed. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 204, description = "Added"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/alerts/{alert_id}/evidence")]
pub async fn add_alert_evidence(
    principal: Principal,
    id: web::Path<AlertId>,
    request: Json<AddEvidence>,
    state: web::Data<State>,
) -> Result<actix_web::HttpResponse, ApiError> {
    let reference = request.reference.as_ref().map(Reason::as_str);
    let text = request.text.as_str();
    add(&state, &principal, *id, Action::Evidence, text, reference).await
}

async fn add(
    state: &State,
    principal: &Principal,
    id: AlertId,
    action: Action,
    text: &str,
    reference: Option<&str>,
) -> Result<actix_web::HttpResponse, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let alert = queries::find(&mut conn, id).await?;
    let line = Line::of(alert.case_id, action).alert(id).by(principal.user_id);
    history::write(&mut conn, &line.text(text).reference(reference)).await?;
    Ok(actix_web::HttpResponse::NoContent().finish())
}

/// Refuses whoever has not claimed it, and everybody once it is decided.
pub fn require_claimed(alert: &AlertRow, user: UserId) -> Result<(), ApiError> {
    require_undecided(alert)?;
    match alert.claimed_by {
        Some(holder) if holder == user => Ok(()),
        Some(_) => Err(another_has_it()),
        None => Err(not_claimed()),
    }
}

pub fn require_undecided(alert: &AlertRow) -> Result<(), ApiError> {
    match alert.status()? {
        AlertStatus::Open | AlertStatus::Claimed => Ok(()),
        AlertStatus::Deciding => Err(ApiError::conflict(
            "already_decided",
            "It is decided, and the ledger is about to carry it out.",
        )),
        AlertStatus::Closed => Err(closed()),
    }
}

fn another_has_it() -> ApiError {
    ApiError::conflict("claimed_by_another", "Somebody else has claimed it.")
}

fn not_claimed() -> ApiError {
    ApiError::conflict("not_claimed", "Nobody has claimed it. Claim it first.")
}

pub fn closed() -> ApiError {
    ApiError::conflict("alert_closed", "It is closed.")
}

/// The alert, as it is after a change in a transaction of its own.
pub async fn record(
    conn: &mut AsyncPgConnection,
    state: &State,
    id: AlertId,
) -> Result<AlertRecord, ApiError> {
    queries::find(conn, id).await?.into_record(state.clock.now())
}
