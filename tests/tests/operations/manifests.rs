//! The Kubernetes manifests: that they render, that Kubernetes understands them, that they keep our rules ([`rules`], with
//! who may connect to whom in [`network`]), and that the services accept the configuration they are given.
//!
//! Deliberately absent: a cluster. What an API server, a scheduler or a network would say cannot be known here.

mod network;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use platform::tools::{Tool, ensure};
use platform::{Service, programs};
use serde_json::Value;
use shared::config::Env;

use super::installation::script;
use rules::RULES;
pub use rules::documented;

/// Where a pod finds its secrets.
const SECRETS: &str = "/run/secrets/flowlet";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlay {
    Production,
    Dev,
    Provision,
}

impl Overlay {
    const ALL: [Self; 3] = [Self::Production, Self::Dev, Self::Provision];

    const fn directory(self) -> &'static str {
        match self {
            Self::Production => "k8s/overlays/production",
            Self::Dev => "k8s/overlays/dev",
            Self::Provision => "k8s/provision",
        }
    }
}

/// Rendered manifests.
#[derive(Clone)]
pub struct Manifests {
    overlay: Overlay,
    objects: Vec<Value>,
}

impl Manifests {
    async fn render(overlay: Overlay) -> Self {
        let objects = serde_saphyr::from_multiple(&render(overlay.directory()).await).unwrap();
        Self { overlay, objects }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Whatever has pods.
    fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(|object| !object["spec"]["template"]["spec"]["containers"].is_null())
    }

    /// The Deployments of our services.
    fn services(&self) -> impl Iterator<Item = (Service, &Value)> {
        self.of_kind("Deployment")
            .filter_map(|object| Some((Service::from_name(name(object))?, object)))
    }

    /// The object of this name, after which there may be a hash or a version.
    fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).find(|object| is_called(object, name))
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn is_called(object: &Value, wanted: &str) -> bool {
    let generated = matches!(object["kind"].as_str(), Some("ConfigMap" | "Job"));
    let rest = name(object).strip_prefix(wanted);
    rest.is_some_and(|rest| {
        let is_generated = |it: &str| !it.contains("migration") && !it.contains("provision");
        rest.is_empty() || generated && rest.strip_prefix('-').is_some_and(is_generated)
    })
}

/// `auth-service`, or `auth-service migration`.
fn pod_name(workload: &Value) -> String {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let name = labels["app.kubernetes.io/name"].as_str().unwrap();
    match labels["app.kubernetes.io/component"].as_str() {
        None | Some("service") => name.to_owned(),
        Some(component) => format!("{name} {component}"),
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

async fn render(directory: &str) -> String {
    let mut kubectl = Command::new(ensure(Tool::Kubectl).await.unwrap());
    kubectl.args(["kustomize", directory]).current_dir(root());
    programs::finish(kubectl).await.unwrap()
}

/// A directory that is removed with this.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let name = format!("flowlet-manifests-{}", platform::secrets::random_text().unwrap());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Our scripts make secrets with it, and a minimal Debian does not have it.
pub async fn need_openssl() {
    if programs::find_on_path("openssl").is_none() && programs::can_install_with_apt() {
        programs::install_with_apt("openssl").await.unwrap();
    }
}

/// The secrets of a new installation, as an operator makes them: a directory for each Secret.
pub async fn new_secrets(scratch: &Scratch, database: &str) -> PathBuf {
    need_openssl().await;
    let directory = scratch.path().join("secrets");
    script("create.sh", &[directory.to_str().unwrap(), database]).unwrap();
    directory
}

async fn validate(manifests: &str, version: &str) -> anyhow::Result<String> {
    let scratch = Scratch::new();
    let file = scratch.path().join("manifests.yaml");
    fs::write(&file, manifests)?;
    let mut validate = Command::new(ensure(Tool::KubernetesValidate).await?);
    validate
        .args(["--strict", "--kubernetes-version", version])
        .arg(&file);
    programs::finish(validate).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_understands_every_object() {
    for directory in Overlay::ALL
        .map(Overlay::directory)
        .into_iter()
        .chain(["k8s/base"])
    {
        let text = render(directory).await;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let custom = objects
            .iter()
            .filter(|object| object["kind"] == "PodMonitor")
            .count();
        // The oldest version that we say we support, and the newest whose schema there is.
        for version in ["1.30.0", "1.37.0"] {
            let said = validate(&text, version).await;
            let said = said.unwrap_or_else(|error| panic!("{directory}, Kubernetes {version}: {error:#}"));
            let passed = said.matches(" passed for resource ").count();
            assert_eq!(
                passed + custom,
                objects.len(),
                "{directory}, Kubernetes {version}: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_with_a_misspelt_or_mistyped_field_is_refused() {
    let text = render("k8s/provision").await;
    for (right, wrong) in [
        ("readOnlyRootFilesystem", "readonlyRootFilesystem"),
        ("backoffLimit: 6", "backoffLimit: six"),
    ] {
        assert!(text.contains(right));
        let broken = text.replace(right, wrong);
        assert!(validate(&broken, "1.37.0").await.is_err(), "{wrong} is accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_keep_our_rules() {
    for overlay in Overlay::ALL {
        let manifests = Manifests::render(overlay).await;
        for rule in RULES.iter().filter(|rule| rule.holds_in.contains(&overlay)) {
            let problems = (rule.check)(&manifests);
            let problems = problems.join("\n");
            assert!(problems.is_empty(), "{overlay:?}: {}:\n\n{problems}\n", rule.says);
        }
    }
}

/// A rule that cannot refuse anything is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_refuses_what_breaks_it() {
    let production = Manifests::render(Overlay::Production).await;
    let mut problems = Vec::new();
    for rule in RULES {
        assert!(!rule.broken_by.is_empty(), "nothing breaks: {}", rule.says);
        for change in rule.broken_by {
            let mut broken = production.clone();
            change.apply(&mut broken);
            if (rule.check)(&broken).is_empty() {
                problems.push(format!("{change:?} does not break: {}", rule.says));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What a container is told: `env`, and the ConfigMaps of `envFrom`.
fn variables(manifests: &Manifests, workload: &Value) -> BTreeMap<String, String> {
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let mut variables = BTreeMap::new();
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let name = source["configMapRef"]["name"].as_str().unwrap();
        let found = manifests
            .of_kind("ConfigMap")
            .find(|object| self::name(object) == name);
        let data = found.unwrap_or_else(|| panic!("there is no ConfigMap {name}"))["data"].as_object();
        variables.extend(
            data.unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), text(value))),
        );
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        variables.insert(text(&variable["name"]), text(&variable["value"]));
    }
    variables
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// The Secrets that are mounted for a container, each with the keys that are taken from it if not all are.
fn mounted_secrets(workload: &Value) -> BTreeMap<String, Option<Vec<String>>> {
    let volumes = workload["spec"]["template"]["spec"]["volumes"].as_array();
    let mut secrets = BTreeMap::new();
    for volume in volumes.into_iter().flatten() {
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            secrets.insert(name.to_owned(), None);
        }
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            let keys = source["secret"]["items"].as_array();
            let keys = keys.map(|items| items.iter().map(|item| text(&item["key"])).collect());
            secrets.insert(text(&source["secret"]["name"]), keys);
        }
    }
    secrets
}

/// The environment that a container would have, with secrets from `directory` instead of those of the cluster.
fn environment(manifests: &Manifests, workload: &Value, directory: &Path) -> BTreeMap<String, String> {
    let secrets = mounted_secrets(workload);
    let mut environment = variables(manifests, workload);
    for value in environment.values_mut() {
        let Some(key) = value.strip_prefix(&format!("{SECRETS}/")) else {
            continue;
        };
        let of_key = secrets.iter().find_map(|(name, keys)| {
            let file = directory.join(name).join(key);
            let is_taken = keys.as_ref().is_none_or(|keys| keys.iter().any(|it| it == key));
            (is_taken && file.is_file()).then_some(file)
        });
        let file = of_key.unwrap_or_else(|| panic!("{}: no Secret has {key}", pod_name(workload)));
        *value = file.display().to_string();
    }
    environment
}

/// Whether a service would start with this environment.
pub fn accept(service: Service, environment: BTreeMap<String, String>) -> anyhow::Result<()> {
    let env = Env::from_pairs(environment);
    match service {
        Service::Auth => auth_service::Config::from_env(env).map(drop),
        Service::Ml => ml_service::Config::from_env(env).map(drop),
        Service::Transactions => transactions_service::Config::from_env(env).map(drop),
        Service::Accounts => accounts_service::Config::from_env(env).map(drop),
        Service::Gateway => gateway::Config::from_env(env).map(drop),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_accept_the_configuration_that_they_are_given() {
    for (overlay, database) in [
        (Overlay::Production, "db.example.com:5432/flowlet?sslmode=require"),
        (Overlay::Dev, "postgresql:5432/flowlet"),
    ] {
        let manifests = Manifests::render(overlay).await;
        let scratch = Scratch::new();
        let secrets = new_secrets(&scratch, database).await;
        // In a cluster for trying things out, mail is written into a directory.
        let mut optional = vec!["NEXT_SIGNING_KEY_FILE", "PREVIOUS_SIGNING_KEY_FILE"];
        match overlay {
            Overlay::Dev => optional.push("SMTP_URL_FILE"),
            _ => {
                let mail_server = secrets.join("auth-service/SMTP_URL");
                fs::write(mail_server, "smtps://user:password@mail.example.com").unwrap();
            }
        }
        let mut seen = 0;
        for (service, deployment) in manifests.services() {
            let environment = environment(&manifests, deployment, &secrets);
            let names: Vec<String> = environment.keys().cloned().collect();
            let accepted = accept(service, environment.clone());
            accepted.unwrap_or_else(|error| panic!("{overlay:?}, {}: {error:#}", service.name()));
            seen += 1;
            // Nothing is there that it would start without, except for what is a choice.
            let needed = names
                .iter()
                .filter(|name| name.ends_with("_URL") || name.ends_with("_FILE"));
            for needed in needed.filter(|name| !optional.contains(&name.as_str())) {
                let mut without = environment.clone();
                without.remove(needed);
                assert!(
                    accept(service, without).is_err(),
                    "{} starts without {needed}",
                    service.name()
                );
            }
        }
        assert_eq!(seen, Service::ALL.len());
        if overlay == Overlay::Production {
            let (service, gateway) = manifests.services().find(|(it, _)| *it == Service::Auth).unwrap();
            let mut insecure = environment(&manifests, gateway, &secrets);
            insecure.insert("PASSWORD_HASH_MEMORY_KIB".to_owned(), "8".to_owned());
            assert!(
                accept(service, insecure).is_err(),
                "production is not in production"
            );
        }
    }
}

/// Every line that names a version: the images, the Jobs, the label of an image.
#[test]
fn every_file_deploys_the_version_of_this_tree() {
    let version = env!("CARGO_PKG_VERSION");
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let release = read("k8s/components/release/kustomization.yaml");
    let tags = release.matches(&format!("\n  newTag: {version}\n")).count();
    assert_eq!(tags, Service::ALL.len(), "k8s/components/release");
    assert_eq!(release.matches("newTag").count(), tags);
    let suffix = format!("\n  suffix: -{}\n", version.replace('.', "-"));
    assert!(
        release.contains(&suffix),
        "k8s/components/release has no {suffix}"
    );
    let dockerfile = read("infrastructure/docker/Dockerfile");
    assert!(
        dockerfile.contains(&format!("ARG VERSION={version}\n")),
        "Dockerfile"
    );
    let compose = read("infrastructure/docker/compose.yaml");
    for image in compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: flowlet/"))
    {
        assert!(image.ends_with(&format!(":{version}")), "compose.yaml: {image}");
    }
}
