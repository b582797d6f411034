//! Schedules and their runs in the database.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use diesel::dsl::{min, sql};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::de::DeserializeOwned;
use shared::id::{ScheduleId, TransferId, UserId};
use shared::page::Limit;
use shared::{ApiError, Clock};

use super::calendar::{Calendar, Repeat, TimeOfDay, UpTo};
use super::runner::Run;
use super::{Failure, Schedule, ScheduleRun, ScheduleStatus, UPCOMING};
use crate::schema::{schedule_runs, schedules};
use crate::transfer::handlers::CreateTransfer;

#[derive(Clone, Debug, HasQuery, Insertable)]
#[diesel(table_name = schedules)]
pub struct ScheduleRow {
    pub id: ScheduleId,
    pub owner_id: UserId,
    pub key: String,
    pub fingerprint: Vec<u8>,
    pub transfer: serde_json::Value,
    time_zone: String,
    first_on: NaiveDate,
    at_time: NaiveTime,
    repeat_every: Option<i32>,
    repeat_unit: Option<String>,
    last_on: Option<NaiveDate>,
    times: Option<i32>,
    status: String,
    pub next_occurrence: i32,
    pub next_run_at: Option<DateTime<Utc>>,
    pub failures_in_a_row: i32,
    failure: Option<serde_json::Value>,
    created_at: DateTime<Utc>,
    /// How often its next run was tried, and neither made nor refused.
    pub attempts: i32,
}

/// What a schedule is made of.
pub struct NewSchedule {
    pub owner_id: UserId,
    pub key: String,
    pub fingerprint: Vec<u8>,
    pub transfer: serde_json::Value,
    pub calendar: Calendar,
    pub first_run_at: DateTime<Utc>,
}

impl ScheduleRow {
    pub fn new(schedule: NewSchedule, clock: &Clock) -> Self {
        let calendar = schedule.calendar;
        Self {
            id: ScheduleId::new(),
            owner_id: schedule.owner_id,
            key: schedule.key,
            fingerprint: schedule.fingerprint,
            transfer: schedule.transfer,
            time_zone: calendar.time_zone.to_string(),
            first_on: calendar.first_on,
            at_time: calendar.at.0,
            repeat_every: calendar.repeat.map(|repeat| i32::from(repeat.every.get())),
            repeat_unit: calendar.repeat.map(|repeat| repeat.unit.word().to_owned()),
            last_on: calendar.last_on,
            times: calendar.times.map(|times| i32::from(times.get())),
            status: ScheduleStatus::Active.word().to_owned(),
            next_occurrence: 0,
            next_run_at: Some(schedule.first_run_at),
            failures_in_a_row: 0,
            failure: None,
            created_at: clock.now(),
            attempts: 0,
        }
    }

    pub fn status(&self) -> Result<ScheduleStatus, ApiError> {
        word(&self.status)
    }

    /// What is transferred, as it was asked for.
    pub fn create_transfer(&self) -> Result<CreateTransfer, ApiError> {
        serde_json::from_value(self.transfer.clone()).map_err(ApiError::internal)
    }

    /// The number of the next run.
    pub fn next_number(&self) -> Result<u32, ApiError> {
        u32::try_from(self.next_occurrence).map_err(ApiError::internal)
    }

    pub fn calendar(&self) -> Result<Calendar, ApiError> {
        let repeat = match (self.repeat_every, &self.repeat_unit) {
            (Some(every), Some(unit)) => Some(Repeat {
                every: number(every)?,
                unit: word(unit)?,
            }),
            _ => None,
        };
        Ok(Calendar {
            first_on: self.first_on,
            at: TimeOfDay(self.at_time),
            time_zone: self.time_zone.parse().map_err(ApiError::internal)?,
            repeat,
            last_on: self.last_on,
            times: self.times.map(number).transpose()?,
        })
    }

    pub fn failure(&self) -> Result<Option<Failure>, ApiError> {
        let failure = self.failure.clone().map(serde_json::from_value).transpose();
        failure.map_err(ApiError::internal)
    }

    pub fn into_schedule(self) -> Result<Schedule, ApiError> {
        let (status, calendar) = (self.status()?, self.calendar()?);
        let upcoming = match self.next_run_at {
            Some(_) => calendar
                .from(self.next_number()?)
                .take(UPCOMING)
                .map(|run| run.due_at)
                .collect(),
            None => Vec::new(),
        };
        let failure = self.failure()?;
        Ok(Schedule {
            id: self.id,
            status,
            transfer: self.transfer,
            calendar,
            next_run_at: self.next_run_at,
            upcoming,
            failure,
            created_at: self.created_at,
            dry_run: false,
        })
    }
}

fn number<const MOST: u16>(number: i32) -> Result<UpTo<MOST>, ApiError> {
    let number = u16::try_from(number).ok().and_then(UpTo::new);
    number.ok_or_else(|| ApiError::internal(anyhow::anyhow!("a schedule's number is out of its range")))
}

fn word<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(ApiError::internal)
}

/// Keeps two requests of one owner from counting at the same time.
pub async fn lock_owner(conn: &mut AsyncPgConnection, owner: UserId) -> QueryResult<usize> {
    sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind::<Text, _>(format!("schedules of {owner}"))
        .execute(conn)
        .await
}

/// How many of an owner's schedules may still run. Each status is counted in the index by it: those that are over may be many.
pub async fn count_live(conn: &mut AsyncPgConnection, owner: UserId) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Live {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = sql_query(
        "SELECT (SELECT count(*) FROM schedules WHERE owner_id = $1 AND status = 'active')
            + (SELECT count(*) FROM schedules WHERE owner_id = $1 AND status = 'paused')
            + (SELECT count(*) FROM schedules WHERE owner_id = $1 AND status = 'failed') AS count",
    );
    Ok(query.bind::<Uuid, _>(owner).get_result::<Live>(conn).await?.count)
}

pub async fn insert(conn: &mut AsyncPgConnection, row: &ScheduleRow) -> QueryResult<usize> {
    diesel::insert_into(schedules::table)
        .values(row)
        .execute(conn)
        .await
}

pub async fn find(conn: &mut AsyncPgConnection, id: ScheduleId) -> QueryResult<ScheduleRow> {
    ScheduleRow::query()
        .filter(schedules::id.eq(id))
        .first(conn)
        .await
}

pub async fn find_by_key(
    conn: &mut AsyncPgConnection,
    owner: UserId,
    key: &str,
) -> QueryResult<Option<ScheduleRow>> {
    ScheduleRow::query()
        .filter(schedules::owner_id.eq(owner))
        .filter(schedules::key.eq(key))
        .first(conn)
        .await
        .optional()
}

pub async fn lock(conn: &mut AsyncPgConnection, id: ScheduleId) -> QueryResult<ScheduleRow> {
    ScheduleRow::query()
        .filter(schedules::id.eq(id))
        .for_no_key_update()
        .first(conn)
        .await
}

/// Newest first. The index by which the ids are found has all that is asked for, so that the planner takes no other.
pub async fn list(
    conn: &mut AsyncPgConnection,
    owner: UserId,
    status: Option<ScheduleStatus>,
    after: Option<ScheduleId>,
    limit: Limit,
) -> QueryResult<Vec<ScheduleRow>> {
    let before = after.unwrap_or(ScheduleId::from_uuid(uuid::Uuid::max()));
    let mut ids = schedules::table
        .select(schedules::id)
        .filter(schedules::owner_id.eq(owner))
        .filter(schedules::id.lt(before))
        .order(schedules::id.desc())
        .limit(limit.rows_to_load())
        .into_boxed();
    if let Some(status) = status {
        ids = ids.filter(schedules::status.eq(status.word()));
    }
    let ids: Vec<ScheduleId> = ids.load(conn).await?;
    ScheduleRow::query()
        .filter(schedules::id.eq_any(ids))
        .order(schedules::id.desc())
        .load(conn)
        .await
}

/// Those whose next run may be tried, longest waiting first.
pub async fn find_due(
    conn: &mut AsyncPgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<ScheduleRow>> {
    ScheduleRow::query()
        // As a literal: a partial index serves only what its condition is seen to imply.
        .filter(sql::<Bool>("status = 'active'"))
        .filter(sql::<Timestamptz>("greatest(next_run_at, retry_at)").le(now))
        .order(sql::<Timestamptz>("greatest(next_run_at, retry_at)"))
        .limit(limit)
        .load(conn)
        .await
}

/// When the run is due that is due first, tried before or not.
pub async fn first_due_at(conn: &mut AsyncPgConnection) -> QueryResult<Option<DateTime<Utc>>> {
    schedules::table
        .filter(sql::<Bool>("status = 'active'"))
        .select(min(schedules::next_run_at))
        .first(conn)
        .await
}

/// Lets a run that could be neither made nor refused wait, so that it does not stand in the way of others.
pub async fn put_off(
    conn: &mut AsyncPgConnection,
    row: &ScheduleRow,
    retry_at: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(schedules::table.find(row.id))
        .filter(schedules::next_occurrence.eq(row.next_occurrence))
        .set((
            schedules::attempts.eq(row.attempts.saturating_add(1)),
            schedules::retry_at.eq(retry_at),
        ))
        .execute(conn)
        .await
}

/// How a schedule stands after a change.
pub struct Standing {
    pub status: ScheduleStatus,
    pub next_occurrence: i32,
    /// Of an active one.
    pub next_run_at: Option<DateTime<Utc>>,
    pub failures_in_a_row: i32,
    pub failure: Option<Failure>,
}

pub async fn set_standing(
    conn: &mut AsyncPgConnection,
    id: ScheduleId,
    standing: Standing,
) -> Result<(), ApiError> {
    let failure = standing.failure.map(serde_json::to_value).transpose();
    diesel::update(schedules::table.find(id))
        .set((
            schedules::status.eq(standing.status.word()),
            schedules::next_occurrence.eq(standing.next_occurrence),
            schedules::next_run_at.eq(standing.next_run_at),
            schedules::failures_in_a_row.eq(standing.failures_in_a_row),
            schedules::failure.eq(failure.map_err(ApiError::internal)?),
            schedules::attempts.eq(0),
            schedules::retry_at.eq(None::<DateTime<Utc>>),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

#[derive(Debug, HasQuery)]
#[diesel(table_name = schedule_runs)]
pub struct RunRow {
    pub occurrence: i32,
    due_at: DateTime<Utc>,
    ran_at: DateTime<Utc>,
    outcome: String,
    transfer_id: Option<TransferId>,
    failure: Option<serde_json::Value>,
}

impl RunRow {
    pub fn into_run(self) -> Result<ScheduleRun, ApiError> {
        let failure = self.failure.map(serde_json::from_value).transpose();
        Ok(ScheduleRun {
            occurrence: self.occurrence,
            due_at: self.due_at,
            ran_at: self.ran_at,
            outcome: word(&self.outcome)?,
            transfer_id: self.transfer_id,
            failure: failure.map_err(ApiError::internal)?,
        })
    }
}

/// Newest first, before the run with number `before`.
pub async fn list_runs(
    conn: &mut AsyncPgConnection,
    id: ScheduleId,
    before: Option<i32>,
    limit: Limit,
) -> QueryResult<Vec<RunRow>> {
    RunRow::query()
        .filter(schedule_runs::schedule_id.eq(id))
        .filter(schedule_runs::occurrence.lt(before.unwrap_or(i32::MAX)))
        .order(schedule_runs::occurrence.desc())
        .limit(limit.rows_to_load())
        .load(conn)
        .await
}

/// One statement: the run, by whoever is first, and how the schedule goes on. Its owner may have paused or ended it while the
/// run was made, or resumed it behind this run; what the owner did stays.
const WRITE_DOWN: &str = "
    WITH run AS (
        INSERT INTO schedule_runs (schedule_id, occurrence, due_at, outcome, transfer_id, failure)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING schedule_id
    )
    UPDATE schedules SET next_occurrence = $7, failures_in_a_row = $8, failure = $6, attempts = 0, retry_at = NULL,
        status = CASE WHEN status = 'active' THEN $9 ELSE status END,
        next_run_at = CASE WHEN status = 'active' THEN $10 END
    FROM run WHERE schedules.id = run.schedule_id AND next_occurrence = $2";

pub async fn write_down(
    conn: &mut AsyncPgConnection,
    row: &ScheduleRow,
    run: &Run,
    standing: &Standing,
) -> Result<(), ApiError> {
    let failure = run.failure.as_ref().map(serde_json::to_value).transpose();
    sql_query(WRITE_DOWN)
        .bind::<Uuid, _>(row.id)
        .bind::<Integer, _>(row.next_occurrence)
        .bind::<Nullable<Timestamptz>, _>(row.next_run_at)
        .bind::<Text, _>(run.outcome.word())
        .bind::<Nullable<Uuid>, _>(run.transfer_id)
        .bind::<Nullable<Jsonb>, _>(failure.map_err(ApiError::internal)?)
        .bind::<Integer, _>(standing.next_occurrence)
        .bind::<Integer, _>(standing.failures_in_a_row)
        .bind::<Text, _>(standing.status.word())
        .bind::<Nullable<Timestamptz>, _>(standing.next_run_at)
        .execute(conn)
        .await?;
    Ok(())
}
