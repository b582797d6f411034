//! The lane's database transaction: a connection of its own, prepared statements, two pipelined round trips.
//!
//! This is the one place that speaks to PostgreSQL without Diesel: `unnest` over arrays keeps a batch of any size one
//! statement, which a statement cache that is keyed by the number of rows would not.
//!
//! The lock order is total: accounts by id, holds by id, then keys by owner and key. Keys are claimed last, by a plain
//! insert whose unique violation makes the whole transaction fail and be tried again. That is as exact as claiming them
//! first and saves a second write per request: a key that another replica is committing right now nearly always waits
//! for the same account lock, and is then found by the look-up that follows the lock.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bytestring::ByteString;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use futures_util::join;
use shared::Db;
use shared::clients::ml::Decision;
use shared::clients::transactions::Direction;
use shared::id::{AccountId, EventId, HoldId, TransferId, UserId};
use shared::idempotency::IdempotencyKey;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{Answer, Job, Work};
use crate::book::{Leg, LockedHold};
use crate::idempotency_key::Claim;
use crate::ledger_account::{AccountKind, LockedAccount, parse_status};
use crate::transfer::{Description, Risk, TransferOrder, TransferRecord};

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

/// What the first round trip found, under locks that are held to the commit.
pub struct Opened {
    pub xid: i64,
    pub now: DateTime<Utc>,
    pub accounts: Vec<LockedAccount>,
    pub holds: HashMap<HoldId, LockedHold>,
    pub keys: HashMap<(UserId, IdempotencyKey), StoredKey>,
}

pub struct StoredKey {
    pub fingerprint: Vec<u8>,
    pub answer: Answer,
}

pub struct NewKey {
    pub claim: Claim,
    pub transfer_id: TransferId,
    pub answer: Answer,
}

pub struct NewTransfer {
    pub order: TransferOrder,
    pub record: TransferRecord,
    pub debit_holder_id: Option<UserId>,
    pub credit_holder_id: Option<UserId>,
    pub hold_id: Option<HoldId>,
    pub risk: Option<Risk>,
}

pub struct NewPosting {
    pub transfer_id: TransferId,
    pub leg: Leg,
    pub currency: &'static str,
}

pub struct NewHold {
    pub id: HoldId,
    pub account_id: AccountId,
    pub transfer_id: TransferId,
    pub amount: i64,
}

pub struct HoldChange {
    pub id: HoldId,
    pub captured: i64,
    pub released: i64,
}

pub struct ReviewOutcome {
    pub record: TransferRecord,
    pub decided_by: UserId,
}

pub struct NewEvent {
    pub id: EventId,
    pub kind: &'static str,
    pub transfer_id: TransferId,
    pub payload: ByteString,
}

/// What the second round trip writes.
#[derive(Default)]
pub struct Writes {
    pub xid: i64,
    pub keys: Vec<NewKey>,
    pub transfers: Vec<NewTransfer>,
    pub postings: Vec<NewPosting>,
    pub accounts: Vec<LockedAccount>,
    pub holds: Vec<NewHold>,
    pub hold_changes: Vec<HoldChange>,
    pub reviews: Vec<ReviewOutcome>,
    pub events: Vec<NewEvent>,
}

impl Writes {
    pub fn add_legs(&mut self, order: &TransferOrder, debit: Leg, credit: Leg) {
        let currency = order.currency.code();
        for leg in [debit, credit] {
            self.postings.push(NewPosting {
                transfer_id: order.id,
                leg,
                currency,
            });
        }
    }
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
        let Some(session) = self.session.take() else {
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
                    &witness.transfer_id.uuid(),
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

/// The rows that a batch is about.
struct Wanted {
    accounts: Vec<Uuid>,
    holds: Vec<Uuid>,
    key_owners: Vec<Uuid>,
    keys: Vec<String>,
}

impl Wanted {
    fn of<'a>(jobs: impl Iterator<Item = &'a Job>) -> Self {
        let mut wanted = Self {
            accounts: Vec::new(),
            holds: Vec::new(),
            key_owners: Vec::new(),
            keys: Vec::new(),
        };
        for job in jobs {
            if let Work::Decide(decision) = &job.work {
                wanted.holds.push(decision.hold_id.uuid());
            }
            let order = job.work.order();
            wanted
                .accounts
                .extend([order.debit_account_id.uuid(), order.credit_account_id.uuid()]);
            wanted.key_owners.push(job.claim.owner_id.uuid());
            wanted.keys.push(job.claim.key.as_str().to_owned());
        }
        wanted.accounts.sort_unstable();
        wanted.accounts.dedup();
        wanted
    }
}

struct Session {
    client: Client,
    lock_accounts: Statement,
    lock_holds: Statement,
    find_keys: Statement,
    claim_keys: Statement,
    insert_transfers: Statement,
    insert_postings: Statement,
    update_accounts: Statement,
    insert_holds: Statement,
    update_holds: Statement,
    update_reviewed: Statement,
    insert_events: Statement,
    begin: Statement,
}

impl Session {
    async fn connect(db: &Db) -> Result<Self, StoreError> {
        let (client, connection) = db.dedicated_connection().await?;
        tokio::spawn(connection);
        let durable: bool = client.query_one(IS_DURABLE, &[]).await?.try_get(0)?;
        if !durable {
            tracing::warn!(
                "fsync or synchronous_commit is off in PostgreSQL: acknowledged transfers can be lost"
            );
        }
        // A plan made while a table was empty must not go on scanning it when it is large.
        client
            .batch_execute("SET enable_seqscan = off; SET lock_timeout = '3s'")
            .await?;
        Ok(Self {
            begin: client
                .prepare("SELECT pg_current_xact_id()::text::bigint, now()")
                .await?,
            lock_accounts: client.prepare(LOCK_ACCOUNTS).await?,
            lock_holds: client.prepare(LOCK_HOLDS).await?,
            find_keys: client.prepare(FIND_KEYS).await?,
            claim_keys: client.prepare(CLAIM_KEYS).await?,
            insert_transfers: client.prepare(INSERT_TRANSFERS).await?,
            insert_postings: client.prepare(INSERT_POSTINGS).await?,
            update_accounts: client.prepare(UPDATE_ACCOUNTS).await?,
            insert_holds: client.prepare(INSERT_HOLDS).await?,
            update_holds: client.prepare(UPDATE_HOLDS).await?,
            update_reviewed: client.prepare(UPDATE_REVIEWED).await?,
            insert_events: client.prepare(INSERT_EVENTS).await?,
            client,
        })
    }

    async fn open(&self, wanted: &Wanted) -> Result<Opened, StoreError> {
        let client = &self.client;
        let account_parameters: [&Parameter; 1] = [&wanted.accounts];
        let key_parameters: [&Parameter; 2] = [&wanted.key_owners, &wanted.keys];
        let holds = async {
            match wanted.holds.is_empty() {
                true => Ok(Vec::new()),
                false => client.query(&self.lock_holds, &[&wanted.holds]).await,
            }
        };
        // Sent together, answered in order: the keys are looked up after the locks are held.
        let (begun, transaction, accounts, holds, keys) = join!(
            client.batch_execute("BEGIN"),
            client.query_one(&self.begin, &[]),
            client.query(&self.lock_accounts, &account_parameters),
            holds,
            client.query(&self.find_keys, &key_parameters),
        );
        begun?;
        let transaction = transaction?;
        Ok(Opened {
            xid: transaction.try_get(0)?,
            now: transaction.try_get(1)?,
            accounts: accounts?.iter().map(locked_account).collect::<Result<_, _>>()?,
            holds: holds?.iter().map(locked_hold).collect::<Result<_, _>>()?,
            keys: keys?.iter().map(stored_key).collect::<Result<_, _>>()?,
        })
    }

    async fn commit(&self, writes: &Writes) -> Result<(), StoreError> {
        let columns = Columns::of(writes);
        let statements = self.statements(&columns);
        let executed = join_all(
            statements
                .iter()
                .map(|(statement, parameters)| self.client.execute(*statement, parameters)),
        );
        // COMMIT is sent along: after a statement that failed PostgreSQL takes it for a ROLLBACK.
        let (executed, committed) = join!(executed, self.client.batch_execute("COMMIT"));
        for result in executed {
            result?;
        }
        Ok(committed?)
    }

    /// Only what has rows; most batches hold nothing and review nothing.
    fn statements<'a>(
        &'a self,
        columns: &'a Columns<'_>,
    ) -> Vec<(
        &'a Statement,
        Vec<&'a (dyn tokio_postgres::types::ToSql + Sync + 'a)>,
    )> {
        let all = [
            (&self.update_accounts, &columns.accounts),
            (&self.insert_transfers, &columns.transfers),
            (&self.insert_postings, &columns.postings),
            (&self.insert_holds, &columns.holds),
            (&self.update_holds, &columns.hold_changes),
            (&self.update_reviewed, &columns.reviews),
            (&self.insert_events, &columns.events),
            (&self.claim_keys, &columns.keys),
        ];
        all.into_iter()
            .filter(|(_, table)| table.rows > 0)
            .map(|(statement, table)| {
                (
                    statement,
                    table
                        .arrays
                        .iter()
                        .map(|array| -> &(dyn tokio_postgres::types::ToSql + Sync) { &**array })
                        .collect(),
                )
            })
            .collect()
    }
}

fn locked_account(row: &Row) -> Result<LockedAccount, StoreError> {
    let unreadable = |what: &str| StoreError::Rejected(format!("a ledger account has an unknown {what}"));
    let kind = match row.try_get(1)? {
        "customer" => AccountKind::Customer,
        "clearing" => AccountKind::Clearing,
        _ => return Err(unreadable("kind")),
    };
    Ok(LockedAccount {
        id: AccountId::from_uuid(row.try_get(0)?),
        kind,
        holder_id: row.try_get::<_, Option<Uuid>>(2)?.map(UserId::from_uuid),
        currency: row
            .try_get::<_, &str>(3)?
            .parse()
            .map_err(|_| unreadable("currency"))?,
        status: parse_status(row.try_get(4)?).ok_or_else(|| unreadable("status"))?,
        posted: row.try_get(5)?,
        held: row.try_get(6)?,
        floor: row.try_get(7)?,
        version: row.try_get(8)?,
    })
}

fn locked_hold(row: &Row) -> Result<(HoldId, LockedHold), StoreError> {
    let id = HoldId::from_uuid(row.try_get(0)?);
    Ok((
        id,
        LockedHold {
            id,
            amount: row.try_get(1)?,
            taken: row.try_get(2)?,
        },
    ))
}

fn stored_key(row: &Row) -> Result<((UserId, IdempotencyKey), StoredKey), StoreError> {
    let key = IdempotencyKey::parse(row.try_get(1)?)
        .ok_or_else(|| StoreError::Rejected("a stored idempotency key is malformed".to_owned()))?;
    let status: i16 = row.try_get(3)?;
    let answer = Answer {
        status: u16::try_from(status).unwrap_or(500),
        body: row.try_get::<_, String>(4)?.into(),
        replayed: true,
    };
    Ok((
        (UserId::from_uuid(row.try_get(0)?), key),
        StoredKey {
            fingerprint: row.try_get(2)?,
            answer,
        },
    ))
}

const IS_DURABLE: &str =
    "SELECT current_setting('fsync')::bool AND current_setting('synchronous_commit') NOT IN ('off')";

const LOCK_ACCOUNTS: &str = "
    SELECT id, kind, holder_id, currency, status, posted, held, floor, version
    FROM ledger_accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE";

const LOCK_HOLDS: &str = "
    SELECT id, amount, captured + released
    FROM holds WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE";

const FIND_KEYS: &str = "
    SELECT owner_id, key, fingerprint, status, body
    FROM idempotency_keys JOIN unnest($1::uuid[], $2::text[]) AS wanted (owner_id, key) USING (owner_id, key)";

const CLAIM_KEYS: &str = "
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, transfer_id, status, body, created_at)
    SELECT owner_id, key, fingerprint, transfer_id, status, body, now()
    FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[], $5::smallint[], $6::text[])
        AS claim (owner_id, key, fingerprint, transfer_id, status, body)
    ORDER BY owner_id, key";

const INSERT_TRANSFERS: &str = "
    INSERT INTO transfers (id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id,
        amount, currency, description, metadata, initiated_by, rejection_code, hold_id, risk_score, risk_decision,
        risk_reasons, created_at, completed_at)
    SELECT id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id,
        amount, currency, description, metadata::jsonb, initiated_by, rejection_code, hold_id, risk_score, risk_decision,
        risk_reasons::jsonb, now(), CASE WHEN status <> 'in_review' THEN now() END
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::bigint[],
        $9::text[], $10::text[], $11::text[], $12::uuid[], $13::text[], $14::uuid[], $15::smallint[], $16::text[],
        $17::text[])
        AS new (id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id, amount,
            currency, description, metadata, initiated_by, rejection_code, hold_id, risk_score, risk_decision,
            risk_reasons)";

const INSERT_POSTINGS: &str = "
    INSERT INTO postings (transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at)
    SELECT transfer_id, account_id, sequence, direction, amount, currency, balance_after, now()
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])
        AS new (transfer_id, account_id, sequence, direction, amount, currency, balance_after)";

const UPDATE_ACCOUNTS: &str = "
    UPDATE ledger_accounts AS account SET posted = new.posted, held = new.held, version = new.version
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS new (id, posted, held, version)
    WHERE account.id = new.id";

const INSERT_HOLDS: &str = "
    INSERT INTO holds (id, account_id, transfer_id, amount, created_at)
    SELECT id, account_id, transfer_id, amount, now()
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[]) AS new (id, account_id, transfer_id, amount)";

const UPDATE_HOLDS: &str = "
    UPDATE holds AS hold SET captured = hold.captured + change.captured, released = hold.released + change.released
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS change (id, captured, released)
    WHERE hold.id = change.id";

const UPDATE_REVIEWED: &str = "
    UPDATE transfers AS transfer SET status = outcome.status, rejection_code = outcome.rejection_code,
        decided_by = outcome.decided_by, completed_at = now()
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS outcome (id, status, rejection_code, decided_by)
    WHERE transfer.id = outcome.id AND transfer.status = 'in_review'";

const INSERT_EVENTS: &str = "
    INSERT INTO outbox (id, kind, transfer_id, payload, created_at)
    SELECT id, kind, transfer_id, payload::json, now()
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) AS new (id, kind, transfer_id, payload)";

type Parameter = dyn tokio_postgres::types::ToSql + Sync;

/// The rows of one statement, turned into one array per column.
struct Table<'a> {
    rows: usize,
    arrays: Vec<Box<dyn tokio_postgres::types::ToSql + Sync + Send + 'a>>,
}

macro_rules! table {
    ($rows:expr; $($column:expr),+ $(,)?) => {
        Table { rows: $rows.len(), arrays: vec![$(Box::new($rows.iter().map($column).collect::<Vec<_>>())),+] }
    };
}

struct Columns<'a> {
    keys: Table<'a>,
    transfers: Table<'a>,
    postings: Table<'a>,
    accounts: Table<'a>,
    holds: Table<'a>,
    hold_changes: Table<'a>,
    reviews: Table<'a>,
    events: Table<'a>,
}

impl<'a> Columns<'a> {
    fn of(writes: &'a Writes) -> Self {
        Self {
            keys: table!(writes.keys;
                |it| it.claim.owner_id.uuid(),
                |it| it.claim.key.as_str(),
                |it| it.claim.fingerprint.as_slice(),
                |it| it.transfer_id.uuid(),
                |it| i16::try_from(it.answer.status).unwrap_or(500),
                |it| &*it.answer.body,
            ),
            transfers: table!(writes.transfers;
                |it| it.order.id.uuid(),
                |it| it.order.kind.word(),
                |it| it.record.status.word(),
                |it| it.order.debit_account_id.uuid(),
                |it| it.order.credit_account_id.uuid(),
                |it| it.debit_holder_id.map(UserId::uuid),
                |it| it.credit_holder_id.map(UserId::uuid),
                |it| it.order.amount.minor(),
                |it| it.order.currency.code(),
                |it| it.order.description.as_ref().map(Description::as_str),
                |it| it.order.metadata.as_ref().and_then(|pairs| serde_json::to_string(pairs).ok()),
                |it| it.order.initiated_by.uuid(),
                |it| it.record.rejection_code.as_deref(),
                |it| it.hold_id.map(HoldId::uuid),
                |it| it.risk.as_ref().and_then(|risk| i16::try_from(risk.score).ok()),
                |it| it.risk.as_ref().map(|risk| decision_word(risk.decision)),
                |it| it.risk.as_ref().and_then(|risk| serde_json::to_string(&risk.reasons).ok()),
            ),
            postings: table!(writes.postings;
                |it| it.transfer_id.uuid(),
                |it| it.leg.account_id.uuid(),
                |it| it.leg.sequence,
                |it| direction_word(it.leg.direction),
                |it| it.leg.amount,
                |it| it.currency,
                |it| it.leg.balance_after,
            ),
            accounts: table!(writes.accounts; |it| it.id.uuid(), |it| it.posted, |it| it.held, |it| it.version),
            holds: table!(writes.holds;
                |it| it.id.uuid(), |it| it.account_id.uuid(), |it| it.transfer_id.uuid(), |it| it.amount),
            hold_changes: table!(writes.hold_changes; |it| it.id.uuid(), |it| it.captured, |it| it.released),
            reviews: table!(writes.reviews;
                |it| it.record.id.uuid(),
                |it| it.record.status.word(),
                |it| it.record.rejection_code.as_deref(),
                |it| it.decided_by.uuid(),
            ),
            events: table!(writes.events;
                |it| it.id.uuid(), |it| it.kind, |it| it.transfer_id.uuid(), |it| &*it.payload),
        }
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Debit => "debit",
        Direction::Credit => "credit",
    }
}

pub fn decision_word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Review => "review",
        Decision::Block => "block",
    }
}
