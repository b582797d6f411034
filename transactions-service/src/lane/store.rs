//! A batch's database transaction, and what to make of it when it fails or its end is not known.
//!
//! The lock order is total: accounts by id, holds by id, transfers by id, then keys by owner and key. Keys are claimed last, by a plain
//! insert whose unique violation makes the whole transaction fail and be tried again. That is as exact as claiming them
//! first and saves a second write per request: a key that another replica is committing right now nearly always waits
//! for the same account lock, and is then found by the look-up that follows the lock.

use std::fmt;
use std::time::Duration;

use shared::Db;
use tokio_postgres::error::SqlState;

use super::Job;
use super::session::{Session, Wanted};
use super::writes::{NewKey, Opened, Writes};

/// How long a lost COMMIT reply is looked for before the outcome is called unknown.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a batch was not written.
#[derive(Debug)]
pub enum StoreError {
    /// The connection broke before COMMIT was sent, or the commit is known not to have happened.
    Connection(String),
    /// Another transaction was in the way; trying again will do.
    Conflict(String),
    /// The database refused what was written.
    Rejected(String),
    /// COMMIT was sent, and whether it took effect could not be learnt.
    Unknown(String),
}

impl StoreError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Conflict(_))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(text) => write!(f, "connection lost: {text}"),
            Self::Conflict(text) => write!(f, "conflict: {text}"),
            Self::Rejected(text) => write!(f, "rejected: {text}"),
            Self::Unknown(text) => write!(f, "outcome unknown: {text}"),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = shared::db::chain(&error);
        match error.code() {
            None => Self::Connection(text),
            Some(code) if is_conflict(code) => Self::Conflict(text),
            Some(code) if is_lost(code) => Self::Connection(text),
            Some(_) => Self::Rejected(text),
        }
    }
}

/// A unique violation is another replica that claimed one of our keys first.
fn is_conflict(code: &SqlState) -> bool {
    [
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
    ]
    .contains(code)
}

/// The server went away (class 57: shutting down, starting up, terminated; class 53: out of connections, memory or disk).
fn is_lost(code: &SqlState) -> bool {
    let class = code.code();
    class.starts_with("57P") || class.starts_with("53") || class.starts_with("08") || class == "25P03"
}

pub struct Store {
    db: Db,
    session: Option<Session>,
}

impl Store {
    pub fn new(db: Db) -> Self {
        Self { db, session: None }
    }

    /// Begins the transaction and locks what the batch is about.
    pub async fn open<'a>(&mut self, jobs: impl Iterator<Item = &'a Job>) -> Result<Opened, StoreError> {
        let wanted = Wanted::of(jobs);
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => Session::connect(&self.db).await?,
        };
        let opened = session.open(&wanted).await;
        if opened.is_ok() {
            self.session = Some(session);
        } else {
            // A connection in an unknown state is closed; PostgreSQL rolls its transaction back.
            drop(session);
        }
        opened
    }

    /// Writes and commits. When the reply is lost, finds out what happened instead of guessing.
    pub async fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let Some(mut session) = self.session.take() else {
            return Err(StoreError::Connection("no open transaction".to_owned()));
        };
        match session.commit(writes).await {
            Ok(()) => {
                self.session = Some(session);
                Ok(())
            }
            Err(StoreError::Connection(reason)) => {
                drop(session);
                self.resolve(writes, &reason).await
            }
            Err(error) => Err(error),
        }
    }

    /// The keys were claimed in the lost transaction, so one of them tells whether it committed, as soon as the
    /// transaction is known to have ended. The transaction id alone would not do: after a crash it may be used again.
    async fn resolve(&self, writes: &Writes, reason: &str) -> Result<(), StoreError> {
        let Some(witness) = writes.keys.first() else {
            return Err(StoreError::Connection(reason.to_owned()));
        };
        let deadline = tokio::time::Instant::now() + RESOLVE_TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            match self.ask(writes.xid, witness).await {
                Ok(Ended::Committed) => return Ok(()),
                Ok(Ended::RolledBack) => return Err(StoreError::Connection(reason.to_owned())),
                Ok(Ended::NotYet) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err(StoreError::Unknown(reason.to_owned()))
    }

    async fn ask(&self, xid: i64, witness: &NewKey) -> Result<Ended, StoreError> {
        let session = Session::connect(&self.db).await?;
        let status = session
            .client
            .query_one("SELECT pg_xact_status($1::bigint::text::xid8)", &[&xid])
            .await;
        let in_progress = match status {
            Ok(row) => row.try_get::<_, Option<String>>(0)?.as_deref() == Some("in progress"),
            // After a crash the id may not have been reached again, which PostgreSQL reports as an error.
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => false,
            Err(error) => return Err(error.into()),
        };
        if in_progress {
            return Ok(Ended::NotYet);
        }
        let claim = &witness.claim;
        let found = session
            .client
            .query_opt(
                "SELECT FROM idempotency_keys WHERE owner_id = $1 AND key = $2 AND transfer_id = $3",
                &[
                    &claim.owner_id.uuid(),
                    &claim.key.as_str(),
                    &witness.subject.uuid(),
                ],
            )
            .await?;
        Ok(if found.is_some() {
            Ended::Committed
        } else {
            Ended::RolledBack
        })
    }
}

enum Ended {
    Committed,
    RolledBack,
    NotYet,
}
