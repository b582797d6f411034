//! The models in use, in memory. A change in the registry is followed within [`RELOAD_EVERY`], by every replica; a champion
//! that cannot be read leaves the last good one in use.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use shared::id::ModelId;
use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

use super::{ModelStatus, queries};
use crate::model::Model;
use crate::score::cost::{self, CostPolicy};

const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// What decides, and what watches.
#[derive(Clone)]
pub struct InUse {
    pub champion: Arc<Model>,
    /// Absent of the model that comes with the service.
    pub champion_id: Option<ModelId>,
    pub shadows: Vec<(ModelId, Arc<Model>)>,
    pub costs: CostPolicy,
    /// Whether people can still look at what the model sends them today.
    pub reviews_left: bool,
}

#[derive(Clone)]
pub struct ModelBook {
    shipped: Arc<Model>,
    in_use: Arc<RwLock<Arc<InUse>>>,
}

impl ModelBook {
    pub fn new(shipped: Model) -> Self {
        let shipped = Arc::new(shipped);
        let in_use = InUse {
            champion: Arc::clone(&shipped),
            champion_id: None,
            shadows: Vec::new(),
            costs: CostPolicy::default(),
            reviews_left: true,
        };
        Self {
            shipped,
            in_use: Arc::new(RwLock::new(Arc::new(in_use))),
        }
    }

    pub fn in_use(&self) -> Arc<InUse> {
        Arc::clone(&self.in_use.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that comes with the service.
    pub fn shipped(&self) -> Arc<Model> {
        Arc::clone(&self.shipped)
    }

    pub async fn reload(&self, db: &Db) -> Result<(), ApiError> {
        let before = self.in_use();
        let mut conn = db.connection().await?;
        let costs = cost::load(&mut conn).await?;
        let reviews_left = cost::reviews_today(&mut conn).await? < i64::from(costs.reviews_per_day);
        let mut next = InUse {
            champion: Arc::clone(&self.shipped),
            champion_id: None,
            shadows: Vec::new(),
            costs,
            reviews_left,
        };
        let mut unreadable = 0_u32;
        for (id, status) in queries::in_use(&mut conn).await? {
            let known = before.known(id);
            let model = match known {
                Some(model) => Ok(model),
                None => queries::load(&mut conn, id).await.map(Arc::new),
            };
            match (model, status) {
                (Ok(model), ModelStatus::Champion) => {
                    if before.champion_id != Some(id) {
                        tracing::info!(model = %id, sha256 = model.hash(), "another model decides");
                    }
                    next.champion = model;
                    next.champion_id = Some(id);
                }
                (Ok(model), _) => next.shadows.push((id, model)),
                (Err(error), ModelStatus::Champion) => {
                    tracing::error!(model = %id, error = %error, "the champion cannot be read; the last good model decides");
                    unreadable = unreadable.saturating_add(1);
                    next.champion = Arc::clone(&before.champion);
                    next.champion_id = before.champion_id;
                }
                (Err(error), _) => {
                    tracing::error!(model = %id, error = %error, "a shadow cannot be read");
                    unreadable = unreadable.saturating_add(1);
                }
            }
        }
        metrics::gauge!("fraud_models_unreadable").set(unreadable);
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// Reads what is in use now, and then again and again until `shutdown`.
    pub async fn follow(self, db: Db, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.reload(&db).await {
                tracing::debug!(error = %error, "the registry cannot be read; the same models go on");
            }
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

impl InUse {
    fn known(&self, id: ModelId) -> Option<Arc<Model>> {
        if self.champion_id == Some(id) {
            return Some(Arc::clone(&self.champion));
        }
        let known = self.shadows.iter().find(|(shadow, _)| *shadow == id);
        known.map(|(_, model)| Arc::clone(model))
    }
}
