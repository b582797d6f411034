//! Showing a decision to those who have to explain it.

use actix_web::{get, web};
use shared::clients::transactions::{TransferKind, TransferStatus};
use shared::id::TransferId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal, Role};

use super::{ExplainedDecision, ShadowScore, queries};
use crate::state::State;
use crate::{label, registered_model, transfer_log};

/// Who sees why a transfer was stopped; whoever made it does not, for that would teach how to get around it.
pub const READERS: [Role; 2] = [Role::Compliance, Role::Admin];

/// See what was decided about a transfer, and why. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The decision", body = ExplainedDecision),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such transfer was scored or told of", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/decisions/{transfer_id}")]
pub async fn get_fraud_decision(
    principal: Principal,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<web::Json<ExplainedDecision>, ApiError> {
    principal.require_any(&READERS)?;
    let mut conn = state.db.connection().await?;
    let score = queries::find_score(&mut conn, *transfer_id).await?;
    let transfer = transfer_log::queries::find(&mut conn, &[*transfer_id])
        .await?
        .pop();
    if score.is_none() && transfer.is_none() {
        return Err(ApiError::not_found("No such transfer was scored, or told of."));
    }
    let labels = label::queries::of_transfer(&mut conn, *transfer_id).await?;
    let shadows = registered_model::queries::shadow_scores_of(&mut conn, *transfer_id).await?;
    // A score that came after the transfer was decided did not decide it.
    let fallback = transfer.as_ref().is_some_and(|transfer| {
        let is_scored = matches!(transfer.kind, TransferKind::Transfer | TransferKind::Withdrawal);
        let was_posted = transfer.status == TransferStatus::Posted;
        is_scored
            && match &score {
                Some(score) => {
                    was_posted && transfer.code.is_none() && score.scored_at > transfer.occurred_at
                }
                None => true,
            }
    });
    Ok(web::Json(ExplainedDecision {
        transfer_id: *transfer_id,
        status: transfer.map(|transfer| transfer.status),
        fallback,
        score,
        shadows: shadows
            .into_iter()
            .map(|(model_id, probability)| ShadowScore {
                model_id,
                probability,
            })
            .collect(),
        labels,
    }))
}
