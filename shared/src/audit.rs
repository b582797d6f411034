//! The audit log of a service: what people of staff, and other services, changed in it, in a chain of hashes.
//!
//! An entry is appended in the transaction of the change, so there is never one without the other. The database makes the
//! chain (`append_to_audit_log` in the migrations of each schema that has one): a service's role can append and read, and
//! nothing else.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Timestamptz};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::id::UserId;
use crate::page::Limit;
use crate::request_context;
use crate::{ApiError, Cursor, Page, Principal, Role};

/// What is to be remembered of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A user's id, or a service's name.
    pub actor: String,
    /// With commas between them; empty for a service.
    pub roles: String,
    /// What was done, such as `account.status_changed`: lower-case letters and `_`, with a dot between noun and verb.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: String,
    /// JSON.
    pub before: Option<String>,
    /// JSON.
    pub after: Option<String>,
    pub request_id: Option<String>,
}

impl Entry {
    /// Of who asks; of somebody who acts for another user, that one.
    pub fn by_user(principal: &Principal, action: &'static str, subject: impl ToString) -> Self {
        let actor = principal.actor.unwrap_or(principal.user_id);
        Self::by(actor, &principal.roles, action, subject)
    }

    /// The same, when another service tells who it was.
    pub fn by(user: UserId, roles: &[Role], action: &'static str, subject: impl ToString) -> Self {
        let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        Self::new(user.to_string(), roles.join(","), action, subject)
    }

    pub fn by_service(service: &str, action: &'static str, subject: impl ToString) -> Self {
        Self::new(service.to_owned(), String::new(), action, subject)
    }

    fn new(actor: String, roles: String, action: &'static str, subject: impl ToString) -> Self {
        let request = request_context::current();
        Self {
            actor,
            roles,
            action,
            subject: subject.to_string(),
            before: None,
            after: None,
            request_id: request.map(|request| request.request_id.to_string()),
        }
    }

    /// From what to what. No personal data: the log is never shortened.
    pub fn change(self, before: &impl Serialize, after: &impl Serialize) -> Result<Self, ApiError> {
        let json = |value: Result<String, serde_json::Error>| value.map(Some).map_err(ApiError::internal);
        Ok(Self {
            before: json(serde_json::to_string(before))?,
            after: json(serde_json::to_string(after))?,
            ..self
        })
    }
}

/// Appends `entry`, in the transaction of the change that it tells of. It takes a lock until the commit, so it comes after
/// the locks of what is changed.
pub async fn append(connection: &mut AsyncPgConnection, entry: &Entry) -> QueryResult<()> {
    sql_query("SELECT append_to_audit_log($1, $2, $3, $4, $5::json, $6::json, $7)")
        .bind::<Text, _>(&entry.actor)
        .bind::<Text, _>(&entry.roles)
        .bind::<Text, _>(entry.action)
        .bind::<Text, _>(&entry.subject)
        .bind::<Nullable<Text>, _>(&entry.before)
        .bind::<Nullable<Text>, _>(&entry.after)
        .bind::<Nullable<Text>, _>(&entry.request_id)
        .execute(connection)
        .await?;
    Ok(())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAuditLog {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<i64>>,
    /// Only what was done to this: its id.
    #[param(max_length = 64)]
    subject: Option<String>,
}

#[derive(Debug, QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    actor: String,
    #[diesel(sql_type = Text)]
    roles: String,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = Text)]
    subject: String,
    /// As they were written, to the byte, because their hash is of that.
    #[diesel(sql_type = Nullable<Text>)]
    before: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    after: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    request_id: Option<String>,
    #[diesel(sql_type = Binary)]
    previous_hash: Vec<u8>,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
}

/// A page of the log, newest first.
pub async fn list(connection: &mut AsyncPgConnection, query: ListAuditLog) -> QueryResult<Page<AuditEntry>> {
    let before = query.after.map_or(i64::MAX, |cursor| cursor.0);
    let of_subject = if query.subject.is_some() {
        "subject = $3"
    } else {
        "$3 IS NULL"
    };
    let rows: Vec<EntryRow> = sql_query(format!(
        "SELECT number, at, actor, roles, action, subject, before::text, after::text, request_id, previous_hash, hash
         FROM audit_log WHERE number < $1 AND {of_subject} ORDER BY number DESC LIMIT $2"
    ))
    .bind::<BigInt, _>(before)
    .bind::<BigInt, _>(query.limit.rows_to_load())
    .bind::<Nullable<Text>, _>(query.subject)
    .load(connection)
    .await?;
    Ok(Page::new(rows, query.limit, |row| row.number).map(AuditEntry::from))
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// 1, 2, 3 … without a gap.
    number: i64,
    at: DateTime<Utc>,
    /// A user's id, or the name of the service that asked.
    #[schema(example = "usr_01h455vb4pex5vsknk084sn02q")]
    actor: String,
    /// The actor's roles at that time.
    roles: Vec<String>,
    #[schema(example = "transfer.approved")]
    action: String,
    /// The id of what it was done to.
    #[schema(example = "xfer_01h455vb4pex5vsknk084sn02q")]
    subject: String,
    /// JSON, as text: its bytes are what was hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// In hexadecimal, like `hash`; of the first entry, zeros.
    previous_hash: String,
    hash: String,
}

impl From<EntryRow> for AuditEntry {
    fn from(row: EntryRow) -> Self {
        let roles = row.roles.split(',').filter(|role| !role.is_empty());
        Self {
            number: row.number,
            at: row.at,
            actor: row.actor,
            roles: roles.map(str::to_owned).collect(),
            action: row.action,
            subject: row.subject,
            before: row.before,
            after: row.after,
            request_id: row.request_id,
            previous_hash: hexadecimal(&row.previous_hash),
            hash: hexadecimal(&row.hash),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
