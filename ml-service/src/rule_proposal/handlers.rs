//! Proposing, testing, shadowing, activating and withdrawing a rule.

use actix_web::{HttpResponse, get, post, web};
use diesel_async::AsyncPgConnection;
use serde::Deserialize;
use serde_json::json;
use shared::audit::{self, Entry};
use shared::clients::ml::Decision;
use shared::error::Problem;
use shared::id::RuleProposalId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Denial, Json, Page, Principal};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, ProposalRow};
use super::trial::Candidate;
use super::{ProposalStatus, RuleCode, RuleProposalRecord, trial};
use crate::analyst::STAFF;
use crate::rule::MAX_SCORE;
use crate::rule::written::{ParsedRule, WrittenRule, WrittenRuleError};
use crate::state::State;

const MAX_DAYS: u16 = 365;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposeRule {
    code: RuleCode,
    /// When it applies.
    #[schema(
        min_length = 1,
        max_length = 1000,
        example = "kind == \"withdrawal\" and hour < 5 and amount >= 500 major"
    )]
    expression: String,
    /// Why, for a person. Values stand in braces.
    #[schema(min_length = 1, max_length = 300, example = "{amount} withdrawn at night")]
    sentence: String,
    /// What it demands by itself. `allow` counts only where no other rule demands more.
    action: Option<Decision>,
    /// What it adds to the score, 0 unless told. A rule has points, an action, or both.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000, example = 300)]
    points: u16,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRule {
    /// 1 to 365, the last 30 unless told.
    #[schema(minimum = 1, maximum = 365, example = 30)]
    days: Option<u16>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRuleProposals {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<RuleProposalId>>,
}

/// Propose a rule, or another version of one. Nothing comes of it until it is tested and somebody else activates it. For
/// `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 201, description = "Proposed", body = RuleProposalRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_expression`, with the column; `invalid_points`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/rule-proposals")]
pub async fn propose_rule(
    principal: Principal,
    request: Json<ProposeRule>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&STAFF)?;
    let request = request.into_inner();
    if request.points > MAX_SCORE || (request.points == 0 && request.action.is_none()) {
        let detail = format!("A rule has 1 to {MAX_SCORE} `points`, an `action`, or both.");
        return Err(ApiError::unprocessable("invalid_points", detail));
    }
    let written = WrittenRule {
        expression: request.expression,
        sentence: request.sentence,
        action: request.action,
    };
    ParsedRule::try_from(written.clone()).map_err(invalid)?;
    let points = i16::try_from(request.points).map_err(ApiError::internal)?;
    let record = state
        .db
        .transaction("propose_rule", async |conn| {
            let code = request.code.as_str();
            let row = queries::insert(conn, code, &written, points, principal.user_id).await?;
            let after = json!({ "code": code, "points": points, "rule": written });
            let entry = Entry::by_user(&principal, "rule.proposed", row.id).change(&json!(null), &after)?;
            audit::append(conn, &entry).await?;
            row.into_record()
        })
        .await?;
    Ok(HttpResponse::Created().json(record))
}

fn invalid(error: WrittenRuleError) -> ApiError {
    ApiError::unprocessable("invalid_expression", format!("{error}."))
}

/// The proposals, newest first, whatever became of them. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListRuleProposals),
    responses(
        (status = 200, description = "A page of proposals", body = Page<RuleProposalRecord>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/rule-proposals")]
pub async fn list_rule_proposals(
    principal: Principal,
    query: web::Query<ListRuleProposals>,
    state: web::Data<State>,
) -> Result<web::Json<Page<RuleProposalRecord>>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let rows = queries::list(&mut conn, query.after.map(|it| it.0), query.limit).await?;
    let records = rows.into_iter().map(ProposalRow::into_record);
    let records = records.collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(records, query.limit, |it| it.id)))
}

/// Look at a proposal. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The proposal", body = RuleProposalRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/rule-proposals/{rule_proposal_id}")]
pub async fn get_rule_proposal(
    principal: Principal,
    id: web::Path<RuleProposalId>,
    state: web::Data<State>,
) -> Result<web::Json<RuleProposalRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    Ok(web::Json(queries::find(&mut conn, *id).await?.into_record()?))
}

/// Try a proposal on what happened in the last days: how many transfers it would have blocked or held, and how many of these are
/// known as fraud by now. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The proposal, with `test`", body = RuleProposalRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`proposal_closed`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_days`; `nothing_tried`: no transfer of these days was scored", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/rule-proposals/{rule_proposal_id}/test")]
pub async fn test_rule(
    principal: Principal,
    id: web::Path<RuleProposalId>,
    request: Json<TestRule>,
    state: web::Data<State>,
) -> Result<web::Json<RuleProposalRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let days = request.days.unwrap_or(30);
    if !(1..=MAX_DAYS).contains(&days) {
        let detail = format!("`days` is 1 to {MAX_DAYS}.");
        return Err(ApiError::unprocessable("invalid_days", detail));
    }
    let rules = state.rules.in_force()?;
    let _slot = state.staff_slots.take().await?;
    let mut conn = state.db.connection().await?;
    let proposal = queries::find(&mut conn, *id).await?;
    require_open(&proposal)?;
    let candidate = Candidate {
        code: &proposal.code,
        rule: &proposal.parsed()?,
        points: proposal.points(),
        rules: &rules,
    };
    let result = trial::run(&mut conn, candidate, days, state.clock.now(), trial::BUDGET).await?;
    drop(conn);
    if result.tried.transfers == 0 {
        let detail = "No transfer of these days was scored, so nothing was tried. Take more days.";
        return Err(ApiError::unprocessable("nothing_tried", detail));
    }
    let record = state
        .db
        .transaction("test_rule", async |conn| {
            require_open(&queries::lock(conn, proposal.id).await?)?;
            queries::set_tested(conn, proposal.id, &result)
                .await?
                .into_record()
        })
        .await?;
    Ok(web::Json(record))
}

/// Count where a proposal would apply from now on, without an effect: the metric `fraud_shadow_rule_hits_total`. For
/// `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "In the shadow", body = RuleProposalRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`proposal_closed`, `too_many_shadows`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/rule-proposals/{rule_proposal_id}/shadow")]
pub async fn shadow_rule(
    principal: Principal,
    id: web::Path<RuleProposalId>,
    state: web::Data<State>,
) -> Result<web::Json<RuleProposalRecord>, ApiError> {
    let change = async |conn: &mut AsyncPgConnection, proposal: &ProposalRow| {
        if queries::in_shadow(conn).await?.len() >= queries::MAX_SHADOWS {
            let detail = "Twenty proposals are in the shadow. Withdraw one first.";
            return Err(ApiError::conflict("too_many_shadows", detail));
        }
        Ok(queries::set_shadow(conn, proposal.id).await?)
    };
    change_open(&state, &principal, *id, "rule.shadowed", change).await
}

/// Bring a proposal into force, in place of the rule of its code if there is one. It has to have been tested, and whoever proposed it
/// cannot. Replicas follow within seconds. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "In force", body = RuleProposalRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`proposal_closed`, `not_tested`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/rule-proposals/{rule_proposal_id}/activate")]
pub async fn activate_rule(
    principal: Principal,
    id: web::Path<RuleProposalId>,
    state: web::Data<State>,
) -> Result<web::Json<RuleProposalRecord>, ApiError> {
    let change = async |conn: &mut AsyncPgConnection, proposal: &ProposalRow| {
        if proposal.proposed_by == principal.user_id {
            let detail = "Whoever proposed a rule cannot bring it into force.";
            let refusal = ApiError::forbidden("separation_of_duties", detail);
            return Err(refusal.denied(Denial::Forbidden));
        }
        if proposal.tested_at.is_none() {
            let detail = "Test it first, so that you know what it would have done.";
            return Err(ApiError::conflict("not_tested", detail));
        }
        let by = principal.user_id;
        let active = queries::decide(conn, proposal.id, ProposalStatus::Active, by).await?;
        queries::bring_into_force(conn, &active, by).await?;
        Ok(active)
    };
    change_open(&state, &principal, *id, "rule.activated", change).await
}

/// Take a proposal back, or refuse it. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Withdrawn", body = RuleProposalRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`proposal_closed`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/rule-proposals/{rule_proposal_id}/withdraw")]
pub async fn withdraw_rule(
    principal: Principal,
    id: web::Path<RuleProposalId>,
    state: web::Data<State>,
) -> Result<web::Json<RuleProposalRecord>, ApiError> {
    let by = principal.user_id;
    let change = async |conn: &mut AsyncPgConnection, proposal: &ProposalRow| {
        Ok(queries::decide(conn, proposal.id, ProposalStatus::Withdrawn, by).await?)
    };
    change_open(&state, &principal, *id, "rule.withdrawn", change).await
}

/// Changes an open proposal under its lock, with an entry in the audit log.
async fn change_open(
    state: &State,
    principal: &Principal,
    id: RuleProposalId,
    action: &'static str,
    change: impl AsyncFn(&mut AsyncPgConnection, &ProposalRow) -> Result<ProposalRow, ApiError>,
) -> Result<web::Json<RuleProposalRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let record = state
        .db
        .transaction("change_rule_proposal", async |conn| {
            let proposal = queries::lock(conn, id).await?;
            require_open(&proposal)?;
            let changed = change(conn, &proposal).await?;
            let status = |row: &ProposalRow| Ok::<_, ApiError>(json!({ "status": row.status()? }));
            let entry =
                Entry::by_user(principal, action, id).change(&status(&proposal)?, &status(&changed)?)?;
            audit::append(conn, &entry).await?;
            changed.into_record()
        })
        .await?;
    Ok(web::Json(record))
}

fn require_open(proposal: &ProposalRow) -> Result<(), ApiError> {
    if proposal.status()?.is_open() {
        return Ok(());
    }
    let detail = "It was activated or withdrawn. Propose it anew.";
    Err(ApiError::conflict("proposal_closed", detail))
}
