//! Access tokens for other credentials: the gateway takes a session's own credential from browsers and programs, and sends
//! services nothing but access tokens (the phantom-token pattern). It asks once and keeps the answer.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::auth::{Exchange, Exchanged};
use shared::id::{SessionId, UserId};
use shared::{ApiError, Json, ServiceCaller};

use crate::access_tokens;
use crate::sessions::{self, IDLE_LIFETIME};
use crate::state::AppState;
use crate::users::Roles;

/// How exactly it is known when a session was used last: a write for each request would cost more than the request.
const USE_NOTED_EVERY: Duration = Duration::minutes(1);

#[utoipa::path(tag = "internal", responses((status = 200, description = "An access token", body = Object)))]
#[post("/internal/tokens")]
pub async fn exchange_credential(
    caller: ServiceCaller,
    state: web::Data<AppState>,
    body: Json<Exchange>,
) -> Result<HttpResponse, ApiError> {
    caller.require(&["gateway"])?;
    let (now, credential) = (state.clock.now(), body.into_inner().credential);
    let mut connection = state.db.connection().await?;
    let session = use_session(&mut connection, &sessions::sha256(&credential), now)
        .await?
        .ok_or_else(invalid_session)?;
    let expires_at = (now + access_tokens::LIFETIME).min(session.expires_at);
    let access_token = state
        .signing_keys
        .issue_until(
            session.user_id,
            session.id,
            &session.roles.0,
            &session.amr(),
            now,
            expires_at,
        )
        .map_err(ApiError::internal)?;
    Ok(sessions::handlers::secret_answer(Exchanged {
        access_token,
        expires_at,
        allowed_networks: Vec::new(),
    }))
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
