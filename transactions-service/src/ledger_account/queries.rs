//! Ledger accounts, outside the lane. Balances are only read here.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::transactions::{LedgerAccount, LedgerStatus};
use shared::id::{AccountId, UserId};
use shared::{ApiError, Currency};

use super::parse_status;
use crate::schema::ledger_accounts;

#[derive(Debug, HasQuery)]
#[diesel(table_name = ledger_accounts)]
pub struct LedgerAccountRow {
    pub id: AccountId,
    pub holder_id: Option<UserId>,
    pub currency: Currency,
    pub status: String,
    pub posted: i64,
    pub held: i64,
}

impl LedgerAccountRow {
    pub fn status(&self) -> Result<LedgerStatus, ApiError> {
        parse_status(&self.status)
            .ok_or_else(|| ApiError::internal(anyhow::anyhow!("unknown status {}", self.status)))
    }
}

impl TryFrom<LedgerAccountRow> for LedgerAccount {
    type Error = ApiError;

    fn try_from(row: LedgerAccountRow) -> Result<Self, ApiError> {
        let status = row.status()?;
        let overflow = || ApiError::internal(anyhow::anyhow!("the balance of {} overflows", row.id));
        Ok(Self {
            account_id: row.id,
            holder_id: row.holder_id,
            currency: row.currency,
            status,
            posted: row.posted,
            held: row.held,
            available: row.posted.checked_sub(row.held).ok_or_else(overflow)?,
        })
    }
}

/// Opens a customer's account with a balance of zero, unless it is there already.
pub async fn insert_customer_account(
    conn: &mut AsyncPgConnection,
    id: AccountId,
    holder: UserId,
    currency: Currency,
) -> QueryResult<()> {
    diesel::insert_into(ledger_accounts::table)
        .values((
            ledger_accounts::id.eq(id),
            ledger_accounts::kind.eq("customer"),
            ledger_accounts::holder_id.eq(holder),
            ledger_accounts::currency.eq(currency),
            ledger_accounts::floor.eq(0),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(())
}

/// Whose accounts these are, which never changes. Clearing accounts are nobody's.
pub async fn holders_of(
    conn: &mut AsyncPgConnection,
    ids: impl IntoIterator<Item = AccountId>,
) -> QueryResult<HashMap<AccountId, UserId>> {
    let rows: Vec<(AccountId, Option<UserId>)> = ledger_accounts::table
        .filter(ledger_accounts::id.eq_any(ids))
        .select((ledger_accounts::id, ledger_accounts::holder_id))
        .load(conn)
        .await?;
    let held = rows.into_iter().filter_map(|(id, holder)| Some((id, holder?)));
    Ok(held.collect())
}

/// The clearing account of a rail and currency, made when it is first needed.
pub async fn clearing_account(
    conn: &mut AsyncPgConnection,
    rail: &str,
    currency: Currency,
) -> QueryResult<AccountId> {
    diesel::insert_into(ledger_accounts::table)
        .values((
            ledger_accounts::id.eq(AccountId::new()),
            ledger_accounts::kind.eq("clearing"),
            ledger_accounts::rail.eq(rail),
            ledger_accounts::currency.eq(currency),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    ledger_accounts::table
        .filter(ledger_accounts::kind.eq("clearing"))
        .filter(ledger_accounts::rail.eq(rail))
        .filter(ledger_accounts::currency.eq(currency))
        .select(ledger_accounts::id)
        .first(conn)
        .await
}

pub async fn find(conn: &mut AsyncPgConnection, id: AccountId) -> QueryResult<LedgerAccountRow> {
    LedgerAccountRow::query()
        .filter(ledger_accounts::id.eq(id))
        .first(conn)
        .await
}

pub async fn find_many(
    conn: &mut AsyncPgConnection,
    ids: &[AccountId],
) -> QueryResult<Vec<LedgerAccountRow>> {
    LedgerAccountRow::query()
        .filter(ledger_accounts::id.eq_any(ids))
        .load(conn)
        .await
}

/// The account, locked as the lane locks it.
pub async fn lock(conn: &mut AsyncPgConnection, id: AccountId) -> QueryResult<LedgerAccountRow> {
    LedgerAccountRow::query()
        .filter(ledger_accounts::id.eq(id))
        .for_no_key_update()
        .first(conn)
        .await
}

pub async fn update_status(conn: &mut AsyncPgConnection, id: AccountId, status: &str) -> QueryResult<()> {
    diesel::update(ledger_accounts::table.find(id))
        .set(ledger_accounts::status.eq(status))
        .execute(conn)
        .await?;
    Ok(())
}
