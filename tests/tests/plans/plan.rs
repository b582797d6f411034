//! How PostgreSQL ran the statements of a function: a connection on which `auto_explain` reports every plan, with the rows
//! and pages that were really handled.

use std::sync::{Arc, Mutex};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::poll_fn;
use serde_json::Value;
use tokio_postgres::{AsyncMessage, NoTls};

use super::ledger::Ledger;

pub struct Plan {
    pub statement: String,
    pub root: Value,
}

impl Plan {
    /// Reads a message of `auto_explain`; `None` when it is another one.
    fn read(message: &str) -> Option<Self> {
        let (_, json) = message.split_once("plan:\n")?;
        let mut explained: Value = serde_json::from_str(json).unwrap();
        Some(Self {
            statement: explained["Query Text"].as_str().unwrap_or_default().to_owned(),
            root: explained["Plan"].take(),
        })
    }

    /// What is unbounded in it: a table that is read as a whole, or a node that handles more than `most_rows`.
    pub fn problems(&self, most_rows: u64) -> Vec<String> {
        let mut problems = Vec::new();
        for node in nodes(&self.root) {
            let (kind, rows) = (node["Node Type"].as_str().unwrap_or_default(), handled_rows(node));
            let relation = node["Relation Name"].as_str().unwrap_or_default();
            if rows > most_rows {
                problems.push(format!("{kind} of {rows} rows {relation}"));
            }
            // A month that has nothing yet is scanned in no time.
            if kind == "Seq Scan" && rows > 0 {
                problems.push(format!("{kind} {relation}"));
            }
        }
        problems
    }

    /// Pages of the database that were looked at, wherever they were found.
    pub fn pages(&self) -> u64 {
        number(&self.root, "Shared Hit Blocks") + number(&self.root, "Shared Read Blocks")
    }
}

fn nodes(root: &Value) -> Vec<&Value> {
    let below = root["Plans"].as_array().into_iter().flatten();
    std::iter::once(root).chain(below.flat_map(nodes)).collect()
}

fn handled_rows(node: &Value) -> u64 {
    let removed = [
        "Rows Removed by Filter",
        "Rows Removed by Index Recheck",
        "Rows Removed by Join Filter",
    ];
    let removed: u64 = removed.iter().map(|member| number(node, member)).sum();
    (number(node, "Actual Rows") + removed) * number(node, "Actual Loops")
}

fn number(node: &Value, member: &str) -> u64 {
    node[member].as_u64().unwrap_or(0)
}

/// A connection whose plans are seen.
pub struct Explained {
    conn: AsyncPgConnection,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Explained {
    pub async fn connect(ledger: &Ledger, plan_cache_mode: &str) -> Self {
        let (client, mut connection) = tokio_postgres::connect(&ledger.url(), NoTls).await.unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&messages);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message {
                    collected.lock().unwrap().push(notice.message().to_owned());
                }
            }
        });
        let settings = format!(
            "SET search_path = transactions; SET plan_cache_mode = {plan_cache_mode};
             LOAD 'auto_explain'; SET auto_explain.log_level = notice; SET auto_explain.log_min_duration = 0;
             SET auto_explain.log_format = json; SET auto_explain.log_analyze = on; SET auto_explain.log_buffers = on;
             SET auto_explain.log_timing = off"
        );
        client.batch_execute(&settings).await.unwrap();
        let conn = AsyncPgConnection::try_from(client).await.unwrap();
        Self { conn, messages }
    }

    /// What `work` returns, and the plans of what it sent.
    pub async fn run<T>(&mut self, work: impl AsyncFnOnce(&mut AsyncPgConnection) -> T) -> (T, Vec<Plan>) {
        self.messages.lock().unwrap().clear();
        let result = work(&mut self.conn).await;
        // Who takes one row does not wait for the end of its statement, when its plan is told.
        self.conn.batch_execute("").await.unwrap();
        let messages = self.messages.lock().unwrap();
        let plans = messages.iter().filter_map(|message| Plan::read(message));
        (result, plans.collect())
    }
}
