//! Erasure of a person in the other services that know who they are. A row is written in the transaction that erases them here, and
//! any replica asks, again and again, until the answer is yes: a service that is down, or an open case, only delays it. Asking
//! twice changes nothing.
//!
//! Deliberately absent: the ledger and accounts-service, which keep ids that lead to nobody from then on, and what the law wants kept.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Double, Integer, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::{ErasePerson, MlClient};
use shared::http_client::CallError;
use shared::id::UserId;
use shared::{ApiError, Clock, Db};
use tokio_util::sync::CancellationToken;

use crate::schema::erasures;

const PAUSE: Duration = Duration::from_millis(500);
/// Longer than asking takes. What a replica that dies was at is asked again after this.
const LEASE: chrono::Duration = chrono::Duration::minutes(2);
/// A case is open for days.
const LONGEST_DELAY_S: i64 = 3_600;

/// What asking needs.
pub struct Erasures {
    pub db: Db,
    pub clock: Clock,
    pub ml: MlClient,
}

/// Has a user erased elsewhere, when the transaction has been committed.
pub async fn queue(connection: &mut AsyncPgConnection, user: UserId, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::insert_into(erasures::table)
        .values((
            erasures::user_id.eq(user),
            erasures::requested_at.eq(now),
            erasures::next_attempt_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = SqlUuid)]
    user_id: UserId,
    #[diesel(sql_type = Integer)]
    attempts: i32,
}

/// Asks until `shutdown`; what is under way then is finished.
pub async fn run(erasures: Erasures, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = erasures.ask_for_due().await {
            tracing::warn!(%error, "erasures wait for better times");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

impl Erasures {
    async fn ask_for_due(&self) -> Result<(), ApiError> {
        let now = self.clock.now();
        let mut connection = self.db.connection().await?;
        metrics::gauge!("erasures_waiting_seconds").set(waiting_s(&mut connection, now).await?);
        let due = take(&mut connection, now).await?;
        drop(connection);
        for taken in due {
            self.ask(&taken).await?;
        }
        Ok(())
    }

    async fn ask(&self, taken: &Taken) -> Result<(), ApiError> {
        let user_id = taken.user_id;
        let answer = self.ml.erase(&ErasePerson { user_id }).await;
        let mut connection = self.db.connection().await?;
        let row = erasures::table.find(user_id);
        let Err(error) = answer else {
            diesel::delete(row).execute(&mut *connection).await?;
            return Ok(());
        };
        let problem = problem(&error);
        tracing::warn!(user = %user_id, %error, "an erasure is asked for again later");
        let at = self.clock.now() + delay(taken.attempts);
        diesel::update(row)
            .set((erasures::problem.eq(problem), erasures::next_attempt_at.eq(at)))
            .execute(&mut *connection)
            .await?;
        Ok(())
    }
}

/// In a word that has nothing private in it.
fn problem(error: &CallError) -> String {
    match error {
        CallError::Refused { problem, .. } => problem.code.chars().filter(char::is_ascii).take(64).collect(),
        CallError::Unavailable { .. } => "unavailable".to_owned(),
        CallError::Unintelligible { .. } => "unintelligible".to_owned(),
    }
}

/// How long to wait after so many attempts: twice as long each time.
fn delay(attempts: i32) -> chrono::Duration {
    let doublings = u32::try_from(attempts.clamp(1, 12)).unwrap_or(1);
    chrono::Duration::seconds(2_i64.saturating_pow(doublings).min(LONGEST_DELAY_S))
}

/// Takes what is due, longest waiting first. Others leave it alone until the lease ends.
async fn take(connection: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Vec<Taken>> {
    diesel::sql_query(
        "UPDATE erasures SET attempts = least(attempts + 1, 1000), next_attempt_at = $2 WHERE user_id = ANY (ARRAY(
             SELECT user_id FROM erasures WHERE next_attempt_at <= $1
             ORDER BY next_attempt_at LIMIT 8 FOR UPDATE SKIP LOCKED))
         RETURNING user_id, attempts",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now + LEASE)
    .load(connection)
    .await
}

/// How long the first of those that are not carried out has waited.
async fn waiting_s(connection: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<f64> {
    #[derive(QueryableByName)]
    struct Waiting {
        #[diesel(sql_type = Double)]
        seconds: f64,
    }
    let waiting: Waiting = diesel::sql_query(
        "SELECT greatest(coalesce(extract(epoch FROM $1 - min(requested_at)), 0), 0)::float8 AS seconds FROM erasures",
    )
    .bind::<Timestamptz, _>(now)
    .get_result(connection)
    .await?;
    Ok(waiting.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer() {
        let delays: Vec<i64> = [1, 2, 5, 11, 12, 1000]
            .map(|attempts| delay(attempts).num_seconds())
            .to_vec();
        assert_eq!(delays, [2, 4, 32, 2048, 3600, 3600]);
    }
}
