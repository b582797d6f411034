//! Which endpoint is whose turn, what is due for it, and what became of it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Double, Integer, Json, Jsonb, Nullable, Text, Timestamptz, Uuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::field_key::Encrypted;
use shared::id::{AccountId, EventId, WebhookDeliveryId, WebhookEndpointId};

use super::attempt::Sent;
use crate::webhook::{DeliveryStatus, Fault};

/// Longer than a turn with its last attempts takes, also when one of them comes twice.
const LEASE_S: i32 = 120;
/// How much of what is due is read at once.
const BATCH: i64 = 100;
/// Every attempt of so many days has failed when an endpoint is disabled.
const FAILING_DAYS: i32 = 5;

/// An endpoint whose turn it is.
#[derive(Debug, QueryableByName)]
pub struct Leased {
    #[diesel(sql_type = Uuid)]
    pub id: WebhookEndpointId,
    #[diesel(sql_type = Text)]
    pub url: String,
    #[diesel(sql_type = Array<Text>)]
    faults: Vec<String>,
    #[diesel(sql_type = Binary)]
    pub secret: Encrypted,
    /// While it still signs.
    #[diesel(sql_type = Nullable<Binary>)]
    pub previous_secret: Option<Encrypted>,
    /// Tells this lease from a later one.
    #[diesel(sql_type = Timestamptz)]
    pub leased_until: DateTime<Utc>,
}

impl Leased {
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|word| word == fault.word())
    }
}

/// Takes endpoints for which something is due, longest waiting first, for this replica alone.
pub async fn lease(conn: &mut AsyncPgConnection, limit: i64) -> QueryResult<Vec<Leased>> {
    sql_query(
        "UPDATE webhook_endpoints SET leased_until = clock_timestamp() + make_interval(secs => $1)
         WHERE id = ANY (ARRAY(
            SELECT id FROM webhook_endpoints
            WHERE disabled_because IS NULL AND due_at <= clock_timestamp()
                AND (leased_until IS NULL OR leased_until <= clock_timestamp())
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED))
         RETURNING id, url, faults, secret, leased_until,
            CASE WHEN previous_secret_until > clock_timestamp() THEN previous_secret END AS previous_secret",
    )
    .bind::<Integer, _>(LEASE_S)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Ends a turn, and notes when the next one is due: what is due already waits behind the others. In a transaction: the row is
/// locked first, so that a delivery that is being made is either counted or makes the endpoint due by itself.
pub async fn release(
    conn: &mut AsyncPgConnection,
    id: WebhookEndpointId,
    leased_until: DateTime<Utc>,
) -> QueryResult<()> {
    sql_query("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE")
        .bind::<Uuid, _>(id)
        .execute(conn)
        .await?;
    sql_query(
        "UPDATE webhook_endpoints SET leased_until = NULL, due_at = (
            SELECT greatest(min(next_attempt_at), clock_timestamp()) FROM webhook_deliveries
            WHERE endpoint_id = $1 AND status = 'pending' HAVING count(*) > 0)
         WHERE id = $1 AND leased_until = $2",
    )
    .bind::<Uuid, _>(id)
    .bind::<Timestamptz, _>(leased_until)
    .execute(conn)
    .await?;
    Ok(())
}

/// A delivery whose time has come, with what it tells.
#[derive(Debug, QueryableByName)]
pub struct Due {
    #[diesel(sql_type = Uuid)]
    pub id: WebhookDeliveryId,
    #[diesel(sql_type = Uuid)]
    pub event_id: EventId,
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = Nullable<Uuid>)]
    pub account_id: Option<AccountId>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub account_sequence: Option<i64>,
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Json>)]
    pub payload: Option<serde_json::Value>,
    /// How often it was tried.
    #[diesel(sql_type = Integer)]
    pub attempted: i32,
}

pub async fn due(conn: &mut AsyncPgConnection, endpoint: WebhookEndpointId) -> QueryResult<Vec<Due>> {
    sql_query(
        "SELECT delivery.id, delivery.event_id, delivery.kind, delivery.account_id, events.account_sequence,
            coalesce(outbox.created_at, delivery.created_at) AS created_at, outbox.payload,
            jsonb_array_length(delivery.attempts) AS attempted
         FROM webhook_deliveries AS delivery
         JOIN webhook_endpoints ON webhook_endpoints.id = delivery.endpoint_id AND disabled_because IS NULL
         LEFT JOIN events ON events.id = delivery.event_id
         LEFT JOIN outbox ON outbox.sequence = events.fact
         WHERE delivery.endpoint_id = $1 AND delivery.status = 'pending'
            AND delivery.next_attempt_at <= clock_timestamp()
         ORDER BY delivery.next_attempt_at, delivery.id LIMIT $2",
    )
    .bind::<Uuid, _>(endpoint)
    .bind::<BigInt, _>(BATCH)
    .load(conn)
    .await
}

/// Writes down what became of an attempt, unless somebody else did so meanwhile, and what that means for the endpoint: it
/// works, it fails, or it is not sent to any more. Tells whether it still is.
pub async fn record(conn: &mut AsyncPgConnection, due: &Due, sent: &Sent) -> Result<bool, ApiError> {
    #[derive(QueryableByName)]
    struct Endpoint {
        #[diesel(sql_type = Bool)]
        enabled: bool,
    }
    let attempt = serde_json::to_value(&sent.attempt).map_err(ApiError::internal)?;
    let delivered = sent.status == DeliveryStatus::Delivered;
    let endpoint: Option<Endpoint> = sql_query(
        "WITH recorded AS (
            UPDATE webhook_deliveries SET attempts = attempts || $2, status = $3,
                -- A little later each time by chance, so that what failed together does not come again together.
                next_attempt_at = clock_timestamp() + make_interval(secs => $4 * (1 + random() / 10))
            WHERE id = $1 AND status = 'pending' AND jsonb_array_length(attempts) = $5
            RETURNING endpoint_id)
         UPDATE webhook_endpoints SET
            failing_since = CASE WHEN NOT $6 THEN coalesce(failing_since, clock_timestamp()) END,
            disabled_because = coalesce(disabled_because, CASE
                WHEN $7 THEN 'gone'
                WHEN NOT $6 AND failing_since < clock_timestamp() - make_interval(days => $8) THEN 'failing' END)
         FROM recorded WHERE id = endpoint_id AND (NOT $6 OR failing_since IS NOT NULL)
         RETURNING disabled_because IS NULL AS enabled",
    )
    .bind::<Uuid, _>(due.id)
    .bind::<Jsonb, _>(attempt)
    .bind::<Text, _>(sent.status.word())
    .bind::<Nullable<Double>, _>(sent.retry_after_s.map(f64::from))
    .bind::<Integer, _>(due.attempted)
    .bind::<Bool, _>(delivered)
    .bind::<Bool, _>(sent.gone)
    .bind::<Integer, _>(FAILING_DAYS)
    .get_result(conn)
    .await
    .optional()?;
    Ok(endpoint.is_none_or(|endpoint| endpoint.enabled))
}

#[derive(Debug, QueryableByName)]
pub struct Backlog {
    /// Up to 100,000 of those that are not delivered yet.
    #[diesel(sql_type = BigInt)]
    pub pending: i64,
    /// For how long an endpoint has waited for its turn.
    #[diesel(sql_type = Double)]
    pub lag_s: f64,
}

pub async fn measure(conn: &mut AsyncPgConnection) -> QueryResult<Backlog> {
    sql_query(
        "SELECT (SELECT count(*) FROM (
                SELECT FROM webhook_deliveries WHERE status = 'pending' LIMIT 100000) AS some) AS pending,
            coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 AS lag_s
         FROM webhook_endpoints
         WHERE disabled_because IS NULL AND due_at <= now() AND (leased_until IS NULL OR leased_until <= now())",
    )
    .get_result(conn)
    .await
}
