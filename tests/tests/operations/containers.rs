//! The images and the stack on one machine: what can be known of a Dockerfile and a compose file without Docker, and that
//! the stack's own description brings the platform up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use platform::database::Server;
use platform::platform::free_listener;
use platform::postgres::Durability;
use platform::tools::{Tool, ensure};
use platform::{Service, programs};
use serde::Deserialize;
use serde_json::Value;

use super::installation::PROGRAM;
use super::manifests::{Scratch, accept, documented, need_openssl, root};

const DIRECTORY: &str = "infrastructure/docker";
const DOCKERFILES: [&str; 2] = ["Dockerfile", "postgresql.Dockerfile"];

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

async fn hadolint(dockerfile: &Path) -> anyhow::Result<String> {
    let mut hadolint = Command::new(ensure(Tool::Hadolint).await?);
    // Nothing is ignored but what a file itself says, with its reason.
    hadolint
        .args(["--no-color", "--failure-threshold", "style"])
        .arg(dockerfile);
    programs::finish(hadolint).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dockerfiles_pass_hadolint() {
    for name in DOCKERFILES {
        let linted = hadolint(&root().join(DIRECTORY).join(name)).await;
        linted.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    let scratch = Scratch::new();
    let bad = scratch.path().join("Dockerfile");
    fs::write(&bad, "FROM debian:latest\nRUN cd /tmp && sudo ls\n").unwrap();
    assert!(hadolint(&bad).await.is_err(), "hadolint accepts anything");
}

/// The instructions of a Dockerfile, a line each.
fn instructions(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let instructions = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    instructions.filter(|line| !line.is_empty()).collect()
}

#[test]
fn images_are_run_by_a_number_and_without_a_shell() {
    for name in DOCKERFILES {
        let all = instructions(&read(&format!("{DIRECTORY}/{name}")));
        let last = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
        let user = all
            .iter()
            .skip(last)
            .rev()
            .find_map(|line| line.strip_prefix("USER "));
        let user = user.unwrap_or_else(|| panic!("{name}: no USER"));
        let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
        assert!(ids.len() == 2 && !ids.contains(&0), "{name}: USER {user}");
        let bases = all.iter().filter_map(|line| line.strip_prefix("FROM "));
        for base in bases.map(|base| base.split(' ').next().unwrap()) {
            let stage = all.iter().any(|line| line.ends_with(&format!(" AS {base}")));
            let tagged = base
                .split_once(':')
                .is_some_and(|(_, tag)| !tag.contains("latest"));
            assert!(tagged || stage || base == "scratch", "{name}: FROM {base}");
        }
    }
    let all = instructions(&read(&format!("{DIRECTORY}/Dockerfile")));
    let last = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    assert_eq!(all[last], "FROM scratch");
    let of_image = &all[last..];
    for part in [
        r#"ENTRYPOINT ["/service"]"#,
        r#"CMD ["serve"]"#,
        r#"CMD ["/service", "healthcheck"]"#,
    ] {
        assert!(of_image.iter().any(|line| line.ends_with(part)), "{part}");
    }
    assert!(
        !of_image.iter().any(|line| line.starts_with("RUN ")),
        "there is no shell to run it"
    );
}

#[test]
fn images_are_built_by_the_compiler_of_the_workspace() {
    let (_, version) = read("Cargo.toml")
        .split_once("rust-version = \"")
        .map(|(before, after)| (before.to_owned(), after.split('"').next().unwrap().to_owned()))
        .unwrap();
    let dockerfile = read(&format!("{DIRECTORY}/Dockerfile"));
    assert!(
        dockerfile.contains(&format!("ARG RUST_VERSION={version}\n")),
        "Dockerfile: not {version}"
    );
    for service in Service::ALL {
        let program = format!("target/release/{}", service.name());
        assert!(dockerfile.contains(&program), "Dockerfile: no {program}");
    }
}

/// The context of a build: everything a build needs, and no secret.
#[test]
fn a_build_sees_the_sources_and_no_secret() {
    let ignored = read(".dockerignore");
    let lines: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.first(), Some(&"*"), "everything is left out first");
    let taken: BTreeSet<&str> = lines.iter().filter_map(|line| line.strip_prefix('!')).collect();
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("members = [").unwrap();
    let members = members.split(']').next().unwrap().split('"').skip(1).step_by(2);
    for needed in members.chain(["Cargo.toml", "Cargo.lock", ".cargo"]) {
        let mut above = Path::new(needed).ancestors().filter_map(Path::to_str);
        assert!(
            above.any(|path| taken.contains(path)),
            ".dockerignore leaves out {needed}"
        );
        assert!(root().join(needed).exists());
    }
    for path in &taken {
        let secret =
            path.contains("secrets") || *path == "infrastructure" || *path == "infrastructure/docker";
        assert!(!secret, ".dockerignore takes {path}");
    }
    assert!(
        read(".gitignore")
            .lines()
            .any(|line| line == "/infrastructure/docker/secrets")
    );
}

/// As [`images_are_run_by_a_number_and_without_a_shell`] wants it: the program and its libraries are all there is.
#[test]
fn the_file_system_of_an_image_is_complete_and_has_nothing_else() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("filesystem");
    let script = root().join(DIRECTORY).join("filesystem.sh");
    let made = Command::new(&script)
        .arg(PROGRAM)
        .arg(&directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = files_in(&directory);
    let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    let loader = files
        .iter()
        .find(|file| name(file).starts_with("ld-linux"))
        .unwrap();
    let libraries: BTreeSet<&Path> = files
        .iter()
        .filter(|file| name(file).contains(".so"))
        .map(|file| file.parent().unwrap())
        .collect();
    let libraries: Vec<String> = libraries.iter().map(|path| path.display().to_string()).collect();
    let listed = Command::new(loader)
        .args([
            "--inhibit-cache",
            "--library-path",
            &libraries.join(":"),
            "--list",
        ])
        .arg(directory.join("service"))
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for line in listed.lines().filter(|line| line.contains("=>")) {
        let (_, path) = line.split_once("=> ").unwrap();
        assert!(
            path.starts_with(&directory.display().to_string()),
            "missing: {line}"
        );
    }
    assert!(listed.contains("libc.so"), "{listed}");
    let expected = |file: &PathBuf| {
        let file = name(file);
        file.contains(".so") || ["service", "ca-certificates.crt", "nsswitch.conf"].contains(&file.as_str())
    };
    let others: Vec<_> = files.iter().filter(|file| !expected(file)).collect();
    assert!(others.is_empty(), "{others:?}");
    let again = Command::new(script)
        .arg(PROGRAM)
        .arg(&directory)
        .output()
        .unwrap();
    assert!(!again.status.success(), "it mixes two programs");
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_in(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// A compose file, as much of it as we use: a key that is not known here is a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    name: String,
    #[serde(rename = "x-hardened")]
    _hardened: Value,
    #[serde(rename = "x-service")]
    _service: Value,
    #[serde(rename = "x-command")]
    _command: Value,
    services: BTreeMap<String, Container>,
    volumes: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    file: PathBuf,
}

#[expect(dead_code, reason = "named so that any other key is refused")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Container {
    image: String,
    build: Option<Build>,
    pull_policy: Option<String>,
    user: Option<String>,
    command: Option<Vec<String>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    tmpfs: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Healthcheck>,
    restart: String,
    stop_grace_period: Option<String>,
    shm_size: Option<String>,
    read_only: bool,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    context: PathBuf,
    dockerfile: PathBuf,
    #[serde(default)]
    args: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: String,
}

#[expect(dead_code, reason = "named so that any other key is refused")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Healthcheck {
    test: Vec<String>,
    interval: String,
    timeout: String,
    retries: u32,
}

impl Compose {
    fn read() -> Self {
        serde_saphyr::from_str(&read(&format!("{DIRECTORY}/compose.yaml"))).unwrap()
    }

    /// The containers of our images, with the service and the command of each.
    fn ours(&self) -> impl Iterator<Item = (&str, Service, &str, &Container)> {
        self.services.iter().filter_map(|(name, container)| {
            let image = container.image.strip_prefix("flowlet/")?;
            let service = Service::from_name(image.split(':').next()?)?;
            let command = container
                .command
                .as_deref()
                .map_or("serve", |words| words[0].as_str());
            Some((name.as_str(), service, command, container))
        })
    }
}

#[test]
fn the_stack_has_everything_that_it_refers_to() {
    let compose = Compose::read();
    let directory = root().join(DIRECTORY);
    assert_eq!(compose.name, "flowlet");
    for needed in ["postgresql", "redis", "prometheus", "grafana"] {
        assert!(compose.services.contains_key(needed), "no {needed}");
    }
    for (name, container) in &compose.services {
        for (other, dependency) in &container.depends_on {
            let found = compose
                .services
                .get(other)
                .unwrap_or_else(|| panic!("{name}: no {other}"));
            let possible = match dependency.condition.as_str() {
                // Our images bring their own check.
                "service_healthy" => found.healthcheck.is_some() || found.build.is_some(),
                "service_completed_successfully" => found.restart == "no",
                "service_started" => true,
                _ => false,
            };
            assert!(
                possible,
                "{name} waits for {other} in vain: {}",
                dependency.condition
            );
        }
        for secret in &container.secrets {
            assert!(compose.secrets.contains_key(secret), "{name}: no secret {secret}");
        }
        for volume in &container.volumes {
            let source = volume.split(':').next().unwrap();
            let known = compose.volumes.contains_key(source);
            assert!(
                known || directory.join(source).exists() && volume.ends_with(":ro"),
                "{name}: {volume}"
            );
        }
        for port in &container.ports {
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name}: {port} is open to the network"
            );
        }
        match &container.build {
            Some(build) => assert!(
                directory.join(&build.context).join(&build.dockerfile).exists(),
                "{name}"
            ),
            None if container.image.starts_with("flowlet/") => {
                assert_eq!(
                    container.pull_policy.as_deref(),
                    Some("never"),
                    "{name} is looked for elsewhere"
                );
            }
            None => {
                let tag = container.image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
                assert!(
                    tag.contains(|it: char| it.is_ascii_digit()),
                    "{name}: {}",
                    container.image
                );
            }
        }
        let hardened = container.read_only
            && container.cap_drop == ["ALL"]
            && container.security_opt == ["no-new-privileges:true"]
            && container.user.as_deref() != Some("root");
        assert!(hardened, "{name} is not hardened");
    }
}

#[test]
fn the_stack_runs_every_service_and_its_commands() {
    let compose = Compose::read();
    for service in Service::ALL {
        let commands: BTreeSet<&str> = compose
            .ours()
            .filter(|(_, it, ..)| *it == service)
            .map(|(_, _, command, _)| command)
            .collect();
        let expected = match service.schema() {
            Some(_) => BTreeSet::from(["provision", "migrate", "serve"]),
            None => BTreeSet::from(["serve"]),
        };
        assert_eq!(commands, expected, "{}", service.name());
    }
    for (name, service, command, container) in compose.ours() {
        if command == "serve" {
            assert_eq!(name, service.name(), "others call it by its name");
            let build = container.build.as_ref().unwrap();
            assert_eq!(build.args["SERVICE"], service.name());
        }
        let documented = documented(service);
        for variable in container.environment.keys() {
            let known = documented.contains(variable.strip_suffix("_FILE").unwrap_or(variable));
            assert!(known, "{name}: {variable} is not in config.rs");
        }
        for path in container
            .environment
            .values()
            .filter_map(|value| value.strip_prefix("/run/secrets/"))
        {
            assert!(
                container.secrets.iter().any(|secret| secret == path),
                "{name}: {path} is not mounted"
            );
        }
    }
}

/// What `create-secrets.sh` writes is what compose.yaml mounts. It takes PostgreSQL to be where compose puts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secrets_of_the_stack_are_made_by_one_command() {
    let scratch = Scratch::new();
    let secrets = stack_secrets(&scratch).await;
    for (name, secret) in Compose::read().secrets {
        let file = scratch.path().join(DIRECTORY).join(&secret.file);
        let content = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(content.trim().len() >= 32, "{name} is short");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
        assert_eq!(
            mode & 0o777,
            0o644,
            "{name} is read by a user with another number"
        );
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&secrets).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "others of this machine can read the secrets");
}

/// The scripts run on a copy, because they write beside themselves.
async fn stack_secrets(scratch: &Scratch) -> PathBuf {
    need_openssl().await;
    for file in ["secrets/create.sh", "docker/create-secrets.sh"] {
        let copy = scratch.path().join("infrastructure").join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(root().join("infrastructure").join(file), copy).unwrap();
    }
    let directory = scratch.path().join(DIRECTORY);
    let mut create = Command::new(directory.join("create-secrets.sh"));
    let age = ensure(Tool::Age).await.unwrap();
    let path = [age.parent().unwrap().to_owned()]
        .into_iter()
        .chain(programs::search_path());
    create.env("PATH", std::env::join_paths(path).unwrap());
    programs::finish(create).await.unwrap();
    directory.join("secrets")
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The containers of compose.yaml as processes on this machine: their environment, with addresses and paths of here.
struct Stack {
    secrets: BTreeMap<String, PathBuf>,
    messages: PathBuf,
    addresses: BTreeMap<Service, String>,
}

impl Stack {
    fn command(&self, service: Service, command: &str, container: &Container) -> Command {
        let mut program = Command::new(PROGRAM);
        program
            .args([command, service.name()])
            .env_clear()
            .envs(self.environment(container));
        program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        program
    }

    fn environment(&self, container: &Container) -> BTreeMap<String, String> {
        let local = |value: &String| match value.strip_prefix("/run/secrets/") {
            Some(secret) => self.secrets[secret].display().to_string(),
            None if value == "/messages" => self.messages.display().to_string(),
            None => self
                .addresses
                .iter()
                .fold(value.clone(), |value, (service, address)| {
                    let port = service.port();
                    let bound = value.replace(&format!("0.0.0.0:{port}"), address);
                    bound.replace(&format!("{}:{port}", service.name()), address)
                }),
        };
        let environment = container.environment.iter();
        environment
            .map(|(name, value)| (name.clone(), local(value)))
            .collect()
    }

    fn finish(&self, service: Service, command: &str, container: &Container) -> Output {
        let child = self.command(service, command, container).spawn().unwrap();
        child.wait_with_output().unwrap()
    }
}

/// From an empty database to a platform that answers, by nothing but what compose.yaml and create-secrets.sh say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stack_comes_up_on_an_empty_database() {
    let compose = Compose::read();
    let scratch = Scratch::new();
    let directory = stack_secrets(&scratch).await;
    let server = Server::throwaway(Durability::Fast).await.unwrap();
    let postgres = server.connect("postgres").await.unwrap();
    postgres.batch_execute("CREATE DATABASE flowlet").await.unwrap();
    let admin = server.cluster.superuser_url("flowlet");
    let (_, host) = admin.rsplit_once('@').unwrap();
    for file in files_in(&directory) {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("postgresql:5432/flowlet", host)).unwrap();
    }
    fs::write(
        directory.join("database-administrator/ADMIN_DATABASE_URL"),
        &admin,
    )
    .unwrap();

    let listeners: Vec<_> = Service::ALL
        .into_iter()
        .map(|service| (service, free_listener().unwrap()))
        .collect();
    let address =
        |(service, listener): &(Service, TcpListener)| (*service, listener.local_addr().unwrap().to_string());
    let stack = Stack {
        secrets: compose
            .secrets
            .iter()
            .map(|(name, secret)| (name.clone(), scratch.path().join(DIRECTORY).join(&secret.file)))
            .collect(),
        messages: scratch.path().join("messages"),
        addresses: listeners.iter().map(address).collect(),
    };
    drop(listeners);

    for step in ["provision", "migrate"] {
        for (name, service, command, container) in
            compose.ours().filter(|(_, _, command, _)| *command == step)
        {
            let output = stack.finish(service, command, container);
            assert!(
                output.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    let mut running = Vec::new();
    let serving = || compose.ours().filter(|(_, _, command, _)| *command == "serve");
    for (_, service, command, container) in serving() {
        accept(service, stack.environment(container)).unwrap();
        let unhealthy = stack.finish(service, "healthcheck", container);
        assert!(
            !unhealthy.status.success(),
            "{} is healthy before it runs",
            service.name()
        );
        let mut program = stack.command(service, command, container);
        program.stdout(Stdio::null()).stderr(Stdio::null());
        running.push(Running(program.spawn().unwrap()));
    }
    let started = Instant::now();
    for (name, service, _, container) in serving() {
        loop {
            let output = stack.finish(service, "healthcheck", container);
            if output.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(started.elapsed() < Duration::from_secs(60), "{name}: {said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    drop(running);
    server.cluster.stop().await.unwrap();
}
