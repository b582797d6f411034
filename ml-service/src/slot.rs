//! Slots: what reads or computes for long has one of few for as long as it lasts, so that scoring always finds a processor and a
//! connection of the database.

use std::sync::Arc;
use std::time::Duration;

use shared::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const WAIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Slots(Arc<Semaphore>);

/// One that is taken, until it is dropped.
pub struct Slot(OwnedSemaphorePermit);

impl Slots {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// 503 when none gets free within seconds.
    pub async fn take(&self) -> Result<Slot, ApiError> {
        let taken = tokio::time::timeout(WAIT, Arc::clone(&self.0).acquire_owned()).await;
        let overloaded = "Too much of this is asked for at the moment. Try again soon.";
        let permit = taken.map_err(|_| ApiError::unavailable("overloaded", overloaded))?;
        permit.map(Slot).map_err(ApiError::internal)
    }
}

impl Slot {
    /// Computes apart from the threads that answer requests. The slot is taken until that is done, also when the asker has gone.
    pub async fn compute<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let Self(permit) = self;
        let keep_slot = move || {
            let result = work();
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(keep_slot)
            .await
            .map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_goes_away_keeps_the_slot_until_the_work_is_done() {
        let slots = Slots::new(1);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let slot = slots.take().await.unwrap();
        let asked = tokio::spawn(slot.compute(move || wait.recv()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked.abort();
        assert!(asked.await.is_err());
        assert_eq!(slots.0.available_permits(), 0);
        go_on.send(()).unwrap();
        slots.take().await.unwrap();
    }
}
