//! What ended before its time, in the order in which it did: whoever keeps verified access tokens reads it several times a
//! second, and refuses those that were given for it.
//!
//! The entries are written by triggers, in the transactions that revoke, so no way of ending a session can forget them.

use std::time::Duration;

use actix_web::get;
use actix_web::web::{self, Data};
use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bool, Nullable, Timestamptz};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::StreamExt;
use serde::Deserialize;
use shared::clients::auth::{Revocation, Revocations};
use shared::id::SessionId;
use shared::{ApiError, Principal, ServiceCaller};
use tokio::sync::watch;
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::state::AppState;

/// Longer than any access token lives.
pub const KEEP: chrono::Duration = chrono::Duration::minutes(15);
const MAX_ENTRIES: i32 = 10_000;

/// How long a reader who knows everything waits for more, at most.
const WAIT: Duration = Duration::from_millis(500);
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    after: Option<i64>,
}

/// Answers at once when there is something new, and otherwise when there is, or after a moment.
#[get("/internal/revocations")]
pub async fn list_revocations(
    caller: ServiceCaller,
    state: web::Data<AppState>,
    query: web::Query<After>,
) -> Result<web::Json<Revocations>, ApiError> {
    caller.require(&["gateway"])?;
    // Before the first look, so that nothing that comes after it is missed.
    let mut news = state.revocations.0.subscribe();
    let first = list(&mut *state.db.connection().await?, query.after).await?;
    if query.after != Some(first.last) {
        return Ok(web::Json(first));
    }
    // Either way it is looked again: a notification may have been lost.
    drop(tokio::time::timeout(WAIT, news.changed()).await);
    let second = list(&mut *state.db.connection().await?, query.after).await?;
    Ok(web::Json(second))
}

/// Tells those who wait that something was revoked, by whichever replica.
pub struct News(watch::Sender<()>);

impl Default for News {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

/// Listens to the database until `shutdown`. While that does not work, readers find out by themselves.
pub async fn listen(state: Data<AppState>, shutdown: CancellationToken) {
    let listen = async {
        loop {
            if let Err(error) = listen_once(&state).await {
                tracing::warn!(error = %shared::db::chain(&error), "revocations are not heard of at once");
            }
            tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
        }
    };
    shutdown.run_until_cancelled(listen).await;
}

async fn listen_once(state: &AppState) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = state.db.dedicated_connection().await?;
    let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
    let asked = client.batch_execute("LISTEN \"auth.revocations\"");
    let heard = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(_) = message? {
                state.revocations.0.send_replace(());
            }
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    tokio::try_join!(asked, heard).map(drop)
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
    #[diesel(sql_type = Nullable<diesel::sql_types::Uuid>)]
    id: Option<Uuid>,
}

/// In one statement: its snapshot has every entry up to `last`, because numbers are taken in the order of commits.
async fn list(connection: &mut AsyncPgConnection, after: Option<i64>) -> QueryResult<Revocations> {
    let rows: Vec<Row> = diesel::sql_query(format!(
        "SELECT last, number, revocations.id FROM revocation_feed LEFT JOIN revocations
             ON number > coalesce($1, 0) AND ($1 IS NOT NULL OR revoked_at > now() - interval '{} seconds')
         ORDER BY number LIMIT {MAX_ENTRIES}",
        KEEP.num_seconds()
    ))
    .bind::<Nullable<BigInt>, _>(after)
    .load(connection)
    .await?;
    let last = rows.as_slice().first().map_or(0, |row| row.last);
    let entry = |row: Row| {
        Some(Revocation {
            number: row.number?,
            id: row.id?,
        })
    };
    Ok(Revocations {
        revocations: rows.into_iter().filter_map(entry).collect(),
        last,
    })
}

/// Whether what a token was given for still goes on.
pub async fn is_live(
    connection: &mut AsyncPgConnection,
    principal: &Principal,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let live: Live = diesel::sql_query(
        "SELECT NOT EXISTS (SELECT FROM revocations WHERE id = $1) AND (
             EXISTS (SELECT FROM sessions WHERE id = $1 AND revoked_at IS NULL AND idle_expires_at > $3)
             OR EXISTS (SELECT FROM api_keys WHERE id IN ($1, $2) AND revoked_at IS NULL AND expires_at > $3)
         ) AS live",
    )
    .bind::<diesel::sql_types::Uuid, _>(principal.session_id)
    .bind::<Nullable<diesel::sql_types::Uuid>, _>(principal.client_id)
    .bind::<Timestamptz, _>(now)
    .get_result(connection)
    .await?;
    Ok(live.live)
}

#[derive(QueryableByName)]
struct Live {
    #[diesel(sql_type = Bool)]
    live: bool,
}

/// Revokes the one access token that has this `sid`.
pub async fn revoke_token(connection: &mut AsyncPgConnection, id: SessionId) -> QueryResult<()> {
    diesel::sql_query("SELECT revoke_access_token($1)")
        .bind::<diesel::sql_types::Uuid, _>(id)
        .execute(connection)
        .await?;
    Ok(())
}
