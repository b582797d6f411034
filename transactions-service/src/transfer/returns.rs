//! Giving back: refunds by the payee, and reversals of our own mistakes.

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::id::TransferId;
use shared::idempotency::IdempotencyKey;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{Amount, ApiError, Denial, Json, Outcome, Principal, Role};
use utoipa::ToSchema;

use super::handlers::{respond, separation_of_duties};
use super::queries;
use super::{Description, Metadata, Note, Reference, TransferKind, TransferOrder, TransferRecord};
use crate::audit;
use crate::idempotency_key::Claim;
use crate::lane::Work;
use crate::leg::Legs;
use crate::state::State;

/// Who proposes to undo a mistake. Another one of [`super::handlers::REVIEWERS`] decides.
const PROPOSERS: [Role; 3] = [Role::Support, Role::Compliance, Role::Admin];

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundTransfer {
    /// Minor units; together with earlier refunds at most what was posted.
    pub amount: Amount,
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
    pub reference: Option<Reference>,
}

/// Give back a transfer that you were paid, or a part of it.
///
/// It can be refunded in several parts, which together are never more than what was posted.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 201, description = "Posted: the transfer that gives the money back", body = TransferRecord),
        (status = 404, description = "`not_found`: there is none, or it did not pay you", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_refundable`, `not_posted`, `already_reversed`, `refund_exceeded`, `account_frozen`, `account_closed`, `insufficient_funds`, `balance_limit_exceeded`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers/{transfer_id}/refunds")]
pub async fn refund_transfer(
    principal: Principal,
    key: IdempotencyKey,
    transfer_id: web::Path<TransferId>,
    request: Json<RefundTransfer>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(
        principal.user_id,
        key,
        "POST /transfers/refunds",
        &(*transfer_id, &request.0),
    )?;
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *transfer_id).await?;
    drop(conn);
    if row.credit_holder_id != Some(principal.user_id) || !row.visible_to(principal.user_id) {
        let refusal = ApiError::not_found("There is no such transfer, or it did not pay you.");
        return Err(refusal.denied(Denial::NotOwner));
    }
    let original = row.into_order()?;
    let refundable = matches!(original.kind, TransferKind::Transfer | TransferKind::Capture);
    let Some((debit, credit)) = original.legs.as_pair().filter(|_| refundable) else {
        return Err(ApiError::unprocessable(
            "not_refundable",
            "Only what one account paid to another can be refunded. Send a deposit back with a withdrawal.",
        )
        .outcome(Outcome::None));
    };
    let request = request.into_inner();
    let legs = Legs::pair(
        credit.account_id,
        debit.account_id,
        request.amount,
        credit.currency,
    );
    let note = Note {
        description: request.description,
        metadata: request.metadata,
        reference: request.reference,
        effective_date: None,
    };
    let order = TransferOrder {
        original_transfer_id: Some(original.id),
        ..TransferOrder::new(TransferKind::Refund, legs, note, principal.user_id)
    };
    let answer = state.lanes.submit(Work::Return(order), claim).await?;
    Ok(respond(answer))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseTransfer {
    /// Why. Both sides see it.
    pub description: Description,
    pub metadata: Option<Metadata>,
}

/// Propose to undo a posted transfer as a whole. For `support`, `compliance` and `admin`, and never for whoever made it or
/// pays or is paid by it.
///
/// Its amount is held where it went until a second person, with `compliance` or `admin`, approves or rejects the reversal
/// like any transfer in review. A transfer is reversed once, and not after a refund.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 201, description = "The reversal, in review", body = TransferRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_reversible`, `not_posted`, `already_reversed`, `already_refunded`, `account_frozen`, `account_closed`, `insufficient_funds`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers/{transfer_id}/reversals")]
pub async fn reverse_transfer(
    principal: Principal,
    key: IdempotencyKey,
    transfer_id: web::Path<TransferId>,
    request: Json<ReverseTransfer>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&PROPOSERS)?;
    let claim = Claim::new(
        principal.user_id,
        key,
        "POST /transfers/reversals",
        &(*transfer_id, &request.0),
    )?;
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *transfer_id).await?;
    let is_party = queries::is_party(&mut conn, *transfer_id, principal.user_id).await?;
    drop(conn);
    let involved = is_party || row.involves(principal.user_id);
    let original = row.into_order()?;
    if matches!(original.kind, TransferKind::Refund | TransferKind::Reversal) {
        return Err(ApiError::unprocessable(
            "not_reversible",
            "What gives money back cannot be reversed itself. Make a new transfer.",
        )
        .outcome(Outcome::None));
    }
    if involved {
        return Err(separation_of_duties(
            "Whoever made a transfer, pays or is paid by it cannot propose to undo it.",
        ));
    }
    let request = request.into_inner();
    let note = Note {
        description: Some(request.description),
        metadata: request.metadata,
        ..Note::default()
    };
    let order = TransferOrder {
        original_transfer_id: Some(original.id),
        ..TransferOrder::new(
            TransferKind::Reversal,
            original.legs.reversed(),
            note,
            principal.user_id,
        )
    };
    let entry = audit::Entry::by_user(&principal, "transfer.reversal_proposed", original.id).change(
        &json!({ "reversal_id": null }),
        &json!({ "reversal_id": order.id }),
    )?;
    let work = Work::Return(order);
    let answer = state.lanes.submit_audited(work, claim, entry).await?;
    Ok(respond(answer))
}
