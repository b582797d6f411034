//! What every handler may use.

use std::sync::Arc;

use anyhow::Context;
use shared::{Clock, Db, FieldKeys, Redis};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::access_tokens::SigningKeys;
use crate::config::Config;
use crate::email_verification::Requirement;
use crate::instance::Instance;
use crate::messages::{Carriers, Links};
use crate::passkeys::RelyingParty;
use crate::passwords::Rules;
use crate::passwords::hashing::HashingPool;
use crate::revocations::News;
use crate::sessions::cache::SessionCache;
use crate::social::Social;
use crate::trust_tokens::TrustTokens;

/// Each may take up to 128 MiB for a moment.
const PICTURES_AT_ONCE: usize = 2;

pub struct AppState {
    pub db: Db,
    pub clock: Clock,
    pub signing_keys: SigningKeys,
    pub trust_tokens: TrustTokens,
    pub field_keys: FieldKeys,
    pub hashing: HashingPool,
    pub relying_party: RelyingParty,
    pub revocations: News,
    pub carriers: Carriers,
    pub links: Links,
    pub social: Social,
    /// Places for pictures that are worked on at once.
    pub pictures: Semaphore,
    pub email_verification: Requirement,
    pub session_cache: Arc<SessionCache>,
    pub instance: Instance,
    runtime: Handle,
    tasks: TaskTracker,
}

impl AppState {
    pub fn new(config: &Config, tasks: TaskTracker) -> anyhow::Result<Self> {
        let redis = config.redis_url.as_ref().map(Redis::new).transpose()?;
        let (clock, keys) = (config.clock.clone(), config.field_keys.clone());
        Ok(Self {
            db: Db::new(crate::SCHEMA, &config.db)?,
            clock: config.clock.clone(),
            signing_keys: SigningKeys::new(&config.signing_keys).context("SIGNING_KEY")?,
            trust_tokens: TrustTokens::new(&config.signing_keys).context("SIGNING_KEY")?,
            field_keys: config.field_keys.clone(),
            relying_party: config.relying_party.clone(),
            revocations: News::default(),
            hashing: HashingPool::start(config.hashing, Rules::new(&config.password_rules)?)
                .context("PASSWORD_HASH_*")?,
            carriers: Carriers::new(&config.messages.carrier)?,
            links: config.messages.links.clone(),
            social: Social::new(&config.social)?,
            pictures: Semaphore::new(PICTURES_AT_ONCE),
            email_verification: config.email_verification,
            session_cache: Arc::new(SessionCache::new(clock, keys, redis)),
            instance: Instance::new(&config.bridge_secrets),
            runtime: Handle::current(),
            tasks,
        })
    }

    /// Runs `task` beyond the request that started it; the service does not stop before it has ended.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }
}
