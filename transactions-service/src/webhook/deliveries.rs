//! The deliveries of an endpoint: the log of what was sent, a test, and what is to be sent once more.

use actix_web::{HttpResponse, get, post, web};
use serde::Deserialize;
use shared::id::{EventId, WebhookDeliveryId, WebhookEndpointId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Json, Page, Principal};
use utoipa::IntoParams;

use super::handlers::own;
use super::queries::{self, EndpointRow, NewDelivery};
use super::replay::{self, Replay, ReplayFields, Replayed};
use super::{DeliveryRecord, DeliveryStatus, TEST_TYPE};
use crate::state::State;

fn require_enabled(row: &EndpointRow) -> Result<(), ApiError> {
    if row.is_disabled() {
        let detail = "Nothing is sent to an endpoint that is disabled. Enable it first.";
        return Err(ApiError::unprocessable("endpoint_disabled", detail));
    }
    Ok(())
}

/// Send an event of the type `webhook.test` to an endpoint, to see whether it works.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 202, description = "On its way: its delivery, as the log shows it", body = DeliveryRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`endpoint_disabled`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/webhook-endpoints/{webhook_endpoint_id}/test")]
pub async fn test_webhook_endpoint(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut conn = state.db.connection().await?;
    require_enabled(&own(&mut conn, &principal, *id).await?)?;
    drop(conn);
    let delivery = NewDelivery {
        id: WebhookDeliveryId::new(),
        endpoint_id: *id,
        event_id: EventId::new(),
        kind: TEST_TYPE.to_owned(),
        account_id: None,
        delay_s: 0,
    };
    let row = state
        .db
        .transaction("test_webhook_endpoint", async |conn| {
            queries::insert_deliveries(conn, std::slice::from_ref(&delivery)).await?;
            Ok(queries::find_delivery(conn, delivery.id).await?)
        })
        .await?;
    Ok(HttpResponse::Accepted().json(row.into_record()?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDeliveries {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<WebhookDeliveryId>>,
    /// Only those with this status.
    status: Option<DeliveryStatus>,
}

/// Read what was sent to an endpoint and what it answered, newest first. Kept 30 days.
#[utoipa::path(
    tag = "webhooks",
    params(ListDeliveries),
    responses(
        (status = 200, description = "A page of deliveries", body = Page<DeliveryRecord>),
        (status = 404, description = "`not_found`: there is no such endpoint, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/webhook-endpoints/{webhook_endpoint_id}/deliveries")]
pub async fn list_webhook_deliveries(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    query: web::Query<ListDeliveries>,
    state: web::Data<State>,
) -> Result<web::Json<Page<DeliveryRecord>>, ApiError> {
    let query = query.into_inner();
    let mut conn = state.db.connection().await?;
    own(&mut conn, &principal, *id).await?;
    let after = query.after.map(|cursor| cursor.0);
    let rows = queries::list_deliveries(&mut conn, *id, query.status, after, query.limit).await?;
    let records = rows.into_iter().map(|row| row.into_record());
    let records = records.collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(records, query.limit, |record| record.id)))
}

/// Have one event, or a range of them, sent to an endpoint once more, with the same `webhook-id`.
#[utoipa::path(
    tag = "webhooks",
    request_body = ReplayFields,
    responses(
        (status = 202, description = "On their way", body = Replayed),
        (status = 404, description = "`not_found`: there is no such endpoint, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`endpoint_disabled`, `event_not_found`, `range_too_large`, `too_many_pending`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/webhook-endpoints/{webhook_endpoint_id}/replay")]
pub async fn replay_webhook_events(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    request: Json<Replay>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut conn = state.db.connection().await?;
    let endpoint = own(&mut conn, &principal, *id).await?;
    drop(conn);
    require_enabled(&endpoint)?;
    let replayed = state
        .db
        .transaction("replay_webhook_events", async |conn| {
            replay::replay(conn, &endpoint, &request).await
        })
        .await?;
    Ok(HttpResponse::Accepted().json(replayed))
}
