//! Sends what is due. A replica takes an endpoint for a while (a lease), and sends what waits for it: the events of one
//! account one after the other, of several accounts side by side, so that a slow receiver holds up nobody but itself. What
//! became of each is written down at once. A replica that dies leaves its lease to run out; what it had sent without writing
//! that down is sent again, under the same `webhook-id`.

mod attempt;
mod leases;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use shared::{ApiError, Clock, Db, FieldKeys};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::target::Reach;
use attempt::Sender;
use leases::{Due, Leased};

const PAUSE: Duration = Duration::from_millis(200);
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How many endpoints one replica sends to at once.
const ENDPOINTS: usize = 32;
/// How many accounts of one endpoint are served at once.
const ACCOUNTS: usize = 4;
/// How long an endpoint is sent to before the others have their turn.
const TURN: Duration = Duration::from_secs(30);

/// What webhooks are configured with, for handlers and for sending.
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub reach: Reach,
    pub sandbox_faults: bool,
    pub keys: FieldKeys,
}

struct Deliverer {
    db: Db,
    sender: Sender,
    shutdown: CancellationToken,
}

/// Delivers until `shutdown`.
pub fn run(
    db: Db,
    clock: Clock,
    webhooks: Webhooks,
    shutdown: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()>> {
    let deliverer = Deliverer {
        db,
        sender: Sender::new(clock, webhooks)?,
        shutdown,
    };
    Ok(deliver_until_shutdown(Arc::new(deliverer)))
}

async fn deliver_until_shutdown(deliverer: Arc<Deliverer>) {
    let shutdown = deliverer.shutdown.clone();
    let mut turns = JoinSet::new();
    let mut measured: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        while turns.try_join_next().is_some() {}
        let pause = match deliverer.lease(ENDPOINTS.saturating_sub(turns.len())).await {
            Ok(leased) => {
                for endpoint in leased {
                    turns.spawn(Arc::clone(&deliverer).serve(endpoint));
                }
                PAUSE
            }
            Err(error) => {
                tracing::warn!(error = %error, "webhooks wait for better times");
                TROUBLE_PAUSE
            }
        };
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            deliverer.measure().await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
    while turns.join_next().await.is_some() {}
}

impl Deliverer {
    async fn lease(&self, free: usize) -> Result<Vec<Leased>, ApiError> {
        let mut conn = self.db.connection().await?;
        let limit = i64::try_from(free).unwrap_or(i64::MAX);
        Ok(leases::lease(&mut conn, limit).await?)
    }

    async fn measure(&self) {
        let measured = async { Ok::<_, ApiError>(leases::measure(&mut *self.db.connection().await?).await?) };
        match measured.await {
            Ok(backlog) => {
                let pending = u32::try_from(backlog.pending).unwrap_or(u32::MAX);
                metrics::gauge!("webhook_pending_deliveries").set(pending);
                metrics::gauge!("webhook_lag_seconds").set(backlog.lag_s);
            }
            Err(error) => tracing::debug!(%error, "the deliveries cannot be measured"),
        }
    }

    /// An endpoint's turn: all that is due, until its time is up.
    async fn serve(self: Arc<Self>, endpoint: Leased) {
        let started = Instant::now();
        let is_over = AtomicBool::new(false);
        let goes_on =
            || started.elapsed() < TURN && !self.shutdown.is_cancelled() && !is_over.load(Ordering::Relaxed);
        while goes_on() {
            match self.due(&endpoint).await {
                Ok(due) if due.is_empty() => break,
                Ok(due) => {
                    stream::iter(by_account(due))
                        .for_each_concurrent(ACCOUNTS, |of_account| async {
                            for delivery in of_account {
                                if goes_on() && !self.deliver(&endpoint, delivery).await {
                                    is_over.store(true, Ordering::Relaxed);
                                }
                            }
                        })
                        .await;
                }
                Err(error) => {
                    tracing::warn!(error = %error, "what is due cannot be read");
                    break;
                }
            }
        }
        if let Err(error) = self.release(&endpoint).await {
            tracing::warn!(error = %error, "a lease is left to run out");
        }
    }

    async fn due(&self, endpoint: &Leased) -> Result<Vec<Due>, ApiError> {
        let mut conn = self.db.connection().await?;
        Ok(leases::due(&mut conn, endpoint.id).await?)
    }

    async fn release(&self, endpoint: &Leased) -> Result<(), ApiError> {
        let (id, until) = (endpoint.id, endpoint.leased_until);
        let release = async move |conn: &mut diesel_async::AsyncPgConnection| {
            Ok(leases::release(conn, id, until).await?)
        };
        self.db.transaction("release_webhook_endpoint", release).await
    }

    /// Sends one, and tells whether the turn goes on.
    async fn deliver(&self, endpoint: &Leased, due: Due) -> bool {
        let sent = tokio::select! {
            sent = self.sender.send(endpoint, &due) => sent,
            // It may have arrived; it is sent again.
            () = self.shutdown.cancelled() => return false,
        };
        let result = match sent {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(error = %error, delivery = %due.id, "a webhook cannot be made");
                return false;
            }
        };
        metrics::counter!("webhook_deliveries_total", "outcome" => result.outcome()).increment(1);
        match self.record(&due, &result).await {
            // Who does not answer keeps a place for as long as that takes, and then leaves it to the others.
            Ok(still_enabled) => still_enabled && result.attempt.status.is_some(),
            Err(error) => {
                tracing::warn!(error = %error, "a webhook that was sent is sent again");
                false
            }
        }
    }

    async fn record(&self, due: &Due, result: &attempt::Sent) -> Result<bool, ApiError> {
        let mut conn = self.db.connection().await?;
        leases::record(&mut conn, due, result).await
    }
}

/// In the order of each account; what belongs to none is on its own.
fn by_account(due: Vec<Due>) -> Vec<Vec<Due>> {
    let mut groups: Vec<Vec<Due>> = Vec::new();
    for delivery in due {
        let of_account = groups.iter_mut().find(|group| {
            delivery.account_id.is_some()
                && group
                    .first()
                    .is_some_and(|first| first.account_id == delivery.account_id)
        });
        match of_account {
            Some(group) => group.push(delivery),
            None => groups.push(vec![delivery]),
        }
    }
    groups
}
