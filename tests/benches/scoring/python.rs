//! The Python server, `server.py`: it learns a model from our rows, times it, and answers until it is dropped.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use ml_service::feature::{Vector, names};
use platform::load::{Caller, expect};
use platform::platform::free_listener;
use platform::processor_time;
use platform::tools::{Tool, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::payments::Payments;

const READY_WITHIN: Duration = Duration::from_secs(120);

pub struct Python {
    child: Child,
    pub url: &'static str,
    /// In process: the median and the 99th percentile in microseconds, of one score, of one with contributions, of 64.
    pub one: (f64, f64),
    pub contributions: (f64, f64),
    pub batch: (f64, f64),
}

impl Python {
    pub async fn start(payments: &Payments) -> anyhow::Result<Self> {
        let python = ensure(Tool::Xgboost).await?;
        let rows = std::env::temp_dir().join(format!("flowlet-rows-{}.csv", std::process::id()));
        write(&rows, payments)?;
        let started = Self::start_on(&python, &rows).await;
        fs::remove_file(&rows)?;
        started
    }

    async fn start_on(python: &Path, rows: &Path) -> anyhow::Result<Self> {
        let port = free_listener()?.local_addr()?.port();
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/scoring/server.py"))
            .arg(rows)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let told = tokio::time::timeout(READY_WITHIN, lines.next_line())
            .await
            .context("it does not start")??;
        let told: Value = serde_json::from_str(&told.context("it ended at its start")?)?;
        let pair = |name: &str| {
            let of = |place| told[name][place].as_f64().unwrap_or(f64::NAN);
            (of(0), of(1))
        };
        let python = Self {
            url: format!("http://127.0.0.1:{port}").leak(),
            one: pair("one"),
            contributions: pair("contributions"),
            batch: pair("batch"),
            child,
        };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(python);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("nobody listens on port {port}")
    }

    pub fn processor_s(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the Python server has ended")?;
        processor_time::of_process(id)?.context("the Python server has ended")
    }
}

fn number(value: &f64) -> Option<f64> {
    Some(*value).filter(|value| !value.is_nan())
}

/// The rows that were learnt from, in the columns of `ml-service features`.
fn write(path: &Path, payments: &Payments) -> anyhow::Result<()> {
    let mut text = names().join(",") + ",fraud\n";
    for (vector, is_fraud) in payments.rows() {
        for value in vector.iter() {
            text.push_str(&number(value).map(|value| value.to_string()).unwrap_or_default());
            text.push(',');
        }
        text.push_str(if *is_fraud { "1\n" } else { "0\n" });
    }
    Ok(fs::write(path, text)?)
}

/// The same features again and again: the server remembers nothing.
pub fn caller(payments: &Payments, number_of_caller: usize, batch: usize, path: &'static str) -> Caller {
    let vectors = (0..batch).map(|place| payments.vector(number_of_caller * 1_000 + place));
    let rows: Vec<Vec<Option<f64>>> = vectors
        .map(|Vector(values)| values.iter().map(number).collect())
        .collect();
    let body = json!({ "rows": rows }).to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Box::new(move |answer| {
        answer.map_or(Ok(()), |answer| expect(answer, "\"scores\""))?;
        Ok(Some(request.clone()))
    })
}
