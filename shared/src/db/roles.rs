//! The database roles of a service, and its schema: the commands `provision` and `retire-logins`, which an administrator runs.
//!
//! `<schema>_owner` owns the tables and runs migrations; `<schema>_runtime` reads and writes rows of its own schema, and has
//! no grant on any other. A service logs in as `<schema>_runtime` or as a member of it, `<schema>_runtime_<anything>`:
//! a role has one password, so a password is replaced by way of a second login, and no connection is ever refused.

use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Client;

use super::{migrate, url};
use crate::config::Env;

/// A role that logs in.
pub struct Login {
    pub role: String,
    pub password: SecretString,
}

impl Login {
    fn of_url(url: &SecretString) -> anyhow::Result<Self> {
        let options = tokio_postgres::Config::from_str(url.expose_secret())?;
        let role = options.get_user().context("a database URL has no user")?;
        let password = options.get_password().context("a database URL has no password")?;
        Ok(Self {
            role: role.to_owned(),
            password: std::str::from_utf8(password)?.into(),
        })
    }
}

/// The `provision` command: `ADMIN_DATABASE_URL` makes what `MIGRATION_DATABASE_URL` and `DATABASE_URL` log in as.
pub async fn provision_from_env(mut env: Env, schema: &'static str) -> anyhow::Result<()> {
    let admin_url = url::of_administrator(&mut env, "ADMIN_DATABASE_URL");
    let owner_url = url::from_env(&mut env, "MIGRATION_DATABASE_URL");
    let runtime_url = url::from_env(&mut env, "DATABASE_URL");
    env.finish(())?;
    let (owner, runtime) = (Login::of_url(&owner_url)?, Login::of_url(&runtime_url)?);
    provision(&admin_url, schema, &owner, &runtime).await?;
    tracing::info!(schema, owner = owner.role, runtime = runtime.role, "provisioned");
    Ok(())
}

/// The `retire-logins` command: every runtime login but the one of `DATABASE_URL` ends.
pub async fn retire_logins_from_env(mut env: Env, schema: &'static str) -> anyhow::Result<()> {
    let admin_url = url::of_administrator(&mut env, "ADMIN_DATABASE_URL");
    let runtime_url = url::from_env(&mut env, "DATABASE_URL");
    env.finish(())?;
    let retired = retire_logins(&admin_url, schema, &Login::of_url(&runtime_url)?.role).await?;
    tracing::info!(schema, ?retired, "retired");
    Ok(())
}

/// Makes the roles and the schema of a service, or brings them to the given passwords. Any number of times.
pub async fn provision(
    admin_url: &SecretString,
    schema: &'static str,
    owner: &Login,
    runtime: &Login,
) -> anyhow::Result<()> {
    ensure!(
        owner.role == format!("{schema}_owner"),
        "the owner of schema {schema} logs in as {schema}_owner"
    );
    ensure!(
        is_runtime_login(schema, &runtime.role),
        "the service logs in as {schema}_runtime or as {schema}_runtime_ and lower-case letters or digits"
    );
    let client = migrate::connect("public", admin_url).await?;
    wait_for_other_jobs(&client).await?;
    create_role(&client, &owner.role).await?;
    create_role(&client, &format!("{schema}_runtime")).await?;
    if runtime.role != format!("{schema}_runtime") {
        create_role(&client, &runtime.role).await?;
        let grant = format!(
            "ALTER ROLE {0} INHERIT; GRANT {schema}_runtime TO {0}",
            runtime.role
        );
        client.batch_execute(&grant).await?;
    }
    for login in [owner, runtime] {
        set_password(&client, login).await?;
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
    let row = client
        .query_one("SELECT quote_ident(current_database())", &[])
        .await?;
    restrict_database(&client, row.try_get(0)?, schema).await
}

/// Rights that services share are one row each, which PostgreSQL does not let two sessions change at a time. Held until the
/// connection ends.
async fn wait_for_other_jobs(client: &Client) -> anyhow::Result<()> {
    client
        .batch_execute("SET lock_timeout = '1min'; SET statement_timeout = '1min'")
        .await?;
    client
        .execute("SELECT pg_advisory_lock(hashtext('provision'))", &[])
        .await?;
    Ok(())
}

/// Lets the roles of `schema` connect to `database`, and nobody by being anybody: PostgreSQL lets every role of the server
/// connect to a new database and make temporary tables in it.
pub async fn restrict_database(client: &Client, database: &str, schema: &str) -> anyhow::Result<()> {
    let statement = format!(
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
         GRANT CONNECT ON DATABASE {database} TO {schema}_owner, {schema}_runtime"
    );
    client
        .batch_execute(&statement)
        .await
        .with_context(|| format!("restricting who connects to {database}"))
}

/// Ends every runtime login of the schema but `kept`, and returns their names. Refuses while one of them is still used,
/// which is before the last replica has been restarted with the new one.
pub async fn retire_logins(
    admin_url: &SecretString,
    schema: &'static str,
    kept: &str,
) -> anyhow::Result<Vec<String>> {
    let client = migrate::connect("public", admin_url).await?;
    let logins = client
        .query(
            "SELECT rolname::text FROM pg_roles WHERE rolcanlogin ORDER BY rolname",
            &[],
        )
        .await?;
    let logins = logins.iter().map(|row| row.try_get(0));
    let logins: Vec<String> = logins.collect::<Result<_, _>>()?;
    let (kept, others): (Vec<String>, Vec<String>) = logins
        .into_iter()
        .filter(|role| is_runtime_login(schema, role))
        .partition(|role| role == kept);
    ensure!(
        !kept.is_empty(),
        "the login of DATABASE_URL is not there: run `provision` first"
    );
    let connected = client
        .query(
            "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE usename = ANY($1)",
            &[&others],
        )
        .await?;
    if let Some(row) = connected.first() {
        let role: String = row.try_get(0)?;
        bail!("{role} is still connected: restart every replica with the new login first");
    }
    for role in &others {
        let statement = match *role == format!("{schema}_runtime") {
            // The grants are its own.
            true => format!("ALTER ROLE {role} NOLOGIN PASSWORD NULL"),
            false => format!("DROP ROLE {role}"),
        };
        client.batch_execute(&statement).await?;
    }
    Ok(others)
}

/// Names that need no quoting.
fn is_runtime_login(schema: &str, role: &str) -> bool {
    let rest = role
        .strip_prefix(schema)
        .and_then(|rest| rest.strip_prefix("_runtime"));
    let plain = |text: &str| {
        let mut characters = text.chars();
        characters.all(|one| one.is_ascii_lowercase() || one.is_ascii_digit())
    };
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('_')
                .is_some_and(|it| !it.is_empty() && plain(it))
    })
}

async fn create_role(client: &Client, role: &str) -> anyhow::Result<()> {
    let statement = format!(
        "DO $$ BEGIN CREATE ROLE {role} NOINHERIT;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
    );
    Ok(client.batch_execute(&statement).await?)
}

/// What is sent is the SCRAM verifier, so that the password itself is in no log of the server.
async fn set_password(client: &Client, login: &Login) -> anyhow::Result<()> {
    let verifier = postgres_protocol::password::scram_sha_256(login.password.expose_secret().as_bytes());
    let statement = format!("ALTER ROLE {} LOGIN PASSWORD '{verifier}'", login.role);
    Ok(client.batch_execute(&statement).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_login_is_named_for_its_schema() {
        for role in ["ml_runtime", "ml_runtime_9f3a"] {
            assert!(is_runtime_login("ml", role), "{role}");
        }
        for role in [
            "ml_owner",
            "auth_runtime",
            "ml_runtime_",
            "ml_runtime2",
            "ml_runtime_X",
            "ml_runtime_x; DROP ROLE ml_owner",
            "postgres",
        ] {
            assert!(!is_runtime_login("ml", role), "{role}");
        }
    }

    #[test]
    fn a_login_is_the_user_and_the_password_of_its_url() {
        let login = Login::of_url(&"postgres://ml_runtime:hunter%202@localhost/flowlet".into()).unwrap();
        assert_eq!(
            (login.role.as_str(), login.password.expose_secret()),
            ("ml_runtime", "hunter 2")
        );
        assert!(Login::of_url(&"postgres://ml_runtime@localhost/flowlet".into()).is_err());
    }
}
