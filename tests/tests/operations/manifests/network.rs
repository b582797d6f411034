//! Who may connect to whom, by the NetworkPolicies of rendered manifests, evaluated as a cluster's network does it.
//!
//! Deliberately absent: protocols, and everything that our manifests do not use.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::Manifests;

/// Every port that anything here listens on, and one that nothing does.
const PORTS: [u16; 11] = [53, 443, 465, 587, 5432, 6379, 8080, 8081, 8082, 8083, 8084];

/// From, to, port.
pub type Arrow = (String, String, u16);

struct End {
    name: String,
    place: Place,
}

enum Place {
    /// A pod of ours, whose traffic our policies decide.
    Ours(Value),
    /// A pod of another namespace: the namespace, the labels.
    Elsewhere(&'static str, Value),
    Address(IpAddr),
}

/// What the policies of each end allow by themselves. A connection needs both, and neither is there to make up for the other.
pub struct Arrows {
    /// Out of a pod of ours.
    pub leaving: BTreeSet<Arrow>,
    /// Into a pod of ours.
    pub entering: BTreeSet<Arrow>,
}

pub fn arrows(manifests: &Manifests) -> Arrows {
    let policies: Vec<&Value> = manifests.of_kind("NetworkPolicy").collect();
    let ends: Vec<End> = ours(manifests).chain(others()).collect();
    let pairs = || ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to)));
    let arrow = |from: &End, to: &End, port| (from.name.clone(), to.name.clone(), port);
    let mut arrows = Arrows {
        leaving: BTreeSet::new(),
        entering: BTreeSet::new(),
    };
    for ((from, to), port) in pairs().flat_map(|pair| PORTS.map(|port| (pair, port))) {
        if matches!(&from.place, Place::Ours(pod) if allows(&policies, pod, "Egress", &to.place, port)) {
            arrows.leaving.insert(arrow(from, to, port));
        }
        if matches!(&to.place, Place::Ours(pod) if allows(&policies, pod, "Ingress", &from.place, port)) {
            arrows.entering.insert(arrow(from, to, port));
        }
    }
    arrows
}

fn ours(manifests: &Manifests) -> impl Iterator<Item = End> {
    manifests.workloads().map(|workload| End {
        name: super::pod_name(workload),
        place: Place::Ours(workload["spec"]["template"].clone()),
    })
}

/// Those who are let in or out, and those who must not be: a pod elsewhere that calls itself our gateway, the internet.
fn others() -> impl Iterator<Item = End> {
    let pod = |name: &str, namespace, label: &str, value: &str| End {
        name: name.to_owned(),
        place: Place::Elsewhere(namespace, serde_json::json!({ label: value })),
    };
    let address = |name: &str, address: [u8; 4]| End {
        name: name.to_owned(),
        place: Place::Address(address.into()),
    };
    [
        pod("ingress", "ingress", "app", "ingress"),
        pod("prometheus", "monitoring", "app.kubernetes.io/name", "prometheus"),
        pod("grafana", "monitoring", "app.kubernetes.io/name", "grafana"),
        pod("name server", "kube-system", "k8s-app", "kube-dns"),
        pod("stranger", "default", "app.kubernetes.io/name", "gateway"),
        address("database server", [192, 0, 2, 10]),
        address("internet", [203, 0, 113, 9]),
    ]
    .into_iter()
}

/// Whether `pod` may talk to `peer`. Where no policy is about a pod everything is allowed; where one is, what some rule says.
fn allows(policies: &[&Value], pod: &Value, direction: &str, peer: &Place, port: u16) -> bool {
    let (rules, peers) = match direction {
        "Egress" => ("egress", "to"),
        _ => ("ingress", "from"),
    };
    let about = |policy: &&&Value| {
        let types = policy["spec"]["policyTypes"].as_array().unwrap();
        types.iter().any(|kind| kind == direction) && selects(&policy["spec"]["podSelector"], labels(pod))
    };
    let mut about = policies.iter().filter(about).peekable();
    if about.peek().is_none() {
        return true;
    }
    // A named port is one of the pod that listens.
    let listener = match (direction, peer) {
        ("Ingress", _) => Some(pod),
        (_, Place::Ours(peer)) => Some(peer),
        _ => None,
    };
    about
        .flat_map(|policy| policy["spec"][rules].as_array().into_iter().flatten())
        .any(|rule| {
            any_or_absent(&rule[peers], |selector| is_peer(selector, peer))
                && any_or_absent(&rule["ports"], |allowed| {
                    is_port(&allowed["port"], listener, port)
                })
        })
}

fn any_or_absent(list: &Value, matches: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_none_or(|list| list.iter().any(matches))
}

fn is_peer(selector: &Value, peer: &Place) -> bool {
    let (pod, namespace) = (&selector["podSelector"], &selector["namespaceSelector"]);
    match peer {
        Place::Ours(peer) => !pod.is_null() && namespace.is_null() && selects(pod, labels(peer)),
        Place::Elsewhere(name, labels) => {
            let names = serde_json::json!({ "kubernetes.io/metadata.name": name });
            !namespace.is_null() && selects(namespace, &names) && (pod.is_null() || selects(pod, labels))
        }
        Place::Address(address) => {
            let block = &selector["ipBlock"];
            let contains = |network: &Value| {
                let network = network.as_str();
                network.is_some_and(|network| network.parse::<ipnet::IpNet>().unwrap().contains(address))
            };
            let mut except = block["except"].as_array().into_iter().flatten();
            contains(&block["cidr"]) && !except.any(contains)
        }
    }
}

fn is_port(allowed: &Value, listener: Option<&Value>, port: u16) -> bool {
    match allowed.as_str() {
        None => allowed.is_null() || *allowed == port,
        Some(name) => listener.is_some_and(|pod| {
            let containers = pod["spec"]["containers"].as_array().unwrap();
            let mut ports = containers
                .iter()
                .filter_map(|it| it["ports"].as_array())
                .flatten();
            ports.any(|known| known["name"] == name && known["containerPort"] == port)
        }),
    }
}

fn labels(pod: &Value) -> &Value {
    &pod["metadata"]["labels"]
}

/// Whether a label selector picks what has these labels.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let equal = equal.into_iter().all(|(key, value)| labels[key] == *value);
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal
        && expressions.all(|expression| {
            let value = &labels[expression["key"].as_str().unwrap()];
            let listed = expression["values"].as_array().unwrap().contains(value);
            match expression["operator"].as_str().unwrap() {
                "In" => listed,
                "NotIn" => !listed,
                operator => panic!("{operator} is not evaluated here"),
            }
        })
}
