//! Access tokens for other credentials: the gateway takes sessions' own credentials and API keys from browsers and programs, and sends
//! services nothing but access tokens (the phantom-token pattern). It asks once and keeps the answer.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use shared::clients::auth::{Exchange, Exchanged};
use shared::id::{SessionId, UserId};
use shared::{ApiError, Json, ServiceCaller};

use crate::access_tokens::{self, Grant};
use crate::api_keys::{self, Kind};
use crate::sessions::{self, IDLE_LIFETIME};
use crate::state::AppState;
use crate::users::Roles;

/// How exactly it is known when a session was used last: a write for each request would cost more than the request.
const USE_NOTED_EVERY: Duration = Duration::minutes(1);

#[post("/internal/tokens")]
pub async fn exchange_credential(
    caller: ServiceCaller,
    state: web::Data<AppState>,
    body: Json<Exchange>,
) -> Result<HttpResponse, ApiError> {
    caller.require(&["gateway"])?;
    let (now, credential) = (state.clock.now(), body.into_inner().credential);
    let exchanged = match api_keys::is_api_key(&credential) {
        true => exchange_api_key(&state, &credential, now).await?,
        false => exchange_session(&state, &credential, now).await?,
    };
    Ok(sessions::handlers::secret_answer(exchanged))
}

async fn exchange_session(
    state: &AppState,
    credential: &str,
    now: DateTime<Utc>,
) -> Result<Exchanged, ApiError> {
    let mut connection = state.db.connection().await?;
    let session = use_session(&mut connection, &sessions::sha256(credential), now)
        .await?
        .ok_or_else(invalid_session)?;
    let expires_at = (now + access_tokens::LIFETIME).min(session.expires_at);
    let grant = Grant {
        user_id: session.user_id,
        session_id: session.id,
        client_id: None,
        roles: &session.roles.0,
        amr: &session.amr(),
        scopes: None,
        actor: None,
    };
    exchanged(state, &grant, now, expires_at, Vec::new())
}

async fn exchange_api_key(
    state: &AppState,
    credential: &str,
    now: DateTime<Utc>,
) -> Result<Exchanged, ApiError> {
    let hash = api_keys::hash_of(credential, Kind::ApiKey).ok_or_else(invalid_api_key)?;
    let mut connection = state.db.connection().await?;
    let key = api_keys::queries::use_secret(&mut connection, Kind::ApiKey, &hash, now)
        .await?
        .ok_or_else(invalid_api_key)?;
    let expires_at = (now + access_tokens::LIFETIME).min(key.expires_at);
    let scopes = key.scopes();
    let grant = Grant {
        user_id: key.user_id,
        session_id: SessionId::from_uuid(key.id.uuid()),
        client_id: None,
        roles: &api_keys::roles_of_programs(&key.roles.0),
        amr: &[],
        scopes: Some(&scopes),
        actor: None,
    };
    exchanged(state, &grant, now, expires_at, key.allowed_networks()?)
}

fn exchanged(
    state: &AppState,
    grant: &Grant<'_>,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    allowed_networks: Vec<IpNet>,
) -> Result<Exchanged, ApiError> {
    let access_token = state.signing_keys.issue_until(grant, now, expires_at);
    Ok(Exchanged {
        access_token: access_token.map_err(ApiError::internal)?,
        expires_at,
        allowed_networks,
    })
}

fn invalid_api_key() -> ApiError {
    let detail = "This API key is not known, was revoked, or has expired.";
    ApiError::unprocessable("invalid_api_key", detail)
}

/// 422, because the gateway's own credential is a good one.
fn invalid_session() -> ApiError {
    ApiError::unprocessable(
        "invalid_session",
        "This session is not known or has ended. Log in again.",
    )
}

/// A session that goes on, of an active user.
#[derive(QueryableByName)]
struct UsedSession {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: SessionId,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Array<Nullable<Text>>)]
    roles: Roles,
    #[diesel(sql_type = Array<Nullable<Text>>)]
    amr: Vec<Option<String>>,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
}

impl UsedSession {
    fn amr(&self) -> Vec<String> {
        self.amr.iter().flatten().cloned().collect()
    }
}

/// The session with this credential, which is used now and therefore goes on.
async fn use_session(
    connection: &mut AsyncPgConnection,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<UsedSession>> {
    diesel::sql_query(
        "WITH used AS (
             UPDATE sessions SET last_used_at = $2, idle_expires_at = least($3, expires_at)
             WHERE secret_hash = $1 AND revoked_at IS NULL AND idle_expires_at > $2 AND last_used_at < $4
         )
         SELECT sessions.id, user_id, roles, amr, expires_at FROM sessions JOIN users ON users.id = user_id
         WHERE secret_hash = $1 AND revoked_at IS NULL AND idle_expires_at > $2 AND users.status = 'active'",
    )
    .bind::<Binary, _>(secret_hash)
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now + IDLE_LIFETIME)
    .bind::<Timestamptz, _>(now - USE_NOTED_EVERY)
    .get_result(connection)
    .await
    .optional()
}
