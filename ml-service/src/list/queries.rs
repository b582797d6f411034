//! Entries in force, and their changes. Whether one has expired is asked of the database's clock.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{ListEntryId, UserId};
use shared::page::Limit;
use uuid::Uuid;

use super::{List, ListEntryRecord, Match, Subject, SubjectKind, shown_subject};
use crate::schema::{list_entries, transfers};

#[derive(Debug, HasQuery, Insertable)]
#[diesel(table_name = list_entries)]
pub struct EntryRow {
    pub id: ListEntryId,
    pub list: String,
    pub subject_kind: String,
    pub subject: Uuid,
    pub reason: String,
    pub added_by: UserId,
    pub added_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl EntryRow {
    fn list(&self) -> Result<List, ApiError> {
        let list = List::ALL.into_iter().find(|it| it.name() == self.list);
        list.ok_or_else(|| ApiError::internal(anyhow::anyhow!("list {}", self.list)))
    }

    pub fn subject(&self) -> Result<Subject, ApiError> {
        let kind = SubjectKind::ALL
            .into_iter()
            .find(|it| it.name() == self.subject_kind);
        let kind =
            kind.ok_or_else(|| ApiError::internal(anyhow::anyhow!("subject {}", self.subject_kind)))?;
        Ok((kind, self.subject))
    }

    pub fn into_record(self) -> Result<ListEntryRecord, ApiError> {
        let (list, subject) = (self.list()?, self.subject()?);
        Ok(ListEntryRecord {
            id: self.id,
            list,
            subject_kind: subject.0,
            subject: shown_subject(subject),
            reason: self.reason,
            added_by: self.added_by,
            added_at: self.added_at,
            expires_at: self.expires_at,
        })
    }
}

/// The entries in force about any of these, by subject.
pub async fn matching(
    conn: &mut AsyncPgConnection,
    subjects: impl Iterator<Item = Subject>,
) -> Result<HashMap<Subject, Vec<Match>>, ApiError> {
    let mut ids: Vec<Uuid> = subjects.map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<EntryRow> = EntryRow::query()
        .filter(list_entries::subject.eq_any(ids))
        .filter(list_entries::removed_at.is_null())
        .filter(
            list_entries::expires_at
                .is_null()
                .or(list_entries::expires_at.gt(now)),
        )
        .load(conn)
        .await?;
    let mut matches: HashMap<Subject, Vec<Match>> = HashMap::new();
    for row in rows {
        let (list, subject) = (row.list()?, row.subject()?);
        matches.entry(subject).or_default().push(Match {
            list,
            subject,
            reason: row.reason,
        });
    }
    Ok(matches)
}

/// Those in force, newest first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    after: Option<ListEntryId>,
    limit: Limit,
) -> QueryResult<Vec<EntryRow>> {
    let mut query = EntryRow::query()
        .filter(list_entries::removed_at.is_null())
        .filter(
            list_entries::expires_at
                .is_null()
                .or(list_entries::expires_at.gt(now)),
        )
        .order(list_entries::id.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(list_entries::id.lt(after));
    }
    query.load(conn).await
}

/// Whether it is a user, or what the log knows as theirs: an account, or a device or address that they have paid from.
pub async fn is_own(
    conn: &mut AsyncPgConnection,
    (kind, subject): Subject,
    user: UserId,
) -> QueryResult<bool> {
    let (paid, received) = (
        transfers::debit_holder_id.eq(user),
        transfers::credit_holder_id.eq(user),
    );
    let found = transfers::table.into_boxed();
    let found = match kind {
        SubjectKind::Holder => return Ok(subject == user.uuid()),
        SubjectKind::Account | SubjectKind::Counterparty => {
            let paid = paid.and(transfers::debit_account_id.eq(subject));
            let received = received.and(transfers::credit_account_id.eq(subject));
            found.filter(paid.or(received))
        }
        SubjectKind::Device => found.filter(paid.and(transfers::device.eq(subject))),
        SubjectKind::Address => found.filter(paid.and(transfers::address.eq(subject))),
    };
    diesel::select(diesel::dsl::exists(found)).get_result(conn).await
}

/// What is to be added. The database says when it is, and refuses one that has expired by then.
pub struct NewEntry<'a> {
    pub list: List,
    pub subject: Subject,
    pub reason: &'a str,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Adds it, unless one of the same subject is in force. One that has expired makes room.
pub async fn insert(
    conn: &mut AsyncPgConnection,
    entry: &NewEntry<'_>,
    by: UserId,
) -> QueryResult<Option<EntryRow>> {
    let (kind, subject) = entry.subject;
    let same = list_entries::table
        .filter(list_entries::subject.eq(subject))
        .filter(list_entries::subject_kind.eq(kind.name()))
        .filter(list_entries::list.eq(entry.list.name()))
        .filter(list_entries::removed_at.is_null());
    diesel::update(same.filter(list_entries::expires_at.le(now)))
        .set((list_entries::removed_by.eq(by), list_entries::removed_at.eq(now)))
        .execute(conn)
        .await?;
    diesel::insert_into(list_entries::table)
        .values((
            list_entries::id.eq(ListEntryId::new()),
            list_entries::list.eq(entry.list.name()),
            list_entries::subject_kind.eq(kind.name()),
            list_entries::subject.eq(subject),
            list_entries::reason.eq(entry.reason),
            list_entries::added_by.eq(by),
            list_entries::expires_at.eq(entry.expires_at),
        ))
        .on_conflict_do_nothing()
        .returning(EntryRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Keeps the entries about a device or an address under its hash of now, unless those of the same list are there.
pub async fn rehash(conn: &mut AsyncPgConnection, (kind, former): Subject, hash: Uuid) -> QueryResult<usize> {
    let entries = |subject: Uuid| {
        list_entries::table
            .filter(list_entries::subject.eq(subject))
            .filter(list_entries::subject_kind.eq(kind.name()))
            .filter(list_entries::removed_at.is_null())
    };
    let there: Vec<String> = entries(hash).select(list_entries::list).load(conn).await?;
    diesel::update(entries(former).filter(list_entries::list.ne_all(there)))
        .set(list_entries::subject.eq(hash))
        .execute(conn)
        .await
}

/// Ends it, and tells what it was; `None` when there is none in force.
pub async fn remove(
    conn: &mut AsyncPgConnection,
    id: ListEntryId,
    by: UserId,
) -> QueryResult<Option<EntryRow>> {
    let entry = list_entries::table
        .find(id)
        .filter(list_entries::removed_at.is_null());
    diesel::update(entry)
        .set((list_entries::removed_by.eq(by), list_entries::removed_at.eq(now)))
        .returning(EntryRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}
