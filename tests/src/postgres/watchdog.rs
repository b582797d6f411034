//! A shell that outlives this process just long enough to stop the server. Nothing in this process can promise that: it
//! may be killed, and a test harness never drops its statics. The shell reads a pipe whose other end we hold; the kernel
//! closes it when we end, in whatever way.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use anyhow::Context;

use super::server_user;

/// Arguments: the signal that stops the server, its data directory, and what to remove afterwards, if anything. Each line
/// of input is the pid of the server to stop at the end of input, or empty when there is none.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
signal=$1 data=$2 remove=$3 server=
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -s "$signal" "$server"
    while [ -e "$data/postmaster.pid" ] && kill -s 0 "$server"; do sleep 0.05; done
fi
# A copy into the directory may still be under way.
tries=20
until [ -z "$remove" ] || rm -rf -- "$remove"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 1
done
"#;

/// What becomes of the cluster's directory when the server has been stopped.
pub enum OnEnd {
    Remove,
    /// It stays, and its lock is held until the server is gone.
    Keep(File),
}

pub struct Watchdog(Child);

impl Watchdog {
    /// For the cluster in `directory`.
    pub fn start(directory: &Path, on_end: OnEnd) -> anyhow::Result<Watchdog> {
        let data = directory.join("data");
        let mut shell = server_user::command("sh")?;
        shell
            .args(["-c", SCRIPT, "flowlet-watchdog"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        match on_end {
            OnEnd::Remove => shell.arg("QUIT").arg(data).arg(directory).stdout(Stdio::null()),
            OnEnd::Keep(lock) => shell.arg("INT").arg(data).arg("").stdout(lock),
        };
        Ok(Watchdog(shell.spawn().context("cannot run sh")?))
    }

    /// From now on, the server to stop is this one.
    pub fn watch(&self, server: &Child) -> anyhow::Result<()> {
        self.tell(&server.id().to_string())
    }

    /// From now on, there is no server to stop.
    pub fn forget(&self) -> anyhow::Result<()> {
        self.tell("")
    }

    /// Closes the pipe, as the end of this process would.
    pub fn dismiss(&mut self) {
        drop(self.0.stdin.take());
    }

    /// How the shell ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    fn tell(&self, line: &str) -> anyhow::Result<()> {
        let mut pipe = self.0.stdin.as_ref().context("the watchdog has no pipe")?;
        writeln!(pipe, "{line}").context("the watchdog of PostgreSQL has ended")
    }
}
