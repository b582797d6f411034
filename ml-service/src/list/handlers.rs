//! The lists, as people of staff see and change them.

use std::net::IpAddr;

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Duration, Utc};
use diesel_async::AsyncPgConnection;
use serde::Deserialize;
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::{AccountId, ListEntryId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Denial, Json, Origin, Page, Principal};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, EntryRow, NewEntry};
use super::{List, ListEntryRecord, Subject, SubjectKind};
use crate::analyst::{Reason, STAFF};
use crate::state::State;

/// What is allowed is looked at again after this.
const MAX_ALLOWED_DAYS: i64 = 90;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddListEntry {
    list: List,
    subject_kind: SubjectKind,
    /// The id of the account or user; the device as the client names it in `X-Device-ID`; the IP address.
    #[schema(max_length = 255, example = "acct_01h455vb4pex5vsknk084sn02q")]
    subject: String,
    reason: Reason,
    /// Until it is removed, unless told. Required of `allow`, at most 90 days from now.
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

/// Allow, block or watch somebody or something that is not your own. It applies to the next transfer. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 201, description = "Added", body = ListEntryRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`: it is you or yours", body = Problem, content_type = "application/problem+json"),
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
    check_expiry(&request, state.clock.now())?;
    let new = NewEntry {
        list: request.list,
        subject: subject_of(&request, &state)?,
        reason: request.reason.as_str(),
        expires_at: request.expires_at,
    };
    let record = state
        .db
        .transaction("add_list_entry", async |conn| {
            require_others(conn, new.subject, principal.user_id).await?;
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

fn check_expiry(request: &AddListEntry, now: DateTime<Utc>) -> Result<(), ApiError> {
    let invalid = |detail: &'static str| Err(ApiError::unprocessable("invalid_expiry", detail));
    let latest = now + Duration::days(MAX_ALLOWED_DAYS);
    match request.expires_at {
        Some(at) if at <= now => invalid("`expires_at` has passed already."),
        Some(at) if request.list == List::Allow && at > latest => {
            invalid("`expires_at`: what is allowed is so for at most 90 days.")
        }
        None if request.list == List::Allow => {
            invalid("`expires_at`: say until when it is allowed, at most 90 days from now.")
        }
        _ => Ok(()),
    }
}

/// Nobody decides how their own payments are looked at.
async fn require_others(
    conn: &mut AsyncPgConnection,
    subject: Subject,
    user: UserId,
) -> Result<(), ApiError> {
    if queries::is_own(conn, subject, user).await? {
        let detail = "It is you, or yours. Somebody else changes the lists about it.";
        return Err(ApiError::forbidden("separation_of_duties", detail).denied(Denial::Forbidden));
    }
    Ok(())
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
                device: shared::origin::device_id(text),
                address: None,
            };
            state.origin_key.hash(&origin)?.device
        }
        SubjectKind::Address => {
            let address = text
                .parse::<IpAddr>()
                .map_err(|_| refused("expected an IP address".to_owned()))?;
            let origin = Origin {
                device: None,
                address: Some(address.to_canonical()),
            };
            state.origin_key.hash(&origin)?.address
        }
    };
    let uuid = uuid.ok_or_else(|| refused("expected 1 to 128 characters".to_owned()))?;
    Ok((kind, uuid))
}

/// Take an entry off its list, unless it is about you or what is yours. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 204, description = "Removed"),
        (status = 403, description = "`role_required`, `separation_of_duties`: it is about you", body = Problem, content_type = "application/problem+json"),
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
            require_others(conn, row.subject()?, principal.user_id).await?;
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
