//! All five services on a database, ready to be used: in this process for `cargo dev` and most tests, or each as its own
//! process where a test kills one or a benchmark measures it.
//!
//! A test gets a database of its own and free ports, so tests run side by side in any order.

mod balancer;
mod running;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use shared::config::Env;
use shared::{Clock, Role, telemetry};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Customer};
use crate::database::Server;
use crate::inbox::Inbox;
use crate::postgres::Durability;
use crate::service::Service;
use balancer::Balancer;
use running::Running;

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What differs from production in a test: no limit is reached by accident, passwords are hashed cheaply, and a busy machine
/// does not turn a late score into another outcome.
const TEST_VARIABLES: [(Service, &str, &str); 13] = [
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
    (Service::Auth, "PASSKEY_ORIGINS", "https://app.example.com"),
];

/// Replicas of the platform that run at once in one test binary: each holds some twenty of the server's two hundred
/// connections.
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
    /// Where services are looked for.
    addresses: BTreeMap<Service, SocketAddr>,
    /// Where replicas listen, which is the same while there is one of each service.
    places: BTreeMap<Replica, SocketAddr>,
    balancers: BTreeMap<Service, Balancer>,
    variables: HashMap<(Service, String), String>,
    program: Option<PathBuf>,
    logs: Option<PathBuf>,
    running: Mutex<BTreeMap<Replica, Running>>,
    throwaway: bool,
    /// What the services would send by mail or as text messages.
    pub inbox: Inbox,
    _permit: Option<OwnedSemaphorePermit>,
}

/// One of the replicas of a service; a [`Service`] alone means its first, and mostly its only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    pub service: Service,
    pub number: usize,
}

impl From<Service> for Replica {
    fn from(service: Service) -> Self {
        Self { service, number: 0 }
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service.name(), self.number)
    }
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
    replicas: usize,
    logs: Option<PathBuf>,
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

    /// Everything that a service tells, down to `debug`, as JSON in a file of `directory` with the service's name. Of processes
    /// only.
    pub fn logs_in(mut self, directory: &Path) -> Self {
        self.logs = Some(directory.to_owned());
        Service::ALL.into_iter().fold(self, |builder, service| {
            builder
                .set(service, "RUST_LOG", "debug")
                .set(service, "LOG_FORMAT", "json")
        })
    }

    /// `count` replicas of each service behind a balancer, as Kubernetes runs them.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
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
            listeners,
            variables,
            without,
            replicas,
            logs,
        } = self;
        let throwaway = !matches!(storage, Storage::Given(..));
        let (server, database, permit) = Box::pin(prepare(storage, replicas)).await?;
        let mut listeners: BTreeMap<Replica, TcpListener> = listeners
            .into_iter()
            .map(|(service, listener)| (service.into(), listener))
            .collect();
        let mut places = BTreeMap::new();
        let numbered = |service| (0..replicas).map(move |number| Replica { service, number });
        for replica in Service::ALL.into_iter().flat_map(numbered) {
            let place = match listeners.get(&replica) {
                Some(listener) => listener.local_addr()?,
                None => {
                    let listener = free_listener()?;
                    let place = listener.local_addr()?;
                    // A process of its own, or nobody, listens there.
                    if program.is_none() && !without.contains(&replica.service) {
                        listeners.insert(replica, listener);
                    }
                    place
                }
            };
            places.insert(replica, place);
        }
        let http = shared::http_client::connection_pool(Duration::from_secs(60))?;
        let inbox = match throwaway {
            true => Inbox::throwaway()?,
            false => Inbox::kept_in(server.cluster.directory().join("messages"))?,
        };
        let (addresses, balancers) = balance(&places, &http).await?;
        let platform = Platform {
            clock: Clock::system(),
            server,
            database,
            http,
            addresses,
            places,
            balancers,
            variables,
            program,
            logs,
            running: Mutex::default(),
            throwaway,
            inbox,
            _permit: permit,
        };
        let started = platform.places.keys().copied();
        let started: Vec<Replica> = started
            .filter(|replica| !without.contains(&replica.service))
            .collect();
        for replica in &started {
            platform.launch(*replica, listeners.remove(replica), platform.program.as_deref())?;
        }
        for replica in started {
            platform.wait_until_ready(replica).await?;
        }
        Ok(platform)
    }
}

/// Where others look for each service: at its only replica, or at a balancer.
async fn balance(
    places: &BTreeMap<Replica, SocketAddr>,
    http: &reqwest::Client,
) -> anyhow::Result<(BTreeMap<Service, SocketAddr>, BTreeMap<Service, Balancer>)> {
    let (mut addresses, mut balancers) = (BTreeMap::new(), BTreeMap::new());
    for service in Service::ALL {
        let of_service = places.iter().filter(|(replica, _)| replica.service == service);
        let of_service: Vec<SocketAddr> = of_service.map(|(_, place)| *place).collect();
        let address = match of_service.as_slice() {
            [only] => *only,
            several => {
                let balancer = Balancer::start(several, http).await?;
                let address = balancer.address;
                balancers.insert(service, balancer);
                address
            }
        };
        addresses.insert(service, address);
    }
    Ok((addresses, balancers))
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
            replicas: 1,
            logs: None,
        }
    }

    /// The base URL of `service`, without a slash at its end.
    pub fn url(&self, service: Service) -> String {
        format!("http://{}", self.address(service))
    }

    fn address(&self, service: Service) -> SocketAddr {
        self.addresses.get(&service).copied().unwrap_or(NOWHERE)
    }

    fn place(&self, replica: Replica) -> SocketAddr {
        self.places.get(&replica).copied().unwrap_or(NOWHERE)
    }

    /// The base URL of one replica, past the balancer.
    pub fn url_of(&self, replica: Replica) -> String {
        format!("http://{}", self.place(replica))
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
        let (db, field_keys) = self.as_auth_service()?;
        auth_service::users::grant_role(&db, &field_keys, email, role).await
    }

    /// Lets auth-service clean up at once, as it does now and then.
    pub async fn clean_up(&self) -> anyhow::Result<()> {
        let (db, _) = self.as_auth_service()?;
        let done = auth_service::cleanup::clean_up(&db, self.clock.now()).await;
        done.map_err(shared::ApiError::into_source)
    }

    /// With what the service itself has: its secrets may have been replaced.
    fn as_auth_service(&self) -> anyhow::Result<(shared::Db, shared::FieldKeys)> {
        let env = Env::from_pairs(self.environment(Service::Auth.into())?);
        let auth_service::Config {
            mut db, field_keys, ..
        } = auth_service::Config::from_env(env)?;
        db.max_connections = 1;
        Ok((shared::Db::new(auth_service::SCHEMA, &db)?, field_keys))
    }

    /// A connection of the superuser, for looking into any schema.
    pub async fn sql(&self) -> tokio_postgres::Client {
        self.server
            .connect(&self.database)
            .await
            .unwrap_or_else(|error| panic!("connecting as the superuser: {error:#}"))
    }

    /// Asks a replica to stop, and waits until it has.
    pub async fn stop_service(&self, replica: impl Into<Replica>) -> anyhow::Result<()> {
        let replica = replica.into();
        let running = self.take(replica)?;
        running
            .stop()
            .await
            .with_context(|| format!("stopping {replica}"))
    }

    /// Kills a replica that is its own process, with SIGKILL, and waits until it is gone.
    pub async fn kill_9(&self, replica: impl Into<Replica>) -> anyhow::Result<()> {
        self.take(replica.into())?.kill_9().await
    }

    /// The id of a replica's own process.
    pub fn process_id(&self, replica: impl Into<Replica>) -> Option<u32> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(&replica.into())?.process_id()
    }

    /// Starts a replica again where it was, and waits until it is ready.
    pub async fn start_service(&self, replica: impl Into<Replica>) -> anyhow::Result<()> {
        let replica = replica.into();
        let listener = match self.program {
            Some(_) => None,
            None => Some(self.bind_again(replica).await?),
        };
        self.launch(replica, listener, self.program.as_deref())?;
        self.wait_until_ready(replica).await
    }

    /// The same in another version: `program` is its `dev` binary.
    pub async fn start_version(&self, replica: Replica, program: &Path) -> anyhow::Result<()> {
        self.launch(replica, None, Some(program))?;
        self.wait_until_ready(replica).await
    }

    /// Stops all services, callers first, then removes a test's database. The caller's own connections are ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // Connections that are kept open would keep services waiting for their next request.
        self.http = shared::http_client::connection_pool(Duration::from_secs(1))?;
        for service in Service::ALL.into_iter().rev() {
            let mut stopping = JoinSet::new();
            for replica in self.places.keys().filter(|replica| replica.service == service) {
                if let Ok(running) = self.take(*replica) {
                    let name = replica.to_string();
                    stopping.spawn(async move {
                        let stopped = running.stop().await;
                        stopped.with_context(|| format!("stopping {name}"))
                    });
                }
            }
            while let Some(stopped) = stopping.join_next().await {
                stopped??;
            }
        }
        if self.throwaway {
            self.server.drop_database(&self.database).await?;
        }
        Ok(())
    }

    /// The environment of `replica`, as an operator would set it.
    fn environment(&self, replica: Replica) -> anyhow::Result<HashMap<String, String>> {
        let service = replica.service;
        let mut environment = HashMap::from([
            (
                "SERVICE_SECRETS".to_owned(),
                self.server.secrets.service_secret.clone(),
            ),
            ("AUTH_URL".to_owned(), self.url(Service::Auth)),
            ("ACCOUNTS_URL".to_owned(), self.url(Service::Accounts)),
            ("TRANSACTIONS_URL".to_owned(), self.url(Service::Transactions)),
            ("ML_URL".to_owned(), self.url(Service::Ml)),
            ("BIND_ADDRESS".to_owned(), self.place(replica).to_string()),
            ("FLOWLET_ENV".to_owned(), "development".to_owned()),
        ]);
        if service.schema().is_some() {
            let url = self.server.runtime_url(service, &self.database)?;
            environment.insert("DATABASE_URL".to_owned(), url);
        }
        if service == Service::Transactions {
            // Nobody here has real money.
            environment.insert(
                "CHECKPOINT_SIGNING_KEY".to_owned(),
                self.server.secrets.checkpoint_signing_key.clone(),
            );
            for name in ["SANDBOX_RAIL", "SANDBOX_FAULTS", "WEBHOOK_ALLOW_PRIVATE_TARGETS"] {
                environment.insert(name.to_owned(), "true".to_owned());
            }
            let keys = self.server.secrets.webhook_keys.clone();
            environment.insert("WEBHOOK_KEYS".to_owned(), keys);
        }
        if service == Service::Ml {
            let keys = self.server.secrets.origin_keys.clone();
            environment.insert("ORIGIN_KEYS".to_owned(), keys);
        }
        if service == Service::Auth {
            let secrets = &self.server.secrets;
            for (name, value) in [
                ("SIGNING_KEY", &secrets.signing_key),
                ("FIELD_KEYS", &secrets.field_keys),
                ("BLIND_INDEX_KEYS", &secrets.blind_index_keys),
            ] {
                environment.insert(name.to_owned(), value.clone());
            }
            let gateway = self.url(Service::Gateway);
            environment.insert("FRONTEND_URL".to_owned(), format!("{gateway}/auth"));
            environment.insert("API_BASE_URL".to_owned(), gateway);
            if !self.sets(Service::Auth, "SMTP_URL") {
                let directory = self.inbox.directory().display().to_string();
                environment.insert("MESSAGE_DIRECTORY".to_owned(), directory);
            }
        }
        for ((of, name), value) in &self.variables {
            if *of == service {
                environment.insert(name.clone(), value.clone());
                if let Some(in_a_file) = name.strip_suffix("_FILE") {
                    environment.remove(in_a_file);
                }
            }
        }
        Ok(environment)
    }

    /// Whether the caller has given `service` this variable, or the file of it.
    fn sets(&self, service: Service, name: &str) -> bool {
        let names = [name.to_owned(), format!("{name}_FILE")];
        names
            .into_iter()
            .any(|name| self.variables.contains_key(&(service, name)))
    }

    fn launch(
        &self,
        replica: Replica,
        listener: Option<TcpListener>,
        program: Option<&Path>,
    ) -> anyhow::Result<()> {
        let (service, environment) = (replica.service, self.environment(replica)?);
        let started = match (program, listener) {
            (Some(program), _) => Running::process(program, service, environment, self.log_of(service)?)?,
            (None, Some(listener)) => Running::thread(service, environment, self.clock.clone(), listener)?,
            (None, None) => bail!("{replica} has no listener"),
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            running.insert(replica, started).is_none(),
            "{replica} was running"
        );
        Ok(())
    }

    fn log_of(&self, service: Service) -> anyhow::Result<Stdio> {
        let Some(directory) = &self.logs else {
            return Ok(Stdio::inherit());
        };
        let file = directory.join(service.name());
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        Ok(file.into())
    }

    async fn wait_until_ready(&self, replica: Replica) -> anyhow::Result<()> {
        let (name, url) = (replica, format!("{}/readyz", self.url_of(replica)));
        let started = Instant::now();
        let is_used = || match self.balancers.get(&replica.service) {
            Some(balancer) => balancer.uses(self.place(replica)),
            None => true,
        };
        loop {
            let answer = match self.http.get(&url).timeout(Duration::from_secs(3)).send().await {
                Ok(answer) if answer.status().is_success() && is_used() => return Ok(()),
                Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => shared::db::chain(&error),
            };
            let ended = self
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_mut(&replica)
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

    async fn bind_again(&self, replica: Replica) -> anyhow::Result<TcpListener> {
        let started = Instant::now();
        loop {
            match shared::process::bind(self.place(replica)) {
                Err(_) if started.elapsed() < Duration::from_secs(10) => sleep(POLL).await,
                bound => return bound,
            }
        }
    }

    fn take(&self, replica: Replica) -> anyhow::Result<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let found = running.remove(&replica);
        found.with_context(|| format!("{replica} is not running"))
    }
}

async fn prepare(
    storage: Storage,
    replicas: usize,
) -> anyhow::Result<(Arc<Server>, String, Option<OwnedSemaphorePermit>)> {
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
            let places = Arc::clone(places);
            let permit = places.acquire_many_owned(u32::try_from(replicas)?).await?;
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
        telemetry::init_logging(&mut env, "flowlet");
    }
}

/// A listener on a free port below those that the system gives to outgoing connections, so that the port is still free
/// when a service is started on it again.
pub fn free_listener() -> anyhow::Result<TcpListener> {
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
