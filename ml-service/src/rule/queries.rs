//! Loading the rules in force.

use anyhow::Context;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;

use super::{Condition, Policy, Rule, RuleSet};
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
    let (policy_version, review_at, block_at): (i64, i16, i16) = policies::table
        .order_by(policies::version.desc())
        .select((policies::version, policies::review_at, policies::block_at))
        .first(conn)
        .await
        .context("there is no policy")?;
    let version = rows.iter().map(|row| row.version).fold(policy_version, i64::max);
    let policy = Policy {
        review_at: u16::try_from(review_at)?,
        block_at: u16::try_from(block_at)?,
    };
    let rules = rows
        .into_iter()
        .filter(|row| row.enabled)
        .map(RuleRow::parse)
        .collect::<anyhow::Result<_>>()?;
    Ok(RuleSet {
        version,
        rules,
        policy,
    })
}
