//! What every manifest must keep to, each rule with changes that break it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use platform::Service;
use platform::contract::operations;
use serde_json::Value;

use super::network::{Arrow, Arrows, arrows, selects};
use super::{Manifests, Overlay, SECRETS, mounted_secrets, name, pod_name, root, variables};

pub struct Rule {
    pub says: &'static str,
    pub holds_in: &'static [Overlay],
    pub check: fn(&Manifests) -> Vec<String>,
    /// Changes to the manifests of production.
    pub broken_by: &'static [Change],
}

/// Sets the value at a JSON pointer of an object; nothing removes it.
#[derive(Debug)]
pub struct Change {
    kind: &'static str,
    name: &'static str,
    pointer: &'static str,
    value: &'static str,
}

const fn change(
    kind: &'static str,
    name: &'static str,
    pointer: &'static str,
    value: &'static str,
) -> Change {
    Change {
        kind,
        name,
        pointer,
        value,
    }
}

impl Change {
    pub fn apply(&self, manifests: &mut Manifests) {
        let object = manifests
            .objects
            .iter_mut()
            .find(|object| object["kind"] == self.kind && super::is_called(object, self.name));
        let object = object.unwrap_or_else(|| panic!("there is no {} {}", self.kind, self.name));
        let (parent, key) = self.pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/");
        let parent = object
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("{self:?}: nothing is there"));
        let value = (!self.value.is_empty()).then(|| serde_json::from_str(self.value).unwrap());
        match (parent, value) {
            (Value::Array(list), Some(value)) => list[key.parse::<usize>().unwrap()] = value,
            (Value::Object(members), Some(value)) => drop(members.insert(key, value)),
            (Value::Object(members), None) => drop(members.remove(&key).unwrap()),
            _ => panic!("{self:?} is not possible"),
        }
    }
}

const EVERYWHERE: &[Overlay] = &Overlay::ALL;
const PLATFORMS: &[Overlay] = &[Overlay::Production, Overlay::Dev];
const PRODUCTION: &[Overlay] = &[Overlay::Production];

/// The container of a pod.
const CONTAINER: &str = "/spec/template/spec/containers/0";

pub const RULES: &[Rule] = &[
    Rule {
        says: "a pod has no rights: it is nobody, it can write nowhere, it has no token, it shares nothing with its node",
        holds_in: EVERYWHERE,
        check: pods_are_restricted,
        broken_by: &[
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/securityContext/runAsNonRoot",
                "false",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/securityContext/runAsUser",
                "0",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/securityContext/runAsUser",
                "",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/securityContext/seccompProfile",
                "",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/automountServiceAccountToken",
                "",
            ),
            change("Deployment", "gateway", "/spec/template/spec/hostNetwork", "true"),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/volumes/0",
                r#"{"name": "x", "hostPath": {"path": "/"}}"#,
            ),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem",
                "",
            ),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation",
                "true",
            ),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/securityContext/capabilities/drop",
                r#"["NET_RAW"]"#,
            ),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/securityContext/capabilities/add",
                r#"["SYS_ADMIN"]"#,
            ),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/securityContext/privileged",
                "true",
            ),
            change(
                "Namespace",
                "flowlet",
                "/metadata/labels/pod-security.kubernetes.io~1enforce",
                r#""baseline""#,
            ),
        ],
    },
    Rule {
        says: "an image has a version, and ours that of this tree",
        holds_in: EVERYWHERE,
        check: images_have_a_version,
        broken_by: &[
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/image",
                r#""flowlet/gateway:latest""#,
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/image",
                r#""flowlet/gateway""#,
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/image",
                r#""flowlet/gateway:0.0.9""#,
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/image",
                r#""flowlet/ml-service:0.1.0""#,
            ),
        ],
    },
    Rule {
        says: "a container says how much it needs and how much it may take",
        holds_in: EVERYWHERE,
        check: containers_are_bounded,
        broken_by: &[
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/resources/limits/memory",
                "",
            ),
            change(
                "Job",
                "ml-service-migration",
                "/spec/template/spec/containers/0/resources/requests/cpu",
                "",
            ),
        ],
    },
    Rule {
        says: "a service is probed on /livez and /readyz, and has more time than its own checks",
        holds_in: PLATFORMS,
        check: services_are_probed,
        broken_by: &[
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/livenessProbe/httpGet/path",
                r#""/readyz""#,
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/readinessProbe",
                "",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/readinessProbe/timeoutSeconds",
                "2",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/startupProbe",
                "",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/args",
                r#"["migrate"]"#,
            ),
        ],
    },
    Rule {
        says: "a service has more than one replica, apart from each other, of which one at a time may be missing",
        holds_in: PRODUCTION,
        check: services_are_replicated,
        broken_by: &[
            change("HorizontalPodAutoscaler", "gateway", "/spec/minReplicas", "1"),
            change(
                "HorizontalPodAutoscaler",
                "gateway",
                "/spec/scaleTargetRef/name",
                r#""getaway""#,
            ),
            change("HorizontalPodAutoscaler", "gateway", "/spec/maxReplicas", "2"),
            change("Deployment", "gateway", "/spec/replicas", "3"),
            change(
                "Deployment",
                "gateway",
                "/spec/strategy/rollingUpdate/maxUnavailable",
                "1",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/topologySpreadConstraints",
                "",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/topologySpreadConstraints/0/matchLabelKeys",
                "",
            ),
            change("PodDisruptionBudget", "gateway", "/spec/maxUnavailable", "2"),
            change(
                "PodDisruptionBudget",
                "gateway",
                "/spec/selector/matchLabels/app.kubernetes.io~1name",
                r#""ml-service""#,
            ),
        ],
    },
    Rule {
        says: "a pod has the time to answer what it has accepted",
        holds_in: PLATFORMS,
        check: pods_end_gracefully,
        broken_by: &[
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/terminationGracePeriodSeconds",
                "30",
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/terminationGracePeriodSeconds",
                "",
            ),
            change("ConfigMap", "gateway", "/data/SHUTDOWN_DELAY_S", ""),
            change("ConfigMap", "gateway", "/data/SHUTDOWN_DELAY_S", r#""60""#),
        ],
    },
    Rule {
        says: "a variable is one that the top of config.rs names",
        holds_in: EVERYWHERE,
        check: variables_are_known,
        broken_by: &[
            change("ConfigMap", "gateway", "/data/REDIS_ADDRESS", r#""redis:6379""#),
            change(
                "ConfigMap",
                "ml-service",
                "/data/SIGNING_KEY_FILE",
                r#""/run/secrets/flowlet/SIGNING_KEY""#,
            ),
            change(
                "Job",
                "ml-service-migration",
                "/spec/template/spec/containers/0/env/1/name",
                r#""LOG_STYLE""#,
            ),
        ],
    },
    Rule {
        says: "a secret is in a mounted file, in no manifest, and not in anybody's hands who does not need it",
        holds_in: EVERYWHERE,
        check: secrets_are_only_referred_to,
        broken_by: &[
            change("PodMonitor", "flowlet", "/kind", r#""Secret""#),
            change(
                "ConfigMap",
                "ml-service",
                "/data/DATABASE_URL",
                r#""postgres://ml_runtime:x@db/flowlet""#,
            ),
            change(
                "ConfigMap",
                "ml-service",
                "/data/SERVICE_SECRETS_FILE",
                r#""/etc/secrets""#,
            ),
            change(
                "Job",
                "ml-service-migration",
                "/spec/template/spec/containers/0/env/1",
                r#"{"name": "ADMIN_DATABASE_URL", "value": "x"}"#,
            ),
            change(
                "Job",
                "ml-service-migration",
                "/spec/template/spec/volumes/1/secret/secretName",
                r#""ml-service""#,
            ),
            change(
                "Job",
                "ml-service-migration",
                "/spec/template/spec/volumes/1/secret/secretName",
                r#""auth-service-migration""#,
            ),
            change(
                "Deployment",
                "ml-service",
                "/spec/template/spec/volumes/1/projected/sources/1/secret/name",
                r#""ml-service-migration""#,
            ),
            change(
                "Deployment",
                "ml-service",
                "/spec/template/spec/volumes/1/projected/sources/1/secret/name",
                r#""auth-service""#,
            ),
        ],
    },
    Rule {
        says: "connections follow the arrows of the architecture, and nothing else does",
        holds_in: PLATFORMS,
        check: connections_are_the_arrows,
        broken_by: &[
            change(
                "NetworkPolicy",
                "default-deny",
                "/spec/policyTypes",
                r#"["Ingress"]"#,
            ),
            change(
                "NetworkPolicy",
                "ml-service",
                "/spec/ingress/0/from/0/podSelector/matchLabels",
                r#"{"app.kubernetes.io/part-of": "flowlet"}"#,
            ),
            change("NetworkPolicy", "transactions-service", "/spec/egress", "[]"),
            change(
                "NetworkPolicy",
                "transactions-service",
                "/spec/egress/2/to/0/ipBlock/except",
                "",
            ),
            change(
                "NetworkPolicy",
                "gateway",
                "/spec/egress/0",
                r#"{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}"#,
            ),
            change(
                "NetworkPolicy",
                "gateway",
                "/spec/ingress/0/from/0/namespaceSelector",
                "{}",
            ),
            change(
                "NetworkPolicy",
                "metrics",
                "/spec/ingress/0/from/0/podSelector",
                "{}",
            ),
            change("NetworkPolicy", "postgresql", "/spec/podSelector", "{}"),
            change(
                "ConfigMap",
                "gateway",
                "/data/AUTH_URL",
                r#""http://ml-service:8084""#,
            ),
            change(
                "ConfigMap",
                "ml-service",
                "/data/ACCOUNTS_URL",
                r#""http://accounts-service:8082""#,
            ),
        ],
    },
    Rule {
        says: "a Service leads to the pods of one service, where they listen",
        holds_in: PLATFORMS,
        check: services_lead_to_their_pods,
        broken_by: &[
            change(
                "Service",
                "gateway",
                "/spec/selector/app.kubernetes.io~1name",
                r#""getaway""#,
            ),
            change(
                "Service",
                "ml-service",
                "/spec/selector",
                r#"{"app.kubernetes.io/part-of": "flowlet"}"#,
            ),
            change("Service", "gateway", "/spec/ports/0/targetPort", r#""https""#),
            change("Service", "gateway", "/spec/type", r#""LoadBalancer""#),
            change("ConfigMap", "gateway", "/data/BIND_ADDRESS", r#""0.0.0.0:8081""#),
            change(
                "ConfigMap",
                "gateway",
                "/data/BIND_ADDRESS",
                r#""127.0.0.1:8080""#,
            ),
            change(
                "Deployment",
                "gateway",
                "/spec/template/spec/containers/0/ports/0/containerPort",
                "8081",
            ),
        ],
    },
    Rule {
        says: "the public reaches every operation of the API and the documentation, by TLS, and nothing else",
        holds_in: PLATFORMS,
        check: ingress_is_the_public_api,
        broken_by: &[
            change("Ingress", "gateway", "/spec/tls", ""),
            change(
                "Ingress",
                "gateway",
                "/spec/rules/0/host",
                r#""other.example.com""#,
            ),
            change(
                "Ingress",
                "gateway",
                "/spec/rules/0/http/paths/0/path",
                r#""/api/v1/transfers""#,
            ),
            change(
                "Ingress",
                "gateway",
                "/spec/rules/0/http/paths/10/pathType",
                r#""Prefix""#,
            ),
            change(
                "Ingress",
                "gateway",
                "/spec/rules/0/http/paths/0/backend/service/name",
                r#""auth-service""#,
            ),
        ],
    },
    Rule {
        says: "Prometheus finds every replica of every service",
        holds_in: PRODUCTION,
        check: metrics_are_collected,
        broken_by: &[
            change(
                "PodMonitor",
                "flowlet",
                "/spec/podMetricsEndpoints/0/port",
                r#""metrics""#,
            ),
            change("PodMonitor", "flowlet", "/spec/jobLabel", ""),
            change(
                "PodMonitor",
                "flowlet",
                "/spec/selector/matchLabels/app.kubernetes.io~1name",
                r#""gateway""#,
            ),
        ],
    },
    Rule {
        says: "a Job ends, and each schema has one that migrates it",
        holds_in: PLATFORMS,
        check: schemas_are_migrated,
        broken_by: &[
            change(
                "Job",
                "auth-service-migration",
                "/metadata/name",
                r#""auth-service-migration""#,
            ),
            change("Job", "auth-service-migration", "/spec/activeDeadlineSeconds", ""),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/args",
                r#"["serve"]"#,
            ),
            change(
                "Job",
                "auth-service-migration",
                "/spec/template/spec/containers/0/envFrom",
                r#"[{"configMapRef": {"name": "x"}}]"#,
            ),
        ],
    },
    Rule {
        says: "infrastructure/README.md says how many connections PostgreSQL has to allow",
        holds_in: PRODUCTION,
        check: connections_fit,
        broken_by: &[
            change(
                "HorizontalPodAutoscaler",
                "auth-service",
                "/spec/maxReplicas",
                "40",
            ),
            change(
                "ConfigMap",
                "ml-service",
                "/data/DATABASE_MAX_CONNECTIONS",
                r#""80""#,
            ),
        ],
    },
];

/// What is said where a condition does not hold.
fn unless(holds: bool, problem: impl FnOnce() -> String) -> Option<String> {
    (!holds).then(problem)
}

fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    let pod = &workload["spec"]["template"]["spec"];
    ["containers", "initContainers"]
        .into_iter()
        .flat_map(|kind| pod[kind].as_array().into_iter().flatten())
}

fn pods_are_restricted(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for namespace in manifests.of_kind("Namespace") {
        let enforced = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        problems.extend(unless(enforced == "restricted", || {
            "the namespace does not enforce it".to_owned()
        }));
    }
    for workload in manifests.workloads() {
        let (pod, who) = (&workload["spec"]["template"]["spec"], pod_name(workload));
        let security = &pod["securityContext"];
        let host = ["hostNetwork", "hostPID", "hostIPC"];
        let volumes: Vec<&Value> = pod["volumes"].as_array().into_iter().flatten().collect();
        for (holds, what) in [
            (security["runAsNonRoot"] == true, "runAsNonRoot"),
            (security["runAsUser"].as_u64() > Some(0), "runAsUser"),
            (security["runAsGroup"].as_u64() > Some(0), "runAsGroup"),
            (
                security["seccompProfile"]["type"] == "RuntimeDefault",
                "seccompProfile",
            ),
            (
                pod["automountServiceAccountToken"] == false,
                "automountServiceAccountToken",
            ),
            (host.iter().all(|key| pod[key].is_null()), "host namespaces"),
            (
                volumes.iter().all(|volume| volume["hostPath"].is_null()),
                "hostPath",
            ),
        ] {
            problems.extend(unless(holds, || format!("{who}: {what}")));
        }
        for container in containers(workload) {
            let security = &container["securityContext"];
            for (holds, what) in [
                (
                    security["allowPrivilegeEscalation"] == false,
                    "allowPrivilegeEscalation",
                ),
                (
                    security["readOnlyRootFilesystem"] == true,
                    "readOnlyRootFilesystem",
                ),
                (
                    security["capabilities"]["drop"] == serde_json::json!(["ALL"]),
                    "capabilities",
                ),
                (security["capabilities"]["add"].is_null(), "added capabilities"),
                (security["privileged"].is_null(), "privileged"),
                (
                    security["runAsUser"].is_null() && security["runAsNonRoot"].is_null(),
                    "another user",
                ),
            ] {
                problems.extend(unless(holds, || format!("{who}, {}: {what}", container["name"])));
            }
        }
    }
    problems
}

fn images_have_a_version(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in manifests.workloads() {
        let who = pod_name(workload);
        for container in containers(workload) {
            let image = container["image"].as_str().unwrap();
            let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
            let service = who.split(' ').next().and_then(Service::from_name);
            let good = match service {
                Some(service) => {
                    repository == format!("flowlet/{}", service.name()) && tag == env!("CARGO_PKG_VERSION")
                }
                None => tag.starts_with(|first: char| first.is_ascii_digit()),
            };
            problems.extend(unless(good, || format!("{who}: {image}")));
        }
    }
    problems
}

fn containers_are_bounded(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in manifests.workloads() {
        for container in containers(workload) {
            for (kind, resource) in [
                ("requests", "cpu"),
                ("requests", "memory"),
                ("limits", "cpu"),
                ("limits", "memory"),
            ] {
                let said = &container["resources"][kind][resource];
                problems.extend(unless(said.is_string() || said.is_number(), || {
                    format!("{}: no {kind} of {resource}", pod_name(workload))
                }));
            }
        }
    }
    problems
}

fn services_are_probed(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    let own_limit = number_in(
        "shared/src/server.rs",
        "const READINESS_TIMEOUT: Duration = Duration::from_secs(",
    );
    for (service, deployment) in manifests.services() {
        let container = deployment.pointer(CONTAINER).unwrap();
        for (probe, path) in [
            ("startupProbe", "/livez"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ] {
            let request = &container[probe]["httpGet"];
            let good = request["path"] == path && request["port"] == "http";
            problems.extend(unless(good, || format!("{}: {probe}", service.name())));
        }
        let patience = container["readinessProbe"]["timeoutSeconds"].as_u64();
        let good = patience > Some(own_limit) && container["args"] == serde_json::json!(["serve"]);
        problems.extend(unless(good, || {
            format!("{}: timeoutSeconds or args", service.name())
        }));
    }
    problems
}

/// The number that follows a text in one of our files.
fn number_in(file: &str, before: &str) -> u64 {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let (_, after) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{file} has no `{before}`"));
    let end = after.find(|it: char| !it.is_ascii_digit() && it != ',').unwrap();
    after[..end].replace(',', "").parse().unwrap()
}

fn services_are_replicated(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for (service, deployment) in manifests.services() {
        let who = service.name();
        let spec = &deployment["spec"];
        let labels = &spec["template"]["metadata"]["labels"];
        let scalers: Vec<&Value> = manifests
            .of_kind("HorizontalPodAutoscaler")
            .filter(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == who)
            .collect();
        let budgets: Vec<&Value> = manifests
            .of_kind("PodDisruptionBudget")
            .filter(|budget| selects(&budget["spec"]["selector"], labels))
            .collect();
        let scales = matches!(scalers.as_slice(), [scaler] if {
            let bounds = ["minReplicas", "maxReplicas"].map(|key| scaler["spec"][key].as_u64());
            bounds[0] >= Some(2) && bounds[1] > bounds[0] && scaler["spec"]["metrics"][0]["resource"]["name"] == "cpu"
        });
        let disruption = matches!(budgets.as_slice(), [budget] if budget["spec"]["maxUnavailable"] == 1);
        let rolling = &spec["strategy"]["rollingUpdate"];
        let spreads: BTreeSet<&str> = spec["template"]["spec"]["topologySpreadConstraints"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|spread| selects(&spread["labelSelector"], labels))
            .filter(|spread| spread["matchLabelKeys"][0] == "app.kubernetes.io/name")
            .filter_map(|spread| spread["topologyKey"].as_str())
            .collect();
        for (holds, what) in [
            (scales, "an autoscaler with at least two replicas"),
            (
                spec["replicas"].is_null(),
                "no number of replicas, which would undo the autoscaler's",
            ),
            (disruption, "a disruption budget of one"),
            (
                rolling["maxUnavailable"] == 0 && rolling["maxSurge"] == 1,
                "a new pod before an old one goes",
            ),
            (
                spreads == BTreeSet::from(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]),
                "spread",
            ),
        ] {
            problems.extend(unless(holds, || format!("{who}: {what}")));
        }
    }
    problems
}

fn pods_end_gracefully(manifests: &Manifests) -> Vec<String> {
    let answering = number_in("shared/src/server.rs", "const SHUTDOWN_TIMEOUT_S: u64 = ");
    let mut problems = Vec::new();
    for (service, deployment) in manifests.services() {
        let grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
        let delay = variables(manifests, deployment)
            .get("SHUTDOWN_DELAY_S")
            .map(|it| it.parse().unwrap());
        let good = delay >= Some(5) && grace >= delay.map(|delay: u64| delay + answering + 10);
        problems.extend(unless(good, || {
            format!(
                "{}: grace {grace:?} s, delay {delay:?} s, answering {answering} s",
                service.name()
            )
        }));
    }
    problems
}

/// The variables that the comment at the top of a service's config.rs names.
pub fn documented(service: Service) -> BTreeSet<String> {
    let config = fs::read_to_string(root().join(service.name()).join("src/config.rs")).unwrap();
    let comment = config.lines().map_while(|line| line.strip_prefix("//!"));
    let quoted = comment.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned));
    quoted
        .filter(|it| it.len() > 2 && it.chars().all(|one| one.is_ascii_uppercase() || one == '_'))
        .collect()
}

fn variables_are_known(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in manifests.workloads() {
        let who = pod_name(workload);
        let Some(service) = who.split(' ').next().and_then(Service::from_name) else {
            continue;
        };
        let documented = documented(service);
        let names = variables(manifests, workload).into_keys();
        let unknown = names.filter(|name| !documented.contains(name.strip_suffix("_FILE").unwrap_or(name)));
        problems.extend(unknown.map(|name| format!("{who}: {name}")));
    }
    problems
}

/// What is told by a file only.
pub const SECRET_VARIABLES: [&str; 17] = [
    "ADMIN_DATABASE_URL",
    "BLIND_INDEX_KEYS",
    "BRIDGE_SECRETS",
    "CHECKPOINT_SIGNING_KEY",
    "DATABASE_URL",
    "FIELD_KEYS",
    "MIGRATION_DATABASE_URL",
    "NEXT_SIGNING_KEY",
    "ORIGIN_KEYS",
    "PREVIOUS_SIGNING_KEY",
    "REDIS_URL",
    "SERVICE_SECRETS",
    "SIGNING_KEY",
    "SMS_GATEWAY_TOKEN",
    "SMTP_URL",
    "SOCIAL_AUTH",
    "WEBHOOK_KEYS",
];

fn secrets_are_only_referred_to(manifests: &Manifests) -> Vec<String> {
    let mut problems: Vec<String> = manifests
        .of_kind("Secret")
        .map(|secret| format!("{} is a Secret", name(secret)))
        .collect();
    for workload in manifests.workloads() {
        let who = pod_name(workload);
        let mounted = mounted_secrets(workload);
        let mut words = who.split(' ');
        let (service, component) = (words.next().unwrap(), words.next().unwrap_or("service"));
        let Some(known) = Service::from_name(service) else {
            continue;
        };
        for (name, value) in variables(manifests, workload) {
            let variable = name.strip_suffix("_FILE");
            let secret = SECRET_VARIABLES.contains(&variable.unwrap_or(&name));
            let expected = format!("{SECRETS}/{}", variable.unwrap_or_default());
            let good = !secret || variable.is_some() && value == expected;
            problems.extend(unless(good && !value.contains("://postgres"), || {
                format!("{who}: {name}")
            }));
        }
        let own = service.to_owned();
        let migration = format!("{service}-migration");
        let mut needed = match component {
            "service" if known == Service::Gateway => vec![],
            "service" => vec![own],
            "migration" => vec![migration],
            _ => vec![own, migration, "database-administrator".to_owned()],
        };
        if component == "service" && documented(known).contains("SERVICE_SECRETS") {
            needed.push("service-calls".to_owned());
        }
        needed.sort();
        let mounted_names: Vec<String> = mounted.keys().cloned().collect();
        problems.extend(unless(mounted_names == needed, || {
            format!("{who} mounts {mounted_names:?} and needs {needed:?}")
        }));
        // Who makes the roles has no business with what signs tokens.
        if component == "provision" {
            let url_only = mounted.get(service) == Some(&Some(vec!["DATABASE_URL".to_owned()]));
            problems.extend(unless(url_only, || format!("{who} mounts all of {service}")));
        }
    }
    problems
}

/// Who calls whom, as the page of the architecture says.
const CALLS: [(Service, Service); 11] = [
    (Service::Gateway, Service::Auth),
    (Service::Gateway, Service::Accounts),
    (Service::Gateway, Service::Transactions),
    (Service::Gateway, Service::Ml),
    (Service::Auth, Service::Ml),
    (Service::Accounts, Service::Auth),
    (Service::Accounts, Service::Transactions),
    (Service::Transactions, Service::Auth),
    (Service::Transactions, Service::Ml),
    (Service::Ml, Service::Auth),
    (Service::Ml, Service::Transactions),
];

fn connections_are_the_arrows(manifests: &Manifests) -> Vec<String> {
    let mut expected = BTreeSet::<Arrow>::new();
    let mut arrow = |from: &str, to: &str, port| expected.insert((from.to_owned(), to.to_owned(), port));
    for (from, to) in CALLS {
        arrow(from.name(), to.name(), to.port());
    }
    arrow("ingress", Service::Gateway.name(), Service::Gateway.port());
    // Webhooks.
    arrow(Service::Transactions.name(), "internet", 443);
    // Mail, and the providers of logins and text messages.
    for port in [443, 465, 587] {
        arrow(Service::Auth.name(), "internet", port);
    }
    for service in Service::ALL {
        arrow("prometheus", service.name(), service.port());
    }
    let database = match manifests.overlay {
        Overlay::Dev => "postgresql",
        _ => "database server",
    };
    for workload in manifests.workloads() {
        let who = pod_name(workload);
        arrow(&who, "name server", 53);
        let service = who.split(' ').next().and_then(Service::from_name);
        if service.is_some_and(|service| service.schema().is_some()) {
            arrow(&who, database, 5432);
        }
    }
    let pods: BTreeSet<String> = manifests.workloads().map(pod_name).collect();
    let Arrows { leaving, entering } = arrows(manifests);
    let to_leave = expected.iter().filter(|(from, ..)| pods.contains(from)).cloned();
    let to_enter = expected.iter().filter(|(_, to, _)| pods.contains(to)).cloned();
    differences("leave", &to_leave.collect(), &leaving)
        .into_iter()
        .chain(differences("enter", &to_enter.collect(), &entering))
        .chain(calls_are_configured(manifests))
        .chain(unless(everything_is_denied(manifests), || {
            "a pod that no other policy is about may do anything".to_owned()
        }))
        .collect()
}

fn differences(verb: &str, expected: &BTreeSet<Arrow>, found: &BTreeSet<Arrow>) -> Vec<String> {
    let missing = expected.difference(found);
    let missing = missing.map(|arrow| format!("{arrow:?} may not {verb}"));
    let surplus = found.difference(expected);
    let surplus = surplus.map(|arrow| format!("{arrow:?} may {verb}"));
    missing.chain(surplus).collect()
}

fn everything_is_denied(manifests: &Manifests) -> bool {
    let nothing = serde_json::json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    let mut policies = manifests.of_kind("NetworkPolicy");
    policies.any(|policy| policy["spec"] == nothing)
}

/// The URLs that services are given lead where they may.
fn calls_are_configured(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for (service, deployment) in manifests.services() {
        let variables = variables(manifests, deployment);
        let urls: BTreeMap<&str, &str> = variables
            .iter()
            .filter_map(|(name, value)| Some((name.strip_suffix("_URL")?, value.as_str())))
            // A site, not a service.
            .filter(|(word, _)| *word != "FRONTEND")
            .collect();
        let called = CALLS
            .into_iter()
            .filter(|(from, _)| *from == service)
            .map(|(_, to)| to);
        let expected: BTreeMap<String, String> = called
            .map(|to| {
                let word = to.name().trim_end_matches("-service").to_uppercase();
                (word, format!("http://{}:{}", to.name(), to.port()))
            })
            .collect();
        let same = urls.len() == expected.len()
            && urls
                .iter()
                .all(|(word, url)| expected.get(*word).is_some_and(|it| it == url));
        problems.extend(unless(same, || {
            format!("{} is given {urls:?}, not {expected:?}", service.name())
        }));
    }
    problems
}

fn services_lead_to_their_pods(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for object in manifests.of_kind("Service") {
        let selector = serde_json::json!({ "matchLabels": object["spec"]["selector"] });
        let pods = manifests
            .workloads()
            .map(|workload| &workload["spec"]["template"]);
        let pods: Vec<&Value> = pods
            .filter(|pod| selects(&selector, &pod["metadata"]["labels"]))
            .collect();
        let [pod] = pods.as_slice() else {
            problems.push(format!("{} leads to {} kinds of pods", name(object), pods.len()));
            continue;
        };
        let port = &object["spec"]["ports"][0];
        let target = if port["targetPort"].is_null() {
            &port["port"]
        } else {
            &port["targetPort"]
        };
        let listening = &pod["spec"]["containers"][0]["ports"][0];
        let good = (listening["name"] == *target || listening["containerPort"] == *target)
            && listening["containerPort"] == port["port"]
            && object["spec"]["type"].is_null();
        problems.extend(unless(good, || {
            format!("{}: {port} is not {listening}", name(object))
        }));
    }
    for (service, deployment) in manifests.services() {
        let address = format!("0.0.0.0:{}", service.port());
        let bound = variables(manifests, deployment).remove("BIND_ADDRESS");
        let listening = &deployment.pointer(CONTAINER).unwrap()["ports"][0];
        let good = bound == Some(address) && listening["containerPort"] == service.port();
        let exists = manifests.find("Service", service.name()).is_some();
        problems.extend(unless(good && exists, || {
            format!("{} listens on {bound:?}", service.name())
        }));
    }
    problems
}

fn ingress_is_the_public_api(manifests: &Manifests) -> Vec<String> {
    let ingresses: Vec<&Value> = manifests.of_kind("Ingress").collect();
    let [ingress] = ingresses.as_slice() else {
        return vec![format!("there are {} Ingresses", ingresses.len())];
    };
    let rule = &ingress["spec"]["rules"][0];
    let paths = rule["http"]["paths"].as_array().unwrap();
    let is_public = |path: &str| {
        paths.iter().any(|it| {
            let prefix = it["path"].as_str().unwrap();
            let below = path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            path == prefix || it["pathType"] == "Prefix" && (below || prefix == "/")
        })
    };
    // "GET /api/v1/accounts/{account_id}"
    let operations = operations().map(|(name, _)| name);
    let operations = operations.map(|name| name.split(' ').nth(1).unwrap_or(&name).to_owned());
    let documentation = ["/", "/docs", "/docs/", "/docs/index.html", "/openapi.json"];
    let public = operations.chain(documentation.map(str::to_owned));
    let mut problems: Vec<String> = public
        .filter(|path| !is_public(path))
        .map(|path| format!("{path} is not reachable"))
        .collect();
    let private = [
        "/metrics",
        "/livez",
        "/readyz",
        "/internal",
        "/internal/scores",
        "/api",
        "/anything",
    ];
    let reachable = private.into_iter().filter(|path| is_public(path));
    problems.extend(reachable.map(|path| format!("{path} is reachable")));
    let to_gateway = paths
        .iter()
        .all(|path| path["backend"]["service"]["name"] == Service::Gateway.name());
    let tls = ingress["spec"]["tls"][0]["hosts"][0] == rule["host"] && !rule["host"].is_null();
    problems.extend(unless(to_gateway && tls, || {
        "the gateway, or TLS for its host, is missing".to_owned()
    }));
    problems
}

fn metrics_are_collected(manifests: &Manifests) -> Vec<String> {
    let monitors: Vec<&Value> = manifests.of_kind("PodMonitor").collect();
    let [monitor] = monitors.as_slice() else {
        return vec![format!("there are {} PodMonitors", monitors.len())];
    };
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let named = monitor["apiVersion"] == "monitoring.coreos.com/v1"
        && monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
        && endpoint["path"] == "/metrics";
    let mut problems = Vec::from_iter(unless(named, || "jobLabel or path".to_owned()));
    for workload in manifests.workloads() {
        let who = pod_name(workload);
        let found = selects(
            &monitor["spec"]["selector"],
            &workload["spec"]["template"]["metadata"]["labels"],
        );
        let port = workload.pointer(CONTAINER).unwrap()["ports"][0]["name"] == endpoint["port"];
        let is_service = Service::from_name(&who).is_some();
        let good = if is_service { found && port } else { !found };
        problems.extend(unless(good, || who));
    }
    problems
}

fn schemas_are_migrated(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    let version = env!("CARGO_PKG_VERSION").replace('.', "-");
    for service in Service::ALL
        .into_iter()
        .filter(|service| service.schema().is_some())
    {
        let wanted = format!("{}-migration-{version}", service.name());
        let job = manifests.of_kind("Job").find(|job| name(job) == wanted);
        let migrates =
            job.is_some_and(|job| job.pointer(CONTAINER).unwrap()["args"] == serde_json::json!(["migrate"]));
        problems.extend(unless(migrates, || format!("no {wanted}")));
    }
    for job in manifests.of_kind("Job") {
        // A Job cannot be changed: what has a hash in its name must not be part of it.
        let good = !job["spec"]["activeDeadlineSeconds"].is_null()
            && !job["spec"]["backoffLimit"].is_null()
            && job.pointer(CONTAINER).unwrap()["envFrom"].is_null();
        problems.extend(unless(good, || name(job).to_owned()));
    }
    problems
}

/// At the most: every replica, and one more of each service while it is replaced.
fn connections_fit(manifests: &Manifests) -> Vec<String> {
    let mut needed = 0;
    for (service, deployment) in manifests.services() {
        let variables = variables(manifests, deployment);
        let number = |name: &str| {
            variables
                .get(name)
                .map_or(0, |value| value.parse::<u64>().unwrap())
        };
        let scaler = manifests.find("HorizontalPodAutoscaler", service.name()).unwrap();
        let replicas = scaler["spec"]["maxReplicas"].as_u64().unwrap() + 1;
        if service.schema().is_some() {
            needed += replicas * (number("DATABASE_MAX_CONNECTIONS") + number("LANES"));
        }
    }
    let told = number_in("infrastructure/README.md", "needs at most ");
    Vec::from_iter(unless(needed == told, || {
        format!("{needed} connections, infrastructure/README.md says {told}")
    }))
}
