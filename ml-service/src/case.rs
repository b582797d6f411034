//! Cases: the alerts about one holder, or about one account that has none, with what was done about all of them. A case opens with
//! the first alert and closes with the last.

use actix_web::{get, post, web};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::{AccountId, CaseId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Json, Page, Principal};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::alert::history::{self, HistoryEntry, Line};
use crate::alert::queries;
use crate::alert::{Action, AlertRecord};
use crate::analyst::{Note, STAFF};
use crate::schema::cases;
use crate::state::State;

#[derive(Debug, HasQuery)]
#[diesel(table_name = cases)]
struct CaseRow {
    id: CaseId,
    subject: Uuid,
    subject_kind: String,
    opened_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CaseRecord {
    id: CaseId,
    /// Whom it is about: the id of a user, or of an account that is no customer's.
    #[schema(example = "usr_01h455vb4pex5vsknk084sn02q")]
    subject: String,
    opened_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

impl From<CaseRow> for CaseRecord {
    fn from(row: CaseRow) -> Self {
        let subject = match row.subject_kind.as_str() {
            "holder" => UserId::from_uuid(row.subject).to_string(),
            _ => AccountId::from_uuid(row.subject).to_string(),
        };
        Self {
            id: row.id,
            subject,
            opened_at: row.opened_at,
            closed_at: row.closed_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CaseWithAlerts {
    #[serde(flatten)]
    case: CaseRecord,
    /// Oldest first; the first 500.
    alerts: Vec<AlertRecord>,
    /// Of the case and its alerts, oldest first; the newest 500.
    history: Vec<HistoryEntry>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListCases {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<CaseId>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddCaseNote {
    text: Note,
}

/// The open cases, newest first. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListCases),
    responses(
        (status = 200, description = "A page of cases", body = Page<CaseRecord>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/cases")]
pub async fn list_cases(
    principal: Principal,
    query: web::Query<ListCases>,
    state: web::Data<State>,
) -> Result<web::Json<Page<CaseRecord>>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let mut open = CaseRow::query()
        .filter(cases::closed_at.is_null())
        .order(cases::id.desc())
        .limit(query.limit.rows_to_load())
        .into_boxed();
    if let Some(Cursor(after)) = query.after {
        open = open.filter(cases::id.lt(after));
    }
    let rows: Vec<CaseRow> = open.load(&mut *conn).await?;
    Ok(web::Json(
        Page::new(rows, query.limit, |row| row.id).map(CaseRecord::from),
    ))
}

/// Look at a case, open or closed, with its alerts and all that was done. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The case", body = CaseWithAlerts),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/cases/{case_id}")]
pub async fn get_case(
    principal: Principal,
    id: web::Path<CaseId>,
    state: web::Data<State>,
) -> Result<web::Json<CaseWithAlerts>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let case: CaseRow = CaseRow::query()
        .filter(cases::id.eq(*id))
        .first(&mut *conn)
        .await?;
    let now = state.clock.now();
    let alerts = queries::of_case(&mut conn, *id).await?;
    let alerts = alerts.into_iter().map(|row| row.into_record(now));
    Ok(web::Json(CaseWithAlerts {
        case: case.into(),
        alerts: alerts.collect::<Result<_, _>>()?,
        history: history::of_case(&mut conn, *id).await?,
    }))
}

/// Note something about a case, for whoever reads it next. It cannot be changed. For `compliance` and `admin`.
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
#[post("/api/v1/fraud/cases/{case_id}/notes")]
pub async fn add_case_note(
    principal: Principal,
    id: web::Path<CaseId>,
    request: Json<AddCaseNote>,
    state: web::Data<State>,
) -> Result<actix_web::HttpResponse, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let case: CaseRow = CaseRow::query()
        .filter(cases::id.eq(*id))
        .first(&mut *conn)
        .await?;
    let line = Line::of(case.id, Action::Note).by(principal.user_id);
    history::write(&mut conn, &line.text(request.text.as_str())).await?;
    Ok(actix_web::HttpResponse::NoContent().finish())
}
