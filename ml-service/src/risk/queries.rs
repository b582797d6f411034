//! Assessments: written once, never changed.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::Currency;
use shared::id::{RiskAssessmentId, UserId};

use crate::schema::risk_assessments;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = risk_assessments, check_for_backend(diesel::pg::Pg))]
pub struct AssessmentRow {
    pub id: RiskAssessmentId,
    pub customer_id: UserId,
    pub assessed_by: UserId,
    pub purpose: String,
    pub currency: Currency,
    pub probability_ppm: i32,
    pub band: String,
    pub model_sha256: String,
    pub features: serde_json::Value,
    pub reasons: serde_json::Value,
    pub created_at: DateTime<Utc>,
}

pub async fn insert(conn: &mut AsyncPgConnection, row: &AssessmentRow) -> QueryResult<()> {
    diesel::insert_into(risk_assessments::table)
        .values(row)
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn find(conn: &mut AsyncPgConnection, id: RiskAssessmentId) -> QueryResult<AssessmentRow> {
    risk_assessments::table
        .find(id)
        .select(AssessmentRow::as_select())
        .first(conn)
        .await
}

/// Newest first, from before the one that the page before ended with.
pub async fn list(
    conn: &mut AsyncPgConnection,
    customer: Option<UserId>,
    after: Option<RiskAssessmentId>,
    limit: i64,
) -> QueryResult<Vec<AssessmentRow>> {
    let mut query = risk_assessments::table
        .order(risk_assessments::id.desc())
        .limit(limit)
        .select(AssessmentRow::as_select())
        .into_boxed();
    if let Some(customer) = customer {
        query = query.filter(risk_assessments::customer_id.eq(customer));
    }
    if let Some(after) = after {
        query = query.filter(risk_assessments::id.lt(after));
    }
    query.load(conn).await
}
