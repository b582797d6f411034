//! Customers who go on using the platform while something is done to it, and notice every request that fails.
//!
//! They do what a good client does: a request that got no answer, or a 502 or 503, is sent once more after the pause that
//! the answer asks for, under the same idempotency key. What fails then has failed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Client, Customer, PASSWORD, eventually, new_key, text_of, transfer_body};
use crate::platform::Platform;

const PAYERS: usize = 4;
/// Between two requests of one customer, so that what is done to the platform gets some of the processor too.
const PAUSE: Duration = Duration::from_millis(20);
/// Before a request that got no answer is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

pub struct Traffic {
    customers: Arc<Customers>,
    tasks: JoinSet<()>,
}

/// What became of the traffic.
#[derive(Debug, Default)]
pub struct Report {
    pub transfers: BTreeSet<String>,
    pub other_answers: usize,
    /// Why each repeated request was repeated.
    pub repeated: Vec<String>,
    pub failed: Vec<String>,
    /// The longest that a request took, repetition included.
    pub slowest: Duration,
}

struct Customers {
    payer: Customer,
    from: String,
    to: String,
    gateway: Client,
    report: Mutex<Report>,
    stop: CancellationToken,
}

impl Traffic {
    pub async fn start(platform: &Platform) -> Self {
        let payer = platform.register("traffic").await;
        let customers = Arc::new(Customers {
            from: payer.open_funded_account(100_000_000, "USD").await,
            to: payer.open_account("USD").await,
            payer,
            gateway: platform.client(),
            report: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..PAYERS {
            tasks.spawn(Arc::clone(&customers).pay());
        }
        tasks.spawn(Arc::clone(&customers).look());
        tasks.spawn(Arc::clone(&customers).log_in());
        tasks.spawn(Arc::clone(&customers).open_and_close_accounts());
        Self { customers, tasks }
    }

    /// Waits until so many more transfers were acknowledged.
    pub async fn wait_for(&self, transfers: usize) {
        let acknowledged = || self.customers.with_report(|report| report.transfers.len());
        let goal = acknowledged() + transfers;
        eventually("transfers are acknowledged", async || {
            (acknowledged() >= goal).then_some(())
        })
        .await;
    }

    /// Ends the traffic. Panics if a request failed, or if the books are not what was acknowledged.
    pub async fn finish(mut self, platform: &Platform) -> Report {
        self.customers.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|error| panic!("a customer gave up: {error}"));
        }
        let report = self.customers.with_report(std::mem::take);
        let (failures, first) = (report.failed.len(), report.failed.first());
        assert_eq!(first, None, "{failures} requests failed");
        let booked = self.customers.booked(platform).await;
        assert_eq!(
            booked, report.transfers,
            "what is booked is not what was acknowledged"
        );
        let (received, ..) = self.customers.payer.balance(&self.customers.to).await;
        assert_eq!(usize::try_from(received).ok(), Some(report.transfers.len()));
        platform.wait_until_no_account_is_pending().await;
        platform.assert_invariants().await;
        report
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} transfers and {} other answers, {} requests repeated, none failed, the slowest took {:.1?}",
            self.transfers.len(),
            self.other_answers,
            self.repeated.len(),
            self.slowest
        )
    }
}

impl Customers {
    async fn pay(self: Arc<Self>) {
        let body = transfer_body(&self.from, &self.to, 1, "USD");
        while !self.stop.is_cancelled() {
            if let Some(answer) = self.ask(self.post_with_new_key("/api/v1/transfers", &body)).await {
                let id = text_of(&answer.body, "id");
                let new = self.with_report(|report| report.transfers.insert(id));
                assert!(new, "two keys got the same transfer: {answer}");
            }
        }
    }

    async fn look(self: Arc<Self>) {
        let account = format!("/api/v1/accounts/{}", self.from);
        let paths = [account.as_str(), "/api/v1/transfers?limit=5"];
        for path in paths.into_iter().cycle() {
            if self.stop.is_cancelled() {
                break;
            }
            self.count(self.ask(self.payer.request(Method::GET, path)).await);
        }
    }

    async fn log_in(self: Arc<Self>) {
        let credentials = json!({ "email": self.payer.email, "password": PASSWORD });
        while !self.stop.is_cancelled() {
            let request = self.gateway.request(Method::POST, "/api/v1/auth/login");
            self.count(self.ask(request.json(&credentials)).await);
        }
    }

    async fn open_and_close_accounts(self: Arc<Self>) {
        let body = json!({ "kind": "savings", "currency": "USD" });
        while !self.stop.is_cancelled() {
            let opened = self.ask(self.post_with_new_key("/api/v1/accounts", &body)).await;
            if let Some(opened) = &opened {
                // There is a limit to how many may be open.
                let close = format!("/api/v1/accounts/{}/close", text_of(&opened.body, "id"));
                self.count(self.ask(self.payer.request(Method::POST, &close)).await);
            }
            self.count(opened);
        }
    }

    fn post_with_new_key(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.payer.request(Method::POST, path);
        request.header("idempotency-key", new_key()).json(body)
    }

    /// Sends a request, and once more where that can help. `None` when it failed, which is noted.
    async fn ask(&self, request: RequestBuilder) -> Option<Answer> {
        let started = Instant::now();
        let repetition = request.try_clone();
        let mut answer = self.gateway.try_send(request).await;
        let again = match &answer {
            Ok(answer) if !matches!(answer.status, 502 | 503) => None,
            Ok(answer) => Some((answer.to_string(), pause_of(answer))),
            Err(error) => Some((format!("{error:#}"), RETRY_PAUSE)),
        };
        if let (Some((why, pause)), Some(repetition)) = (again, repetition) {
            self.with_report(|report| report.repeated.push(why));
            tokio::time::sleep(pause).await;
            answer = self.gateway.try_send(repetition).await;
        }
        let took = started.elapsed();
        tokio::time::sleep(PAUSE).await;
        let failure = match answer {
            Ok(answer) if matches!(answer.status, 200..300) => {
                self.with_report(|report| report.slowest = report.slowest.max(took));
                return Some(answer);
            }
            Ok(answer) => answer.to_string(),
            Err(error) => format!("{error:#}"),
        };
        self.with_report(|report| report.failed.push(failure));
        None
    }

    fn count(&self, answer: Option<Answer>) {
        self.with_report(|report| report.other_answers += usize::from(answer.is_some()));
    }

    fn with_report<T>(&self, change: impl FnOnce(&mut Report) -> T) -> T {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The payer's posted transfers, from the books themselves.
    async fn booked(&self, platform: &Platform) -> BTreeSet<String> {
        let sql = platform.sql().await;
        let query = "SELECT body::jsonb ->> 'id' FROM transactions.idempotency_keys
             JOIN transactions.transfers ON id = transfer_id AND transfers.status = 'posted' AND kind = 'transfer'";
        let rows = sql.query(query, &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// As the answer asks for.
fn pause_of(answer: &Answer) -> Duration {
    let seconds = answer.header("retry-after").and_then(|value| value.parse().ok());
    seconds.map_or(RETRY_PAUSE, Duration::from_secs)
}
