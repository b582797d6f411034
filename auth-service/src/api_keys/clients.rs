//! OAuth clients: programs of a partner, registered by an administrator, which get access tokens at `POST /oauth/token`.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::id::{ApiKeyId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, NewKey};
use super::{ApiKey, KeyName, Kind, Networks, NewKeyRequest, Scopes, Secret, not_found};
use crate::sessions::handlers::secret_created;
use crate::state::AppState;
use crate::{field_keys, sessions};

const ADMINISTRATORS: [Role; 2] = [Role::Admin, Role::Superadmin];

/// A client to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClientRequest {
    /// In whose name it asks.
    user_id: UserId,
    name: KeyName,
    scopes: Scopes,
    /// From where it may ask for tokens.
    #[serde(default)]
    allowed_networks: Networks,
    /// At most 366 days from now; 90 days unless told.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    expires_at: Option<DateTime<Utc>>,
}

/// A client with its secret, which is shown only here.
#[derive(Serialize, ToSchema)]
pub struct NewClient {
    #[schema(example = "fls_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8q1w2e3")]
    pub client_secret: String,
    #[serde(flatten)]
    pub client: ApiKey,
}

#[derive(Serialize, ToSchema)]
pub struct Clients {
    pub data: Vec<ApiKey>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ClientsOf {
    /// Whose clients.
    #[param(value_type = String)]
    user_id: UserId,
}

/// Registers a client for the grant `client_credentials`, which asks in a user's name. For `admin`; its `id` is the `client_id`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The client; its secret is not shown again", body = NewClient),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such user", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`too_many_keys`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/clients")]
pub async fn create_client(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<NewClientRequest>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (now, body) = (state.clock.now(), body.into_inner());
    let request = NewKeyRequest {
        name: body.name,
        scopes: body.scopes,
        allowed_networks: body.allowed_networks,
        expires_at: body.expires_at,
    };
    let new = NewKey::of_request(Kind::Client, body.user_id, &request, now)?;
    let secret = Secret::generate(Kind::Client)?;
    let client = state
        .db
        .transaction("create_client", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let client = queries::insert(connection, &protection, &new, &secret, now).await?;
            let entry =
                Entry::by_user(&principal, "client.created", client.id).change(&(), &client.scopes)?;
            audit::append(connection, &entry).await?;
            Ok(client)
        })
        .await?;
    Ok(secret_created(NewClient {
        client_secret: secret.reveal(),
        client,
    }))
}

/// The clients that ask in a user's name. For `admin`.
#[utoipa::path(
    tag = "auth",
    params(ClientsOf),
    responses(
        (status = 200, description = "The clients, without their secrets", body = Clients),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/clients")]
pub async fn list_clients(
    state: web::Data<AppState>,
    principal: Principal,
    query: web::Query<ClientsOf>,
) -> Result<web::Json<Clients>, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let mut connection = state.db.connection().await?;
    let clients = queries::list(&mut connection, Kind::Client, query.user_id, state.clock.now()).await?;
    let data = clients
        .into_iter()
        .map(|client| client.decrypt(&state.field_keys));
    Ok(web::Json(Clients {
        data: data.collect::<Result<_, _>>()?,
    }))
}

/// Removes a client. Its access tokens are refused at once. For `admin`.
#[utoipa::path(
    tag = "auth",
    params(("client_id" = String, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/clients/{client_id}")]
pub async fn remove_client(
    state: web::Data<AppState>,
    principal: Principal,
    id: web::Path<ApiKeyId>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    let (now, id) = (state.clock.now(), id.into_inner());
    state
        .db
        .transaction("remove_client", async |connection| {
            sessions::queries::require_live(connection, principal.session_id, now).await?;
            let client = queries::lock_live(connection, Kind::Client, id, now).await?;
            client.ok_or_else(not_found)?;
            queries::revoke(connection, id, now).await?;
            audit::append(connection, &Entry::by_user(&principal, "client.removed", id)).await?;
            Ok(())
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
