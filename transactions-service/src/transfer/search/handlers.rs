//! Listing transfers, and downloading them as a file.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use shared::export::{self, CsvRow, Format, cell, text_cell};
use shared::id::TransferId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Denial, Page, Principal};
use utoipa::IntoParams;

use super::{Filter, Scope, queries};
use crate::ledger_account;
use crate::state::State;
use crate::transfer::handlers::REVIEWERS;
use crate::transfer::{Metadata, TransferRecord, TransferStatus};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListTransfers {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<TransferId>>,
}

/// List your transfers, sent and received, newest first.
///
/// What a page looks through is bounded: with a filter that few transfers pass, it can have fewer than `limit`, or none, and
/// still a `next_cursor`. Only a page without one is the last.
#[utoipa::path(
    tag = "transfers",
    params(
        ListTransfers,
        Filter,
        ("metadata" = Option<Metadata>, Query, style = DeepObject, explode, description = "Only those with these pairs: `metadata[order]=A-1001`"),
    ),
    responses(
        (status = 200, description = "A page of transfers", body = Page<TransferRecord>),
        (status = 404, description = "`not_found`: there is no account with `account_id`, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfers")]
pub async fn list_transfers(
    principal: Principal,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<TransferRecord>>, ApiError> {
    let (page, filter) = Filter::parse::<ListTransfers>(request.query_string(), &["limit", "after"])?;
    let scope = scope_of(&principal, &filter, &state).await?;
    let after = page.after.map(|cursor| cursor.0);
    Ok(web::Json(
        find_page(&state, scope, &filter, after, page.limit).await?,
    ))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportTransfers {
    #[param(inline)]
    format: Format,
}

/// Download your transfers, newest first, as a file of any length. The filters are those of the list.
///
/// It has what was there when it began. If it breaks off, the answer ends without its last chunk, which an HTTP client reports
/// as an error; then ask again. In CSV, text that a spreadsheet would take for a formula has an apostrophe before it.
#[utoipa::path(
    tag = "transfers",
    params(
        ExportTransfers,
        Filter,
        ("metadata" = Option<Metadata>, Query, style = DeepObject, explode, description = "Only those with these pairs: `metadata[order]=A-1001`"),
    ),
    responses(
        (status = 200, description = "The file", content((String = "text/csv"), (TransferRecord = "application/x-ndjson"))),
        (status = 404, description = "`not_found`: there is no account with `account_id`, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfers/export")]
pub async fn export_transfers(
    principal: Principal,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (export, filter) = Filter::parse::<ExportTransfers>(request.query_string(), &["format"])?;
    let scope = scope_of(&principal, &filter, &state).await?;
    let filter = Rc::new(filter);
    let page_after = move |cursor: Option<String>| {
        let (state, filter) = (state.clone(), Rc::clone(&filter));
        async move {
            let after = cursor.map(|it| it.parse::<Cursor<TransferId>>()).transpose();
            let after = after.map_err(ApiError::internal)?.map(|cursor| cursor.0);
            find_page(&state, scope, &filter, after, Limit::MAX).await
        }
    };
    export::respond("transfers", export.format, page_after).await
}

impl CsvRow for TransferRecord {
    const NAMES: &'static [&'static str] = &[
        "id",
        "kind",
        "status",
        "created_at",
        "completed_at",
        "debit_account_id",
        "credit_account_id",
        "amount",
        "currency",
        "reference",
        "description",
        "effective_date",
        "refunded",
        "rejection_code",
        "hold_id",
        "original_transfer_id",
        "reversal_id",
        "metadata",
        "legs",
    ];

    fn cells(&self) -> Vec<String> {
        let moment = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Micros, true);
        vec![
            self.id.to_string(),
            self.kind.word().to_owned(),
            self.status.word().to_owned(),
            moment(self.created_at),
            cell(self.completed_at.map(moment)),
            cell(self.debit_account_id),
            cell(self.credit_account_id),
            cell(self.amount),
            cell(self.currency),
            cell(self.reference.as_ref().map(|it| text_cell(it.as_str()))),
            cell(self.description.as_ref().map(|it| text_cell(it.as_str()))),
            cell(self.effective_date),
            cell(self.refunded),
            cell(self.rejection_code.as_ref()),
            cell(self.hold_id),
            cell(self.original_transfer_id),
            cell(self.reversal_id),
            cell(self.metadata.as_ref().map(|it| serde_json::json!(it))),
            cell(self.legs.as_ref().map(|it| serde_json::json!(it))),
        ]
    }
}

/// Whose transfers are asked for; refused when it is about an account of somebody else.
async fn scope_of(principal: &Principal, filter: &Filter, state: &State) -> Result<Scope, ApiError> {
    if filter.status == Some(TransferStatus::InReview) && principal.has_any(&REVIEWERS) {
        return Ok(Scope::InReview);
    }
    if let Some(account) = filter.account_id {
        let mut conn = state.db.connection().await?;
        let account = ledger_account::queries::find(&mut conn, account).await?;
        if account.holder_id != Some(principal.user_id) {
            let refusal = ApiError::not_found("There is no such account, or it is not yours.");
            return Err(refusal.denied(Denial::NotOwner));
        }
    }
    Ok(Scope::OfHolder(principal.user_id))
}

async fn find_page(
    state: &State,
    scope: Scope,
    filter: &Filter,
    after: Option<TransferId>,
    limit: Limit,
) -> Result<Page<TransferRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    let found = queries::find(&mut conn, scope, filter, after, limit).await?;
    drop(conn);
    let with_risk = scope == Scope::InReview;
    let records = found.rows.into_iter().map(|row| row.into_record(with_risk));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    Ok(Page::new(records, limit, |record| record.id).or_go_on_after(found.given_up_at))
}
