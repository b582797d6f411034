//! How much processor time PostgreSQL and the services have used, by the system's own accounting: unlike a rate, it says
//! the same on a busy machine.

use std::collections::HashMap;

use platform::{Platform, Service};

#[derive(Clone, Copy)]
pub struct ProcessorTime {
    pub postgresql_s: f64,
    pub services_s: f64,
}

impl ProcessorTime {
    pub fn now(platform: &Platform) -> anyhow::Result<Self> {
        let processes = all_processes()?;
        let services: f64 = Service::ALL
            .into_iter()
            .filter_map(|service| processes.get(&platform.process_id(service)?))
            .map(|process| process.own_s)
            .sum();
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
            services_s: services,
        })
    }

    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            postgresql_s: self.postgresql_s - earlier.postgresql_s,
            services_s: self.services_s - earlier.services_s,
        }
    }
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
