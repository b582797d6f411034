//! All five services on a database, ready to be used: in this process for `cargo dev` and most tests, or each as its own
//! process where a test kills one or a benchmark measures it.
//!
//! A test gets a database of its own and free ports, so tests run side by side in any order.

mod running;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use shared::config::Env;
use shared::{Clock, Role, telemetry};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::client::{Client, Customer};
use crate::database::Server;
use crate::postgres::Durability;
use crate::service::Service;
use running::Running;

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// What differs from production in a test: no limit is reached by accident, passwords are hashed cheaply, and a busy machine
/// does not turn a late score into another outcome.
const TEST_VARIABLES: [(Service, &str, &str); 12] = [
    (Service::Gateway, "ADDRESS_LIMIT_PER_MINUTE", "10000000"),
    (Service::Gateway, "USER_LIMIT_PER_MINUTE", "10000000"),
    (Service::Gateway, "LOGIN_LIMIT_PER_MINUTE", "10000000"),
    (Service::Auth, "PASSWORD_HASH_MEMORY_KIB", "64"),
    (Service::Auth, "PASSWORD_HASH_ITERATIONS", "1"),
    (Service::Auth, "DATABASE_MAX_CONNECTIONS", "4"),
    (Service::Accounts, "DATABASE_MAX_CONNECTIONS", "4"),
    (Service::Transactions, "DATABASE_MAX_CONNECTIONS", "4"),
    (Service::Ml, "DATABASE_MAX_CONNECTIONS", "4"),
    (Service::Transactions, "SCORE_DEADLINE_MS", "5000"),
    (Service::Accounts, "WORKERS", "1"),
    (Service::Auth, "WORKERS", "1"),
];

/// Platforms that run at once in one test binary: each holds some twenty of the server's two hundred connections.
const MAX_AT_ONCE: usize = 6;

/// The server that the tests of one binary share.
static SHARED_SERVER: OnceCell<Arc<Server>> = OnceCell::const_new();

pub struct Platform {
    /// The time of every service in this process; a service that is its own process has the system's.
    pub clock: Clock,
    pub server: Arc<Server>,
    /// The name of the database.
    pub database: String,
    pub http: reqwest::Client,
    addresses: BTreeMap<Service, SocketAddr>,
    variables: HashMap<(Service, String), String>,
    program: Option<PathBuf>,
    running: Mutex<BTreeMap<Service, Running>>,
    throwaway: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Which server and database a platform stands on.
enum Storage {
    /// A new database in the server that all tests of this binary share.
    Shared,
    /// A server of the platform's own, which may be killed.
    Own(Durability),
    /// A database that is there already and stays.
    Given(Arc<Server>, String),
}

/// How a platform is to be started; the defaults are for tests.
pub struct Builder {
    storage: Storage,
    program: Option<PathBuf>,
    listeners: BTreeMap<Service, TcpListener>,
    variables: HashMap<(Service, String), String>,
    without: BTreeSet<Service>,
}

impl Builder {
    /// Gives `service` an environment variable.
    pub fn set(mut self, service: Service, name: &str, value: impl ToString) -> Self {
        self.variables
            .insert((service, name.to_owned()), value.to_string());
        self
    }

    /// The configuration that services have by themselves, without what is changed for tests.
    pub fn production_settings(mut self) -> Self {
        for (service, name, _) in TEST_VARIABLES {
            self.variables.remove(&(service, name.to_owned()));
        }
        self
    }

    /// Without `service`: nobody listens where others look for it.
    pub fn without(mut self, service: Service) -> Self {
        self.without.insert(service);
        self
    }

    /// Each service as a process of its own. `program` is the `dev` binary: `env!("CARGO_BIN_EXE_dev")`.
    pub fn processes(mut self, program: impl AsRef<Path>) -> Self {
        self.program = Some(program.as_ref().to_owned());
        self
    }

    /// On a PostgreSQL of its own, `platform.server.cluster`, which can be killed and restarted.
    pub fn own_server(mut self, durability: Durability) -> Self {
        self.storage = Storage::Own(durability);
        self
    }

    /// On a prepared database, which stays when the platform stops.
    pub fn on(mut self, server: Arc<Server>, database: &str) -> Self {
        self.storage = Storage::Given(server, database.to_owned());
        self
    }

    /// Listening where the caller has bound already, rather than on free ports.
    pub fn listeners(mut self, listeners: BTreeMap<Service, TcpListener>) -> Self {
        self.listeners = listeners;
        self
    }

    /// Starts everything and waits until all services are ready.
    pub async fn start(self) -> anyhow::Result<Platform> {
        let Self {
            storage,
            program,
            mut listeners,
            variables,
            without,
        } = self;
        let throwaway = !matches!(storage, Storage::Given(..));
        let (server, database, permit) = Box::pin(prepare(storage)).await?;
        let mut addresses = BTreeMap::new();
        for service in Service::ALL {
            let address = match listeners.get(&service) {
                Some(listener) => listener.local_addr()?,
                None => {
                    let listener = free_listener()?;
                    let address = listener.local_addr()?;
                    // A process of its own, or nobody, listens there.
                    if program.is_none() && !without.contains(&service) {
                        listeners.insert(service, listener);
                    }
                    address
                }
            };
            addresses.insert(service, address);
        }
        let platform = Platform {
            clock: Clock::system(),
            server,
            database,
            http: shared::http_client::connection_pool(Duration::from_secs(60))?,
            addresses,
            variables,
            program,
            running: Mutex::default(),
            throwaway,
            _permit: permit,
        };
        let services = Service::ALL
            .into_iter()
            .filter(|service| !without.contains(service));
        for service in services.clone() {
            platform.launch(service, listeners.remove(&service))?;
        }
        for service in services {
            platform.wait_until_ready(service).await?;
        }
        Ok(platform)
    }
}

impl Platform {
    /// The platform of a test.
    pub async fn start() -> Platform {
        Self::builder().start().await.unwrap_or_else(|error| {
            panic!("the platform does not start: {error:#}");
        })
    }

    pub fn builder() -> Builder {
        let variables = TEST_VARIABLES
            .into_iter()
            .map(|(service, name, value)| ((service, name.to_owned()), value.to_owned()));
        Builder {
            storage: Storage::Shared,
            program: None,
            listeners: BTreeMap::new(),
            variables: variables.collect(),
            without: BTreeSet::new(),
        }
    }

    /// The base URL of `service`, without a slash at its end.
    pub fn url(&self, service: Service) -> String {
        format!("http://{}", self.address(service))
    }

    fn address(&self, service: Service) -> SocketAddr {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.addresses.get(&service).copied().unwrap_or(nowhere)
    }

    /// Somebody at the gateway who has not logged in.
    pub fn client(&self) -> Client {
        self.client_of(Service::Gateway)
    }

    /// The same, past the gateway.
    pub fn client_of(&self, service: Service) -> Client {
        Client::new(self.http.clone(), self.url(service))
    }

    /// A new customer called `name`, logged in.
    pub async fn register(&self, name: &str) -> Customer {
        Customer::register(&self.client(), name).await
    }

    /// A new user with a role, logged in: the role is in the token.
    pub async fn register_with_role(&self, name: &str, role: Role) -> Customer {
        let customer = self.register(name).await;
        self.grant_role(&customer.email, role)
            .await
            .unwrap_or_else(|error| panic!("granting {role:?} to {}: {error:#}", customer.email));
        customer.log_in_again().await
    }

    /// Gives the user a role, as an operator would: no operation of the public API does.
    pub async fn grant_role(&self, email: &str, role: Role) -> anyhow::Result<()> {
        let url = self.server.runtime_url(Service::Auth, &self.database)?;
        let config = shared::db::DbConfig {
            url: url.into(),
            max_connections: 1,
        };
        let db = shared::Db::new(auth_service::SCHEMA, &config)?;
        auth_service::users::grant_role(&db, email, role).await
    }

    /// A connection of the superuser, for looking into any schema.
    pub async fn sql(&self) -> tokio_postgres::Client {
        self.server
            .connect(&self.database)
            .await
            .unwrap_or_else(|error| panic!("connecting as the superuser: {error:#}"))
    }

    /// Asks a service to stop, and waits until it has.
    pub async fn stop_service(&self, service: Service) -> anyhow::Result<()> {
        let running = self.take(service)?;
        running
            .stop()
            .await
            .with_context(|| format!("stopping {}", service.name()))
    }

    /// Kills a service that is its own process, with SIGKILL, and waits until it is gone.
    pub async fn kill_9(&self, service: Service) -> anyhow::Result<()> {
        self.take(service)?.kill_9().await
    }

    /// The id of a service's own process.
    pub fn process_id(&self, service: Service) -> Option<u32> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(&service)?.process_id()
    }

    /// Starts a service again where it was, and waits until it is ready.
    pub async fn start_service(&self, service: Service) -> anyhow::Result<()> {
        let listener = match self.program {
            Some(_) => None,
            None => Some(self.bind_again(service).await?),
        };
        self.launch(service, listener)?;
        self.wait_until_ready(service).await
    }

    /// Stops all services, callers first, then removes a test's database. The caller's own connections are ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // Connections that are kept open would keep services waiting for their next request.
        self.http = shared::http_client::connection_pool(Duration::from_secs(1))?;
        for service in Service::ALL.into_iter().rev() {
            let running = self
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&service);
            if let Some(running) = running {
                let stopped = running.stop().await;
                stopped.with_context(|| format!("stopping {}", service.name()))?;
            }
        }
        if self.throwaway {
            self.server.drop_database(&self.database).await?;
        }
        Ok(())
    }

    /// The environment of `service`, as an operator would set it.
    fn environment(&self, service: Service) -> anyhow::Result<HashMap<String, String>> {
        let mut environment = HashMap::from([
            (
                "SERVICE_SECRETS".to_owned(),
                self.server.secrets.service_secret.clone(),
            ),
            ("AUTH_URL".to_owned(), self.url(Service::Auth)),
            ("ACCOUNTS_URL".to_owned(), self.url(Service::Accounts)),
            ("TRANSACTIONS_URL".to_owned(), self.url(Service::Transactions)),
            ("ML_URL".to_owned(), self.url(Service::Ml)),
            ("BIND_ADDRESS".to_owned(), self.address(service).to_string()),
        ]);
        if service.schema().is_some() {
            let url = self.server.runtime_url(service, &self.database)?;
            environment.insert("DATABASE_URL".to_owned(), url);
        }
        if service == Service::Transactions {
            // Nobody here has real money.
            environment.insert("SANDBOX_RAIL".to_owned(), "true".to_owned());
        }
        if service == Service::Auth {
            environment.insert("SIGNING_KEY".to_owned(), self.server.secrets.signing_key.clone());
        }
        for ((of, name), value) in &self.variables {
            if *of == service {
                environment.insert(name.clone(), value.clone());
            }
        }
        Ok(environment)
    }

    fn launch(&self, service: Service, listener: Option<TcpListener>) -> anyhow::Result<()> {
        let environment = self.environment(service)?;
        let started = match (&self.program, listener) {
            (Some(program), _) => Running::process(program, service, environment)?,
            (None, Some(listener)) => Running::thread(service, environment, self.clock.clone(), listener)?,
            (None, None) => bail!("{} has no listener", service.name()),
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            running.insert(service, started).is_none(),
            "{} was running",
            service.name()
        );
        Ok(())
    }

    async fn wait_until_ready(&self, service: Service) -> anyhow::Result<()> {
        let (name, url) = (service.name(), format!("{}/readyz", self.url(service)));
        let started = Instant::now();
        loop {
            let answer = match self.http.get(&url).timeout(Duration::from_secs(3)).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => shared::db::chain(&error),
            };
            let ended = self
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_mut(&service)
                .and_then(Running::ended);
            if let Some(how) = ended {
                bail!("{name} ended at its start: {how}");
            }
            ensure!(
                started.elapsed() < READY_WITHIN,
                "{name} is not ready after {} s; {url} says: {answer}",
                READY_WITHIN.as_secs()
            );
            sleep(POLL).await;
        }
    }

    async fn bind_again(&self, service: Service) -> anyhow::Result<TcpListener> {
        let started = Instant::now();
        loop {
            match shared::process::bind(self.address(service)) {
                Err(_) if started.elapsed() < Duration::from_secs(10) => sleep(POLL).await,
                bound => return bound,
            }
        }
    }

    fn take(&self, service: Service) -> anyhow::Result<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let found = running.remove(&service);
        found.with_context(|| format!("{} is not running", service.name()))
    }
}

async fn prepare(storage: Storage) -> anyhow::Result<(Arc<Server>, String, Option<OwnedSemaphorePermit>)> {
    match storage {
        Storage::Given(server, database) => Ok((server, database, None)),
        Storage::Own(durability) => {
            let server = Arc::new(Server::throwaway(durability).await?);
            let database = "flowlet".to_owned();
            server.prepare(&database, |_| ()).await?;
            // So that it survives even where commits do not.
            server
                .connect(&database)
                .await?
                .batch_execute("CHECKPOINT")
                .await?;
            Ok((server, database, None))
        }
        Storage::Shared => {
            static PLACES: OnceCell<Arc<Semaphore>> = OnceCell::const_new();
            let places = PLACES
                .get_or_init(async || Arc::new(Semaphore::new(MAX_AT_ONCE)))
                .await;
            let permit = Arc::clone(places).acquire_owned().await?;
            let server = SHARED_SERVER
                .get_or_try_init(async || {
                    log_if_asked();
                    Server::throwaway(Durability::Fast).await.map(Arc::new)
                })
                .await?;
            let database = server.create_from_template().await?;
            Ok((Arc::clone(server), database, Some(permit)))
        }
    }
}

/// Tests are silent unless `RUST_LOG` is set.
fn log_if_asked() {
    let mut env = Env::from_process();
    if env.optional::<String>("RUST_LOG").is_some() {
        telemetry::init_logging(&mut env);
    }
}

/// A listener on a free port below those that the system gives to outgoing connections, so that the port is still free
/// when a service is started on it again.
fn free_listener() -> anyhow::Result<TcpListener> {
    for _ in 0..100 {
        let mut random = [0; 2];
        aws_lc_rs::rand::fill(&mut random)?;
        let port = 20_000 + u16::from_le_bytes(random) % 12_000;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    bail!("no free port from 20000 to 31999 on 127.0.0.1")
}
