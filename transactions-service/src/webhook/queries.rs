//! Endpoints and their deliveries, as their owners see and change them, and the deliveries that new events make.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::Encrypted;
use shared::id::{AccountId, EventId, UserId, WebhookDeliveryId, WebhookEndpointId};
use shared::page::Limit;
use shared::{ApiError, FieldKeys};

use super::secret::Secret;
use super::{
    DeliveryRecord, DeliveryStatus, DisabledBecause, EndpointRecord, EndpointStatus, Fault, MAX_ENDPOINTS,
    REORDER_DELAY,
};
use crate::event::EventType;
use crate::event::queries::NewEvent;
use crate::schema::{webhook_deliveries, webhook_endpoints};

/// How long deliveries are kept.
pub const KEPT_DAYS: i32 = 30;

#[derive(Debug, HasQuery)]
#[diesel(table_name = webhook_endpoints)]
pub struct EndpointRow {
    pub id: WebhookEndpointId,
    pub holder_id: UserId,
    url: String,
    description: Option<String>,
    types: Vec<Option<String>>,
    faults: Vec<Option<String>>,
    previous_secret_until: Option<DateTime<Utc>>,
    disabled_because: Option<String>,
    failing_since: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl EndpointRow {
    pub fn types(&self) -> Vec<EventType> {
        let words = self.types.iter().flatten();
        words.filter_map(|word| EventType::of_word(word)).collect()
    }

    pub fn is_disabled(&self) -> bool {
        self.disabled_because.is_some()
    }

    pub fn into_record(self) -> Result<EndpointRecord, ApiError> {
        let types = self.types();
        let disabled_because = match self.disabled_because.as_deref() {
            None => None,
            Some("owner") => Some(DisabledBecause::Owner),
            Some("gone") => Some(DisabledBecause::Gone),
            // A CHECK keeps the column to these words.
            Some(_) => Some(DisabledBecause::Failing),
        };
        let description = self.description.map(TryInto::try_into).transpose();
        Ok(EndpointRecord {
            id: self.id,
            url: self.url,
            types,
            description: description.map_err(ApiError::internal)?,
            status: match disabled_because {
                None => EndpointStatus::Enabled,
                Some(_) => EndpointStatus::Disabled,
            },
            disabled_because,
            failing_since: self.failing_since,
            previous_secret_until: self.previous_secret_until,
            faults: self
                .faults
                .iter()
                .flatten()
                .filter_map(|word| Fault::of_word(word))
                .collect(),
            created_at: self.created_at,
        })
    }
}

/// What an owner decides about an endpoint; what is absent stays as it is.
#[derive(Debug, Default)]
pub struct EndpointChange {
    pub url: Option<String>,
    pub types: Option<Vec<EventType>>,
    pub description: Option<String>,
    pub faults: Option<Vec<Fault>>,
}

fn type_words(types: &[EventType]) -> Vec<&'static str> {
    types.iter().map(|kind| kind.word()).collect()
}

fn fault_words(faults: &[Fault]) -> Vec<&'static str> {
    faults.iter().map(|fault| fault.word()).collect()
}

/// Adds an endpoint, unless the user has as many as allowed.
pub async fn insert_endpoint(
    conn: &mut AsyncPgConnection,
    id: WebhookEndpointId,
    holder: UserId,
    endpoint: &EndpointChange,
    secret: &Encrypted,
) -> QueryResult<Option<EndpointRow>> {
    // One after the other for each user, so that the count holds.
    sql_query("SELECT pg_advisory_xact_lock(hashtextextended('webhook endpoints of ' || $1::text, 0))")
        .bind::<Uuid, _>(holder)
        .execute(conn)
        .await?;
    let owned = webhook_endpoints::table.filter(webhook_endpoints::holder_id.eq(holder));
    let count: i64 = owned.count().get_result(conn).await?;
    if count >= MAX_ENDPOINTS {
        return Ok(None);
    }
    diesel::insert_into(webhook_endpoints::table)
        .values((
            webhook_endpoints::id.eq(id),
            webhook_endpoints::holder_id.eq(holder),
            webhook_endpoints::url.eq(endpoint.url.as_deref().unwrap_or_default()),
            webhook_endpoints::description.eq(endpoint.description.as_deref()),
            webhook_endpoints::types.eq(type_words(endpoint.types.as_deref().unwrap_or_default())),
            webhook_endpoints::faults.eq(fault_words(endpoint.faults.as_deref().unwrap_or_default())),
            webhook_endpoints::secret.eq(secret),
        ))
        .returning(EndpointRow::as_select())
        .get_result(conn)
        .await
        .map(Some)
}

pub async fn update_endpoint(
    conn: &mut AsyncPgConnection,
    id: WebhookEndpointId,
    change: &EndpointChange,
) -> QueryResult<EndpointRow> {
    let types = change.types.as_deref().map(type_words);
    let faults = change.faults.as_deref().map(fault_words);
    sql_query(
        "UPDATE webhook_endpoints SET url = coalesce($2, url), description = coalesce($3, description),
            types = coalesce($4, types), faults = coalesce($5, faults) WHERE id = $1",
    )
    .bind::<Uuid, _>(id)
    .bind::<Nullable<Text>, _>(change.url.as_deref())
    .bind::<Nullable<Text>, _>(change.description.as_deref())
    .bind::<Nullable<Array<Text>>, _>(types)
    .bind::<Nullable<Array<Text>>, _>(faults)
    .execute(conn)
    .await?;
    find(conn, id).await
}

/// Puts a new secret in the place of the one before, which signs too for a while.
pub async fn replace_secret(
    conn: &mut AsyncPgConnection,
    id: WebhookEndpointId,
    secret: &Encrypted,
    previous_for_s: i32,
) -> QueryResult<EndpointRow> {
    sql_query(
        "UPDATE webhook_endpoints SET secret = $2,
            previous_secret = CASE WHEN $3 > 0 THEN secret END,
            previous_secret_until = CASE WHEN $3 > 0 THEN now() + make_interval(secs => $3) END
         WHERE id = $1",
    )
    .bind::<Uuid, _>(id)
    .bind::<diesel::sql_types::Binary, _>(secret)
    .bind::<diesel::sql_types::Integer, _>(previous_for_s)
    .execute(conn)
    .await?;
    find(conn, id).await
}

/// Lets an endpoint be delivered to again, from what was pending when it was disabled.
pub async fn enable(conn: &mut AsyncPgConnection, id: WebhookEndpointId) -> QueryResult<EndpointRow> {
    let unset = (
        webhook_endpoints::disabled_because.eq(None::<String>),
        webhook_endpoints::failing_since.eq(None::<DateTime<Utc>>),
        webhook_endpoints::due_at.eq(sql::<Nullable<Timestamptz>>("now()")),
    );
    diesel::update(webhook_endpoints::table.find(id))
        .set(unset)
        .returning(EndpointRow::as_select())
        .get_result(conn)
        .await
}

/// On behalf of its owner; what was disabled for another reason stays so.
pub async fn disable(conn: &mut AsyncPgConnection, id: WebhookEndpointId) -> QueryResult<EndpointRow> {
    let because = sql::<Nullable<Text>>("coalesce(disabled_because, 'owner')");
    diesel::update(webhook_endpoints::table.find(id))
        .set(webhook_endpoints::disabled_because.eq(because))
        .returning(EndpointRow::as_select())
        .get_result(conn)
        .await
}

/// Its deliveries go when their time is up: see [`delete_old_deliveries`].
pub async fn delete(conn: &mut AsyncPgConnection, id: WebhookEndpointId) -> QueryResult<usize> {
    diesel::delete(webhook_endpoints::table.find(id))
        .execute(conn)
        .await
}

pub async fn find(conn: &mut AsyncPgConnection, id: WebhookEndpointId) -> QueryResult<EndpointRow> {
    EndpointRow::query()
        .filter(webhook_endpoints::id.eq(id))
        .first(conn)
        .await
}

/// All of a user's, oldest first; there are few.
pub async fn list_of_holder(conn: &mut AsyncPgConnection, holder: UserId) -> QueryResult<Vec<EndpointRow>> {
    EndpointRow::query()
        .filter(webhook_endpoints::holder_id.eq(holder))
        .order(webhook_endpoints::id)
        .load(conn)
        .await
}

#[derive(Debug, HasQuery)]
#[diesel(table_name = webhook_deliveries)]
pub struct DeliveryRow {
    id: WebhookDeliveryId,
    event_id: EventId,
    kind: String,
    account_id: Option<AccountId>,
    status: String,
    attempts: serde_json::Value,
    next_attempt_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl DeliveryRow {
    pub fn into_record(self) -> Result<DeliveryRecord, ApiError> {
        let status = match self.status.as_str() {
            "pending" => DeliveryStatus::Pending,
            "delivered" => DeliveryStatus::Delivered,
            // A CHECK keeps the column to these words.
            _ => DeliveryStatus::Failed,
        };
        Ok(DeliveryRecord {
            id: self.id,
            event_id: self.event_id,
            kind: self.kind,
            account_id: self.account_id,
            status,
            attempts: serde_json::from_value(self.attempts).map_err(ApiError::internal)?,
            next_attempt_at: self.next_attempt_at,
            created_at: self.created_at,
        })
    }
}

/// Newest first. The index by which the ids are found has all that is asked for, so that the planner takes no other.
pub async fn list_deliveries(
    conn: &mut AsyncPgConnection,
    endpoint: WebhookEndpointId,
    status: Option<DeliveryStatus>,
    after: Option<WebhookDeliveryId>,
    limit: Limit,
) -> QueryResult<Vec<DeliveryRow>> {
    let before = after.unwrap_or(WebhookDeliveryId::from_uuid(uuid::Uuid::max()));
    let mut ids = webhook_deliveries::table
        .select(webhook_deliveries::id)
        .filter(webhook_deliveries::endpoint_id.eq(endpoint))
        .filter(webhook_deliveries::id.lt(before))
        .order(webhook_deliveries::id.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(status) = status {
        ids = ids.filter(webhook_deliveries::status.eq(status.word()));
    }
    let ids: Vec<WebhookDeliveryId> = ids.load(conn).await?;
    DeliveryRow::query()
        .filter(webhook_deliveries::id.eq_any(ids))
        .order(webhook_deliveries::id.desc())
        .load(conn)
        .await
}

pub async fn find_delivery(conn: &mut AsyncPgConnection, id: WebhookDeliveryId) -> QueryResult<DeliveryRow> {
    DeliveryRow::query()
        .filter(webhook_deliveries::id.eq(id))
        .first(conn)
        .await
}

/// An event for an endpoint.
pub struct NewDelivery {
    pub id: WebhookDeliveryId,
    pub endpoint_id: WebhookEndpointId,
    pub event_id: EventId,
    pub kind: String,
    pub account_id: Option<AccountId>,
    /// Later than at once.
    pub delay_s: i64,
}

/// What an endpoint wants, as the feed needs it.
#[derive(Debug, Queryable)]
struct Wish {
    id: WebhookEndpointId,
    holder_id: UserId,
    types: Vec<Option<String>>,
    faults: Vec<Option<String>>,
}

/// Makes the deliveries of events that were just inserted, in the same transaction.
pub async fn deliver(conn: &mut AsyncPgConnection, events: &[NewEvent]) -> QueryResult<()> {
    let mut holders: Vec<UserId> = events.iter().map(|event| event.holder_id).collect();
    holders.sort_unstable();
    holders.dedup();
    let wishes: Vec<Wish> = webhook_endpoints::table
        .filter(webhook_endpoints::holder_id.eq_any(holders))
        .filter(webhook_endpoints::disabled_because.is_null())
        .select((
            webhook_endpoints::id,
            webhook_endpoints::holder_id,
            webhook_endpoints::types,
            webhook_endpoints::faults,
        ))
        .load(conn)
        .await?;
    let mut deliveries = Vec::new();
    for event in events.iter().filter(|_| !wishes.is_empty()) {
        let of_holder = wishes.iter().filter(|wish| wish.holder_id == event.holder_id);
        deliveries.extend(
            of_holder
                .filter(|wish| wish.wants(event.kind))
                .map(|wish| NewDelivery {
                    id: WebhookDeliveryId::new(),
                    endpoint_id: wish.id,
                    event_id: event.id,
                    kind: event.kind.word().to_owned(),
                    account_id: Some(event.account_id),
                    delay_s: wish.delay_s(event),
                }),
        );
    }
    insert_deliveries(conn, &deliveries).await
}

impl Wish {
    fn wants(&self, kind: EventType) -> bool {
        self.types.is_empty() || self.types.iter().flatten().any(|word| word == kind.word())
    }

    fn delay_s(&self, event: &NewEvent) -> i64 {
        let reorder = self
            .faults
            .iter()
            .flatten()
            .any(|word| word == Fault::Reorder.word());
        let is_every_other = event.account_sequence.rem_euclid(2) == 1;
        if reorder && is_every_other {
            REORDER_DELAY.num_seconds()
        } else {
            0
        }
    }
}

pub async fn insert_deliveries(conn: &mut AsyncPgConnection, new: &[NewDelivery]) -> QueryResult<()> {
    fn column<T>(new: &[NewDelivery], of: impl Fn(&NewDelivery) -> T) -> Vec<T> {
        new.iter().map(of).collect()
    }
    if new.is_empty() {
        return Ok(());
    }
    // Not `now()`, which is when the transaction began: another one may have written meanwhile.
    sql_query(
        "INSERT INTO webhook_deliveries (id, endpoint_id, event_id, kind, account_id, next_attempt_at)
         SELECT id, endpoint_id, event_id, kind, account_id, moment + make_interval(secs => delay_s)
         FROM unnest($1, $2, $3, $4, $5, $6) AS new (id, endpoint_id, event_id, kind, account_id, delay_s),
            (SELECT clock_timestamp() AS moment) AS clock",
    )
    .bind::<Array<Uuid>, _>(column(new, |it| it.id))
    .bind::<Array<Uuid>, _>(column(new, |it| it.endpoint_id))
    .bind::<Array<Uuid>, _>(column(new, |it| it.event_id))
    .bind::<Array<Text>, _>(column(new, |it| it.kind.clone()))
    .bind::<Array<Nullable<Uuid>>, _>(column(new, |it| it.account_id))
    .bind::<Array<BigInt>, _>(column(new, |it| it.delay_s))
    .execute(conn)
    .await?;
    let mut endpoints = column(new, |it| it.endpoint_id);
    endpoints.sort_unstable();
    endpoints.dedup();
    sql_query("UPDATE webhook_endpoints SET due_at = least(due_at, clock_timestamp()) WHERE id = ANY ($1)")
        .bind::<Array<Uuid>, _>(endpoints)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes some of the deliveries whose time is up, sent or not.
pub async fn delete_old_deliveries(conn: &mut AsyncPgConnection, limit: i64) -> QueryResult<usize> {
    sql_query(
        "DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM webhook_deliveries WHERE created_at < now() - make_interval(days => $1) LIMIT $2))",
    )
    .bind::<diesel::sql_types::Integer, _>(KEPT_DAYS)
    .bind::<BigInt, _>(limit)
    .execute(conn)
    .await
}

/// What there is to encrypt anew.
#[derive(Debug, QueryableByName)]
struct EncryptedSecrets {
    #[diesel(sql_type = Uuid)]
    id: WebhookEndpointId,
    #[diesel(sql_type = diesel::sql_types::Binary)]
    secret: Encrypted,
    #[diesel(sql_type = Nullable<diesel::sql_types::Binary>)]
    previous_secret: Option<Encrypted>,
}

/// Encrypts some of the secrets that are under another key than the first, which in the end is the only one that is needed.
pub async fn encrypt_anew(conn: &mut AsyncPgConnection, keys: &FieldKeys) -> Result<usize, ApiError> {
    let first = keys.first_encryption_key()?;
    let rows: Vec<EncryptedSecrets> = sql_query(
        "SELECT id, secret, previous_secret FROM webhook_endpoints
         WHERE substr(secret, 1, 3) <> $1 OR substr(previous_secret, 1, 3) <> $1 LIMIT 100",
    )
    .bind::<diesel::sql_types::Binary, _>(first.header().to_vec())
    .load(conn)
    .await?;
    for row in &rows {
        let anew = |secret: &Encrypted| Secret::decrypt(keys, row.id, secret)?.encrypt(keys, row.id);
        let secret = anew(&row.secret)?;
        let previous_secret = row.previous_secret.as_ref().map(anew).transpose()?;
        // Unless its owner has replaced it meanwhile.
        let unchanged = webhook_endpoints::table
            .find(row.id)
            .filter(webhook_endpoints::secret.eq(&row.secret));
        diesel::update(unchanged)
            .set((
                webhook_endpoints::secret.eq(secret),
                webhook_endpoints::previous_secret.eq(previous_secret),
            ))
            .execute(conn)
            .await?;
    }
    Ok(rows.len())
}

/// Forgets secrets that do not sign any more.
pub async fn forget_previous_secrets(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    let is_over = sql::<Bool>("previous_secret_until <= now()");
    diesel::update(webhook_endpoints::table.filter(is_over))
        .set((
            webhook_endpoints::previous_secret.eq(None::<Vec<u8>>),
            webhook_endpoints::previous_secret_until.eq(None::<DateTime<Utc>>),
        ))
        .execute(conn)
        .await
}
