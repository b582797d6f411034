//! Our databases in a PostgreSQL cluster: roles, schemas, migrations, and for tests a new database from a migrated
//! template in a few milliseconds.

use std::path::Path;

use anyhow::Context;
use secrecy::SecretString;
use shared::db::migrate;
use shared::db::roles::{self, Login};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::postgres::{Cluster, Durability};
use crate::secrets::{Secrets, random_text};
use crate::service::Service;

const TEMPLATE: &str = "flowlet_template";

/// A running cluster and the passwords of our roles in it.
pub struct Server {
    pub cluster: Cluster,
    pub secrets: Secrets,
    template: OnceCell<()>,
}

impl Server {
    /// The cluster in `directory`, with the secrets that its first start made.
    pub async fn persistent(directory: &Path, port: u16, progress: impl Fn(&str)) -> anyhow::Result<Self> {
        let cluster = Cluster::persistent(directory, port, progress).await?;
        let secrets = Secrets::kept_in(&directory.join("secrets.json"))?;
        Ok(Self::new(cluster, secrets))
    }

    pub async fn throwaway(durability: Durability) -> anyhow::Result<Self> {
        Ok(Self::new(
            Cluster::throwaway(durability).await?,
            Secrets::generate()?,
        ))
    }

    pub async fn throwaway_with(durability: Durability, settings: Vec<String>) -> anyhow::Result<Self> {
        Ok(Self::new(
            Cluster::throwaway_with(durability, settings).await?,
            Secrets::generate()?,
        ))
    }

    /// A server on `directory`/data, which was restored from a backup of this one; it is removed with it.
    pub async fn start_restored(&self, directory: &Path) -> anyhow::Result<Self> {
        let cluster = self.cluster.start_restored(directory).await?;
        Ok(Self::new(cluster, self.secrets.clone()))
    }

    fn new(cluster: Cluster, secrets: Secrets) -> Self {
        Self {
            cluster,
            secrets,
            template: OnceCell::new(),
        }
    }

    /// The address of `database` for the role that `service` runs as.
    pub fn runtime_url(&self, service: Service, database: &str) -> anyhow::Result<String> {
        self.role_url(service, "runtime", database)
    }

    /// The address of `database` for the role that migrates `service`.
    pub fn owner_url(&self, service: Service, database: &str) -> anyhow::Result<String> {
        self.role_url(service, "owner", database)
    }

    fn role_url(&self, service: Service, kind: &str, database: &str) -> anyhow::Result<String> {
        let schema = service
            .schema()
            .with_context(|| format!("{} has no schema", service.name()))?;
        let role = format!("{schema}_{kind}");
        Ok(self.cluster.url(&role, self.secrets.password(&role)?, database))
    }

    /// A connection as the superuser, who sees every schema.
    pub async fn connect(&self, database: &str) -> anyhow::Result<Client> {
        let (client, connection) =
            tokio_postgres::connect(&self.cluster.superuser_url(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Makes `database` if it is new, and brings its roles, schemas and tables up to date.
    pub async fn prepare(&self, database: &str, progress: impl Fn(&str)) -> anyhow::Result<()> {
        self.provision(database).await?;
        self.migrate(database, progress).await
    }

    /// The roles and the schemas, without tables.
    pub async fn provision(&self, database: &str) -> anyhow::Result<()> {
        let postgres = self.connect("postgres").await?;
        create_if_absent(&postgres, database).await?;
        for schema in Service::ALL.into_iter().filter_map(Service::schema) {
            self.provision_schema(database, schema).await?;
        }
        Ok(())
    }

    async fn provision_schema(&self, database: &str, schema: &'static str) -> anyhow::Result<()> {
        let login = |kind: &str| -> anyhow::Result<Login> {
            let role = format!("{schema}_{kind}");
            let password = self.secrets.password(&role)?.into();
            Ok(Login { role, password })
        };
        let admin_url = SecretString::from(self.cluster.superuser_url(database));
        roles::provision(&admin_url, schema, &login("owner")?, &login("runtime")?).await
    }

    /// Brings the tables up to date.
    pub async fn migrate(&self, database: &str, progress: impl Fn(&str)) -> anyhow::Result<()> {
        for service in Service::ALL {
            let (Some(schema), Some(migrations)) = (service.schema(), service.migrations()) else {
                continue;
            };
            progress(&format!("migrating schema {schema}"));
            let owner_url = SecretString::from(self.owner_url(service, database)?);
            Box::pin(migrate::migrate(schema, &owner_url, migrations)).await?;
        }
        Ok(())
    }

    /// A new database with everything migrated and nothing in it.
    pub async fn create_from_template(&self) -> anyhow::Result<String> {
        self.template
            .get_or_try_init(|| self.make_template())
            .await
            .context("the template of the test databases")?;
        let name = format!("test_{}", random_text()?.get(..16).unwrap_or_default());
        let postgres = self.connect("postgres").await?;
        // FILE_COPY writes no log, which is fastest for a small database.
        postgres
            .batch_execute(&format!(
                "CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"
            ))
            .await?;
        // What is granted on a database is not copied with it.
        for schema in Service::ALL.into_iter().filter_map(Service::schema) {
            roles::restrict_database(&postgres, &name, schema).await?;
        }
        Ok(name)
    }

    /// Removes a database, ending whatever is still connected.
    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        Ok(self.connect("postgres").await?.batch_execute(&statement).await?)
    }

    async fn make_template(&self) -> anyhow::Result<()> {
        Box::pin(self.prepare(TEMPLATE, |_| ())).await?;
        let postgres = self.connect("postgres").await?;
        let statement = format!("ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false");
        Ok(postgres.batch_execute(&statement).await?)
    }
}

async fn create_if_absent(postgres: &Client, database: &str) -> anyhow::Result<()> {
    let found = postgres
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&database])
        .await?;
    if found.is_none() {
        postgres
            .batch_execute(&format!("CREATE DATABASE {database}"))
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::future::try_join_all;

    use super::*;

    async fn connect(url: String) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn is_refused(result: Result<(), tokio_postgres::Error>) -> bool {
        let code = result.unwrap_err().code().cloned();
        code == Some(tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_role_has_its_own_schema_of_its_own_databases_and_nothing_else() {
        let server = Server::throwaway(Durability::Fast).await.unwrap();
        let database = server.create_from_template().await.unwrap();
        for service in Service::ALL
            .into_iter()
            .filter(|service| service.schema().is_some())
        {
            let runtime = server.runtime_url(service, &database).unwrap();
            let client = connect(runtime).await.unwrap();
            for other in Service::ALL.into_iter().filter_map(Service::schema) {
                let tables = format!("SELECT FROM {other}.__diesel_schema_migrations");
                let read = client.batch_execute(&tables).await;
                if service.schema() == Some(other) {
                    read.unwrap();
                    let own = [
                        "CREATE TABLE {}.x ()",
                        "DELETE FROM {}.__diesel_schema_migrations",
                    ];
                    for statement in own {
                        let statement = statement.replace("{}", other);
                        assert!(is_refused(client.batch_execute(&statement).await), "{statement}");
                    }
                } else {
                    assert!(is_refused(read), "{} reads {other}", service.name());
                }
            }
            assert!(is_refused(client.batch_execute("CREATE TABLE public.x ()").await));
            assert!(is_refused(client.batch_execute("CREATE SCHEMA x").await));
            let elsewhere = server.runtime_url(service, TEMPLATE).unwrap();
            assert!(connect(elsewhere).await.is_err());
        }
        server.drop_database(&database).await.unwrap();
        server.cluster.stop().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn services_are_provisioned_side_by_side_and_nobody_else_may_connect() {
        let server = Server::throwaway(Durability::Fast).await.unwrap();
        let postgres = server.connect("postgres").await.unwrap();
        // A name that needs quotes, as an operator may have given it.
        let (database, quoted) = ("flowlet-live", "\"flowlet-live\"");
        let setup = [
            format!("CREATE DATABASE {quoted}"),
            "CREATE ROLE neighbour LOGIN PASSWORD 'x'".to_owned(),
        ];
        for statement in setup {
            postgres.batch_execute(&statement).await.unwrap();
        }
        let schemas: Vec<&str> = Service::ALL.into_iter().filter_map(Service::schema).collect();
        for _ in 0..5 {
            let jobs = schemas
                .iter()
                .map(|schema| server.provision_schema(database, schema));
            try_join_all(jobs).await.unwrap();
        }
        for service in Service::ALL.into_iter().filter(|it| it.schema().is_some()) {
            let runtime = server.runtime_url(service, database).unwrap();
            let client = connect(runtime).await.unwrap();
            assert!(is_refused(
                client.batch_execute("CREATE TEMPORARY TABLE x ()").await
            ));
            connect(server.owner_url(service, database).unwrap())
                .await
                .unwrap();
        }
        let neighbour = server.cluster.url("neighbour", "x", database);
        assert!(is_refused(connect(neighbour).await.map(drop)));
        server.cluster.stop().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn preparing_a_database_again_changes_nothing() {
        let server = Server::throwaway(Durability::Fast).await.unwrap();
        server.prepare("flowlet", |_| ()).await.unwrap();
        server.prepare("flowlet", |_| ()).await.unwrap();
        server.cluster.stop().await.unwrap();
    }
}
