//! The rules in force, and what was in force before, as people of staff see them. New ones are proposed: see `rule_proposal`.

use actix_web::{get, post, web};
use serde::Deserialize;
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Json, Page, Principal};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, RuleRecord};
use crate::analyst::{Reason, STAFF};
use crate::expression::Variable;
use crate::rule_proposal::RuleCode;
use crate::state::State;

/// The rules that decide now.
#[derive(Debug, serde::Serialize, ToSchema)]
pub struct RulesInForce {
    /// Names this set in the answers that it gave.
    version: i64,
    /// From which score a transfer is held for a person.
    review_at: u16,
    /// From which score it is blocked.
    block_at: u16,
    data: Vec<RuleRecord>,
    /// What expressions can ask for.
    variables: Vec<VariableRecord>,
}

#[derive(Debug, serde::Serialize, ToSchema)]
pub struct VariableRecord {
    #[schema(example = "account.mean")]
    name: &'static str,
    #[schema(example = "an amount")]
    r#type: String,
    description: &'static str,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRuleVersions {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<i64>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireRule {
    reason: Reason,
}

/// The rules that decide now, the policy, and what expressions can ask for. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The rules", body = RulesInForce),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/rules")]
pub async fn list_rules(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<RulesInForce>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let (policy_version, policy) = queries::policy(&mut conn).await.map_err(ApiError::internal)?;
    let rules = queries::in_force(&mut conn).await?;
    let version = rules
        .iter()
        .map(|rule| rule.version)
        .fold(policy_version, i64::max);
    let variables = Variable::ALL.map(|(_, name, kind, description)| VariableRecord {
        name,
        r#type: kind.to_string(),
        description,
    });
    Ok(web::Json(RulesInForce {
        version,
        review_at: policy.review_at,
        block_at: policy.block_at,
        data: rules.into_iter().filter(|rule| rule.enabled).collect(),
        variables: variables.into(),
    }))
}

/// The versions of a rule, newest first: the first is in force, unless it is retired. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListRuleVersions),
    responses(
        (status = 200, description = "A page of versions", body = Page<RuleRecord>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/rules/{code}/versions")]
pub async fn list_rule_versions(
    principal: Principal,
    code: web::Path<RuleCode>,
    query: web::Query<ListRuleVersions>,
    state: web::Data<State>,
) -> Result<web::Json<Page<RuleRecord>>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    let after = query.after.map(|it| it.0);
    let rows = queries::versions(&mut conn, code.as_str(), after, query.limit).await?;
    Ok(web::Json(Page::new(rows, query.limit, |row| row.version)))
}

/// Take a rule out of force at once, such as one that stops everybody. One person can, because it has to be quick; to have it back
/// it is proposed again. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Retired", body = RuleRecord),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such rule is in force", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/rules/{code}/retire")]
pub async fn retire_rule(
    principal: Principal,
    code: web::Path<RuleCode>,
    request: Json<RetireRule>,
    state: web::Data<State>,
) -> Result<web::Json<RuleRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let code = code.into_inner();
    let retired = state
        .db
        .transaction("retire_rule", async |conn| {
            let retired = queries::retire(conn, code.as_str(), principal.user_id).await?;
            let retired = retired.ok_or_else(|| ApiError::not_found("No such rule is in force."))?;
            let entry = Entry::by_user(&principal, "rule.retired", code.as_str()).change(
                &json!({ "enabled": true }),
                &json!({ "enabled": false, "reason": request.reason }),
            )?;
            audit::append(conn, &entry).await?;
            Ok(retired)
        })
        .await?;
    Ok(web::Json(retired))
}
