//! Loading the rules in force.

use anyhow::Context;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use serde_json::json;
use shared::id::{RuleProposalId, UserId};
use shared::page::Limit;
use utoipa::ToSchema;

use super::{Condition, Policy, Rule, RuleSet};
use crate::rule_proposal;
use crate::schema::{policies, rules};

#[derive(Queryable, Selectable)]
#[diesel(table_name = rules, check_for_backend(diesel::pg::Pg))]
struct RuleRow {
    version: i64,
    code: String,
    kind: String,
    params: serde_json::Value,
    points: i16,
    enabled: bool,
}

impl RuleRow {
    fn parse(self) -> anyhow::Result<Rule> {
        let Self {
            version,
            code,
            kind,
            params,
            points,
            enabled: _,
        } = self;
        let parse = || {
            anyhow::Ok((
                serde_json::from_value::<Condition>(json!({ "kind": kind, "params": params }))?,
                u16::try_from(points)?,
            ))
        };
        let (condition, points) = parse().with_context(|| format!("rule {code}, version {version}"))?;
        Ok(Rule {
            code,
            condition,
            points,
        })
    }
}

/// The rules and the policy in force. A row that cannot be understood is an error that names it: dropping a rule silently
/// would let through what it was made to stop.
pub async fn load(conn: &mut AsyncPgConnection) -> anyhow::Result<RuleSet> {
    let rows: Vec<RuleRow> = rules::table
        .distinct_on(rules::code)
        .order_by((rules::code, rules::version.desc()))
        .select(RuleRow::as_select())
        .load(conn)
        .await?;
    let (policy_version, policy) = policy(conn).await?;
    let shadow = rule_proposal::queries::in_shadow(conn)
        .await?
        .into_iter()
        .map(|proposal| {
            anyhow::Ok(Rule {
                condition: Condition::Expression(
                    proposal.parsed().map_err(|error| anyhow::anyhow!("{error}"))?,
                ),
                points: proposal.points(),
                code: proposal.code,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let version = rows.iter().map(|row| row.version).fold(policy_version, i64::max);
    let rules = rows
        .into_iter()
        .filter(|row| row.enabled)
        .map(RuleRow::parse)
        .collect::<anyhow::Result<_>>()?;
    Ok(RuleSet {
        version,
        rules,
        shadow,
        policy,
    })
}

/// The policy in force, with its version.
pub async fn policy(conn: &mut AsyncPgConnection) -> anyhow::Result<(i64, Policy)> {
    let (version, review_at, block_at): (i64, i16, i16) = policies::table
        .order_by(policies::version.desc())
        .select((policies::version, policies::review_at, policies::block_at))
        .first(conn)
        .await
        .context("there is no policy")?;
    let policy = Policy {
        review_at: u16::try_from(review_at)?,
        block_at: u16::try_from(block_at)?,
    };
    Ok((version, policy))
}

/// A version of a rule, as people of staff see it.
#[derive(Clone, Debug, Serialize, ToSchema, HasQuery)]
#[diesel(table_name = rules)]
pub struct RuleRecord {
    pub version: i64,
    #[schema(example = "amount_over_history")]
    pub code: String,
    /// `expression`, or a kind that came with the service.
    #[schema(example = "expression")]
    pub kind: String,
    /// Of an expression: `expression`, `sentence`, and `action` if it has one.
    #[schema(value_type = Object)]
    pub params: serde_json::Value,
    pub points: i16,
    /// `false`: retired.
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
    /// What it was proposed as; `null` of a rule that came with the service.
    pub proposal_id: Option<RuleProposalId>,
    /// Who activated or retired it.
    pub changed_by: Option<UserId>,
}

/// The newest version of each code, retired ones too.
pub async fn in_force(conn: &mut AsyncPgConnection) -> QueryResult<Vec<RuleRecord>> {
    RuleRecord::query()
        .distinct_on(rules::code)
        .order_by((rules::code, rules::version.desc()))
        .load(conn)
        .await
}

/// Newest first.
pub async fn versions(
    conn: &mut AsyncPgConnection,
    code: &str,
    after: Option<i64>,
    limit: Limit,
) -> QueryResult<Vec<RuleRecord>> {
    RuleRecord::query()
        .filter(rules::code.eq(code))
        .filter(rules::version.lt(after.unwrap_or(i64::MAX)))
        .order(rules::version.desc())
        .limit(limit.rows_to_load())
        .load(conn)
        .await
}

/// A version that says the same and is not enabled; `None` when none is in force.
pub async fn retire(conn: &mut AsyncPgConnection, code: &str, by: UserId) -> QueryResult<Option<RuleRecord>> {
    let newest: Option<RuleRecord> = RuleRecord::query()
        .filter(rules::code.eq(code))
        .order(rules::version.desc())
        .first(conn)
        .await
        .optional()?;
    let Some(rule) = newest.filter(|rule| rule.enabled) else {
        return Ok(None);
    };
    diesel::insert_into(rules::table)
        .values((
            rules::code.eq(rule.code),
            rules::kind.eq(rule.kind),
            rules::params.eq(rule.params),
            rules::points.eq(rule.points),
            rules::enabled.eq(false),
            rules::proposal_id.eq(rule.proposal_id),
            rules::changed_by.eq(by),
        ))
        .returning(RuleRecord::as_returning())
        .get_result(conn)
        .await
        .map(Some)
}
