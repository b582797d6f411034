//! A service's migrations, run in its schema by the role that owns it, while the service goes on. What a table's migration
//! revokes from `<schema>_runtime` by name, no login of the service has.

use std::time::Duration;

use anyhow::Context;
use diesel::connection::SimpleConnection;
use diesel::migration::Migration;
use diesel::pg::Pg;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use secrecy::{ExposeSecret, SecretString};

use crate::config::Env;

use super::{chain, connect_options, tls_connector, url};

/// How long a migration waits for a lock. Whoever wants the table after it waits behind it, so this is also how long it can
/// hold up the services.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries, in which the services catch up.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_TRIES: u32 = 4;

const HELD_UP: &str = "\
    Another session holds a lock that it needs, perhaps in a transaction that has been open for long: \
    SELECT pid, xact_start, state, query FROM pg_stat_activity ORDER BY xact_start. \
    It was not applied; run `migrate` again.";
const HALF_DONE: &str = "\
    It can have left an index that is invalid: look with \\d in psql, DROP INDEX CONCURRENTLY, and run `migrate` again.";

/// The `migrate` command of a service: `MIGRATION_DATABASE_URL` is the schema's owner.
pub async fn migrate_from_env(
    mut env: Env,
    schema: &'static str,
    migrations: EmbeddedMigrations,
) -> anyhow::Result<()> {
    let url = url::from_env(&mut env, "MIGRATION_DATABASE_URL");
    let url = env.finish(url)?;
    migrate(schema, &url, migrations).await
}

/// Runs what is pending of `migrations` as the schema's owner. Safe to run from several places at once.
pub async fn migrate(
    schema: &'static str,
    owner_url: &SecretString,
    migrations: EmbeddedMigrations,
) -> anyhow::Result<()> {
    // The lock is held by a connection of its own, so that it spans all migrations, each of which is a transaction.
    let lock = connect(schema, owner_url).await?;
    lock.batch_execute("SET lock_timeout = '5min'; SET statement_timeout = '5min'")
        .await?;
    lock.execute(
        "SELECT pg_advisory_lock(hashtext('migrate ' || current_schema()))",
        &[],
    )
    .await?;
    let options = connect_options(schema, owner_url.expose_secret())?;
    let (client, connection) = options.connect(tls_connector()?).await?;
    let connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    let handle = tokio::runtime::Handle::current();
    // Diesel's migrations block on the database, which a single-threaded runtime would not survive.
    let applied = tokio::task::spawn_blocking(move || {
        let _guard = handle.enter();
        apply_pending(&mut connection.into(), migrations)
    })
    .await?
    .with_context(|| format!("migrating schema {schema}"))?;
    if !applied.is_empty() {
        tracing::info!(schema, ?applied, "migrated");
    }
    lock.batch_execute(&format!(
        "REVOKE INSERT, UPDATE, DELETE ON __diesel_schema_migrations FROM {schema}_runtime"
    ))
    .await?;
    Ok(())
}

type BlockingConnection = AsyncConnectionWrapper<AsyncPgConnection>;

/// Returns the names of what was applied.
fn apply_pending(
    connection: &mut BlockingConnection,
    migrations: EmbeddedMigrations,
) -> anyhow::Result<Vec<String>> {
    let pending = connection
        .pending_migrations(migrations)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut applied = Vec::new();
    for migration in pending {
        apply(connection, migration.as_ref())?;
        applied.push(migration.name().to_string());
    }
    Ok(applied)
}

/// Each try is a transaction of its own.
fn apply(connection: &mut BlockingConnection, migration: &dyn Migration<Pg>) -> anyhow::Result<()> {
    let name = migration.name();
    if !migration.metadata().run_in_transaction() {
        // What PostgreSQL does `CONCURRENTLY` waits for long, holds up nobody, and cannot be tried again just so.
        connection.batch_execute("SET lock_timeout = 0; SET statement_timeout = 0")?;
        let applied = connection.run_migration(migration).map(drop);
        connection.batch_execute("RESET lock_timeout; RESET statement_timeout")?;
        return applied.map_err(|error| anyhow::anyhow!("{error}\n{name} is no transaction. {HALF_DONE}"));
    }
    connection.batch_execute(&format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis()))?;
    let mut tries = 1;
    loop {
        let Err(error) = connection.run_migration(migration) else {
            return Ok(());
        };
        let error = error.to_string();
        if !was_held_up(&error) {
            anyhow::bail!("{error}");
        }
        anyhow::ensure!(
            tries < MAX_TRIES,
            "{error}\n{name} was tried {tries} times. {HELD_UP}"
        );
        tracing::warn!(migration = %name, tries, error, "a migration is tried again");
        std::thread::sleep(PAUSE);
        tries += 1;
    }
}

/// Diesel keeps no SQLSTATE, so it is told by PostgreSQL's words.
fn was_held_up(error: &str) -> bool {
    error.contains("due to lock timeout") || error.contains("deadlock detected")
}

pub(super) async fn connect(schema: &str, url: &SecretString) -> anyhow::Result<tokio_postgres::Client> {
    let options = connect_options(schema, url.expose_secret())?;
    let (client, connection) = options
        .connect(tls_connector()?)
        .await
        .map_err(|error| anyhow::anyhow!("connecting for schema {schema}: {}", chain(&error)))?;
    tokio::spawn(connection);
    Ok(client)
}
