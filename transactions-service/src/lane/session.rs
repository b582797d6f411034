//! The lane's connection: its prepared statements, and the two pipelined round trips of a batch.
//!
//! This is the one place that speaks to PostgreSQL without Diesel: `unnest` over arrays keeps a batch of any size one
//! statement, which a statement cache that is keyed by the number of rows would not.

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use futures_util::join;
use shared::Db;
use shared::clients::transactions::Limits;
use shared::id::{AccountId, HoldId, TransferId, UserId};
use shared::idempotency::IdempotencyKey;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::store::StoreError;
use super::writes::{Columns, Opened, Parameter, StoredKey, Writes};
use super::{Answer, Item, Job};
use crate::block::Chain;
use crate::hold::{HoldTerms, LockedHold};
use crate::ledger_account::{AccountKind, LockedAccount, Spent, parse_status};
use crate::transfer::LockedTransfer;

/// The rows that a batch is about.
pub struct Wanted {
    accounts: Vec<Uuid>,
    holds: Vec<Uuid>,
    transfers: Vec<Uuid>,
    key_owners: Vec<Uuid>,
    keys: Vec<String>,
}

impl Wanted {
    pub fn of<'a>(jobs: impl Iterator<Item = &'a Job>) -> Self {
        let mut wanted = Self {
            accounts: Vec::new(),
            holds: Vec::new(),
            transfers: Vec::new(),
            key_owners: Vec::new(),
            keys: Vec::new(),
        };
        for Item { work, claim, .. } in jobs.flat_map(|job| &job.items) {
            wanted
                .accounts
                .extend(work.accounts().into_iter().map(AccountId::uuid));
            wanted.holds.extend(work.holds().iter().map(|id| id.uuid()));
            wanted.transfers.extend(work.original().map(TransferId::uuid));
            wanted.key_owners.push(claim.owner_id.uuid());
            wanted.keys.push(claim.key.as_str().to_owned());
        }
        wanted.accounts.sort_unstable();
        wanted.accounts.dedup();
        wanted
    }
}

pub struct Session {
    pub client: Client,
    chain: Chain,
    lock_accounts: Statement,
    tell_time: Statement,
    lock_holds: Statement,
    lock_transfers: Statement,
    find_keys: Statement,
    claim_keys: Statement,
    insert_transfers: Statement,
    insert_parties: Statement,
    insert_postings: Statement,
    update_accounts: Statement,
    insert_holds: Statement,
    update_holds: Statement,
    update_returned: Statement,
    update_reviewed: Statement,
    insert_events: Statement,
    insert_block: Statement,
    append_audit: Statement,
    begin: Statement,
}

impl Session {
    pub async fn connect(db: &Db) -> Result<Self, StoreError> {
        let (client, connection) = db.dedicated_connection().await?;
        tokio::spawn(connection);
        let durable: bool = client.query_one(IS_DURABLE, &[]).await?.try_get(0)?;
        if !durable {
            tracing::warn!(
                "fsync or synchronous_commit is off in PostgreSQL: acknowledged transfers can be lost"
            );
        }
        // The lane waits for nobody inside of a transaction: one that stands idle belongs to a replica that is paused or cut
        // off, and loses its locks before the others have waited too long for them.
        client
            .batch_execute("SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '2s'")
            .await?;
        Ok(Self {
            begin: client
                .prepare("SELECT pg_current_xact_id()::text::bigint, now()")
                .await?,
            lock_accounts: client.prepare(LOCK_ACCOUNTS).await?,
            tell_time: client.prepare("SELECT clock_timestamp()").await?,
            lock_holds: client.prepare(LOCK_HOLDS).await?,
            lock_transfers: client.prepare(LOCK_TRANSFERS).await?,
            find_keys: client.prepare(FIND_KEYS).await?,
            claim_keys: client.prepare(CLAIM_KEYS).await?,
            insert_transfers: client.prepare(INSERT_TRANSFERS).await?,
            insert_parties: client.prepare(INSERT_PARTIES).await?,
            insert_postings: client.prepare(INSERT_POSTINGS).await?,
            update_accounts: client.prepare(UPDATE_ACCOUNTS).await?,
            insert_holds: client.prepare(INSERT_HOLDS).await?,
            update_holds: client.prepare(UPDATE_HOLDS).await?,
            update_returned: client.prepare(UPDATE_RETURNED).await?,
            update_reviewed: client.prepare(UPDATE_REVIEWED).await?,
            insert_events: client.prepare(INSERT_EVENTS).await?,
            insert_block: client.prepare(INSERT_BLOCK).await?,
            append_audit: client.prepare(APPEND_AUDIT).await?,
            chain: Chain::begin(),
            client,
        })
    }

    pub async fn open(&self, wanted: &Wanted) -> Result<Opened, StoreError> {
        let client = &self.client;
        let account_parameters: [&Parameter; 1] = [&wanted.accounts];
        let key_parameters: [&Parameter; 2] = [&wanted.key_owners, &wanted.keys];
        // Most batches are about neither holds nor transfers that are there already.
        let if_any = async |statement, ids: &Vec<Uuid>| match ids.is_empty() {
            true => Ok(Vec::new()),
            false => client.query(statement, &[ids]).await,
        };
        // Sent together, answered in order: the keys are looked up after the locks are held.
        let (begun, transaction, accounts, locked_at, holds, transfers, keys) = join!(
            client.batch_execute("BEGIN"),
            client.query_one(&self.begin, &[]),
            client.query(&self.lock_accounts, &account_parameters),
            client.query_one(&self.tell_time, &[]),
            if_any(&self.lock_holds, &wanted.holds),
            if_any(&self.lock_transfers, &wanted.transfers),
            client.query(&self.find_keys, &key_parameters),
        );
        begun?;
        let (transaction, accounts) = (transaction?, accounts?);
        let posted_at = posting_time(locked_at?.try_get(0)?, &accounts)?;
        Ok(Opened {
            xid: transaction.try_get(0)?,
            now: transaction.try_get(1)?,
            posted_at,
            accounts: accounts
                .iter()
                .map(|row| locked_account(row, posted_at))
                .collect::<Result<_, _>>()?,
            holds: holds?.iter().map(locked_hold).collect::<Result<_, _>>()?,
            transfers: transfers?.iter().map(locked_transfer).collect::<Result<_, _>>()?,
            keys: keys?.iter().map(stored_key).collect::<Result<_, _>>()?,
        })
    }

    pub async fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let block = self.chain.next_block(writes);
        let columns = Columns::of(writes, block.as_ref());
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
        committed?;
        if let Some(block) = &block {
            self.chain.advance(block);
        }
        Ok(())
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
            (&self.insert_parties, &columns.parties),
            (&self.insert_postings, &columns.postings),
            (&self.insert_holds, &columns.holds),
            (&self.update_holds, &columns.hold_changes),
            (&self.update_returned, &columns.returned),
            (&self.update_reviewed, &columns.reviews),
            (&self.insert_events, &columns.events),
            (&self.insert_block, &columns.block),
            (&self.claim_keys, &columns.keys),
            // Last, because all replicas share its lock.
            (&self.append_audit, &columns.audit),
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

/// What cannot be read is no fault of the connection: trying again would fail again, and take the rest of the batch with it.
fn read<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column)
        .map_err(|error| StoreError::Rejected(shared::db::chain(&error)))
}

/// What is posted is dated when the locks are held: a transaction that began earlier may have got them later. And never before
/// what is posted already, should the clock have been set back.
fn posting_time(locked_at: DateTime<Utc>, accounts: &[Row]) -> Result<DateTime<Utc>, StoreError> {
    let mut time = locked_at;
    for account in accounts {
        let last_changed_at: Option<DateTime<Utc>> = read(account, 9)?;
        time = last_changed_at.map_or(time, |last| time.max(last));
    }
    Ok(time)
}

fn locked_account(row: &Row, posted_at: DateTime<Utc>) -> Result<LockedAccount, StoreError> {
    let unreadable = |what: &str| StoreError::Rejected(format!("a ledger account has an unknown {what}"));
    let kind = match read(row, 1)? {
        "customer" => AccountKind::Customer,
        "clearing" => AccountKind::Clearing,
        _ => return Err(unreadable("kind")),
    };
    Ok(LockedAccount {
        id: AccountId::from_uuid(read(row, 0)?),
        kind,
        holder_id: read::<Option<Uuid>>(row, 2)?.map(UserId::from_uuid),
        currency: read::<&str>(row, 3)?
            .parse()
            .map_err(|_| unreadable("currency"))?,
        status: parse_status(read(row, 4)?).ok_or_else(|| unreadable("status"))?,
        posted: read(row, 5)?,
        held: read(row, 6)?,
        floor: read(row, 7)?,
        version: read(row, 8)?,
        limits: Limits {
            per_transfer: read(row, 10)?,
            daily: read(row, 11)?,
            monthly: read(row, 12)?,
        },
        spent: Spent {
            today: read(row, 13)?,
            this_month: read(row, 14)?,
        }
        .on(posted_at, read(row, 9)?),
    })
}

fn locked_hold(row: &Row) -> Result<LockedHold, StoreError> {
    let credit_account_id: Option<Uuid> = read(row, 6)?;
    Ok(LockedHold {
        id: HoldId::from_uuid(read(row, 0)?),
        account_id: AccountId::from_uuid(read(row, 1)?),
        amount: read(row, 2)?,
        captured: read(row, 3)?,
        released: read(row, 4)?,
        expired: read(row, 5)?,
        terms: credit_account_id.map(|it| hold_terms(row, it)).transpose()?,
    })
}

fn hold_terms(row: &Row, credit_account_id: Uuid) -> Result<HoldTerms, StoreError> {
    Ok(HoldTerms {
        credit_account_id: AccountId::from_uuid(credit_account_id),
        currency: read::<&str>(row, 7)?
            .parse()
            .map_err(|_| StoreError::Rejected("a hold has an unknown currency".to_owned()))?,
        description: read(row, 8)?,
        metadata: read(row, 9)?,
        expires_at: read(row, 10)?,
        capture_at: read(row, 11)?,
        created_at: read(row, 12)?,
    })
}

fn locked_transfer(row: &Row) -> Result<LockedTransfer, StoreError> {
    Ok(LockedTransfer {
        id: TransferId::from_uuid(read(row, 0)?),
        posted: read(row, 1)?,
        amount: read(row, 2)?,
        refunded: read(row, 3)?,
        reversal_id: read::<Option<Uuid>>(row, 4)?.map(TransferId::from_uuid),
    })
}

fn stored_key(row: &Row) -> Result<((UserId, IdempotencyKey), StoredKey), StoreError> {
    let key = IdempotencyKey::parse(read(row, 1)?)
        .ok_or_else(|| StoreError::Rejected("a stored idempotency key is malformed".to_owned()))?;
    let status: i16 = read(row, 3)?;
    let answer = Answer {
        status: u16::try_from(status).unwrap_or(500),
        body: read::<String>(row, 4)?.into(),
        replayed: true,
    };
    Ok((
        (UserId::from_uuid(read(row, 0)?), key),
        StoredKey {
            fingerprint: read(row, 2)?,
            answer,
        },
    ))
}

const IS_DURABLE: &str =
    "SELECT current_setting('fsync')::bool AND current_setting('synchronous_commit') NOT IN ('off')";

const LOCK_ACCOUNTS: &str = "
    SELECT id, kind, holder_id, currency, status, posted, held, floor, version, last_changed_at,
        transfer_limit, daily_limit, monthly_limit, spent_today, spent_this_month
    FROM ledger_accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE";

const LOCK_HOLDS: &str = "
    SELECT id, account_id, amount, captured, released, expired, credit_account_id, currency, description, metadata,
        expires_at, capture_at, created_at
    FROM holds WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE";

/// Of several legs there is no one amount, and no refund.
const LOCK_TRANSFERS: &str = "
    SELECT id, status = 'posted', coalesce(amount, 0), refunded, reversal_id
    FROM transfers WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE";

const FIND_KEYS: &str = "
    SELECT owner_id, key, fingerprint, status, body
    FROM idempotency_keys JOIN unnest($1::uuid[], $2::text[]) AS wanted (owner_id, key) USING (owner_id, key)";

const CLAIM_KEYS: &str = "
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, transfer_id, status, body, subject, created_at)
    SELECT owner_id, key, fingerprint, transfer_id, status, body, subject, now()
    FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[], $5::smallint[], $6::text[], $7::text[])
        AS claim (owner_id, key, fingerprint, transfer_id, status, body, subject)
    ORDER BY owner_id, key";

const INSERT_TRANSFERS: &str = "
    INSERT INTO transfers (id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id,
        amount, currency, description, metadata, initiated_by, rejection_code, hold_id, risk_score, risk_decision,
        risk_reasons, captured_hold_id, original_transfer_id, several_legs, reference, effective_date, review_reason, created_at,
        completed_at, block_ids)
    SELECT id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id,
        amount, currency, description, metadata::jsonb, initiated_by, rejection_code, hold_id, risk_score, risk_decision,
        risk_reasons::jsonb, captured_hold_id, original_transfer_id, legs::jsonb, reference, effective_date, review_reason, now(),
        CASE WHEN status <> 'in_review' THEN now() END, ARRAY[$24::uuid]
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::bigint[],
        $9::text[], $10::text[], $11::text[], $12::uuid[], $13::text[], $14::uuid[], $15::smallint[], $16::text[],
        $17::text[], $18::uuid[], $19::uuid[], $20::text[], $21::text[], $22::date[], $23::text[])
        AS new (id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id, amount,
            currency, description, metadata, initiated_by, rejection_code, hold_id, risk_score, risk_decision,
            risk_reasons, captured_hold_id, original_transfer_id, legs, reference, effective_date, review_reason)";

const INSERT_PARTIES: &str = "
    INSERT INTO transfer_parties (holder_id, transfer_id)
    SELECT holder_id, transfer_id FROM unnest($1::uuid[], $2::uuid[]) AS new (holder_id, transfer_id)";

const INSERT_POSTINGS: &str = "
    INSERT INTO postings (transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at)
    SELECT transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::timestamptz[])
        AS new (transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at)";

const UPDATE_ACCOUNTS: &str = "
    UPDATE ledger_accounts AS account SET posted = new.posted, held = new.held, version = new.version,
        spent_today = new.spent_today, spent_this_month = new.spent_this_month, last_changed_at = new.posted_at
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[])
        AS new (id, posted, held, version, spent_today, spent_this_month, posted_at)
    WHERE account.id = new.id";

const INSERT_HOLDS: &str = "
    INSERT INTO holds (id, account_id, transfer_id, amount, kind, credit_account_id, debit_holder_id, credit_holder_id,
        currency, description, metadata, expires_at, capture_at, created_at)
    SELECT id, account_id, transfer_id, amount, kind, credit_account_id, debit_holder_id, credit_holder_id,
        currency, description, metadata::jsonb, expires_at, capture_at, now()
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[],
        $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[])
        AS new (id, account_id, transfer_id, amount, kind, credit_account_id, debit_holder_id, credit_holder_id, currency,
            description, metadata, expires_at, capture_at)";

const UPDATE_HOLDS: &str = "
    UPDATE holds AS hold SET amount = change.amount, captured = change.captured, released = change.released,
        expired = change.expired
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bool[])
        AS change (id, amount, captured, released, expired)
    WHERE hold.id = change.id";

const UPDATE_RETURNED: &str = "
    UPDATE transfers AS transfer SET refunded = change.refunded, reversal_id = change.reversal_id
    FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS change (id, refunded, reversal_id)
    WHERE transfer.id = change.id";

const UPDATE_REVIEWED: &str = "
    UPDATE transfers AS transfer SET status = outcome.status, rejection_code = outcome.rejection_code,
        decided_by = outcome.decided_by, completed_at = now(), block_ids = transfer.block_ids || $5::uuid
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS outcome (id, status, rejection_code, decided_by)
    WHERE transfer.id = outcome.id AND transfer.status = 'in_review'";

const INSERT_EVENTS: &str = "
    INSERT INTO outbox (id, kind, transfer_id, payload, subject, created_at)
    SELECT id, kind, transfer_id, payload::json, subject, now()
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[]) AS new (id, kind, transfer_id, payload, subject)";

const INSERT_BLOCK: &str = "
    INSERT INTO blocks (id, chain_id, height, previous_hash, root, transfer_ids, leaves, created_at)
    VALUES ($1::uuid, $2::uuid, $3::bigint, $4::bytea, $5::bytea, $6::uuid[], $7::bytea, $8::timestamptz)";

const APPEND_AUDIT: &str = "
    SELECT append_to_audit_log(actor, roles, action, subject, before::json, after::json, request_id)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
        AS entry (actor, roles, action, subject, before, after, request_id)";
