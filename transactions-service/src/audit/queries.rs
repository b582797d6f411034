//! Appending to the audit log, and reading it.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::page::Limit;

use super::Entry;
use crate::schema::audit_log;

/// Appends `entry`, in the transaction of the change that it tells of. It takes a lock until the commit, so it comes after
/// the locks of what is changed.
pub async fn append(conn: &mut AsyncPgConnection, entry: &Entry) -> QueryResult<()> {
    sql_query("SELECT append_to_audit_log($1, $2, $3, $4, $5::json, $6::json, $7)")
        .bind::<Text, _>(&entry.actor)
        .bind::<Text, _>(&entry.roles)
        .bind::<Text, _>(entry.action)
        .bind::<Text, _>(&entry.subject)
        .bind::<Nullable<Text>, _>(&entry.before)
        .bind::<Nullable<Text>, _>(&entry.after)
        .bind::<Nullable<Text>, _>(&entry.request_id)
        .execute(conn)
        .await?;
    Ok(())
}

#[derive(Debug, Queryable)]
pub struct EntryRow {
    pub number: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub roles: String,
    pub action: String,
    pub subject: String,
    /// As they were written, to the byte, because their hash is of that.
    pub before: Option<String>,
    pub after: Option<String>,
    pub request_id: Option<String>,
    pub previous_hash: Vec<u8>,
    pub hash: Vec<u8>,
}

/// Newest first: everything, or what is about `subject`, before the entry with number `before`.
pub async fn list(
    conn: &mut AsyncPgConnection,
    subject: Option<&str>,
    before: Option<i64>,
    limit: Limit,
) -> QueryResult<Vec<EntryRow>> {
    let mut entries = audit_log::table
        .select((
            audit_log::number,
            audit_log::at,
            audit_log::actor,
            audit_log::roles,
            audit_log::action,
            audit_log::subject,
            sql::<Nullable<Text>>("before::text"),
            sql::<Nullable<Text>>("after::text"),
            audit_log::request_id,
            audit_log::previous_hash,
            audit_log::hash,
        ))
        .filter(audit_log::number.lt(before.unwrap_or(i64::MAX)))
        .order(audit_log::number.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(subject) = subject {
        entries = entries.filter(audit_log::subject.eq(subject.to_owned()));
    }
    entries.load(conn).await
}
