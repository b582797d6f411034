//! Work by the clock that no request waits for: the partitions of the coming months, keys, deliveries and
//! secrets that have had their time.

use std::time::Duration;

use diesel::sql_types::{BigInt, Integer};
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::{ApiError, Db, FieldKeys};
use tokio_util::sync::CancellationToken;

use crate::idempotency_key::KEPT_DAYS;
use crate::webhook;

const PAUSE: Duration = Duration::from_secs(600);
/// How many rows one statement deletes, so that it never holds its locks for long.
const BATCH: i64 = 5000;

diesel::define_sql_function! {
    /// Makes the partitions of this month and of those ahead that are not there yet.
    fn create_month_partitions(months_ahead: diesel::sql_types::Integer);
}

pub async fn run(db: Db, webhook_keys: FieldKeys, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = upkeep(&db, &webhook_keys).await {
            tracing::warn!(error = %error, "upkeep did not finish; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn upkeep(db: &Db, webhook_keys: &FieldKeys) -> Result<(), ApiError> {
    let mut conn = db.connection().await?;
    diesel::select(create_month_partitions(12))
        .execute(&mut conn)
        .await?;
    while delete_old_keys(&mut conn).await? > 0 {}
    while webhook::queries::delete_old_deliveries(&mut conn, BATCH).await? > 0 {}
    webhook::queries::forget_previous_secrets(&mut conn).await?;
    while webhook::queries::encrypt_anew(&mut conn, webhook_keys).await? > 0 {}
    Ok(())
}

async fn delete_old_keys(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    sql_query(
        "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(days => $1) LIMIT $2))",
    )
    .bind::<Integer, _>(KEPT_DAYS)
    .bind::<BigInt, _>(BATCH)
    .execute(conn)
    .await
}
