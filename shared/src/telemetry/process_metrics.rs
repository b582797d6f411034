//! What the operating system knows about this process, under the names that Prometheus's own clients use. Read from
//! `/proc` when somebody scrapes; where there is none, as on macOS, nothing is told.

use std::fmt::Write;
use std::fs;

/// The kernel's unit in `/proc`, whatever its own ticks: 100 on every architecture that we run on.
const TICKS_PER_S: u64 = 100;

struct Process {
    started_at_ticks: u64,
    cpu_ticks: u64,
    resident_kib: u64,
    open_fds: usize,
}

/// Appends the metrics to a page in Prometheus's text format.
pub fn write(page: &mut String) {
    let Some(process) = read() else { return };
    let metrics = [
        (
            "process_start_time_seconds",
            "gauge",
            "When the process started, since the epoch",
            in_seconds(process.started_at_ticks),
        ),
        (
            "process_cpu_seconds_total",
            "counter",
            "Processor time used, user and system",
            in_seconds(process.cpu_ticks),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory that is in use",
            (process.resident_kib * 1024).to_string(),
        ),
        (
            "process_open_fds",
            "gauge",
            "Open file descriptors",
            process.open_fds.to_string(),
        ),
    ];
    for (name, kind, help, value) in metrics {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n"
        );
    }
}

fn in_seconds(ticks: u64) -> String {
    format!("{}.{:02}", ticks / TICKS_PER_S, ticks % TICKS_PER_S)
}

fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (cpu_ticks, started_after_boot) = parse_stat(&stat)?;
    let booted_at_s = number_after(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    Some(Process {
        started_at_ticks: booted_at_s * TICKS_PER_S + started_after_boot,
        cpu_ticks,
        resident_kib: number_after(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")?,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count(),
    })
}

/// Ticks of processor time, and ticks from the machine's start to the process's (proc(5): fields 14, 15 and 22).
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    // The second field is the program's name, which may hold anything, and ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

/// The number that follows `name` at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_strange_name_is_read_right() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 9 0 123456 1000 200 0";
        assert_eq!(parse_stat(stat), Some((281, 123_456)));
        assert_eq!(in_seconds(281), "2.81");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_known() {
        let process = read().unwrap();
        let now = u64::try_from(crate::Clock::system().now().timestamp()).unwrap();
        let age = now - process.started_at_ticks / TICKS_PER_S;
        assert!(age < 3600, "{age} s");
        assert!(process.resident_kib > 500 && process.open_fds > 2);
    }
}
