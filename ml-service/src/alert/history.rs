//! The history of alerts and cases: who did what, noted what and found what. It only grows.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use shared::id::{AlertId, CaseId, UserId};
use utoipa::ToSchema;

use super::Action;
use crate::schema::case_history;

/// A line of the history.
pub struct Line<'a> {
    case_id: CaseId,
    alert_id: Option<AlertId>,
    actor: Option<UserId>,
    action: Action,
    text: Option<&'a str>,
    reference: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub fn of(case_id: CaseId, action: Action) -> Self {
        Self {
            case_id,
            alert_id: None,
            actor: None,
            action,
            text: None,
            reference: None,
        }
    }

    pub fn alert(self, id: AlertId) -> Self {
        Self {
            alert_id: Some(id),
            ..self
        }
    }

    pub fn by(self, actor: impl Into<Option<UserId>>) -> Self {
        Self {
            actor: actor.into(),
            ..self
        }
    }

    pub fn text(self, text: &'a str) -> Self {
        Self {
            text: Some(text),
            ..self
        }
    }

    pub fn reference(self, reference: Option<&'a str>) -> Self {
        Self { reference, ..self }
    }
}

pub async fn write(conn: &mut AsyncPgConnection, line: &Line<'_>) -> QueryResult<usize> {
    diesel::insert_into(case_history::table)
        .values((
            case_history::case_id.eq(line.case_id),
            case_history::alert_id.eq(line.alert_id),
            case_history::actor.eq(line.actor),
            case_history::action.eq(line.action.name()),
            case_history::text.eq(line.text),
            case_history::reference.eq(line.reference),
        ))
        .execute(conn)
        .await
}

/// A line of the history of an alert or a case.
#[derive(Clone, Debug, Serialize, ToSchema, HasQuery)]
#[diesel(table_name = case_history)]
pub struct HistoryEntry {
    pub number: i64,
    pub at: DateTime<Utc>,
    /// Absent when nobody did it.
    pub actor: Option<UserId>,
    #[schema(example = "note")]
    pub action: String,
    pub alert_id: Option<AlertId>,
    pub text: Option<String>,
    pub reference: Option<String>,
}

/// The newest lines, oldest first.
const MAX_LINES: i64 = 500;

pub async fn of_alert(conn: &mut AsyncPgConnection, id: AlertId) -> QueryResult<Vec<HistoryEntry>> {
    let mut lines: Vec<HistoryEntry> = HistoryEntry::query()
        .filter(case_history::alert_id.eq(id))
        .order(case_history::number.desc())
        .limit(MAX_LINES)
        .load(conn)
        .await?;
    lines.reverse();
    Ok(lines)
}

pub async fn of_case(conn: &mut AsyncPgConnection, id: CaseId) -> QueryResult<Vec<HistoryEntry>> {
    let mut lines: Vec<HistoryEntry> = HistoryEntry::query()
        .filter(case_history::case_id.eq(id))
        .order(case_history::number.desc())
        .limit(MAX_LINES)
        .load(conn)
        .await?;
    lines.reverse();
    Ok(lines)
}
