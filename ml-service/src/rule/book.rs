//! The rules in force, in memory, so that scoring does not read them each time. A change in the database is followed
//! within [`RELOAD_EVERY`]; rules that cannot be read leave the last good ones in force.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

use super::{RuleSet, queries};

const RELOAD_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Default)]
pub struct RuleBook(Arc<RwLock<Option<Arc<RuleSet>>>>);

impl RuleBook {
    /// Refuses to score before any rules were read: the caller's fallback policy is better than no rules.
    pub fn in_force(&self) -> Result<Arc<RuleSet>, ApiError> {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        rules.ok_or_else(|| ApiError::unavailable("rules_not_loaded", "The fraud rules are not loaded yet."))
    }

    pub fn is_loaded(&self) -> bool {
        self.in_force().is_ok()
    }

    async fn reload(&self, db: &Db) -> anyhow::Result<()> {
        let mut conn = db
            .connection()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let loaded = queries::load(&mut conn).await?;
        let mut rules = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if rules.as_ref().is_none_or(|rules| rules.version != loaded.version) {
            tracing::info!(
                version = loaded.version,
                rules = loaded.rules.len(),
                "fraud rules in force"
            );
        }
        *rules = Some(Arc::new(loaded));
        Ok(())
    }

    /// Reads the rules now, and then again and again until `shutdown`.
    pub async fn follow(self, db: Db, shutdown: CancellationToken) {
        let mut failed_before = false;
        loop {
            let result = self.reload(&db).await;
            if let (Err(error), false) = (&result, failed_before) {
                tracing::error!(error = format!("{error:#}"), "the fraud rules cannot be read");
            }
            failed_before = result.is_err();
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}
