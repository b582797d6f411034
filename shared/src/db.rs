//! A service's own schema of the database: its connections, its transactions, its migrations.
//!
//! Queries are unqualified; the connection's `search_path` is the service's schema and nothing else. A transaction has a
//! name, which labels its metrics, and is retried a few times when PostgreSQL asks for it.

pub mod migrate;

use std::str::FromStr;
use std::time::Duration;

use deadpool::managed::Timeouts;
use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Env;
use crate::error::database_unavailable;
use crate::{ApiError, telemetry};

/// How often a transaction is tried when PostgreSQL reports a serialization failure or a deadlock.
const MAX_ATTEMPTS: u32 = 4;

/// Waiting this long for a connection means that the database is away or overwhelmed; the caller gets a 503.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct DbConfig {
    /// `postgres://` URL of the service's runtime role.
    pub url: SecretString,
    pub max_connections: usize,
}

impl DbConfig {
    /// Reads `DATABASE_URL` and `DATABASE_MAX_CONNECTIONS` (default 8).
    pub fn from_env(env: &mut Env) -> Self {
        Self {
            url: env.secret_url("DATABASE_URL"),
            max_connections: env.or("DATABASE_MAX_CONNECTIONS", 8),
        }
    }
}

/// The pool of one service.
#[derive(Clone)]
pub struct Db {
    pool: Pool<AsyncPgConnection>,
    connect_options: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    schema: &'static str,
}

impl Db {
    /// Prepares the pool; connections are made when they are first needed, so a service starts without its database
    /// and says so in `/readyz`.
    pub fn new(schema: &'static str, config: &DbConfig) -> anyhow::Result<Self> {
        let connect_options = connect_options(schema, config.url.expose_secret())?;
        let tls = tls_connector()?;
        let (pool_options, pool_tls) = (connect_options.clone(), tls.clone());
        let mut manager_config = ManagerConfig::default();
        manager_config.custom_setup = Box::new(move |_| {
            let (options, tls) = (pool_options.clone(), pool_tls.clone());
            Box::pin(async move {
                let (client, connection) = options
                    .connect(tls)
                    .await
                    .map_err(|error| ConnectionError::BadConnection(chain(&error)))?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            })
        });
        // The manager's own URL is unused: `custom_setup` connects with the options parsed above.
        let manager = AsyncDieselConnectionManager::new_with_config("", manager_config);
        let pool = Pool::builder(manager)
            .max_size(config.max_connections)
            .runtime(deadpool::Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(CONNECTION_TIMEOUT),
                create: Some(CONNECTION_TIMEOUT),
                recycle: Some(CONNECTION_TIMEOUT),
            })
            .build()?;
        Ok(Self {
            pool,
            connect_options,
            tls,
            schema,
        })
    }

    /// A connection outside of any transaction: each statement commits by itself.
    pub async fn connection(&self) -> Result<Object<AsyncPgConnection>, ApiError> {
        let connection = self
            .pool
            .get()
            .await
            .map_err(|error| database_unavailable(pool_error(error)))?;
        let status = self.pool.status();
        let in_use = u32::try_from(status.size.saturating_sub(status.available)).unwrap_or(u32::MAX);
        metrics::gauge!("db_pool_connections_in_use", "service" => self.schema).set(in_use);
        Ok(connection)
    }

    /// A connection of the caller's own, outside the pool, for work that pipelines or listens.
    pub async fn dedicated_connection(
        &self,
    ) -> Result<
        (
            tokio_postgres::Client,
            tokio_postgres::Connection<
                tokio_postgres::Socket,
                impl tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
            >,
        ),
        tokio_postgres::Error,
    > {
        self.connect_options.connect(self.tls.clone()).await
    }

    /// Runs `work` in one READ COMMITTED transaction. It may run several times, so it must have no effect but on the
    /// connection it is given, and it never waits for anything but the database.
    pub async fn transaction<T>(
        &self,
        name: &'static str,
        work: impl AsyncFn(&mut AsyncPgConnection) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut attempt = 1;
        loop {
            let mut connection = self.connection().await?;
            let result = run_transaction(&mut connection, &work).await;
            drop(connection);
            let retry = attempt < MAX_ATTEMPTS && matches!(&result, Err(error) if error.is_retryable());
            let outcome = if retry {
                "retry"
            } else if result.is_ok() {
                "commit"
            } else {
                "rollback"
            };
            metrics::counter!("db_transactions_total", "service" => self.schema, "name" => name, "outcome" => outcome)
                .increment(1);
            if !retry {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(5) * attempt * attempt).await;
            attempt += 1;
        }
    }

    /// Whether the database answers, for `/readyz`.
    pub async fn ping(&self) -> bool {
        // Recycling a pooled connection runs a test query, and a new one proves itself by connecting.
        self.connection().await.is_ok()
    }
}

async fn run_transaction<T>(
    connection: &mut AsyncPgConnection,
    work: &impl AsyncFn(&mut AsyncPgConnection) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    AnsiTransactionManager::begin_transaction(connection).await?;
    match work(connection).await {
        Ok(value) => {
            AnsiTransactionManager::commit_transaction(connection).await?;
            Ok(value)
        }
        Err(error) => {
            // A connection that cannot roll back is broken; the pool notices and drops it.
            drop(AnsiTransactionManager::rollback_transaction(connection).await);
            Err(error)
        }
    }
}

/// The options of every connection of `schema`'s roles.
fn connect_options(schema: &str, url: &str) -> anyhow::Result<tokio_postgres::Config> {
    let mut options = tokio_postgres::Config::from_str(url)
        .map_err(|error| anyhow::anyhow!("the database URL cannot be read: {}", chain(&error)))?;
    let settings = format!(
        "{} -c search_path={schema} -c statement_timeout=30s -c lock_timeout=5s \
         -c idle_in_transaction_session_timeout=10s -c timezone=UTC",
        options.get_options().unwrap_or_default()
    );
    options
        .options(settings)
        .application_name(schema)
        .connect_timeout(CONNECTION_TIMEOUT);
    Ok(options)
}

/// Verifies certificates against the machine's own trust store. Whether TLS is used at all is the URL's `sslmode`.
fn tls_connector() -> anyhow::Result<MakeRustlsConnect> {
    telemetry::install_crypto_provider();
    use rustls_platform_verifier::ConfigVerifierExt;
    let config = rustls::ClientConfig::with_platform_verifier()?;
    Ok(MakeRustlsConnect::new(config))
}

fn pool_error(error: PoolError) -> anyhow::Error {
    anyhow::Error::new(error).context("no database connection")
}

/// An error with its sources, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
