//! The five services as the harness sees them: a name, a port, a schema, and how each is run and migrated. Every service is
//! configured through its environment, in this process too, so that the harness tries what production uses.

use std::io::Read;
use std::net::TcpListener;
use std::process::ExitCode;

use diesel_migrations::EmbeddedMigrations;
use shared::Clock;
use shared::config::Env;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    Auth,
    Ml,
    Transactions,
    Accounts,
    Gateway,
}

impl Service {
    /// In the order they are started: who is called before who calls.
    pub const ALL: [Self; 5] = [
        Self::Auth,
        Self::Ml,
        Self::Transactions,
        Self::Accounts,
        Self::Gateway,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth-service",
            Self::Ml => "ml-service",
            Self::Transactions => "transactions-service",
            Self::Accounts => "accounts-service",
            Self::Gateway => "gateway",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Where it listens unless told.
    pub const fn port(self) -> u16 {
        match self {
            Self::Gateway => 8080,
            Self::Auth => 8081,
            Self::Accounts => 8082,
            Self::Transactions => 8083,
            Self::Ml => 8084,
        }
    }

    pub const fn schema(self) -> Option<&'static str> {
        match self {
            Self::Auth => Some(auth_service::SCHEMA),
            Self::Ml => Some(ml_service::SCHEMA),
            Self::Transactions => Some(transactions_service::SCHEMA),
            Self::Accounts => Some(accounts_service::SCHEMA),
            Self::Gateway => None,
        }
    }

    pub const fn migrations(self) -> Option<EmbeddedMigrations> {
        match self {
            Self::Auth => Some(auth_service::MIGRATIONS),
            Self::Ml => Some(ml_service::MIGRATIONS),
            Self::Transactions => Some(transactions_service::MIGRATIONS),
            Self::Accounts => Some(accounts_service::MIGRATIONS),
            Self::Gateway => None,
        }
    }

    /// Runs it in this process, on a clock that the caller can move.
    pub async fn run(
        self,
        env: Env,
        clock: Clock,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        match self {
            Self::Auth => {
                let config = auth_service::Config::from_env(env)?;
                let config = auth_service::Config { clock, ..config };
                Box::pin(auth_service::run(config, listener, shutdown)).await
            }
            Self::Ml => {
                let config = ml_service::Config::from_env(env)?;
                let config = ml_service::Config { clock, ..config };
                Box::pin(ml_service::run(config, listener, shutdown)).await
            }
            Self::Transactions => {
                let config = transactions_service::Config::from_env(env)?;
                let config = transactions_service::Config { clock, ..config };
                Box::pin(transactions_service::run(config, listener, shutdown)).await
            }
            Self::Accounts => {
                let config = accounts_service::Config::from_env(env)?;
                let config = accounts_service::Config { clock, ..config };
                Box::pin(accounts_service::run(config, listener, shutdown)).await
            }
            Self::Gateway => {
                let config = gateway::Config::from_env(env)?;
                let config = gateway::Config { clock, ..config };
                Box::pin(gateway::run(config, listener, shutdown)).await
            }
        }
    }

    /// What a program of the harness does when it is told `serve <service>`, as [`Platform`] tells it for each service that
    /// is to be a process of its own, or any other command of that service, with what it needs behind it; nothing when it is told
    /// anything else.
    ///
    /// [`Platform`]: crate::Platform
    pub fn main_if_told(arguments: &[&str]) -> Option<ExitCode> {
        let [command, name, ..] = arguments else {
            return None;
        };
        let Some(service) = Self::from_name(name) else {
            eprintln!("there is no service {name}");
            return Some(ExitCode::FAILURE);
        };
        if *command == "serve" {
            end_with_the_parent();
        }
        Some(service.main())
    }

    /// The `main` of the service's own program, which reads `serve` or `migrate` from the command line.
    pub fn main(self) -> ExitCode {
        use shared::process::main;
        let (name, port, schema) = (self.name(), self.port(), self.schema());
        match self {
            Self::Auth => main(
                name,
                port,
                schema,
                auth_service::serve,
                auth_service::migrate,
                auth_service::COMMANDS,
            ),
            Self::Ml => main(
                name,
                port,
                schema,
                ml_service::serve,
                ml_service::migrate,
                ml_service::COMMANDS,
            ),
            Self::Transactions => main(
                name,
                port,
                schema,
                transactions_service::serve,
                transactions_service::migrate,
                &[],
            ),
            Self::Accounts => main(
                name,
                port,
                schema,
                accounts_service::serve,
                accounts_service::migrate,
                &[],
            ),
            Self::Gateway => main(name, port, schema, gateway::serve, gateway::migrate, &[]),
        }
    }
}

/// Whoever started us holds the other end of our input; when it ends, in whatever way, so do we.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        // What it says, or an error, is as good as the end.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(1);
    });
}
