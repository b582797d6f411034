//! Writing checkpoints, and reading them.

use chrono::{DateTime, Utc};
use diesel::dsl::{now, sql};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Double, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use flowlet_verify::note::PublishedKey;
use flowlet_verify::{Checkpoint, Hash, merkle, note};
use shared::ApiError;

use super::{MAX_BLOCKS, SigningKey};
use crate::block;
use crate::schema::{audit_log, checkpoint_keys, checkpoints};

#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = checkpoints)]
pub struct CheckpointRow {
    pub number: i64,
    pub note: String,
    pub upto_xid: i64,
}

impl CheckpointRow {
    /// What it says, without asking who signed it.
    pub fn checkpoint(&self) -> Result<Checkpoint, ApiError> {
        let text = note::text_of(&self.note).unwrap_or_default();
        text.parse().map_err(ApiError::internal)
    }
}

/// Signs the blocks that no checkpoint has yet, up to [`MAX_BLOCKS`], and tells how many there were. None when there is nothing
/// new, or another replica was first: a number is taken once.
pub async fn write_next(conn: &mut AsyncPgConnection, key: &SigningKey) -> Result<Option<i64>, ApiError> {
    // Before the blocks are looked for: what is below this has ended by now.
    let upto = sql::<BigInt>("pg_snapshot_xmin(pg_current_snapshot())::text::bigint");
    let upto: i64 = diesel::select(upto).get_result(conn).await?;
    let last = last(conn).await?;
    let from = last.as_ref().map_or(0, |last| last.upto_xid);
    let new_blocks = block::queries::list(conn, from, upto, MAX_BLOCKS).await?;
    let previous = last.as_ref().map(CheckpointRow::checkpoint).transpose()?;
    let (audit_number, audit_hash) = audit_head(conn).await?;
    let told = previous.as_ref().map_or(0, |previous| previous.audit_number);
    if new_blocks.is_empty() && audit_number == told {
        return Ok(None);
    }
    let count = i64::try_from(new_blocks.len()).map_err(ApiError::internal)?;
    // More may be waiting right behind those that were taken.
    let full = new_blocks.last().filter(|_| count == MAX_BLOCKS);
    let upto_xid = full.map_or(upto.max(from), |block| block.xid.saturating_add(1));
    let hashes: Vec<Hash> = new_blocks.iter().map(|block| block.header().hash()).collect();
    let created_at: DateTime<Utc> = diesel::select(now.into_sql::<Timestamptz>())
        .get_result(conn)
        .await?;
    let number = last.as_ref().map_or(1, |last| last.number.saturating_add(1));
    let checkpoint = Checkpoint {
        number: u64::try_from(number).map_err(ApiError::internal)?,
        time: block::time_word(created_at),
        previous: previous.map_or(Hash::ZERO, |previous| previous.hash()),
        blocks: u64::try_from(count).map_err(ApiError::internal)?,
        root: merkle::root(&hashes),
        audit_number,
        audit_hash,
    };
    let written = diesel::insert_into(checkpoints::table)
        .values((
            checkpoints::number.eq(number),
            checkpoints::note.eq(key.sign(&checkpoint.to_string())),
            checkpoints::upto_xid.eq(upto_xid),
            checkpoints::created_at.eq(created_at),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok((written > 0).then_some(count))
}

async fn audit_head(conn: &mut AsyncPgConnection) -> Result<(u64, Hash), ApiError> {
    let head: Option<(i64, Vec<u8>)> = audit_log::table
        .select((audit_log::number, audit_log::hash))
        .order(audit_log::number.desc())
        .first(conn)
        .await
        .optional()?;
    let Some((number, hash)) = head else {
        return Ok((0, Hash::ZERO));
    };
    Ok((
        u64::try_from(number).map_err(ApiError::internal)?,
        Hash::from_slice(&hash).unwrap_or(Hash::ZERO),
    ))
}

/// Once for each key, before it signs.
pub async fn publish(conn: &mut AsyncPgConnection, key: PublishedKey) -> QueryResult<()> {
    diesel::insert_into(checkpoint_keys::table)
        .values((
            checkpoint_keys::key_id.eq(key.key_id),
            checkpoint_keys::verifier.eq(key.verifier),
            checkpoint_keys::first_used_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(())
}

/// Every key that ever signed, or is about to, oldest first.
pub async fn keys(conn: &mut AsyncPgConnection) -> QueryResult<Vec<PublishedKey>> {
    let keys: Vec<(String, String)> = checkpoint_keys::table
        .select((checkpoint_keys::key_id, checkpoint_keys::verifier))
        .order(checkpoint_keys::first_used_at)
        .load(conn)
        .await?;
    Ok(keys
        .into_iter()
        .map(|(key_id, verifier)| PublishedKey { key_id, verifier })
        .collect())
}

pub async fn last(conn: &mut AsyncPgConnection) -> QueryResult<Option<CheckpointRow>> {
    CheckpointRow::query()
        .order(checkpoints::number.desc())
        .first(conn)
        .await
        .optional()
}

pub async fn find(conn: &mut AsyncPgConnection, number: i64) -> QueryResult<CheckpointRow> {
    CheckpointRow::query()
        .filter(checkpoints::number.eq(number))
        .first(conn)
        .await
}

/// The checkpoint that has the block of the transaction `xid`, if there is one yet.
pub async fn of_block(conn: &mut AsyncPgConnection, xid: i64) -> QueryResult<Option<CheckpointRow>> {
    CheckpointRow::query()
        .filter(checkpoints::upto_xid.gt(xid))
        .order((checkpoints::upto_xid, checkpoints::number))
        .first(conn)
        .await
        .optional()
}

/// The blocks of a checkpoint, in their order.
pub async fn blocks_of(
    conn: &mut AsyncPgConnection,
    checkpoint: &CheckpointRow,
) -> QueryResult<Vec<block::queries::BlockRow>> {
    let before = checkpoint.number.saturating_sub(1);
    let from = checkpoints::table
        .find(before)
        .select(checkpoints::upto_xid)
        .first(conn)
        .await
        .optional()?;
    // One more than there can be, so that one that was put in shows.
    let limit = MAX_BLOCKS.saturating_add(1);
    block::queries::list(conn, from.unwrap_or(0), checkpoint.upto_xid, limit).await
}

/// The age of the oldest block without a checkpoint, in seconds.
pub async fn lag(conn: &mut AsyncPgConnection) -> QueryResult<f64> {
    #[derive(QueryableByName)]
    struct Lag {
        #[diesel(sql_type = Double)]
        lag_s: f64,
    }
    let query = sql_query(
        "SELECT coalesce((SELECT extract(epoch FROM now() - created_at) FROM blocks
            WHERE xid >= coalesce((SELECT max(upto_xid) FROM checkpoints), 0) ORDER BY xid LIMIT 1), 0)::float8 AS lag_s",
    );
    let lag: Lag = query.get_result(conn).await?;
    Ok(lag.lag_s)
}
