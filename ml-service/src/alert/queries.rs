//! Alerts and their cases. Each change of an alert says in its WHERE what the alert has to be for it, so of two who want the same
//! one gets it. Who opens or closes one writes the line of the history here; what people do is written where they do it.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{AccountId, AlertId, CaseId, TransferId, UserId};
use uuid::Uuid;

use super::history::{Line, write};
use super::{Action, AlertDecision, AlertKind, AlertRecord, AlertStatus, ReviewOutcome, Severity};
use crate::schema::{alerts, cases};

#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = alerts)]
pub struct AlertRow {
    pub id: AlertId,
    pub case_id: CaseId,
    kind: String,
    severity: String,
    status: String,
    pub account_id: AccountId,
    pub holder_id: Option<UserId>,
    pub transfer_id: Option<TransferId>,
    sentence: String,
    transfer_ids: Vec<Option<TransferId>>,
    opened_at: DateTime<Utc>,
    pub due_at: DateTime<Utc>,
    pub claimed_by: Option<UserId>,
    claimed_at: Option<DateTime<Utc>>,
    escalated_by: Option<UserId>,
    pub escalated_at: Option<DateTime<Utc>>,
    outcome: Option<String>,
    fraud: Option<bool>,
    reason: Option<String>,
    decided_by: Option<UserId>,
    decided_at: Option<DateTime<Utc>>,
    closed_at: Option<DateTime<Utc>>,
}

/// A CHECK keeps the column to the words.
fn of_word<T: Copy>(all: &[T], name: fn(T) -> &'static str, word: &str) -> Result<T, ApiError> {
    let found = all.iter().copied().find(|it| name(*it) == word);
    found.ok_or_else(|| ApiError::internal(anyhow::anyhow!("`{word}` of an alert has no meaning")))
}

impl AlertRow {
    pub fn status(&self) -> Result<AlertStatus, ApiError> {
        of_word(&AlertStatus::ALL, AlertStatus::name, &self.status)
    }

    pub fn kind(&self) -> Result<AlertKind, ApiError> {
        of_word(&AlertKind::ALL, AlertKind::name, &self.kind)
    }

    pub fn outcome(&self) -> Option<ReviewOutcome> {
        let both = [ReviewOutcome::Release, ReviewOutcome::Refuse];
        both.into_iter()
            .find(|it| Some(it.name()) == self.outcome.as_deref())
    }

    pub fn decision(&self) -> Option<AlertDecision> {
        Some(AlertDecision {
            outcome: self.outcome(),
            fraud: self.fraud?,
            reason: self.reason.clone()?,
            decided_by: self.decided_by?,
            decided_at: self.decided_at?,
        })
    }

    /// Of one that is known to be decided.
    pub fn required_decision(&self) -> Result<AlertDecision, ApiError> {
        let undecided = || ApiError::internal(anyhow::anyhow!("{} is undecided", self.id));
        self.decision().ok_or_else(undecided)
    }

    pub fn shown_transfers(&self) -> Vec<TransferId> {
        self.transfer_ids.iter().copied().flatten().collect()
    }

    pub fn into_record(self, at: DateTime<Utc>) -> Result<AlertRecord, ApiError> {
        let (status, kind, decision) = (self.status()?, self.kind()?, self.decision());
        Ok(AlertRecord {
            id: self.id,
            case_id: self.case_id,
            kind,
            severity: of_word(&Severity::ALL, Severity::name, &self.severity)?,
            status,
            holder_id: self.holder_id,
            account_id: self.account_id,
            transfer_id: self.transfer_id,
            sentence: self.sentence,
            transfer_ids: self.transfer_ids.into_iter().flatten().collect(),
            opened_at: self.opened_at,
            due_at: self.due_at,
            overdue: status != AlertStatus::Closed && self.due_at < at,
            claimed_by: self.claimed_by,
            claimed_at: self.claimed_at,
            escalated_by: self.escalated_by,
            escalated_at: self.escalated_at,
            decision,
            closed_at: self.closed_at,
        })
    }
}

/// What is to be opened.
#[derive(Clone, Debug)]
pub struct NewAlert {
    pub kind: AlertKind,
    pub severity: Severity,
    pub account_id: AccountId,
    pub holder_id: Option<UserId>,
    pub transfer_id: Option<TransferId>,
    pub pattern_window: Option<i64>,
    pub sentence: String,
    pub transfer_ids: Vec<TransferId>,
}

/// Opens it, in the case of its holder, unless it is there already. Tells whether it was new.
pub async fn open(conn: &mut AsyncPgConnection, alert: &NewAlert) -> QueryResult<bool> {
    let same = alerts::table
        .filter(alerts::kind.eq(alert.kind.name()))
        .filter(alerts::transfer_id.is_not_distinct_from(alert.transfer_id))
        .filter(alerts::pattern_window.is_not_distinct_from(alert.pattern_window))
        .filter(alerts::account_id.eq(alert.account_id));
    if diesel::select(diesel::dsl::exists(same)).get_result(conn).await? {
        return Ok(false);
    }
    let case_id = open_case(conn, alert).await?;
    let id = AlertId::new();
    let opened: DateTime<Utc> = diesel::select(now.into_sql::<Timestamptz>())
        .get_result(conn)
        .await?;
    let inserted = diesel::insert_into(alerts::table)
        .values((
            alerts::id.eq(id),
            alerts::case_id.eq(case_id),
            alerts::kind.eq(alert.kind.name()),
            alerts::severity.eq(alert.severity.name()),
            alerts::account_id.eq(alert.account_id),
            alerts::holder_id.eq(alert.holder_id),
            alerts::transfer_id.eq(alert.transfer_id),
            alerts::pattern_window.eq(alert.pattern_window),
            alerts::sentence.eq(&alert.sentence),
            alerts::transfer_ids.eq(&alert.transfer_ids),
            alerts::opened_at.eq(opened),
            alerts::due_at.eq(opened + alert.severity.deadline()),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    if inserted == 1 {
        let entry = Line::of(case_id, Action::Opened).alert(id).text(&alert.sentence);
        write(conn, &entry).await?;
    }
    Ok(inserted == 1)
}

/// The open case of the alert's holder, locked so that it is not closed meanwhile.
async fn open_case(conn: &mut AsyncPgConnection, alert: &NewAlert) -> QueryResult<CaseId> {
    let (subject, kind) = match alert.holder_id {
        Some(holder) => (holder.uuid(), "holder"),
        None => (alert.account_id.uuid(), "account"),
    };
    diesel::insert_into(cases::table)
        .values((
            cases::id.eq(CaseId::new()),
            cases::subject.eq(subject),
            cases::subject_kind.eq(kind),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    cases::table
        .filter(cases::subject.eq(subject))
        .filter(cases::closed_at.is_null())
        .select(cases::id)
        .for_update()
        .first(conn)
        .await
}

pub async fn find(conn: &mut AsyncPgConnection, id: AlertId) -> QueryResult<AlertRow> {
    AlertRow::query().filter(alerts::id.eq(id)).first(conn).await
}

pub async fn lock(conn: &mut AsyncPgConnection, id: AlertId) -> QueryResult<AlertRow> {
    AlertRow::query()
        .filter(alerts::id.eq(id))
        .for_update()
        .first(conn)
        .await
}

/// Which of the open ones a list shows.
#[derive(Clone, Copy, Debug)]
pub enum Assignee {
    Anyone,
    Nobody,
    One(UserId),
}

/// Those that are not closed, first what is due first, and so what is overdue before the rest.
pub async fn list_open(
    conn: &mut AsyncPgConnection,
    status: Option<AlertStatus>,
    assignee: Assignee,
    opened_before: Option<DateTime<Utc>>,
    after: Option<(DateTime<Utc>, Uuid)>,
    rows: i64,
) -> QueryResult<Vec<AlertRow>> {
    let mut query = AlertRow::query()
        .filter(alerts::status.ne(AlertStatus::Closed.name()))
        .order((alerts::due_at, alerts::id))
        .limit(rows)
        .into_boxed();
    if let Some(status) = status {
        query = query.filter(alerts::status.eq(status.name()));
    }
    query = match assignee {
        Assignee::Anyone => query,
        Assignee::Nobody => query.filter(alerts::claimed_by.is_null()),
        Assignee::One(user) => query.filter(alerts::claimed_by.eq(user)),
    };
    if let Some(before) = opened_before {
        query = query.filter(alerts::opened_at.lt(before));
    }
    if let Some((due_at, id)) = after {
        let later = alerts::due_at.eq(due_at).and(alerts::id.gt(id));
        query = query.filter(alerts::due_at.gt(due_at).or(later));
    }
    query.load(conn).await
}

/// Those that are closed, the one that was opened last first.
pub async fn list_closed(
    conn: &mut AsyncPgConnection,
    after: Option<AlertId>,
    rows: i64,
) -> QueryResult<Vec<AlertRow>> {
    let mut query = AlertRow::query()
        .filter(alerts::status.eq(AlertStatus::Closed.name()))
        .order(alerts::id.desc())
        .limit(rows)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(alerts::id.lt(after));
    }
    query.load(conn).await
}

/// Of the alerts of a case, the oldest.
const MAX_ALERTS: i64 = 500;

pub async fn of_case(conn: &mut AsyncPgConnection, id: CaseId) -> QueryResult<Vec<AlertRow>> {
    AlertRow::query()
        .filter(alerts::case_id.eq(id))
        .order(alerts::id)
        .limit(MAX_ALERTS)
        .load(conn)
        .await
}

/// Of an open one, whoever comes first.
pub async fn claim(conn: &mut AsyncPgConnection, id: AlertId, by: UserId) -> QueryResult<Option<AlertRow>> {
    let open = alerts::table
        .find(id)
        .filter(alerts::status.eq(AlertStatus::Open.name()));
    diesel::update(open)
        .set((
            alerts::status.eq(AlertStatus::Claimed.name()),
            alerts::claimed_by.eq(by),
            alerts::claimed_at.eq(now),
        ))
        .returning(AlertRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Gives a claimed one back, and if it is escalated, to seniors only.
pub async fn release(conn: &mut AsyncPgConnection, id: AlertId) -> QueryResult<AlertRow> {
    let claimed = alerts::table
        .find(id)
        .filter(alerts::status.eq(AlertStatus::Claimed.name()));
    diesel::update(claimed)
        .set((
            alerts::status.eq(AlertStatus::Open.name()),
            alerts::claimed_by.eq(None::<UserId>),
            alerts::claimed_at.eq(None::<DateTime<Utc>>),
        ))
        .returning(AlertRow::as_returning())
        .get_result(conn)
        .await
}

pub async fn escalate(conn: &mut AsyncPgConnection, id: AlertId, by: UserId) -> QueryResult<AlertRow> {
    let claimed = alerts::table
        .find(id)
        .filter(alerts::status.eq(AlertStatus::Claimed.name()));
    diesel::update(claimed)
        .set((
            alerts::status.eq(AlertStatus::Open.name()),
            alerts::claimed_by.eq(None::<UserId>),
            alerts::claimed_at.eq(None::<DateTime<Utc>>),
            alerts::escalated_by.eq(by),
            alerts::escalated_at.eq(now),
        ))
        .returning(AlertRow::as_returning())
        .get_result(conn)
        .await
}

/// Writes the decision about a claimed one down; it is then `deciding` until it is closed.
pub async fn decide(
    conn: &mut AsyncPgConnection,
    alert: &AlertRow,
    outcome: Option<ReviewOutcome>,
    fraud: bool,
    reason: &str,
    by: UserId,
) -> QueryResult<AlertRow> {
    let claimed = alerts::table
        .find(alert.id)
        .filter(alerts::status.eq(AlertStatus::Claimed.name()));
    diesel::update(claimed)
        .set((
            alerts::status.eq(AlertStatus::Deciding.name()),
            alerts::outcome.eq(outcome.map(ReviewOutcome::name)),
            alerts::fraud.eq(fraud),
            alerts::reason.eq(reason),
            alerts::decided_by.eq(by),
            alerts::decided_at.eq(now),
        ))
        .returning(AlertRow::as_returning())
        .get_result(conn)
        .await
}

/// Back to who has claimed it, as if nothing had been decided.
pub async fn withdraw_decision(conn: &mut AsyncPgConnection, id: AlertId) -> QueryResult<usize> {
    let deciding = alerts::table
        .find(id)
        .filter(alerts::status.eq(AlertStatus::Deciding.name()));
    diesel::update(deciding)
        .set((
            alerts::status.eq(AlertStatus::Claimed.name()),
            alerts::outcome.eq(None::<&str>),
            alerts::fraud.eq(None::<bool>),
            alerts::reason.eq(None::<&str>),
            alerts::decided_by.eq(None::<UserId>),
            alerts::decided_at.eq(None::<DateTime<Utc>>),
        ))
        .execute(conn)
        .await
}

/// Closes a locked one, and its case with the last.
pub async fn close(
    conn: &mut AsyncPgConnection,
    alert: &AlertRow,
    by: Option<UserId>,
    text: &str,
) -> QueryResult<AlertRow> {
    // Whoever opens an alert of the case has this lock too, so none is opened in a case that is being closed.
    cases::table
        .find(alert.case_id)
        .select(cases::id)
        .for_update()
        .first::<CaseId>(conn)
        .await?;
    let closed = diesel::update(alerts::table.find(alert.id))
        .set((
            alerts::status.eq(AlertStatus::Closed.name()),
            alerts::closed_at.eq(now),
        ))
        .returning(AlertRow::as_returning())
        .get_result(conn)
        .await?;
    let line = Line::of(alert.case_id, Action::Closed).alert(alert.id).text(text);
    write(conn, &line.by(by)).await?;
    let others = alerts::table
        .filter(alerts::case_id.eq(alert.case_id))
        .filter(alerts::status.ne(AlertStatus::Closed.name()));
    if !diesel::select(diesel::dsl::exists(others))
        .get_result(conn)
        .await?
    {
        diesel::update(cases::table.find(alert.case_id))
            .set(cases::closed_at.eq(now))
            .execute(conn)
            .await?;
    }
    Ok(closed)
}

/// How many are open, by severity, and of these how many are overdue.
pub async fn counts(conn: &mut AsyncPgConnection) -> QueryResult<Vec<(String, i64, i64)>> {
    use diesel::dsl::count_star;
    alerts::table
        .filter(alerts::status.ne(AlertStatus::Closed.name()))
        .group_by(alerts::severity)
        .select((
            alerts::severity,
            count_star(),
            diesel::dsl::sql::<diesel::sql_types::BigInt>("count(*) FILTER (WHERE due_at < now())"),
        ))
        .load(conn)
        .await
}
