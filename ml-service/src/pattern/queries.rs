//! What the job reads of the log: the movements of some accounts, each a bounded number, the newest.

use anyhow::Context;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::Currency;
use shared::id::UserId;
use uuid::Uuid;

use super::{Movement, Parameters};
use crate::schema::pattern_parameters;

/// Those in force.
pub async fn parameters(conn: &mut AsyncPgConnection) -> anyhow::Result<Parameters> {
    let (version, parameters): (i64, serde_json::Value) = pattern_parameters::table
        .order(pattern_parameters::version.desc())
        .select((pattern_parameters::version, pattern_parameters::parameters))
        .first(conn)
        .await
        .context("there are no parameters of patterns")?;
    serde_json::from_value(parameters).with_context(|| format!("parameters of patterns, version {version}"))
}

#[derive(Debug, QueryableByName)]
struct MovementRow {
    #[diesel(sql_type = SqlUuid)]
    transfer_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    debit_account_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    credit_account_id: Uuid,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = Text)]
    currency: Currency,
    #[diesel(sql_type = Timestamptz)]
    occurred_at: DateTime<Utc>,
    #[diesel(sql_type = Bool)]
    crosses_edge: bool,
}

impl From<MovementRow> for Movement {
    fn from(row: MovementRow) -> Self {
        Self {
            transfer_id: row.transfer_id,
            from: row.debit_account_id,
            to: row.credit_account_id,
            amount: row.amount,
            currency: row.currency,
            at: row.occurred_at.timestamp(),
            crosses_edge: row.crosses_edge,
        }
    }
}

/// Which way a movement concerns an account.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Out,
    In,
}

/// The newest of each account on one side that are of `least` minor units or more, so that nobody hides what counts behind cents.
/// What went back and forth in a correction is not looked at.
pub async fn of_accounts(
    conn: &mut AsyncPgConnection,
    accounts: &[Uuid],
    side: Side,
    since: DateTime<Utc>,
    least: i64,
    of_each: i64,
) -> QueryResult<Vec<Movement>> {
    let column = match side {
        Side::Out => "debit_account_id",
        Side::In => "credit_account_id",
    };
    let rows: Vec<MovementRow> = sql_query(format!(
        "SELECT newest.transfer_id, newest.debit_account_id, newest.credit_account_id, newest.amount, newest.currency,
             newest.occurred_at, newest.kind IN ('deposit', 'withdrawal') OR newest.debit_holder_id IS NULL
                 OR newest.credit_holder_id IS NULL AS crosses_edge
         FROM unnest($1) AS account (id) CROSS JOIN LATERAL (
             SELECT * FROM transfers
             WHERE {column} = account.id AND occurred_at >= $2 AND amount >= $3
                 AND status = 'posted' AND kind IN ('transfer', 'deposit', 'withdrawal', 'capture')
             ORDER BY occurred_at DESC LIMIT $4
         ) AS newest"
    ))
    .bind::<Array<SqlUuid>, _>(accounts)
    .bind::<Timestamptz, _>(since)
    .bind::<BigInt, _>(least)
    .bind::<BigInt, _>(of_each)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(Movement::from).collect())
}

#[derive(Debug, QueryableByName)]
struct HolderRow {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    holder_id: Option<UserId>,
}

/// Whose account it is, as the log knows it.
pub async fn holder_of(conn: &mut AsyncPgConnection, account: Uuid) -> QueryResult<Option<UserId>> {
    for side in ["debit", "credit"] {
        let row: Option<HolderRow> = sql_query(format!(
            "SELECT {side}_holder_id AS holder_id FROM transfers WHERE {side}_account_id = $1
             ORDER BY occurred_at DESC LIMIT 1"
        ))
        .bind::<SqlUuid, _>(account)
        .get_result(conn)
        .await
        .optional()?;
        if let Some(holder) = row.and_then(|row| row.holder_id) {
            return Ok(Some(holder));
        }
    }
    Ok(None)
}
