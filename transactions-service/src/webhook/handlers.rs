//! Webhook endpoints, as their owners make and watch them.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::id::WebhookEndpointId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::queries::{self, EndpointChange, EndpointRow};
use super::secret::Secret;
use super::target::TargetError;
use super::{EndpointRecord, Fault, MAX_ENDPOINTS};
use crate::event::EventType;
use crate::state::State;
use crate::transfer::Description;

const DAY_S: i32 = 24 * 3600;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhookEndpoint {
    /// `https`, port 443, at a public address.
    #[schema(max_length = 2048, example = "https://example.com/webhooks")]
    url: String,
    /// Only events of these types; of all types if there are none.
    types: Option<Vec<EventType>>,
    description: Option<Description>,
    /// What is to go wrong on purpose; in the sandbox only.
    faults: Option<Vec<Fault>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhookEndpoint {
    /// Where it is from now on, under the same conditions.
    #[schema(max_length = 2048)]
    url: Option<String>,
    types: Option<Vec<EventType>>,
    description: Option<Description>,
    faults: Option<Vec<Fault>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateWebhookSecret {
    /// How long the secret before signs too: 0 to 604,800, a day unless told. 0 when it has leaked.
    #[schema(minimum = 0, maximum = 604800, example = 86400)]
    previous_valid_for_seconds: Option<i32>,
}

/// An endpoint with its secret, which is shown only now.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookEndpointWithSecret {
    #[serde(flatten)]
    endpoint: EndpointRecord,
    /// What signatures are verified with.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookEndpoints {
    data: Vec<EndpointRecord>,
}

/// Have your events sent to a URL of yours.
///
/// They come as Standard Webhooks, signed with the `secret` in the answer, which is shown this once. Each comes at least once;
/// first attempts come in order for each account. What is not answered with a 2xx within 15 seconds is sent again: after 5 s,
/// 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h. Redirects are not followed. An endpoint that answers 410, or fails for five
/// days, is disabled.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 201, description = "Made; with its secret", body = WebhookEndpointWithSecret),
        (status = 422, description = "`invalid_target`, `too_many_endpoints`, `sandbox_only`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/webhook-endpoints")]
pub async fn create_webhook_endpoint(
    principal: Principal,
    request: Json<CreateWebhookEndpoint>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let request = request.into_inner();
    let endpoint = change_of(
        Some(request.url),
        request.types,
        request.description,
        request.faults,
        &state,
    )
    .await?;
    let (id, secret) = (WebhookEndpointId::new(), Secret::generate()?);
    let encrypted = secret.encrypt(&state.webhooks.keys, id)?;
    let row = state
        .db
        .transaction("create_webhook_endpoint", async |conn| {
            let holder = principal.user_id;
            Ok(queries::insert_endpoint(conn, id, holder, &endpoint, &encrypted).await?)
        })
        .await?;
    let row = row.ok_or_else(|| {
        let detail = format!("You have {MAX_ENDPOINTS} endpoints, and cannot have more. Delete one first.");
        ApiError::unprocessable("too_many_endpoints", detail)
    })?;
    Ok(HttpResponse::Created().json(with_secret(row, &secret)?))
}

fn with_secret(row: EndpointRow, secret: &Secret) -> Result<WebhookEndpointWithSecret, ApiError> {
    Ok(WebhookEndpointWithSecret {
        endpoint: row.into_record()?,
        secret: secret.reveal(),
    })
}

/// What is asked for, if it is allowed here.
async fn change_of(
    url: Option<String>,
    types: Option<Vec<EventType>>,
    description: Option<Description>,
    faults: Option<Vec<Fault>>,
    state: &State,
) -> Result<EndpointChange, ApiError> {
    if faults.as_ref().is_some_and(|faults| !faults.is_empty()) && !state.webhooks.sandbox_faults {
        let detail = "Faults are for the sandbox, which this is not.";
        return Err(ApiError::unprocessable("sandbox_only", detail));
    }
    let url = match url {
        Some(url) => Some(
            state
                .webhooks
                .reach
                .look_up(&url)
                .await
                .map_err(invalid_target)?
                .to_string(),
        ),
        None => None,
    };
    Ok(EndpointChange {
        url,
        types: types.map(each_once),
        description: description.map(|text| text.as_str().to_owned()),
        faults: faults.map(each_once),
    })
}

fn each_once<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

fn invalid_target(error: TargetError) -> ApiError {
    ApiError::unprocessable("invalid_target", format!("`url`: {error}."))
}

/// List your endpoints, oldest first; you can have 16.
#[utoipa::path(
    tag = "webhooks",
    responses((status = 200, description = "All of them", body = WebhookEndpoints), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/webhook-endpoints")]
pub async fn list_webhook_endpoints(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<WebhookEndpoints>, ApiError> {
    let mut conn = state.db.connection().await?;
    let rows = queries::list_of_holder(&mut conn, principal.user_id).await?;
    let data = rows.into_iter().map(EndpointRow::into_record);
    Ok(web::Json(WebhookEndpoints {
        data: data.collect::<Result<_, _>>()?,
    }))
}

/// One of the principal's endpoints.
pub async fn own(
    conn: &mut AsyncPgConnection,
    principal: &Principal,
    id: WebhookEndpointId,
) -> Result<EndpointRow, ApiError> {
    let row = queries::find(conn, id).await?;
    principal.require_owner(row.holder_id)?;
    Ok(row)
}

/// Look at one of your endpoints.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 200, description = "The endpoint", body = EndpointRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/webhook-endpoints/{webhook_endpoint_id}")]
pub async fn get_webhook_endpoint(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    state: web::Data<State>,
) -> Result<web::Json<EndpointRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    Ok(web::Json(own(&mut conn, &principal, *id).await?.into_record()?))
}

/// Change where an endpoint is or what it is for; what is absent stays as it is.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 200, description = "Changed", body = EndpointRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_target`, `sandbox_only`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[patch("/api/v1/webhook-endpoints/{webhook_endpoint_id}")]
pub async fn change_webhook_endpoint(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    request: Json<ChangeWebhookEndpoint>,
    state: web::Data<State>,
) -> Result<web::Json<EndpointRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    own(&mut conn, &principal, *id).await?;
    drop(conn);
    let request = request.into_inner();
    let change = change_of(
        request.url,
        request.types,
        request.description,
        request.faults,
        &state,
    )
    .await?;
    let mut conn = state.db.connection().await?;
    let row = queries::update_endpoint(&mut conn, *id, &change).await?;
    Ok(web::Json(row.into_record()?))
}

/// Remove an endpoint, and with it what waits for it.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[delete("/api/v1/webhook-endpoints/{webhook_endpoint_id}")]
pub async fn delete_webhook_endpoint(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut conn = state.db.connection().await?;
    own(&mut conn, &principal, *id).await?;
    queries::delete(&mut conn, *id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Replace the secret of an endpoint. For a while both secrets sign: `webhook-signature` then has two signatures.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 200, description = "Replaced; with the new secret", body = WebhookEndpointWithSecret),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_duration`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/webhook-endpoints/{webhook_endpoint_id}/rotate-secret")]
pub async fn rotate_webhook_secret(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    request: Json<RotateWebhookSecret>,
    state: web::Data<State>,
) -> Result<web::Json<WebhookEndpointWithSecret>, ApiError> {
    let previous_for_s = request.previous_valid_for_seconds.unwrap_or(DAY_S);
    if !(0..=7 * DAY_S).contains(&previous_for_s) {
        let detail = "`previous_valid_for_seconds` is 0 to 604800, which is a week.";
        return Err(ApiError::unprocessable("invalid_duration", detail));
    }
    let mut conn = state.db.connection().await?;
    own(&mut conn, &principal, *id).await?;
    let secret = Secret::generate()?;
    let encrypted = secret.encrypt(&state.webhooks.keys, *id)?;
    let row = queries::replace_secret(&mut conn, *id, &encrypted, previous_for_s).await?;
    Ok(web::Json(with_secret(row, &secret)?))
}

/// Have an endpoint delivered to again. What waited when it was disabled is sent; what happened since can be replayed.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 200, description = "Enabled", body = EndpointRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/webhook-endpoints/{webhook_endpoint_id}/enable")]
pub async fn enable_webhook_endpoint(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    state: web::Data<State>,
) -> Result<web::Json<EndpointRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    own(&mut conn, &principal, *id).await?;
    Ok(web::Json(queries::enable(&mut conn, *id).await?.into_record()?))
}

/// Have nothing sent to an endpoint until it is enabled.
#[utoipa::path(
    tag = "webhooks",
    responses(
        (status = 200, description = "Disabled", body = EndpointRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/webhook-endpoints/{webhook_endpoint_id}/disable")]
pub async fn disable_webhook_endpoint(
    principal: Principal,
    id: web::Path<WebhookEndpointId>,
    state: web::Data<State>,
) -> Result<web::Json<EndpointRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    own(&mut conn, &principal, *id).await?;
    Ok(web::Json(queries::disable(&mut conn, *id).await?.into_record()?))
}
