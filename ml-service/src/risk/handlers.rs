//! Assessing a customer's risk, and reading assessments. Only compliance and administrators do either: a partner would learn
//! how any customer lives, and support needs none of it to help.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::id::{RiskAssessmentId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Currency, Cursor, Denial, Json, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::attribute::Attributes;
use super::queries::{self, AssessmentRow};
use super::{AdverseReason, Band, behaviour};
use crate::insight::movement::History;
use crate::insight::reading::{self, Asked};
use crate::state::State;

const ROLES: [Role; 2] = [Role::Compliance, Role::Admin];

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Loan,
    CreditLine,
    Overdraft,
    /// Of what the customer already owes.
    Review,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Loan => "loan",
            Self::CreditLine => "credit_line",
            Self::Overdraft => "overdraft",
            Self::Review => "review",
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssessRisk {
    customer_id: UserId,
    purpose: Purpose,
    /// In which it is, and whose accounts are looked at.
    currency: Currency,
    /// What is known of the customer beside the accounts: whole numbers, amounts in minor units. `monthly_income`,
    /// `monthly_debt_payments`, `requested_amount`, `term_months`, `employment_months`, `delinquencies_24_months`,
    /// `credit_inquiries_6_months`, `credit_utilisation_basis_points`. Each may be left out.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({ "monthly_income": 320000, "requested_amount": 500000, "term_months": 24 }))]
    attributes: Map<String, Value>,
}

/// How likely a customer was to fall 90 days behind.
#[derive(Debug, Serialize, ToSchema)]
pub struct RiskAssessment {
    id: RiskAssessmentId,
    customer_id: UserId,
    assessed_by: UserId,
    purpose: String,
    currency: Currency,
    /// In millionths.
    #[schema(minimum = 0, maximum = 1000000, example = 34210)]
    probability_ppm: i32,
    /// `very_low` (below 2 %), `low` (5 %), `medium` (10 %), `high` (20 %) or `very_high`.
    #[schema(value_type = Band)]
    band: String,
    /// Of the model's file, in hexadecimal.
    model_sha256: String,
    /// What counted most against the customer, at most four. Who refuses credit tells them.
    #[schema(value_type = Vec<AdverseReason>)]
    reasons: Value,
    /// What the model saw, by name; `null` of what was not known. Shares are in ten-thousandths.
    #[schema(value_type = Object)]
    features: Value,
    created_at: DateTime<Utc>,
}

impl From<AssessmentRow> for RiskAssessment {
    fn from(row: AssessmentRow) -> Self {
        Self {
            id: row.id,
            customer_id: row.customer_id,
            assessed_by: row.assessed_by,
            purpose: row.purpose,
            currency: row.currency,
            probability_ppm: row.probability_ppm,
            band: row.band,
            model_sha256: row.model_sha256,
            reasons: row.reasons,
            features: row.features,
            created_at: row.created_at,
        }
    }
}

/// Assess how likely a customer is to fall 90 days behind, from their accounts and what you tell.
///
/// For compliance and administrators, and never about themselves. What must not count in a decision on credit (sex, age, origin,
/// family, health, belief and what stands in for them) is refused. The shipped model was trained on borrowers that are made up:
/// see `ml-service/risk.md` before anything depends on it.
#[utoipa::path(
    tag = "risk",
    responses(
        (status = 201, description = "The assessment, which is kept as it is", body = RiskAssessment),
        (status = 403, description = "`role_required`; `own_assessment`: somebody else has to", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
        (status = 400, description = "`protected_attribute`: it must not count; `unknown_attribute`, `invalid_attribute`; `invalid_body`, `malformed_body`", body = shared::error::Problem, content_type = "application/problem+json"),
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/risk/assessments")]
pub async fn assess_risk(
    principal: Principal,
    body: Json<AssessRisk>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&ROLES)?;
    let asked = body.into_inner();
    if asked.customer_id == principal.user_id {
        let refusal = ApiError::forbidden("own_assessment", "Nobody assesses themselves.");
        return Err(refusal.denied(Denial::Forbidden));
    }
    let attributes = Attributes::parse(&asked.attributes)?;
    let history = history_of(&state, asked.customer_id, asked.currency).await?;
    let balances = reading::balances(&state, std::slice::from_ref(&history)).await?;
    let balance = balances.get(&asked.currency).copied();
    let features = reading::compute(&state, move || {
        behaviour::features(&history, balance, &attributes)
    })
    .await?;
    let verdict = state.risk.assess(&features);
    let row = AssessmentRow {
        id: RiskAssessmentId::new(),
        customer_id: asked.customer_id,
        assessed_by: principal.user_id,
        purpose: asked.purpose.name().to_owned(),
        currency: asked.currency,
        probability_ppm: i32::try_from(verdict.probability_ppm).map_err(ApiError::internal)?,
        band: verdict.band.name().to_owned(),
        model_sha256: state.risk.model().hash().to_owned(),
        features: features.to_json(),
        reasons: serde_json::to_value(&verdict.reasons).map_err(ApiError::internal)?,
        created_at: state.clock.now(),
    };
    let mut conn = state.db.connection().await?;
    queries::insert(&mut conn, &row).await?;
    metrics::counter!("risk_assessments_total", "band" => verdict.band.name()).increment(1);
    Ok(HttpResponse::Created().json(RiskAssessment::from(row)))
}

async fn history_of(state: &State, customer: UserId, currency: Currency) -> Result<History, ApiError> {
    let asked = Asked {
        currency: Some(currency),
        time_zone: None,
    };
    let found = reading::histories(state, customer, asked).await?.pop();
    let today = state.clock.now().date_naive();
    Ok(found.unwrap_or_else(|| History::empty(customer, currency, today)))
}

/// One assessment.
#[utoipa::path(
    tag = "risk",
    params(("risk_assessment_id" = String, Path)),
    responses(
        (status = 200, description = "As it was made", body = RiskAssessment),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/risk/assessments/{risk_assessment_id}")]
pub async fn get_risk_assessment(
    principal: Principal,
    risk_assessment_id: web::Path<RiskAssessmentId>,
    state: web::Data<State>,
) -> Result<web::Json<RiskAssessment>, ApiError> {
    principal.require_any(&ROLES)?;
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, *risk_assessment_id).await?;
    Ok(web::Json(row.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRiskAssessments {
    /// Only of this customer.
    customer_id: Option<UserId>,
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<RiskAssessmentId>>,
}

/// The assessments, newest first.
#[utoipa::path(
    tag = "risk",
    params(ListRiskAssessments),
    responses(
        (status = 200, description = "A page of them", body = Page<RiskAssessment>),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/risk/assessments")]
pub async fn list_risk_assessments(
    principal: Principal,
    query: web::Query<ListRiskAssessments>,
    state: web::Data<State>,
) -> Result<web::Json<Page<RiskAssessment>>, ApiError> {
    principal.require_any(&ROLES)?;
    let after = query.after.as_ref().map(|cursor| cursor.0);
    let mut conn = state.db.connection().await?;
    let rows = queries::list(&mut conn, query.customer_id, after, query.limit.rows_to_load()).await?;
    Ok(web::Json(
        Page::new(rows, query.limit, |row| row.id).map(RiskAssessment::from),
    ))
}
