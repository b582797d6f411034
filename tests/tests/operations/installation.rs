//! An installation as an operator makes it: the secrets by `infrastructure/secrets`, each service provisioned and migrated by
//! its own commands, and every secret read from the file where it is mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use platform::client::new_key;
use platform::database::Server;
use platform::platform::Builder;
use platform::postgres::Durability;
use platform::{Platform, Service};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dev");
pub const DATABASE: &str = "flowlet";

pub struct Installation {
    pub server: Arc<Server>,
    /// What `create.sh` made.
    pub secrets: PathBuf,
}

impl Installation {
    pub async fn new() -> Self {
        let server = Arc::new(Server::throwaway(Durability::Fast).await.unwrap());
        let postgres = server.connect("postgres").await.unwrap();
        let create = format!("CREATE DATABASE {DATABASE}");
        postgres.batch_execute(&create).await.unwrap();
        let secrets = std::env::temp_dir().join(format!("flowlet-installation-{}", new_key()));
        let installation = Self { server, secrets };
        let address = format!("127.0.0.1:{}/{DATABASE}", installation.server.cluster.port());
        let directory = installation.secrets.to_str().unwrap();
        script("create.sh", &[directory, &address]).unwrap();
        for service in Self::services_with_a_database() {
            for command in ["provision", "migrate"] {
                installation.run(command, service).unwrap();
            }
        }
        installation
    }

    pub fn services_with_a_database() -> impl Iterator<Item = Service> {
        Service::ALL
            .into_iter()
            .filter(|service| service.schema().is_some())
    }

    /// One step of replacing a secret; an error is what the script said.
    pub fn rotate(&self, what: &str, step: &str) -> Result<String, String> {
        script("rotate.sh", &[self.secrets.to_str().unwrap(), what, step])
    }

    pub fn secret(&self, secret: &str, variable: &str) -> String {
        let text = fs::read_to_string(self.secrets.join(secret).join(variable));
        text.unwrap().trim_end().to_owned()
    }

    /// Runs a command of a service to its end, as in production; an error is what it said.
    pub fn run(&self, command: &str, service: Service) -> Result<String, String> {
        let name = service.name();
        let migration = self
            .secrets
            .join(format!("{name}-migration/MIGRATION_DATABASE_URL"));
        let mut process = Command::new(PROGRAM);
        process
            .args([command, name])
            .env_clear()
            .env("ADMIN_DATABASE_URL", self.server.cluster.superuser_url(DATABASE))
            .env("MIGRATION_DATABASE_URL_FILE", migration)
            .envs(self.mounted(service));
        outcome(&mut process)
    }

    /// The five services with what is in the files, which a restarted one reads again.
    pub fn platform(&self) -> Builder {
        let mut builder = Platform::builder()
            .processes(PROGRAM)
            .on(Arc::clone(&self.server), DATABASE);
        for service in Service::ALL {
            for (name, file) in self.mounted(service) {
                builder = builder.set(service, &name, file.display());
            }
        }
        builder
    }

    /// `NAME_FILE` of each variable that a service has in a file.
    fn mounted(&self, service: Service) -> Vec<(String, PathBuf)> {
        let own = self.secrets.join(service.name());
        let calls = self.secrets.join("service-calls");
        let directories = match service {
            Service::Gateway => vec![calls],
            _ => vec![own, calls],
        };
        let files = directories
            .iter()
            .flat_map(|directory| fs::read_dir(directory).unwrap());
        let files = files.map(|entry| entry.unwrap());
        files
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (format!("{name}_FILE"), entry.path())
            })
            .collect()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.secrets));
    }
}

/// Runs a script of `infrastructure/secrets`.
pub fn script(name: &str, arguments: &[&str]) -> Result<String, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infrastructure/secrets");
    outcome(Command::new(directory.join(name)).args(arguments))
}

pub fn outcome(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}
