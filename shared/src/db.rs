//! A service's own schema of the database: its connections, its transactions, its migrations.
//!
//! Queries are unqualified; the connection's `search_path` is the service's schema and nothing else. A transaction has a
//! name, which labels its metrics, and is retried a few times when PostgreSQL asks for it.

pub mod migrate;
pub mod roles;
mod url;

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::time::{Duration, Instant};

use deadpool::managed::Timeouts;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::{ConnectionError, QueryableByName};
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};
use diesel_migrations::EmbeddedMigrations;
use metrics::{Counter, Gauge, Histogram, SharedString};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Env;
use crate::error::database_unavailable;
use crate::trace::Span;
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
            url: url::from_env(env, "DATABASE_URL"),
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
    metrics: PoolMetrics,
}

#[derive(Clone)]
struct PoolMetrics {
    /// Whose pool it is: the schema of `auth-service` is `auth`.
    service: SharedString,
    in_use: Gauge,
    wait: Histogram,
    failures: Counter,
}

impl PoolMetrics {
    fn new(schema: &str, max_connections: usize) -> Self {
        let service = SharedString::from_shared(format!("{schema}-service").into());
        let max = u32::try_from(max_connections).unwrap_or(u32::MAX);
        metrics::gauge!("db_pool_connections_max", "service" => service.clone()).set(max);
        Self {
            in_use: metrics::gauge!("db_pool_connections_in_use", "service" => service.clone()),
            wait: metrics::histogram!("db_pool_wait_duration_seconds", "service" => service.clone()),
            failures: metrics::counter!("db_connection_failures_total", "service" => service.clone()),
            service,
        }
    }
}

/// A connection that is lent out until it is dropped.
pub struct Connection {
    pooled: Object<AsyncPgConnection>,
    in_use: Gauge,
}

impl Deref for Connection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.pooled
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.pooled
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.in_use.decrement(1);
    }
}

impl Db {
    /// Prepares the pool; connections are made when they are first needed, so a service starts without its database
    /// and says so in `/readyz`.
    pub fn new(schema: &'static str, config: &DbConfig) -> anyhow::Result<Self> {
        let connect_options = connect_options(schema, config.url.expose_secret())?;
        let tls = tls_connector()?;
        let (pool_options, pool_tls) = (connect_options.clone(), tls.clone());
        let mut manager_config = ManagerConfig::default();
        // A connection that was closed, or left in a transaction, is dropped anyway. A query to see whether it works would cost
        // as much as most of ours, and could be answered by a server that is gone a moment later.
        manager_config.recycling_method = RecyclingMethod::Fast;
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
            metrics: PoolMetrics::new(schema, config.max_connections),
        })
    }

    /// A connection outside of any transaction: each statement commits by itself.
    pub async fn connection(&self) -> Result<Connection, ApiError> {
        let started = Instant::now();
        let pooled = self.pool.get().await;
        self.metrics.wait.record(started.elapsed());
        let pooled = pooled.map_err(|error| {
            self.metrics.failures.increment(1);
            database_unavailable(pool_error(error))
        })?;
        self.metrics.in_use.increment(1);
        Ok(Connection {
            pooled,
            in_use: self.metrics.in_use.clone(),
        })
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
        let connected = self.connect_options.connect(self.tls.clone()).await;
        if connected.is_err() {
            self.metrics.failures.increment(1);
        }
        connected
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
            let mut span = Span::work(name);
            span.set("db.system.name", || "postgresql");
            let result = span.run(run_transaction(&mut connection, &work)).await;
            drop(connection);
            let retry = attempt < MAX_ATTEMPTS && matches!(&result, Err(error) if error.is_retryable());
            let outcome = if retry {
                "retry"
            } else if result.is_ok() {
                "commit"
            } else {
                "rollback"
            };
            span.set("outcome", || outcome);
            drop(span);
            let service = self.metrics.service.clone();
            metrics::counter!("db_transactions_total", "service" => service, "name" => name, "outcome" => outcome)
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
        let ask = async {
            let mut connection = self.connection().await.ok()?;
            connection.batch_execute("").await.ok()
        };
        matches!(tokio::time::timeout(CONNECTION_TIMEOUT, ask).await, Ok(Some(())))
    }

    /// Whether the tables are there that this version was written for, for `/readyz`. A newer version may have added more.
    pub async fn has_applied(&self, migrations: &EmbeddedMigrations) -> Result<bool, ApiError> {
        let mut ours = HashSet::new();
        for migration in MigrationSource::<Pg>::migrations(migrations)
            .map_err(|error| ApiError::internal(anyhow::anyhow!(error)))?
        {
            ours.insert(migration.name().version().to_string());
        }
        let applied = diesel::sql_query("SELECT version FROM __diesel_schema_migrations");
        let applied: Vec<AppliedMigration> = applied.load(&mut *self.connection().await?).await?;
        for AppliedMigration { version } in applied {
            ours.remove(&version);
        }
        Ok(ours.is_empty())
    }
}

#[derive(QueryableByName)]
struct AppliedMigration {
    #[diesel(sql_type = Text)]
    version: String,
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

/// The options of every connection of `schema`'s roles; those in the URL come after ours and win. A plan made while a table was
/// empty must not go on scanning it when it is large, and compiling a short statement takes longer than running it.
fn connect_options(schema: &str, url: &str) -> anyhow::Result<tokio_postgres::Config> {
    let mut options = tokio_postgres::Config::from_str(url)
        .map_err(|error| anyhow::anyhow!("the database URL cannot be read: {}", chain(&error)))?;
    let settings = format!(
        "-c search_path={schema} -c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=10s \
         -c timezone=UTC -c enable_seqscan=off -c jit=off {}",
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

/// An error with its sources, on one line. Of what PostgreSQL says the detail is left out: it shows the row.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        match cause.downcast_ref::<tokio_postgres::error::DbError>() {
            Some(error) => text.push_str(error.message()),
            None => text.push_str(&cause.to_string()),
        }
        next = cause.source();
    }
    text
}
