//! Preparing the database: two roles and a schema for each service, and the service's migrations in it.
//!
//! `<schema>_owner` owns the tables and runs migrations; `<schema>_runtime` is what the service connects as: it reads and
//! writes rows of its own schema, and has no grant on any other. A migration may take more away from it by name.

use anyhow::Context;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use secrecy::{ExposeSecret, SecretString};

use crate::config::Env;

use super::{chain, connect_options, tls_connector};

/// Creates the roles and the schema of a service, or brings them to the given passwords. Run by an administrator, once
/// per database, any number of times.
pub async fn provision(
    admin_url: &SecretString,
    schema: &'static str,
    owner_password: &SecretString,
    runtime_password: &SecretString,
) -> anyhow::Result<()> {
    let client = connect("public", admin_url).await?;
    for (role, password) in [("owner", owner_password), ("runtime", runtime_password)] {
        client
            .batch_execute(&format!(
                "DO $$ BEGIN CREATE ROLE {schema}_{role} LOGIN NOINHERIT;
                 EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
            ))
            .await?;
        // ALTER ROLE takes no parameters, so the literal is quoted by the server itself.
        let literal: String = client
            .query_one("SELECT quote_literal($1::text)", &[&password.expose_secret()])
            .await?
            .get(0);
        client
            .batch_execute(&format!("ALTER ROLE {schema}_{role} PASSWORD {literal}"))
            .await?;
    }
    client
        .batch_execute(&format!(
            "GRANT {schema}_owner TO CURRENT_USER;
             CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {schema}_owner;
             REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
             GRANT USAGE ON SCHEMA {schema} TO {schema}_runtime;
             ALTER DEFAULT PRIVILEGES FOR ROLE {schema}_owner IN SCHEMA {schema}
                 GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {schema}_runtime;
             ALTER DEFAULT PRIVILEGES FOR ROLE {schema}_owner IN SCHEMA {schema}
                 GRANT USAGE, SELECT ON SEQUENCES TO {schema}_runtime;
             ALTER DEFAULT PRIVILEGES FOR ROLE {schema}_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
             REVOKE ALL ON SCHEMA public FROM PUBLIC;"
        ))
        .await
        .with_context(|| format!("provisioning schema {schema}"))?;
    Ok(())
}

/// The `migrate` command of a service: `MIGRATION_DATABASE_URL` is the schema's owner.
pub async fn migrate_from_env(
    mut env: Env,
    schema: &'static str,
    migrations: EmbeddedMigrations,
) -> anyhow::Result<()> {
    let url = env.secret_url("MIGRATION_DATABASE_URL");
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
    let mut harness = AsyncMigrationHarness::new(connection);
    let handle = tokio::runtime::Handle::current();
    // The harness blocks on the database, which a single-threaded runtime would not survive.
    let applied = tokio::task::spawn_blocking(move || {
        let _guard = handle.enter();
        let applied = harness
            .run_pending_migrations(migrations)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        anyhow::Ok(applied.iter().map(ToString::to_string).collect::<Vec<_>>())
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

async fn connect(schema: &str, url: &SecretString) -> anyhow::Result<tokio_postgres::Client> {
    let options = connect_options(schema, url.expose_secret())?;
    let (client, connection) = options
        .connect(tls_connector()?)
        .await
        .map_err(|error| anyhow::anyhow!("connecting for schema {schema}: {}", chain(&error)))?;
    tokio::spawn(connection);
    Ok(client)
}
