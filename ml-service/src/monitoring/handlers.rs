//! How the model does, for those who keep it.

use std::time::Instant;

use actix_web::{get, web};
use serde::Serialize;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Principal};
use utoipa::ToSchema;

use super::Monitoring;
use crate::decision::handlers::READERS;
use crate::score::latency::ScoringLatency;
use crate::state::State;

#[derive(Debug, Serialize, ToSchema)]
pub struct FraudMonitoring {
    #[serde(flatten)]
    seen: Monitoring,
    scoring: ScoringLatency,
}

/// See whether the model has drifted and how good it is. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "How it does", body = FraudMonitoring),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/monitoring")]
pub async fn get_fraud_monitoring(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<FraudMonitoring>, ApiError> {
    principal.require_any(&READERS)?;
    let in_use = state.models.in_use();
    let mut conn = state.db.connection().await?;
    let shadows = in_use.shadows.iter().map(|(id, _)| *id);
    let seen = super::look(&mut conn, in_use.champion.hash(), shadows, state.clock.now()).await?;
    Ok(web::Json(FraudMonitoring {
        seen,
        scoring: state.latency.look(Instant::now()),
    }))
}
