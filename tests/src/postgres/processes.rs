//! What the system says about processes we did not start or no longer hold: from /proc on Linux, from `ps` and `pgrep`
//! where there is no /proc. Slim containers have no `ps`, macOS has no /proc.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rustix::process::Pid;

/// The command line of a running process; nothing for one that has ended, even if nobody has collected it.
pub fn command_line(process: Pid) -> Option<String> {
    let bytes = match fs::read(format!("/proc/{process}/cmdline")) {
        Ok(bytes) => bytes,
        Err(_) if has_proc() => return None,
        Err(_) => {
            let ps = Command::new("ps")
                .args(["-ww", "-o", "args=", "-p"])
                .arg(process.to_string())
                .output();
            ps.ok()?.stdout
        }
    };
    let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
    (!line.trim().is_empty()).then_some(line)
}

/// The processes that `parent` started and has not collected.
pub fn children(parent: Pid) -> anyhow::Result<Vec<Pid>> {
    let listed = if has_proc() {
        fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?
    } else {
        let pgrep = Command::new("pgrep").arg("-P").arg(parent.to_string()).output();
        String::from_utf8(pgrep.context("cannot run pgrep")?.stdout)?
    };
    Ok(listed
        .split_whitespace()
        .filter_map(|id| Pid::from_raw(id.parse().ok()?))
        .collect())
}

fn has_proc() -> bool {
    Path::new("/proc/self").exists()
}
