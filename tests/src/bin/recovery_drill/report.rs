//! What the drill found, for a person to read and to keep.

use std::time::Duration;

use super::alarms::Alarm;
use super::restore::Restored;

pub struct Report {
    pub archive_timeout: Duration,
    pub backup_took: Duration,
    pub acknowledged: usize,
    pub sizes: (u64, u64, usize),
    pub metrics: Vec<String>,
    /// What verify-archive.sh said.
    pub archive: String,
    pub restores: Vec<Restored>,
    pub alarms: Vec<Alarm>,
}

const METRICS: [&str; 2] = [
    "flowlet_backup_last_success_timestamp_seconds",
    "flowlet_wal_archive_last_success_timestamp_seconds",
];

impl Report {
    /// What is wrong; nothing when the drill has passed.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let restores = self.restores.iter().flat_map(|restore| {
            let late = restore.comparison.loss.to_std().unwrap_or(Duration::MAX) > self.longest_loss();
            let late = late.then(|| format!("more than {:?} are lost", self.longest_loss()));
            let problems = restore
                .problems
                .iter()
                .chain(&restore.comparison.problems)
                .cloned()
                .chain(late);
            problems.map(|problem| format!("to {}: {problem}", restore.target))
        });
        let alarms = self.alarms.iter().filter_map(|alarm| alarm.problem.clone());
        let unset = METRICS.iter().filter(|name| {
            let value = |line: &String| line.strip_prefix(**name)?.trim().parse::<u64>().ok();
            !self.metrics.iter().any(|line| value(line) > Some(0))
        });
        let unset = unset.map(|name| format!("the metric {name} is not set"));
        restores.chain(alarms).chain(unset)
    }

    /// A segment is finished within `archive_timeout`, and then takes a while to be archived on a busy machine.
    fn longest_loss(&self) -> Duration {
        self.archive_timeout + Duration::from_secs(10)
    }

    pub fn print(&self) {
        let (base, log, segments) = self.sizes;
        let row = |name: &str, value: String| println!("  {name:<38} {value}");
        println!("\nBackup");
        row("acknowledged transfers", self.acknowledged.to_string());
        row("base backup, encrypted", format!("{} KiB", base / 1024));
        row("taken and verified under load in", seconds(self.backup_took));
        row(
            "log, encrypted",
            format!("{} KiB in {segments} segments", log / 1024),
        );
        row("archive_timeout", seconds(self.archive_timeout));
        row("verify-archive.sh --contents", last_line(&self.archive));
        for restore in &self.restores {
            print_restore(restore);
        }
        println!("\nDamage that must be noticed");
        for alarm in &self.alarms {
            let noticed = if alarm.problem.is_none() {
                "noticed"
            } else {
                "NOT noticed"
            };
            row(alarm.damage, format!("{noticed} by {}", alarm.noticed_by));
        }
        println!();
        for problem in self.problems() {
            println!("WRONG: {problem}");
        }
        if self.problems().next().is_none() {
            println!("The drill has passed.");
        }
    }
}

fn print_restore(restore: &Restored) {
    let row = |name: &str, value: String| println!("  {name:<38} {value}");
    println!("\nRestored to {}", restore.target);
    let comparison = &restore.comparison;
    row("acknowledged transfers there", comparison.there.to_string());
    row(
        "lost (RPO)",
        format!("{} transfers, {} s", comparison.lost, tenths(comparison.loss)),
    );
    if comparison.undone > 0 {
        row("undone, as acknowledged after it", comparison.undone.to_string());
        row("under way at the moment", comparison.under_way.to_string());
    }
    row("restore-backup.sh took", seconds(restore.restored_in));
    row(
        "to the first answered transfer (RTO)",
        seconds(restore.answered_in),
    );
    row(
        "checks of /api/v1/integrity",
        restore.integrity_checks.to_string(),
    );
    row("repeated requests, same answer", restore.repeated.to_string());
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn tenths(duration: chrono::TimeDelta) -> String {
    let tenths = duration.num_milliseconds() / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn last_line(text: &str) -> String {
    let line = text.lines().next_back().unwrap_or_default();
    line.trim_start_matches("verify-archive.sh: ").to_owned()
}
