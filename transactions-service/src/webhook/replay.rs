//! Events that are delivered once more, because their receiver lost them.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use shared::ApiError;
use shared::id::{AccountId, EventId, UserId, WebhookDeliveryId};
use utoipa::ToSchema;

use super::queries::{self, EndpointRow, NewDelivery};
use crate::schema::{events, webhook_deliveries};

/// The most events that one request replays, and that may wait at an endpoint that is replayed to.
const MOST: i64 = 10_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Replay)]
pub struct ReplayFields {
    /// One event.
    event_id: Option<EventId>,
    /// The first event of a range, which `to` is the last of. Of these the ones are replayed that the endpoint is for.
    from: Option<EventId>,
    to: Option<EventId>,
}

/// What is to be delivered once more: `event_id`, or all events from `from` to `to`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "ReplayFields")]
pub enum Replay {
    One(EventId),
    Range(EventId, EventId),
}

impl TryFrom<ReplayFields> for Replay {
    type Error = &'static str;

    fn try_from(fields: ReplayFields) -> Result<Self, &'static str> {
        match (fields.event_id, fields.from, fields.to) {
            (Some(event), None, None) => Ok(Self::One(event)),
            (None, Some(from), Some(to)) => Ok(Self::Range(from, to)),
            _ => Err("expected either `event_id`, or `from` and `to`"),
        }
    }
}

/// What was asked for is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replayed {
    /// How many events.
    pub deliveries: usize,
}

/// An event as far as a delivery names it.
type Named = (EventId, String, AccountId);

pub async fn replay(
    conn: &mut AsyncPgConnection,
    endpoint: &EndpointRow,
    replay: &Replay,
) -> Result<Replayed, ApiError> {
    let pending = webhook_deliveries::table
        .filter(webhook_deliveries::endpoint_id.eq(endpoint.id))
        .filter(webhook_deliveries::status.eq("pending"))
        .limit(MOST)
        .select(webhook_deliveries::id);
    let pending: Vec<WebhookDeliveryId> = pending.load(conn).await?;
    let full = usize::try_from(MOST).is_ok_and(|most| pending.len() >= most);
    if full {
        return Err(ApiError::unprocessable(
            "too_many_pending",
            format!("{MOST} deliveries or more wait at this endpoint. Replay when they have been taken."),
        ));
    }
    let found = match *replay {
        Replay::One(event) => vec![named(conn, endpoint.holder_id, event).await?.1],
        Replay::Range(from, to) => range(conn, endpoint, from, to).await?,
    };
    let deliveries: Vec<NewDelivery> = found
        .into_iter()
        .map(|(event_id, kind, account_id)| NewDelivery {
            id: WebhookDeliveryId::new(),
            endpoint_id: endpoint.id,
            event_id,
            kind,
            account_id: Some(account_id),
            delay_s: 0,
        })
        .collect();
    queries::insert_deliveries(conn, &deliveries).await?;
    Ok(Replayed {
        deliveries: deliveries.len(),
    })
}

/// One of the holder's events, with its position.
async fn named(conn: &mut AsyncPgConnection, holder: UserId, id: EventId) -> Result<(i64, Named), ApiError> {
    let found = events::table
        .filter(events::id.eq(id))
        .filter(events::holder_id.eq(holder))
        .select((events::position, (events::id, events::kind, events::account_id)));
    let found = found.first(conn).await.optional()?;
    found.ok_or_else(|| {
        ApiError::unprocessable(
            "event_not_found",
            format!("There is no event {id}, or it is not yours."),
        )
    })
}

async fn range(
    conn: &mut AsyncPgConnection,
    endpoint: &EndpointRow,
    from: EventId,
    to: EventId,
) -> Result<Vec<Named>, ApiError> {
    let (first, _) = named(conn, endpoint.holder_id, from).await?;
    let (last, _) = named(conn, endpoint.holder_id, to).await?;
    if last.saturating_sub(first) >= MOST {
        return Err(ApiError::unprocessable(
            "range_too_large",
            format!("A range may have at most {MOST} events."),
        ));
    }
    let mut found = events::table
        .filter(events::holder_id.eq(endpoint.holder_id))
        .filter(events::position.between(first, last))
        .order(events::position)
        .select((events::id, events::kind, events::account_id))
        .into_boxed();
    let types: Vec<&str> = endpoint.types().iter().map(|kind| kind.word()).collect();
    if !types.is_empty() {
        found = found.filter(events::kind.eq_any(types));
    }
    Ok(found.load(conn).await?)
}
