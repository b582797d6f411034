//! How much processor time PostgreSQL and the services have used, by the system's own accounting: unlike a rate, it says
//! the same on a busy machine.

#![expect(clippy::float_arithmetic, reason = "statistics of a measurement")]

use std::collections::{BTreeMap, HashMap};

use crate::platform::Replica;
use crate::{Platform, Service};

#[derive(Clone)]
pub struct ProcessorTime {
    pub postgresql_s: f64,
    /// Of all replicas of a service.
    pub services_s: BTreeMap<Service, f64>,
}

impl ProcessorTime {
    pub fn now(platform: &Platform) -> anyhow::Result<Self> {
        let processes = all_processes()?;
        let of = |service| {
            let replicas = (0..).map_while(|number| platform.process_id(Replica { service, number }));
            let processes = replicas.filter_map(|id| processes.get(&id));
            processes.map(|process| process.own_s).sum()
        };
        let services = Service::ALL.into_iter().map(|service| (service, of(service)));
        // The postmaster listens on the cluster's port; its children that have ended are in its own account.
        let postmaster = platform.server.cluster.process_id();
        let postgresql: f64 = processes
            .iter()
            .filter(|(id, process)| **id == postmaster || process.parent == postmaster)
            .map(|(id, process)| {
                if *id == postmaster {
                    process.own_s + process.ended_children_s
                } else {
                    process.own_s
                }
            })
            .sum();
        Ok(Self {
            postgresql_s: postgresql,
            services_s: services.collect(),
        })
    }

    pub fn since(&self, earlier: &Self) -> Self {
        let before = |service| earlier.services_s.get(service).copied().unwrap_or_default();
        let services = self.services_s.iter();
        Self {
            postgresql_s: self.postgresql_s - earlier.postgresql_s,
            services_s: services
                .map(|(service, now_s)| (*service, now_s - before(service)))
                .collect(),
        }
    }

    pub fn all_services_s(&self) -> f64 {
        self.services_s.values().sum()
    }
}

/// Of any process, in seconds; nothing when there is none.
pub fn of_process(id: u32) -> anyhow::Result<Option<f64>> {
    Ok(all_processes()?.get(&id).map(|process| process.own_s))
}

struct Process {
    parent: u32,
    own_s: f64,
    ended_children_s: f64,
}

fn all_processes() -> anyhow::Result<HashMap<u32, Process>> {
    let mut processes = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if let Some(process) = parse(&stat) {
            processes.insert(id, process);
        }
    }
    Ok(processes)
}

/// The fields of `/proc/<id>/stat` after the name, which may hold anything but is in parentheses.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    // Linux has reported 100 ticks a second to programs on every architecture for decades.
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        own_s: (ticks(11)? + ticks(12)?) / 100.0,
        ended_children_s: (ticks(13)? + ticks(14)?) / 100.0,
    })
}
