//! What every handler may use.

use anyhow::Context;
use shared::{Clock, Db, FieldKeys};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::access_tokens::SigningKeys;
use crate::config::Config;
use crate::passwords::hashing::HashingPool;
use crate::revocations::News;

pub struct AppState {
    pub db: Db,
    pub clock: Clock,
    pub signing_keys: SigningKeys,
    pub field_keys: FieldKeys,
    pub hashing: HashingPool,
    pub revocations: News,
    runtime: Handle,
    tasks: TaskTracker,
}

impl AppState {
    pub fn new(config: &Config, tasks: TaskTracker) -> anyhow::Result<Self> {
        Ok(Self {
            db: Db::new(crate::SCHEMA, &config.db)?,
            clock: config.clock.clone(),
            signing_keys: SigningKeys::new(&config.signing_keys).context("SIGNING_KEY")?,
            field_keys: config.field_keys.clone(),
            hashing: HashingPool::start(config.hashing).context("PASSWORD_HASH_*")?,
            revocations: News::default(),
            runtime: Handle::current(),
            tasks,
        })
    }

    /// Runs `task` beyond the request that started it; the service does not stop before it has ended.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }
}
