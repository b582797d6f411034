//! The lists, as people of staff see and change them.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::{AccountId, ListEntryId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Json, Origin, Page, Principal};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, EntryRow, NewEntry};
use super::{List, ListEntryRecord, Subject, SubjectKind};
use crate::analyst::{Reason, STAFF};
use crate::state::State;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddListEntry {
    list: List,
    subject_kind: SubjectKind,
    /// The id of the account or user; the device as the client names it in `X-Device-ID`; the IP address.
    #[schema(max_length = 255, example = "acct_01h455vb4pex5vsknk084sn02q")]
    subject: String,
    reason: Reason,
    /// Until it is removed, unless told.
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListListEntries {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<ListEntryId>>,
}

/// Who is allowed, blocked or watched now, newest first. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListListEntries),
    responses(
        (status = 200, description = "A page of entries", body = Page<ListEntryRecord>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/lists")]
pub async fn list_list_entries(
    principal: Principal,
    query: web::Query<ListListEntries>,
    state: web::Data<State>,
) -> Result<web::Json<Page<ListEntryRecord>>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let rows = queries::list(&mut conn, query.after.map(|it| it.0), query.limit).await?;
    let records = rows.into_iter().map(EntryRow::into_record);
    let records = records.collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(records, query.limit, |it| it.id)))
}

/// Allow, block or watch somebody or something. It applies to the next transfer. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 201, description = "Added", body = ListEntryRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already_listed`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_subject`, `invalid_expiry`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/lists")]
pub async fn add_list_entry(
    principal: Principal,
    request: Json<AddListEntry>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&STAFF)?;
    let request = request.into_inner();
    if request.expires_at.is_some_and(|at| at <= state.clock.now()) {
        let detail = "`expires_at` has passed already.";
        return Err(ApiError::unprocessable("invalid_expiry", detail));
    }
    let new = NewEntry {
        list: request.list,
        subject: subject_of(&request, &state)?,
        reason: request.reason.as_str(),
        expires_at: request.expires_at,
    };
    let record = state
        .db
        .transaction("add_list_entry", async |conn| {
            let row = queries::insert(conn, &new, principal.user_id).await?;
            let row = row.ok_or_else(|| {
                let detail = "It is on this list already. Remove that entry first.";
                ApiError::conflict("already_listed", detail)
            })?;
            let record = row.into_record()?;
            let entry = Entry::by_user(&principal, "list_entry.added", record.id).change(
                &json!(null),
                &json!({ "list": record.list, "subject_kind": record.subject_kind }),
            )?;
            audit::append(conn, &entry).await?;
            Ok(record)
        })
        .await?;
    Ok(HttpResponse::Created().json(record))
}

fn subject_of(request: &AddListEntry, state: &State) -> Result<Subject, ApiError> {
    let text = request.subject.as_str();
    let refused =
        |detail: String| ApiError::unprocessable("invalid_subject", format!("`subject`: {detail}."));
    let account = || {
        text.parse::<AccountId>()
            .map_err(|error| refused(error.to_string()))
    };
    let kind = request.subject_kind;
    let uuid = match kind {
        SubjectKind::Account | SubjectKind::Counterparty => Some(account()?.uuid()),
        SubjectKind::Holder => {
            let holder = text.parse::<UserId>();
            Some(holder.map_err(|error| refused(error.to_string()))?.uuid())
        }
        SubjectKind::Device => {
            let origin = Origin {
                device: Some(text.to_owned()).filter(|it| (1..=255).contains(&it.len())),
                address: None,
            };
            state.origin_key.hash(&origin)?.device
        }
        SubjectKind::Address => {
            let address = text
                .parse()
                .map_err(|_| refused("expected an IP address".to_owned()))?;
            let origin = Origin {
                device: None,
                address: Some(address),
            };
            state.origin_key.hash(&origin)?.address
        }
    };
    let uuid = uuid.ok_or_else(|| refused("expected 1 to 255 characters".to_owned()))?;
    Ok((kind, uuid))
}

/// Take an entry off its list. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 204, description = "Removed"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: there is none, or it was removed", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[delete("/api/v1/fraud/lists/{list_entry_id}")]
pub async fn remove_list_entry(
    principal: Principal,
    id: web::Path<ListEntryId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&STAFF)?;
    let id = id.into_inner();
    state
        .db
        .transaction("remove_list_entry", async |conn| {
            let row = queries::remove(conn, id, principal.user_id).await?;
            let row = row.ok_or_else(|| ApiError::not_found("There is no such entry, or it was removed."))?;
            let record = row.into_record()?;
            let entry = Entry::by_user(&principal, "list_entry.removed", id).change(
                &json!({ "list": record.list, "subject_kind": record.subject_kind }),
                &json!(null),
            )?;
            Ok(audit::append(conn, &entry).await?)
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
