//! What was revoked while access tokens for it are still good: an exact set, which is asked about with every request, also
//! for tokens that were verified before.
//!
//! auth-service numbers revocations without a gap. The set is read again and again from where it ended the last time, so what was
//! missed is caught up. When that fails for too long, requests that move money are refused until it works
//! again; everything else goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use shared::clients::auth::{AuthClient, Revocations as Page};
use shared::http_client::CallError;
use shared::{ApiError, Denial};
use uuid::Uuid;

/// After an answer: auth-service answers when there is something new, and waits while there is nothing.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);
/// Longer than any token lives that was given before the revocation.
const KEEP: Duration = Duration::from_secs(15 * 60);
const NEVER: u64 = u64::MAX;

pub struct Revocations {
    auth: AuthClient,
    /// Beyond this, no money is moved.
    max_staleness: Duration,
    began: Instant,
    revoked: RwLock<Revoked>,
    /// When the set was last known to be whole, in milliseconds since `began`.
    whole_at_ms: AtomicU64,
}

#[derive(Default)]
struct Revoked {
    /// With when each was heard of.
    ids: HashMap<Uuid, Instant>,
    /// The number that the next page comes after; `None` before the first.
    last: Option<i64>,
}

impl Revocations {
    pub fn new(auth: AuthClient, max_staleness: Duration) -> Self {
        Self {
            auth,
            max_staleness,
            began: Instant::now(),
            revoked: RwLock::default(),
            whole_at_ms: AtomicU64::new(NEVER),
        }
    }

    /// Whether the set was ever read.
    pub fn are_known(&self) -> bool {
        self.whole_at_ms.load(Ordering::Relaxed) != NEVER
    }

    /// Refuses what was given for something that has ended since.
    pub fn check(&self, id: Uuid) -> Result<(), ApiError> {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        if revoked.ids.contains_key(&id) {
            let detail = "This session has ended. Log in again.";
            return Err(ApiError::unauthorized("session_revoked", detail).denied(Denial::SessionRevoked));
        }
        Ok(())
    }

    /// Refuses to move money while it is not known who still may.
    pub fn check_fresh(&self) -> Result<(), ApiError> {
        if self.staleness().is_some_and(|it| it <= self.max_staleness) {
            return Ok(());
        }
        let detail = "It cannot be told right now whether this login was revoked, so no money is moved. Try again shortly.";
        Err(ApiError::unavailable("authentication_unavailable", detail))
    }

    fn staleness(&self) -> Option<Duration> {
        let whole_at_ms = Some(self.whole_at_ms.load(Ordering::Relaxed)).filter(|at| *at != NEVER)?;
        Some(
            self.began
                .elapsed()
                .saturating_sub(Duration::from_millis(whole_at_ms)),
        )
    }

    /// Reads on, for as long as the gateway runs.
    pub async fn follow(&self) {
        loop {
            let pause = match self.catch_up().await {
                Ok(()) => PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "revocations cannot be read");
                    PAUSE_AFTER_FAILURE
                }
            };
            let staleness = self.staleness().unwrap_or_else(|| self.began.elapsed());
            metrics::gauge!("gateway_revocations_staleness_seconds").set(staleness.as_secs_f64());
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads all that there is.
    async fn catch_up(&self) -> Result<(), CallError> {
        loop {
            let asked_at = self.began.elapsed();
            let after = self.revoked.read().unwrap_or_else(PoisonError::into_inner).last;
            let page = match self.auth.revocations(after).await {
                Ok(page) => page,
                // A version from before there was a feed has revoked nothing that it could tell, and does not wait either.
                Err(CallError::Refused { problem, .. }) if problem.status == 404 => {
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    Page {
                        revocations: Vec::new(),
                        last: after.unwrap_or_default(),
                    }
                }
                Err(error) => return Err(error),
            };
            if self.take(page) {
                let ms = u64::try_from(asked_at.as_millis()).unwrap_or(NEVER - 1);
                self.whole_at_ms.store(ms, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    /// Adds a page to the set; whether it was the last one.
    fn take(&self, page: Page) -> bool {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if revoked.last.is_some_and(|last| page.last < last) {
            // Numbers go back only in a database that was restored: everything is read anew.
            revoked.last = None;
            return false;
        }
        let now = Instant::now();
        let shown = page.revocations.last().map(|revocation| revocation.number);
        metrics::counter!("gateway_revocations_total")
            .increment(page.revocations.len().try_into().unwrap_or(u64::MAX));
        for revocation in page.revocations {
            revoked.ids.insert(revocation.id, now);
        }
        revoked
            .ids
            .retain(|_, heard_at| now.duration_since(*heard_at) < KEEP);
        let complete = shown.is_none_or(|shown| shown >= page.last);
        revoked.last = if complete { Some(page.last) } else { shown };
        complete
    }
}

#[cfg(test)]
mod tests {
    use shared::HttpClient;
    use shared::clients::auth::Revocation;

    use super::*;

    fn revocations() -> Revocations {
        let http = HttpClient::new("gateway", "auth-service", "http://127.0.0.1:9", None).unwrap();
        Revocations::new(AuthClient::new(http), Duration::from_secs(1))
    }

    fn page(numbers: &[i64], last: i64) -> Page {
        let entry = |number: &i64| Revocation {
            number: *number,
            id: Uuid::from_u128(number.unsigned_abs().into()),
        };
        Page {
            revocations: numbers.iter().map(entry).collect(),
            last,
        }
    }

    fn is_revoked(revocations: &Revocations, number: u128) -> bool {
        revocations.check(Uuid::from_u128(number)).is_err()
    }

    #[test]
    fn a_page_that_is_not_the_last_is_followed_by_the_next() {
        let revocations = revocations();
        assert!(!revocations.take(page(&[1, 2], 3)));
        assert_eq!(revocations.revoked.read().unwrap().last, Some(2));
        assert!(revocations.take(page(&[3], 3)));
        assert!(revocations.take(page(&[], 3)));
        assert!((1..=3).all(|number| is_revoked(&revocations, number)));
        assert!(!is_revoked(&revocations, 4));
    }

    #[test]
    fn numbers_that_go_back_begin_anew_and_forget_nothing() {
        let revocations = revocations();
        assert!(revocations.take(page(&[7], 7)));
        assert!(!revocations.take(page(&[], 2)));
        assert!(revocations.take(page(&[1, 2], 2)));
        assert!(
            [1, 2, 7]
                .into_iter()
                .all(|number| is_revoked(&revocations, number))
        );
    }

    #[tokio::test]
    async fn money_waits_until_the_set_was_read_and_whenever_it_is_too_old() {
        let revocations = revocations();
        assert_eq!(
            revocations.check_fresh().unwrap_err().code(),
            "authentication_unavailable"
        );
        revocations.catch_up().await.unwrap_err();
        assert!(!revocations.are_known());
        revocations.whole_at_ms.store(0, Ordering::Relaxed);
        revocations.check_fresh().unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(revocations.check_fresh().is_err());
    }
}
