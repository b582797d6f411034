//! Sessions and users that were looked up lately: in this process, and in Redis where there is one.
//!
//! What is kept is never deleted, it is outdated: the database writes down, by triggers, every session and user that is changed
//! (`cache_invalidations`), and each replica reads that twice a second. An entry knows the oldest transaction that its snapshot
//! might not have seen, so what is older than a change of its key is a miss, wherever it lies and however it got there late. A
//! replica that has not been able to read the changes for two seconds uses no entry at all.
//!
//! Deliberately absent: deletion from Redis, which would have to succeed. Redis tells other replicas to read the changes at
//! once, and nobody waits for it or fails with it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration as StdDuration, Instant};

use chrono::{DateTime, Duration, Utc};
use diesel::sql_types::{BigInt, Binary};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::field_key::Column;
use shared::id::UserId;
use shared::{ApiError, Clock, Db, FieldKeys, Redis};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Session;
use crate::users::User;

const SESSION_LIFETIME: Duration = Duration::minutes(5);
const USER_LIFETIME: Duration = Duration::minutes(10);
/// Changes are remembered for longer than anything from before them can be kept.
pub const KEEP_CHANGES: Duration = Duration::minutes(15);
const MAX_ENTRIES: usize = 50_000;

const PRUNE_EVERY: StdDuration = StdDuration::from_secs(60);

const POLL: StdDuration = StdDuration::from_millis(500);
/// What is kept is used for this long after the changes were read the last time.
const TRUSTED_FOR: StdDuration = StdDuration::from_secs(2);

const CHANNEL: &str = "flowlet:auth:changed";
const SESSION: Column = Column("redis.auth.session");
const USER: Column = Column("redis.auth.user");

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Memory,
    Redis,
    Database,
}

/// The number of a transaction, of which later ones have higher.
pub type Xid = i64;

/// Something as it was in a snapshot.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Entry<T> {
    value: Arc<T>,
    /// Every transaction before this one had ended.
    as_of: Xid,
    read_at: DateTime<Utc>,
}

pub struct SessionCache {
    clock: Clock,
    keys: FieldKeys,
    redis: Option<Redis>,
    sessions: Cache<[u8; 32], Entry<Session>>,
    users: Cache<Uuid, Entry<User>>,
    changes: RwLock<Changes>,
    /// One reads the changes at a time.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Changes {
    /// The transaction that changed a key last, and when that was heard of.
    by_key: HashMap<Vec<u8>, (Xid, Instant)>,
    /// The oldest transaction that had not ended when the changes were read last, and when that was.
    read: Option<(Xid, Instant)>,
    pruned_at: Option<Instant>,
}

#[derive(QueryableByName)]
struct Change {
    #[diesel(sql_type = BigInt)]
    oldest_running: Xid,
    #[diesel(sql_type = diesel::sql_types::Nullable<BigInt>)]
    xid: Option<Xid>,
    #[diesel(sql_type = diesel::sql_types::Nullable<Binary>)]
    key: Option<Vec<u8>>,
}

#[derive(QueryableByName)]
struct Wait {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    wait_s: i32,
}

impl SessionCache {
    pub fn new(clock: Clock, keys: FieldKeys, redis: Option<Redis>) -> Self {
        Self {
            clock,
            keys,
            redis,
            sessions: Cache::new(MAX_ENTRIES),
            users: Cache::new(MAX_ENTRIES),
            changes: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The session with this hash, if it is known and nothing has happened to it since.
    pub async fn session(&self, hash: &[u8; 32]) -> Option<(Arc<Session>, Source)> {
        let usable = |entry: &Entry<Session>| self.is_usable(hash, entry, SESSION_LIFETIME);
        if let Some(entry) = self.sessions.get(hash).filter(usable) {
            return Some((entry.value, Source::Memory));
        }
        let entry = self.read(SESSION, &hex(hash)).await.filter(usable)?;
        self.sessions.insert(*hash, entry.clone());
        Some((entry.value, Source::Redis))
    }

    pub async fn user(&self, id: UserId) -> Option<(Arc<User>, Source)> {
        let id = id.uuid();
        let usable = |entry: &Entry<User>| self.is_usable(id.as_bytes(), entry, USER_LIFETIME);
        if let Some(entry) = self.users.get(&id).filter(usable) {
            return Some((entry.value, Source::Memory));
        }
        let entry = self.read(USER, &id.to_string()).await.filter(usable)?;
        self.users.insert(id, entry.clone());
        Some((entry.value, Source::Redis))
    }

    /// Keeps what was read in a snapshot before which every transaction below `as_of` had ended.
    pub fn keep_session(self: &Arc<Self>, hash: &[u8; 32], session: &Arc<Session>, as_of: Xid) {
        let entry = self.entry(session, as_of);
        self.sessions.insert(*hash, entry.clone());
        self.share(SESSION, hex(hash), entry, SESSION_LIFETIME);
    }

    /// The same of a user.
    pub fn keep_user(self: &Arc<Self>, user: &Arc<User>, as_of: Xid) {
        let (id, entry) = (user.id.uuid(), self.entry(user, as_of));
        self.users.insert(id, entry.clone());
        self.share(USER, id.to_string(), entry, USER_LIFETIME);
    }

    fn entry<T>(&self, value: &Arc<T>, as_of: Xid) -> Entry<T> {
        Entry {
            value: Arc::clone(value),
            as_of,
            read_at: self.clock.now(),
        }
    }

    fn is_usable<T>(&self, key: &[u8], entry: &Entry<T>, lifetime: Duration) -> bool {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let trusted = changes.read.is_some_and(|(_, at)| at.elapsed() < TRUSTED_FOR);
        let changed = changes.by_key.get(key);
        trusted
            && changed.is_none_or(|(transaction, _)| *transaction < entry.as_of)
            && self.clock.now() < entry.read_at + lifetime
    }

    /// Outdates what any replica keeps of a session and its user, for a user who thinks that it is wrong.
    pub async fn invalidate(&self, db: &Db, session: &Session) -> Result<(), ApiError> {
        let mut connection = db.connection().await?;
        let Wait { wait_s } = diesel::sql_query("SELECT invalidate_caches($1) AS wait_s")
            .bind::<diesel::sql_types::Uuid, _>(session.id.uuid())
            .get_result(&mut connection)
            .await?;
        drop(connection);
        if wait_s > 0 {
            let detail =
                "The cache can be emptied ten times in five minutes. Wait as long as Retry-After says.";
            return Err(ApiError::too_many_requests(detail, wait_s.unsigned_abs().into()));
        }
        self.catch_up_and_tell(db).await;
        Ok(())
    }

    /// Hears of all that was committed before, and has the other replicas hear of it soon. After a change that somebody is told
    /// of; who cannot reach the database is told that by their next request.
    pub async fn catch_up_and_tell(&self, db: &Db) {
        if let Err(error) = self.catch_up(db).await {
            tracing::warn!(%error, "the cache of sessions could not be brought up to date");
        }
        if let Some(redis) = &self.redis {
            redis.publish(CHANNEL).await;
        }
    }

    /// Hears of all that was committed before.
    pub async fn catch_up(&self, db: &Db) -> Result<(), ApiError> {
        let _one_at_a_time = self.reading.lock().await;
        let after = {
            let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
            changes.read.map(|(oldest_running, _)| oldest_running)
        };
        let asked_at = Instant::now();
        let found = read_changes(&mut *db.connection().await?, after).await?;
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let oldest_running = found.iter().map(|change| change.oldest_running).max();
        for change in found {
            if let (Some(key), Some(xid)) = (change.key, change.xid) {
                let known = changes.by_key.entry(key).or_insert((xid, asked_at));
                *known = (known.0.max(xid), asked_at);
            }
        }
        if let Some(oldest_running) = oldest_running {
            changes.read = Some((oldest_running, asked_at));
        }
        if changes.pruned_at.is_none_or(|at| at.elapsed() > PRUNE_EVERY) {
            let keep = KEEP_CHANGES.to_std().unwrap_or_default();
            changes
                .by_key
                .retain(|_, (_, heard_at)| heard_at.elapsed() < keep);
            changes.pruned_at = Some(asked_at);
        }
        Ok(())
    }

    /// Hears of changes twice a second, and at once when Redis says that there are some.
    pub async fn run(&self, db: &Db, shutdown: CancellationToken) {
        let told = tokio::sync::Notify::new();
        let listen = async {
            match &self.redis {
                Some(redis) => redis.listen(CHANNEL, || told.notify_one()).await,
                None => std::future::pending().await,
            }
        };
        let poll = async {
            let mut failing = false;
            loop {
                let caught_up = self.catch_up(db).await;
                if let (false, Err(error)) = (failing, &caught_up) {
                    tracing::warn!(%error, "sessions are not cached until their changes can be read");
                }
                failing = caught_up.is_err();
                drop(tokio::time::timeout(POLL, told.notified()).await);
            }
        };
        shutdown
            .run_until_cancelled(async { tokio::join!(listen, poll) })
            .await;
    }

    async fn read<T: DeserializeOwned>(&self, column: Column, key: &str) -> Option<Entry<T>> {
        let sealed = self.redis.as_ref()?.get(&redis_key(column, key)).await?;
        let sealed = sealed.try_into().ok()?;
        let text = self.keys.decrypt(column, row_of(key), &sealed).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Has it written to Redis, for other replicas; whoever asked is answered meanwhile.
    fn share<T: Serialize + Send + Sync + 'static>(
        self: &Arc<Self>,
        column: Column,
        key: String,
        entry: Entry<T>,
        lifetime: Duration,
    ) {
        if self.redis.is_some() {
            let cache = Arc::clone(self);
            tokio::spawn(async move { cache.write(column, &key, &entry, lifetime).await });
        }
    }

    async fn write<T: Serialize>(&self, column: Column, key: &str, entry: &Entry<T>, lifetime: Duration) {
        let Some(redis) = &self.redis else { return };
        let sealed = serde_json::to_string(entry).ok().and_then(|text| {
            let number = self.keys.first_encryption_key().ok()?;
            self.keys.encrypt(number, column, row_of(key), &text).ok()
        });
        if let Some(sealed) = sealed {
            let lifetime = lifetime.to_std().unwrap_or_default();
            redis
                .set(&redis_key(column, key), sealed.as_ref(), lifetime)
                .await;
        }
    }
}

/// What an encrypted entry is bound to: the first half of the key.
fn row_of(key: &str) -> Uuid {
    let digest = super::sha256(key);
    let half = digest.first_chunk::<16>().copied().unwrap_or_default();
    Uuid::from_bytes(half)
}

fn redis_key(column: Column, key: &str) -> String {
    format!("flowlet:{}:{key}", column.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All changes by transactions from `after` on, or of the last minutes; at least one row.
async fn read_changes(connection: &mut AsyncPgConnection, after: Option<Xid>) -> QueryResult<Vec<Change>> {
    diesel::sql_query(format!(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
             xid, key
         FROM (SELECT) AS one_row LEFT JOIN cache_invalidations ON xid >= $1 AND created_at > now() - interval '{} seconds'",
        KEEP_CHANGES.num_seconds()
    ))
    .bind::<BigInt, _>(after.unwrap_or_default())
    .load(connection)
    .await
}
