//! Going through a column from beginning to end while the service runs: a few hundred rows at a time, each window in a
//! short transaction of its own, so that nobody waits for it and a command that was killed is simply run again.

use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::config::Env;
use shared::db::DbConfig;
use shared::field_key::Encrypted;
use shared::{ApiError, Db, FieldKeys};
use uuid::Uuid;

use super::{PersonalColumn, Protection, queries};

const WINDOW: i64 = 500;
/// Windows between two lines of progress.
const REPORT_EVERY: usize = 40;

/// What a command works with. Only one command runs at a time.
pub struct Command {
    pub db: Db,
    pub keys: FieldKeys,
    /// The connection that holds the lock.
    _alone: tokio_postgres::Client,
}

impl Command {
    pub async fn begin(mut env: Env) -> anyhow::Result<Self> {
        let config = DbConfig::from_env(&mut env);
        let keys = FieldKeys::from_env(&mut env);
        let config = env.finish(config)?;
        let db = Db::new(crate::SCHEMA, &config)?;
        let (client, connection) = db.dedicated_connection().await?;
        tokio::spawn(connection);
        let lock = "SELECT pg_try_advisory_lock(hashtext('auth.field_keys command'))";
        let is_alone: bool = client.query_one(lock, &[]).await?.try_get(0)?;
        anyhow::ensure!(
            is_alone,
            "another encrypt-fields or rotate-field-keys is running: let it finish"
        );
        queries::check_in(&db, &keys)
            .await
            .map_err(ApiError::into_source)??;
        Ok(Self {
            db,
            keys,
            _alone: client,
        })
    }

    /// Does `work` on all rows of a column in the order of their ids, and returns the sum of what it returns.
    pub async fn walk(
        &self,
        what: &'static str,
        column: &PersonalColumn,
        work: impl AsyncFn(&mut AsyncPgConnection, &Protection<'_>, &[Stored]) -> Result<usize, ApiError>,
    ) -> anyhow::Result<usize> {
        let (mut after, mut changed) = (Uuid::nil(), 0);
        for number in 1.. {
            let (last, count) = self
                .db
                .transaction(what, async |connection| {
                    let protection = queries::begin_writing(connection, &self.keys).await?;
                    let rows = window(connection, column, after).await?;
                    let last = rows.last().map(|row| row.id);
                    Ok((last, work(connection, &protection, &rows).await?))
                })
                .await
                .map_err(ApiError::into_source)?;
            changed += count;
            let Some(last) = last else { break };
            after = last;
            if number % REPORT_EVERY == 0 {
                let rows = number * usize::try_from(WINDOW)?;
                println!("{what}: {} after {rows} rows: {changed}", column.place.0);
            }
        }
        println!("{what}: {}: {changed}", column.place.0);
        Ok(changed)
    }
}

/// One value of personal data, as it is stored.
#[derive(QueryableByName)]
pub struct Stored {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: Uuid,
    #[diesel(sql_type = Nullable<Text>)]
    pub plaintext: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub encrypted: Option<Encrypted>,
}

async fn window(
    connection: &mut AsyncPgConnection,
    column: &PersonalColumn,
    after: Uuid,
) -> QueryResult<Vec<Stored>> {
    let PersonalColumn {
        table,
        plaintext,
        encrypted,
        ..
    } = column;
    let plaintext = plaintext.unwrap_or("NULL::text");
    diesel::sql_query(format!(
        "SELECT id, {plaintext} AS plaintext, {encrypted} AS encrypted FROM {table}
         WHERE id > $1 ORDER BY id LIMIT {WINDOW}"
    ))
    .bind::<diesel::sql_types::Uuid, _>(after)
    .load(connection)
    .await
}

/// A value that takes the place of another one, unless that was changed meanwhile.
pub struct Replacement<T> {
    pub id: Uuid,
    pub old: T,
    pub new: Encrypted,
}

pub async fn replace(
    connection: &mut AsyncPgConnection,
    column: &PersonalColumn,
    replacements: &[Replacement<&Encrypted>],
) -> QueryResult<usize> {
    let PersonalColumn { table, encrypted, .. } = column;
    diesel::sql_query(format!(
        "UPDATE {table} SET {encrypted} = changed.new FROM unnest($1, $2, $3) AS changed (id, old, new)
         WHERE {table}.id = changed.id AND {table}.{encrypted} = changed.old"
    ))
    .bind::<Array<diesel::sql_types::Uuid>, _>(replacements.iter().map(|one| one.id).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(replacements.iter().map(|one| one.old).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(replacements.iter().map(|one| &one.new).collect::<Vec<_>>())
    .execute(connection)
    .await
}

/// Removes plaintext; a value that is there encrypted already stays as it is.
pub async fn replace_plaintext(
    connection: &mut AsyncPgConnection,
    column: &PersonalColumn,
    plaintext: &str,
    replacements: &[Replacement<&str>],
) -> QueryResult<usize> {
    let PersonalColumn { table, encrypted, .. } = column;
    diesel::sql_query(format!(
        "UPDATE {table} SET {encrypted} = coalesce({table}.{encrypted}, changed.new), {plaintext} = NULL
         FROM unnest($1, $2, $3) AS changed (id, old, new)
         WHERE {table}.id = changed.id AND {table}.{plaintext} = changed.old"
    ))
    .bind::<Array<diesel::sql_types::Uuid>, _>(replacements.iter().map(|one| one.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(replacements.iter().map(|one| one.old).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(replacements.iter().map(|one| &one.new).collect::<Vec<_>>())
    .execute(connection)
    .await
}
