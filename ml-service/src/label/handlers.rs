//! Telling which transfers were fraud.

use std::collections::HashSet;

use actix_web::{post, web};
use serde::{Deserialize, Serialize};
use shared::id::TransferId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal, Role};
use utoipa::ToSchema;

use super::{LabelSource, Labelled, NewLabel, queries};
use crate::state::State;

const MAX_LABELS: usize = 1000;

/// Who tells; partners tell as what they are.
const LABELLERS: [Role; 3] = [Role::Compliance, Role::Admin, Role::Partner];

/// When it became known is when it arrives.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelTransfers {
    /// 1 to 1,000.
    labels: Vec<NewLabel>,
    /// `analyst` unless told: `dispute` or `analyst`. Of a partner always `partner`.
    source: Option<LabelSource>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LabelledTransfer {
    transfer_id: TransferId,
    result: Labelled,
}

/// In the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub struct LabelledTransfers {
    results: Vec<LabelledTransfer>,
}

/// Tell which transfers were fraud and which were not. For `compliance`, `admin` and `partner`.
///
/// Scoring learns from it at once. A label is never changed: a later one counts instead, and one that says the same again
/// changes nothing. Staff labels what they are no party to, a partner what they paid or were paid; what a partner says does not
/// change what was found here.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "What became of each", body = LabelledTransfers),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_labels`: not 1 to 1,000, a transfer twice, or a source that is not yours to name", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/labels")]
pub async fn label_transfers(
    principal: Principal,
    request: Json<LabelTransfers>,
    state: web::Data<State>,
) -> Result<web::Json<LabelledTransfers>, ApiError> {
    principal.require_any(&LABELLERS)?;
    let LabelTransfers { labels, source } = request.into_inner();
    if !(1..=MAX_LABELS).contains(&labels.len()) {
        return Err(invalid_labels(format!("Send 1 to {MAX_LABELS} labels.")));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = labels.iter().find(|label| !seen.insert(label.transfer_id)) {
        return Err(invalid_labels(format!("{} is there twice.", twice.transfer_id)));
    }
    let source = source_of(&principal, source)?;
    let results = state
        .db
        .transaction("label_transfers", async |conn| {
            queries::add(conn, &labels, source, principal.user_id).await
        })
        .await?;
    let results = labels
        .iter()
        .zip(results)
        .map(|(label, result)| LabelledTransfer {
            transfer_id: label.transfer_id,
            result,
        });
    Ok(web::Json(LabelledTransfers {
        results: results.collect(),
    }))
}

fn source_of(principal: &Principal, named: Option<LabelSource>) -> Result<LabelSource, ApiError> {
    use LabelSource::{Analyst, Decision, Dispute, Partner};
    let is_ours = principal.has_any(&[Role::Compliance, Role::Admin]);
    match (is_ours, named) {
        (true, None | Some(Analyst)) => Ok(Analyst),
        (true, Some(Dispute)) => Ok(Dispute),
        (false, None | Some(Partner)) => Ok(Partner),
        (true, Some(Partner | Decision)) | (false, Some(Analyst | Dispute | Decision)) => {
            Err(invalid_labels("This source is not yours to name.".to_owned()))
        }
    }
}

fn invalid_labels(detail: String) -> ApiError {
    ApiError::unprocessable("invalid_labels", detail)
}
