//! Reading holds that customers placed. They are written by the lane.

use chrono::{DateTime, Utc};
use diesel::dsl::{now, sql};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::{AccountId, HoldId, UserId};
use shared::page::Limit;
use shared::{ApiError, Currency};

use super::{HoldRecord, HoldTerms, LockedHold};
use crate::schema::holds;

#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = holds)]
pub struct HoldRow {
    pub id: HoldId,
    pub account_id: AccountId,
    pub amount: i64,
    pub captured: i64,
    pub released: i64,
    pub expired: bool,
    credit_account_id: Option<AccountId>,
    pub debit_holder_id: Option<UserId>,
    pub credit_holder_id: Option<UserId>,
    currency: Option<Currency>,
    description: Option<String>,
    metadata: Option<serde_json::Value>,
    expires_at: Option<DateTime<Utc>>,
    capture_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl HoldRow {
    pub fn into_hold(self) -> LockedHold {
        let terms = match (self.credit_account_id, self.currency, self.expires_at) {
            (Some(credit_account_id), Some(currency), Some(expires_at)) => Some(HoldTerms {
                credit_account_id,
                currency,
                description: self.description,
                metadata: self.metadata,
                expires_at,
                capture_at: self.capture_at,
                created_at: self.created_at,
            }),
            _ => None,
        };
        LockedHold {
            id: self.id,
            account_id: self.account_id,
            amount: self.amount,
            captured: self.captured,
            released: self.released,
            expired: self.expired,
            terms,
        }
    }

    pub fn into_record(self) -> Result<HoldRecord, ApiError> {
        let id = self.id;
        HoldRecord::of(&self.into_hold())
            .ok_or_else(|| ApiError::internal(anyhow::anyhow!("{id} is no hold of a customer")))
    }
}

/// One that a customer placed.
pub async fn find(conn: &mut AsyncPgConnection, id: HoldId) -> QueryResult<HoldRow> {
    HoldRow::query()
        .filter(holds::id.eq(id))
        .filter(holds::kind.eq("payment"))
        .first(conn)
        .await
}

/// Newest first: those that a user placed, and those in a user's favour. Each half walks an index of its own, which has all
/// that it is asked for, so that the planner takes no other.
pub async fn list_of_holder(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    open_only: bool,
    after: Option<HoldId>,
    limit: Limit,
) -> QueryResult<Vec<HoldRow>> {
    let before = after.unwrap_or(HoldId::from_uuid(uuid::Uuid::max()));
    let of_payments = || {
        let ids = holds::table
            .select(holds::id)
            .into_boxed()
            // As a literal: a partial index serves only what its condition is seen to imply.
            .filter(sql::<Bool>("kind = 'payment'"))
            .filter(holds::id.lt(before))
            .order(holds::id.desc())
            .limit(limit.rows_to_load());
        if open_only {
            ids.filter(sql::<Bool>("captured + released < amount"))
        } else {
            ids
        }
    };
    let placed = of_payments().filter(holds::debit_holder_id.eq(holder));
    let in_favour = of_payments().filter(holds::credit_holder_id.eq(holder));
    let mut ids: Vec<HoldId> = placed.load(conn).await?;
    ids.extend(in_favour.load::<HoldId>(conn).await?);
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    ids.dedup();
    ids.truncate(usize::try_from(limit.rows_to_load()).unwrap_or(usize::MAX));
    let mut rows = HoldRow::query().filter(holds::id.eq_any(ids)).load(conn).await?;
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    Ok(rows)
}

/// Those that are to be captured or released by themselves, by the database's clock, longest due first; and whether their
/// time is up altogether.
pub async fn find_due(conn: &mut AsyncPgConnection, limit: i64) -> QueryResult<Vec<(HoldRow, bool)>> {
    holds::table
        .filter(sql::<Bool>("kind = 'payment' AND captured + released < amount"))
        .filter(sql::<Timestamptz>("least(capture_at, expires_at)").le(now))
        .order(sql::<Timestamptz>("least(capture_at, expires_at)"))
        .limit(limit)
        .select((HoldRow::as_select(), sql::<Bool>("expires_at <= now()")))
        .load(conn)
        .await
}

/// Lets a hold's time be up now.
pub async fn expire_now(conn: &mut AsyncPgConnection, id: HoldId) -> QueryResult<usize> {
    diesel::update(holds::table.find(id))
        .filter(sql::<Bool>("expires_at > now()"))
        .set((
            holds::expires_at.eq(sql::<Nullable<Timestamptz>>("now()")),
            holds::capture_at.eq(None::<DateTime<Utc>>),
        ))
        .execute(conn)
        .await
}

/// Gives up an automatic capture that was refused; the hold stays until it expires.
pub async fn forget_capture(conn: &mut AsyncPgConnection, id: HoldId) -> QueryResult<usize> {
    diesel::update(holds::table.find(id))
        .set(holds::capture_at.eq(None::<DateTime<Utc>>))
        .execute(conn)
        .await
}
