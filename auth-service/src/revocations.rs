//! What ended before its time, in the order in which it did: whoever keeps verified access tokens reads it several times a
//! second, and refuses those that were given for it.
//!
//! The entries are written by triggers, in the transactions that revoke, so no way of ending a session can forget them.

use actix_web::{get, web};
use diesel::sql_types::{BigInt, Nullable};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Deserialize;
use shared::clients::auth::{Revocation, Revocations};
use shared::{ApiError, ServiceCaller};
use uuid::Uuid;

use crate::state::AppState;

/// Longer than any access token lives.
pub const KEEP: chrono::Duration = chrono::Duration::minutes(15);
const MAX_ENTRIES: i32 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    after: Option<i64>,
}

#[utoipa::path(tag = "internal", responses((status = 200, description = "What was revoked", body = Object)))]
#[get("/internal/revocations")]
pub async fn list_revocations(
    caller: ServiceCaller,
    state: web::Data<AppState>,
    query: web::Query<After>,
) -> Result<web::Json<Revocations>, ApiError> {
    caller.require(&["gateway"])?;
    let mut connection = state.db.connection().await?;
    Ok(web::Json(list(&mut connection, query.after).await?))
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
    let last = rows.first().map_or(0, |row| row.last);
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
