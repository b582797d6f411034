//! Proposals, and the version of a rule that an activated one becomes.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use shared::ApiError;
use shared::clients::ml::Decision;
use shared::id::{RuleProposalId, UserId};
use shared::page::Limit;

use super::trial::TrialResult;
use super::{ProposalStatus, RuleProposalRecord};
use crate::rule::written::{ParsedRule, WrittenRule};
use crate::schema::{rule_proposals, rules};

#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = rule_proposals)]
pub struct ProposalRow {
    pub id: RuleProposalId,
    pub code: String,
    expression: String,
    sentence: String,
    action: Option<String>,
    points: i16,
    status: String,
    pub proposed_by: UserId,
    proposed_at: DateTime<Utc>,
    pub tested_at: Option<DateTime<Utc>>,
    test: Option<Value>,
    decided_by: Option<UserId>,
    decided_at: Option<DateTime<Utc>>,
}

impl ProposalRow {
    pub fn status(&self) -> Result<ProposalStatus, ApiError> {
        let status = ProposalStatus::ALL
            .into_iter()
            .find(|it| it.name() == self.status);
        status.ok_or_else(|| ApiError::internal(anyhow::anyhow!("status {}", self.status)))
    }

    pub fn points(&self) -> u16 {
        u16::try_from(self.points).unwrap_or_default()
    }

    pub fn written(&self) -> Result<WrittenRule, ApiError> {
        let action = self.action.clone().map(Value::String);
        Ok(WrittenRule {
            expression: self.expression.clone(),
            sentence: self.sentence.clone(),
            action: action
                .map(serde_json::from_value::<Decision>)
                .transpose()
                .map_err(ApiError::internal)?,
        })
    }

    pub fn parsed(&self) -> Result<ParsedRule, ApiError> {
        self.written()?.try_into().map_err(ApiError::internal)
    }

    pub fn into_record(self) -> Result<RuleProposalRecord, ApiError> {
        let (status, points, written) = (self.status()?, self.points(), self.written()?);
        Ok(RuleProposalRecord {
            id: self.id,
            code: self.code,
            expression: written.expression,
            sentence: written.sentence,
            action: written.action,
            points,
            status,
            proposed_by: self.proposed_by,
            proposed_at: self.proposed_at,
            tested_at: self.tested_at,
            test: self
                .test
                .map(serde_json::from_value)
                .transpose()
                .map_err(ApiError::internal)?,
            decided_by: self.decided_by,
            decided_at: self.decided_at,
        })
    }
}

pub async fn insert(
    conn: &mut AsyncPgConnection,
    code: &str,
    rule: &WrittenRule,
    points: i16,
    by: UserId,
) -> QueryResult<ProposalRow> {
    let action = rule.action.map(name_of);
    diesel::insert_into(rule_proposals::table)
        .values((
            rule_proposals::id.eq(RuleProposalId::new()),
            rule_proposals::code.eq(code),
            rule_proposals::expression.eq(&rule.expression),
            rule_proposals::sentence.eq(&rule.sentence),
            rule_proposals::action.eq(action),
            rule_proposals::points.eq(points),
            rule_proposals::proposed_by.eq(by),
        ))
        .returning(ProposalRow::as_returning())
        .get_result(conn)
        .await
}

fn name_of(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Review => "review",
        Decision::Block => "block",
    }
}

pub async fn find(conn: &mut AsyncPgConnection, id: RuleProposalId) -> QueryResult<ProposalRow> {
    ProposalRow::query()
        .filter(rule_proposals::id.eq(id))
        .first(conn)
        .await
}

pub async fn lock(conn: &mut AsyncPgConnection, id: RuleProposalId) -> QueryResult<ProposalRow> {
    ProposalRow::query()
        .filter(rule_proposals::id.eq(id))
        .for_update()
        .first(conn)
        .await
}

/// Newest first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    after: Option<RuleProposalId>,
    limit: Limit,
) -> QueryResult<Vec<ProposalRow>> {
    let mut query = ProposalRow::query()
        .order(rule_proposals::id.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(rule_proposals::id.lt(after));
    }
    query.load(conn).await
}

/// Scoring tries each of them on each transfer.
pub const MAX_SHADOWS: usize = 20;

/// Those that are counted without an effect.
pub async fn in_shadow(conn: &mut AsyncPgConnection) -> QueryResult<Vec<ProposalRow>> {
    ProposalRow::query()
        .filter(rule_proposals::status.eq(ProposalStatus::Shadow.name()))
        .order(rule_proposals::id)
        .limit(i64::try_from(MAX_SHADOWS).unwrap_or(i64::MAX))
        .load(conn)
        .await
}

pub async fn set_tested(
    conn: &mut AsyncPgConnection,
    id: RuleProposalId,
    result: &TrialResult,
) -> Result<ProposalRow, ApiError> {
    let test = serde_json::to_value(result).map_err(ApiError::internal)?;
    let row = diesel::update(rule_proposals::table.find(id))
        .set((rule_proposals::tested_at.eq(now), rule_proposals::test.eq(test)))
        .returning(ProposalRow::as_returning())
        .get_result(conn)
        .await?;
    Ok(row)
}

pub async fn set_shadow(conn: &mut AsyncPgConnection, id: RuleProposalId) -> QueryResult<ProposalRow> {
    diesel::update(rule_proposals::table.find(id))
        .set(rule_proposals::status.eq(ProposalStatus::Shadow.name()))
        .returning(ProposalRow::as_returning())
        .get_result(conn)
        .await
}

/// Activates or withdraws it.
pub async fn decide(
    conn: &mut AsyncPgConnection,
    id: RuleProposalId,
    status: ProposalStatus,
    by: UserId,
) -> QueryResult<ProposalRow> {
    diesel::update(rule_proposals::table.find(id))
        .set((
            rule_proposals::status.eq(status.name()),
            rule_proposals::decided_by.eq(by),
            rule_proposals::decided_at.eq(now),
        ))
        .returning(ProposalRow::as_returning())
        .get_result(conn)
        .await
}

/// The version of the rule that an active proposal is.
pub async fn bring_into_force(
    conn: &mut AsyncPgConnection,
    proposal: &ProposalRow,
    by: UserId,
) -> Result<i64, ApiError> {
    let params = serde_json::to_value(proposal.written()?).map_err(ApiError::internal)?;
    let version = diesel::insert_into(rules::table)
        .values((
            rules::code.eq(&proposal.code),
            rules::kind.eq("expression"),
            rules::params.eq(params),
            rules::points.eq(proposal.points),
            rules::proposal_id.eq(proposal.id),
            rules::changed_by.eq(by),
        ))
        .returning(rules::version)
        .get_result(conn)
        .await?;
    Ok(version)
}
