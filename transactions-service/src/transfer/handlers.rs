//! Transfers between accounts, and the reviews of those that looked suspicious.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use shared::error::PROBLEM_JSON;
use shared::id::{AccountId, TransferId, UserId};
use shared::idempotency::{IdempotencyKey, REPLAYED_HEADER};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{Amount, ApiError, Currency, Cursor, Json, Outcome, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, TransferRow};
use super::{
    Description, Metadata, ReviewDecision, TransferKind, TransferOrder, TransferRecord, TransferStatus,
};
use crate::idempotency_key::Claim;
use crate::lane::{Answer, Work};
use crate::state::State;

/// Who sees every transfer with its risk, and decides those in review.
const REVIEWERS: [Role; 2] = [Role::Compliance, Role::Admin];

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateTransfer)]
pub struct CreateTransfer {
    /// The account that pays: one of yours.
    pub debit_account_id: AccountId,
    /// The account that is paid.
    pub credit_account_id: AccountId,
    pub amount: Amount,
    /// The currency of both accounts.
    pub currency: Currency,
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
}

/// Move money from one of your accounts to another account.
///
/// The answer is durable: `posted` means that the money moved. A transfer that looks suspicious is `in_review`: its amount
/// is held until a person decides. The same `Idempotency-Key` with the same body gets the same answer again.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    responses(
        (status = 201, description = "Posted, or in review", body = TransferRecord),
        (status = 422, description = "`same_account`, `account_not_found`, `account_frozen`, `account_closed`, `currency_mismatch`, `insufficient_funds`, `balance_limit_exceeded`, `blocked_by_risk`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers")]
pub async fn create_transfer(
    principal: Principal,
    key: IdempotencyKey,
    request: Json<CreateTransfer>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(principal.user_id, key, "POST /transfers", &request.0)?;
    let request = request.into_inner();
    if request.debit_account_id == request.credit_account_id {
        return Err(
            ApiError::unprocessable("same_account", "A transfer needs two different accounts.")
                .outcome(Outcome::None),
        );
    }
    let order = TransferOrder {
        id: TransferId::new(),
        kind: TransferKind::Transfer,
        debit_account_id: request.debit_account_id,
        credit_account_id: request.credit_account_id,
        amount: request.amount,
        currency: request.currency,
        description: request.description,
        metadata: request.metadata,
        initiated_by: principal.user_id,
        captured_hold_id: None,
        original_transfer_id: None,
    };
    let answer = state.lanes.submit(Work::Post(order), claim).await?;
    Ok(respond(answer))
}

/// An answer of the lane, as it is on the wire.
pub fn respond(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = if status.is_success() {
        "application/json"
    } else {
        PROBLEM_JSON
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, content_type));
    if answer.replayed {
        response.insert_header((REPLAYED_HEADER, "true"));
    }
    response.body(answer.body)
}

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
    /// Only those with this status. `compliance` sees everybody's with `status=in_review`.
    status: Option<TransferStatus>,
}

/// List your transfers, sent and received, newest first.
#[utoipa::path(
    tag = "transfers",
    params(ListTransfers),
    responses((status = 200, description = "A page of transfers", body = Page<TransferRecord>), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfers")]
pub async fn list_transfers(
    principal: Principal,
    query: web::Query<ListTransfers>,
    state: web::Data<State>,
) -> Result<web::Json<Page<TransferRecord>>, ApiError> {
    let mut conn = state.db.connection().await?;
    let after = query.after.map(|cursor| cursor.0);
    let reviewing = query.status == Some(TransferStatus::InReview) && principal.has_any(&REVIEWERS);
    let rows = if reviewing {
        queries::list_in_review(&mut conn, after, query.limit).await?
    } else {
        queries::list_of_holder(&mut conn, principal.user_id, query.status, after, query.limit).await?
    };
    let records = rows
        .into_iter()
        .map(|row| row.into_record(reviewing))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(records, query.limit, |record| record.id)))
}

/// Look at one of your transfers. `compliance` can look at any, with its risk.
#[utoipa::path(
    tag = "transfers",
    responses(
        (status = 200, description = "The transfer", body = TransferRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfers/{transfer_id}")]
pub async fn get_transfer(
    principal: Principal,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<web::Json<TransferRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *transfer_id).await?;
    let reviewer = principal.has_any(&REVIEWERS);
    if !reviewer && !row.visible_to(principal.user_id) {
        return Err(ApiError::not_found(
            "There is no such transfer, or it is not yours.",
        ));
    }
    Ok(web::Json(row.into_record(reviewer)?))
}

/// Post a transfer that is in review. For `compliance`, and never for whoever made it or pays or is paid by it.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 200, description = "Posted", body = TransferRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_in_review`, `account_frozen`, `account_closed`, `balance_limit_exceeded`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers/{transfer_id}/approve")]
pub async fn approve_transfer(
    principal: Principal,
    key: IdempotencyKey,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    decide_review(&principal, key, *transfer_id, true, &state).await
}

/// Reject a transfer that is in review: what was held is available again. For `compliance`, like approving.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 200, description = "Rejected", body = TransferRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_in_review`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers/{transfer_id}/reject")]
pub async fn reject_transfer(
    principal: Principal,
    key: IdempotencyKey,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    decide_review(&principal, key, *transfer_id, false, &state).await
}

async fn decide_review(
    principal: &Principal,
    key: IdempotencyKey,
    transfer_id: TransferId,
    approve: bool,
    state: &State,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&REVIEWERS)?;
    let operation = if approve {
        "POST /transfers/approve"
    } else {
        "POST /transfers/reject"
    };
    let claim = Claim::new(principal.user_id, key, operation, &transfer_id)?;
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, transfer_id).await?;
    drop(conn);
    check_separation_of_duties(&row, principal.user_id)?;
    let created_at = row.created_at;
    let (order, hold_id) = row.into_order()?;
    let hold_id = hold_id.ok_or(crate::book::Refusal::NotInReview)?;
    let decision = ReviewDecision {
        order,
        created_at,
        hold_id,
        approve,
        decided_by: principal.user_id,
    };
    let answer = state.lanes.submit(Work::Decide(decision), claim).await?;
    Ok(respond(answer))
}

fn check_separation_of_duties(row: &TransferRow, decider: UserId) -> Result<(), ApiError> {
    if row.involves(decider) {
        return Err(ApiError::forbidden(
            "separation_of_duties",
            "Whoever made a transfer, pays or is paid by it cannot decide it.",
        )
        .outcome(Outcome::None));
    }
    Ok(())
}
