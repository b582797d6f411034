//! The rows of accounts. Each change names the time at which the job looks again, so that a crash is repaired.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::{AccountId, UserId};
use shared::page::{Cursor, Limit};

use super::{AccountRow, AccountStatus, Claim, Nickname, Party};
use crate::schema::accounts;

pub async fn find(conn: &mut AsyncPgConnection, id: AccountId) -> QueryResult<AccountRow> {
    AccountRow::query().find(id).first(conn).await
}

pub async fn find_own(conn: &mut AsyncPgConnection, owner: UserId, id: AccountId) -> QueryResult<AccountRow> {
    AccountRow::query()
        .find(id)
        .filter(accounts::owner_id.eq(owner))
        .first(conn)
        .await
}

pub async fn lock(conn: &mut AsyncPgConnection, id: AccountId) -> QueryResult<AccountRow> {
    AccountRow::query().find(id).for_no_key_update().first(conn).await
}

/// Newest first: ids are ordered by the time they were made.
pub async fn list_own(
    conn: &mut AsyncPgConnection,
    owner: UserId,
    after: Option<Cursor<AccountId>>,
    limit: Limit,
) -> QueryResult<Vec<AccountRow>> {
    let mut query = AccountRow::query()
        .filter(accounts::owner_id.eq(owner))
        .into_boxed();
    if let Some(Cursor(id)) = after {
        query = query.filter(accounts::id.lt(id));
    }
    query
        .order_by(accounts::id.desc())
        .limit(limit.rows_to_load())
        .load(conn)
        .await
}

/// One opening of an account at a time for each owner, until the transaction ends: what is counted and looked up before the
/// insert then stays true.
pub async fn lock_owner(conn: &mut AsyncPgConnection, owner: UserId) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended('accounts of ' || $1, 0))")
        .bind::<Text, _>(owner.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn count_open(conn: &mut AsyncPgConnection, owner: UserId) -> QueryResult<i64> {
    accounts::table
        .filter(accounts::owner_id.eq(owner))
        .filter(accounts::status.ne(AccountStatus::Closed))
        .count()
        .get_result(conn)
        .await
}

/// The account that a request with this key opened, and that request's fingerprint.
pub async fn find_by_key(
    conn: &mut AsyncPgConnection,
    owner: UserId,
    key: &str,
) -> QueryResult<Option<(AccountRow, Option<Vec<u8>>)>> {
    accounts::table
        .filter(accounts::owner_id.eq(owner))
        .filter(accounts::idempotency_key.eq(key))
        .select((AccountRow::as_select(), accounts::fingerprint))
        .first(conn)
        .await
        .optional()
}

pub async fn insert(
    conn: &mut AsyncPgConnection,
    account: &AccountRow,
    claim: Option<&Claim>,
) -> QueryResult<AccountRow> {
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(account.id),
            accounts::owner_id.eq(account.owner_id),
            accounts::kind.eq(account.kind),
            accounts::currency.eq(account.currency),
            accounts::nickname.eq(&account.nickname),
            accounts::status.eq(account.status),
            accounts::retry_at.eq(account.retry_at),
            accounts::idempotency_key.eq(claim.map(|claim| claim.key.as_str())),
            accounts::fingerprint.eq(claim.map(|claim| claim.fingerprint.as_slice())),
            accounts::created_at.eq(account.created_at),
            accounts::updated_at.eq(account.updated_at),
        ))
        .returning(AccountRow::as_returning())
        .get_result(conn)
        .await
}

pub async fn set_nickname(
    conn: &mut AsyncPgConnection,
    owner: UserId,
    id: AccountId,
    nickname: Option<&Nickname>,
    now: DateTime<Utc>,
) -> QueryResult<AccountRow> {
    diesel::update(accounts::table.find(id).filter(accounts::owner_id.eq(owner)))
        .set((accounts::nickname.eq(nickname), accounts::updated_at.eq(now)))
        .returning(AccountRow::as_returning())
        .get_result(conn)
        .await
}

/// A status that the ledger is to be brought to.
pub struct Command {
    pub status: AccountStatus,
    pub frozen_by: Option<Party>,
    pub updated_at: DateTime<Utc>,
    /// When the job repeats it, unless it is done before.
    pub retry_at: DateTime<Utc>,
    pub changed_by: serde_json::Value,
}

pub async fn write_command(
    conn: &mut AsyncPgConnection,
    id: AccountId,
    command: &Command,
) -> QueryResult<AccountRow> {
    diesel::update(accounts::table.find(id))
        .set((
            accounts::status.eq(command.status),
            accounts::frozen_by.eq(command.frozen_by),
            accounts::retry_at.eq(command.retry_at),
            accounts::updated_at.eq(command.updated_at),
            accounts::changed_by.eq(&command.changed_by),
        ))
        .returning(AccountRow::as_returning())
        .get_result(conn)
        .await
}

/// Notes that the ledger has closed it.
pub async fn mark_closed(
    conn: &mut AsyncPgConnection,
    id: AccountId,
    updated_at: DateTime<Utc>,
) -> QueryResult<AccountRow> {
    diesel::update(accounts::table.find(id))
        .set((
            accounts::status.eq(AccountStatus::Closed),
            accounts::frozen_by.eq(None::<Party>),
            accounts::retry_at.eq(None::<DateTime<Utc>>),
            accounts::updated_at.eq(updated_at),
            accounts::changed_by.eq(None::<serde_json::Value>),
        ))
        .returning(AccountRow::as_returning())
        .get_result(conn)
        .await
}

/// Notes that the ledger was brought to `status`, unless that is no longer what it is to be brought to.
pub async fn mark_settled(
    conn: &mut AsyncPgConnection,
    id: AccountId,
    status: AccountStatus,
) -> QueryResult<Option<AccountRow>> {
    let settled = match status {
        AccountStatus::Pending => AccountStatus::Active,
        other => other,
    };
    diesel::update(accounts::table.find(id).filter(accounts::status.eq(status)))
        .set((
            accounts::status.eq(settled),
            accounts::retry_at.eq(None::<DateTime<Utc>>),
            accounts::changed_by.eq(None::<serde_json::Value>),
        ))
        .returning(AccountRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Accounts that were opened here and not yet in the ledger. Each of them is waiting for the job, so this reads its index.
pub async fn count_pending(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    accounts::table
        .filter(accounts::retry_at.is_not_null())
        .filter(accounts::status.eq(AccountStatus::Pending))
        .count()
        .get_result(conn)
        .await
}

/// Hands accounts to the job that nothing is being done about.
pub async fn retry(conn: &mut AsyncPgConnection, ids: &[AccountId], at: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(accounts::table)
        .filter(accounts::id.eq_any(ids))
        .filter(accounts::retry_at.is_null())
        .set(accounts::retry_at.eq(at))
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes accounts whose time has come, and keeps others from taking them for `lease`. Several replicas may do this at once.
pub async fn claim_due(
    conn: &mut AsyncPgConnection,
    now: DateTime<Utc>,
    lease: TimeDelta,
    most: i64,
) -> QueryResult<Vec<AccountRow>> {
    diesel::sql_query(
        "UPDATE accounts SET retry_at = $2 WHERE id IN ( \
             SELECT id FROM accounts WHERE retry_at <= $1 ORDER BY retry_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED \
         ) RETURNING *",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now + lease)
    .bind::<BigInt, _>(most)
    .load(conn)
    .await
}
