//! Messages in the database: queued, taken by one replica at a time, and ended.

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::Encrypted;
use shared::id::MessageId;
use shared::{ApiError, FieldKeys};

use super::{Channel, Content};
use crate::field_keys::{MESSAGE_CONTENT, MESSAGE_RECIPIENT, Protection};
use crate::schema::messages;

/// Longer than sending one takes. A replica that dies leaves what it was sending to be sent after this.
const LEASE: Duration = Duration::minutes(2);

/// Queues a message; it is sent when the transaction has been committed.
pub async fn queue(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    channel: Channel,
    recipient: &str,
    content: &Content,
    now: DateTime<Utc>,
) -> Result<MessageId, ApiError> {
    let id = MessageId::new();
    let text = serde_json::to_string(content).map_err(ApiError::internal)?;
    diesel::insert_into(messages::table)
        .values((
            messages::id.eq(id),
            messages::channel.eq(channel.name()),
            messages::kind.eq(content.kind()),
            messages::recipient_encrypted.eq(protection.encrypt(MESSAGE_RECIPIENT, id.uuid(), recipient)?),
            messages::content_encrypted.eq(protection.encrypt(MESSAGE_CONTENT, id.uuid(), &text)?),
            messages::created_at.eq(now),
            messages::next_attempt_at.eq(now),
            messages::expires_at.eq(now + content.lifetime()),
        ))
        .execute(connection)
        .await?;
    Ok(id)
}

/// A message that this replica is sending.
#[derive(QueryableByName)]
pub struct Taken {
    #[diesel(sql_type = SqlUuid)]
    pub id: MessageId,
    #[diesel(sql_type = Text)]
    channel: String,
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = diesel::sql_types::Binary)]
    recipient_encrypted: Encrypted,
    #[diesel(sql_type = diesel::sql_types::Binary)]
    content_encrypted: Encrypted,
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    #[diesel(sql_type = Timestamptz)]
    pub expires_at: DateTime<Utc>,
}

impl Taken {
    pub fn channel(&self) -> anyhow::Result<Channel> {
        Channel::from_name(&self.channel).ok_or_else(|| anyhow::anyhow!("an unknown channel"))
    }

    pub fn recipient(&self, keys: &FieldKeys) -> anyhow::Result<String> {
        Ok(keys.decrypt(MESSAGE_RECIPIENT, self.id.uuid(), &self.recipient_encrypted)?)
    }

    pub fn content(&self, keys: &FieldKeys) -> anyhow::Result<Content> {
        let text = keys.decrypt(MESSAGE_CONTENT, self.id.uuid(), &self.content_encrypted)?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// Takes what is due, longest waiting first. Others leave it alone until the lease ends.
pub async fn take(
    connection: &mut AsyncPgConnection,
    limit: i64,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Taken>> {
    diesel::sql_query(
        "UPDATE messages SET attempts = least(attempts + 1, 100), next_attempt_at = $2 WHERE id = ANY (ARRAY(
             SELECT id FROM messages WHERE status = 'pending' AND next_attempt_at <= $1
             ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED))
         RETURNING id, channel, kind, recipient_encrypted, content_encrypted, attempts, expires_at",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now + LEASE)
    .bind::<BigInt, _>(limit)
    .load(connection)
    .await
}

/// Ends a message, and forgets to whom it went and what was in it.
pub async fn end(
    connection: &mut AsyncPgConnection,
    id: MessageId,
    status: &str,
    problem: Option<&str>,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(messages::table.find(id).filter(messages::status.eq("pending")))
        .set((
            messages::status.eq(status),
            messages::problem.eq(problem),
            messages::ended_at.eq(now),
            messages::recipient_encrypted.eq(None::<Encrypted>),
            messages::content_encrypted.eq(None::<Encrypted>),
        ))
        .execute(connection)
        .await
}

pub async fn postpone(
    connection: &mut AsyncPgConnection,
    id: MessageId,
    problem: &str,
    until: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(messages::table.find(id).filter(messages::status.eq("pending")))
        .set((messages::problem.eq(problem), messages::next_attempt_at.eq(until)))
        .execute(connection)
        .await
}

/// How many messages wait, and for how long the first of those that are due has.
#[derive(QueryableByName)]
pub struct Backlog {
    #[diesel(sql_type = BigInt)]
    pub pending: i64,
    #[diesel(sql_type = Double)]
    pub lag_s: f64,
}

pub async fn measure(connection: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Backlog> {
    diesel::sql_query(
        "SELECT count(*) AS pending,
             greatest(coalesce(extract(epoch FROM $1 - min(next_attempt_at)), 0), 0)::float8 AS lag_s
         FROM messages WHERE status = 'pending'",
    )
    .bind::<Timestamptz, _>(now)
    .get_result(connection)
    .await
}
