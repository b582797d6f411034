//! Blocks as they were written, and their facts as the tables of transfers and postings tell them now: that is how a row that
//! was altered shows. So nothing is parsed that an altered row could keep from being read.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use flowlet_verify::fact::{Fact, Leg, Posting};
use flowlet_verify::{Block, Hash};
use shared::id::{AccountId, BlockId, ChainId, HoldId, TransferId, UserId};
use uuid::Uuid;

use super::{hash_of_pairs, hash_of_text, time_word};
use crate::schema::{blocks, postings, transfers};
use crate::transfer::TransferStatus;

#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = blocks)]
pub struct BlockRow {
    pub id: BlockId,
    chain_id: ChainId,
    height: i64,
    previous_hash: Vec<u8>,
    root: Vec<u8>,
    pub transfer_ids: Vec<Option<Uuid>>,
    leaves: Vec<u8>,
    created_at: DateTime<Utc>,
    pub xid: i64,
}

impl BlockRow {
    pub fn header(&self) -> Block {
        // A CHECK keeps both to their length.
        let hash = |bytes: &[u8]| Hash::from_slice(bytes).unwrap_or(Hash::ZERO);
        Block {
            id: self.id.to_string(),
            chain_id: self.chain_id.to_string(),
            height: self.height,
            previous_hash: hash(&self.previous_hash),
            root: hash(&self.root),
            facts: u64::try_from(self.transfer_ids.len()).unwrap_or_default(),
            created_at: time_word(self.created_at),
        }
    }

    pub fn leaves(&self) -> Vec<Hash> {
        self.leaves.chunks(32).filter_map(Hash::from_slice).collect()
    }

    pub fn transfers(&self) -> impl Iterator<Item = TransferId> {
        self.transfer_ids
            .iter()
            .flatten()
            .copied()
            .map(TransferId::from_uuid)
    }
}

pub async fn find(conn: &mut AsyncPgConnection, id: BlockId) -> QueryResult<Option<BlockRow>> {
    BlockRow::query()
        .filter(blocks::id.eq(id))
        .first(conn)
        .await
        .optional()
}

/// In the order of checkpoints, from the transaction `from` on and before `upto`.
pub async fn list(
    conn: &mut AsyncPgConnection,
    from: i64,
    upto: i64,
    limit: i64,
) -> QueryResult<Vec<BlockRow>> {
    BlockRow::query()
        .filter(blocks::xid.ge(from))
        .filter(blocks::xid.lt(upto))
        .order(blocks::xid)
        .limit(limit)
        .load(conn)
        .await
}

/// The blocks that tell of a transfer, oldest first.
pub async fn of_transfer(conn: &mut AsyncPgConnection, id: TransferId) -> QueryResult<Vec<BlockId>> {
    let ids: Vec<Option<Uuid>> = transfers::table
        .find(id)
        .select(transfers::block_ids)
        .first(conn)
        .await?;
    Ok(ids.into_iter().flatten().map(BlockId::from_uuid).collect())
}

/// For each block its facts about some transfers, as the tables tell them now, in the order of the ids. What is not there any
/// more is left out. Postings are found by their time, so blocks that follow each other are asked for together.
pub async fn facts(
    conn: &mut AsyncPgConnection,
    wanted: &[(&BlockRow, Vec<TransferId>)],
) -> QueryResult<Vec<Vec<Fact>>> {
    let times = || wanted.iter().map(|(block, _)| block.created_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Ok(Vec::new());
    };
    let ids: Vec<TransferId> = wanted.iter().flat_map(|(_, ids)| ids).copied().collect();
    let rows = TransferRow::query()
        .filter(transfers::id.eq_any(&ids))
        .load(conn)
        .await?;
    let rows: HashMap<TransferId, TransferRow> = rows.into_iter().map(|row| (row.id, row)).collect();
    let legs = PostingRow::query()
        .filter(postings::transfer_id.eq_any(&ids))
        .filter(postings::posted_at.between(first, last))
        .load(conn)
        .await?;
    let mut postings: HashMap<(TransferId, DateTime<Utc>), Vec<Posting>> = HashMap::new();
    for leg in legs {
        postings
            .entry((leg.transfer_id, leg.posted_at))
            .or_default()
            .push(leg.into_posting());
    }
    let mut fact = |block: &BlockRow, id: &TransferId| {
        let row = rows.get(id)?.clone();
        let is_last = row.block_ids.last().copied().flatten() == Some(block.id.uuid());
        let postings = postings.remove(&(*id, block.created_at)).unwrap_or_default();
        Some(row.into_fact(is_last, postings))
    };
    let of_block =
        |(block, ids): &(&BlockRow, Vec<TransferId>)| ids.iter().filter_map(|id| fact(block, id)).collect();
    Ok(wanted.iter().map(of_block).collect())
}

#[derive(Clone, HasQuery)]
#[diesel(table_name = transfers)]
struct TransferRow {
    id: TransferId,
    kind: String,
    status: String,
    debit_account_id: Option<AccountId>,
    credit_account_id: Option<AccountId>,
    amount: Option<i64>,
    currency: Option<String>,
    several_legs: Option<serde_json::Value>,
    description: Option<String>,
    metadata: Option<serde_json::Value>,
    reference: Option<String>,
    effective_date: Option<NaiveDate>,
    initiated_by: UserId,
    decided_by: Option<UserId>,
    rejection_code: Option<String>,
    captured_hold_id: Option<HoldId>,
    original_transfer_id: Option<TransferId>,
    created_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    block_ids: Vec<Option<Uuid>>,
}

impl TransferRow {
    /// The last fact is what the row says; before it, the transfer was in review.
    fn into_fact(self, is_last: bool, mut postings: Vec<Posting>) -> Fact {
        let legs = self.legs();
        postings.sort_unstable_by(|one, other| one.account_id.cmp(&other.account_id));
        let status = match is_last {
            true => self.status,
            false => TransferStatus::InReview.word().to_owned(),
        };
        let metadata = self.metadata.map(|pairs| {
            // What is not pairs of text was altered, and has another hash.
            serde_json::from_value(pairs).map_or(Hash::ZERO, |pairs| hash_of_pairs(&pairs))
        });
        Fact {
            transfer_id: self.id.to_string(),
            kind: self.kind,
            status,
            created_at: time_word(self.created_at),
            completed_at: self.completed_at.filter(|_| is_last).map(time_word),
            initiated_by: self.initiated_by.to_string(),
            decided_by: self.decided_by.filter(|_| is_last).map(|id| id.to_string()),
            rejection_code: self.rejection_code.filter(|_| is_last),
            hold_id: self.captured_hold_id.map(|id| id.to_string()),
            original_transfer_id: self.original_transfer_id.map(|id| id.to_string()),
            effective_date: self.effective_date.map(|date| date.to_string()),
            reference_sha256: self.reference.as_deref().map(hash_of_text),
            description_sha256: self.description.as_deref().map(hash_of_text),
            metadata_sha256: metadata,
            legs,
            postings,
        }
    }

    fn legs(&self) -> Vec<Leg> {
        let leg = |account: Option<AccountId>, direction: &str| Leg {
            account_id: account.map(|id| id.to_string()).unwrap_or_default(),
            direction: direction.to_owned(),
            amount: self.amount.unwrap_or_default(),
            currency: self.currency.clone().unwrap_or_default(),
        };
        let mut legs = match &self.several_legs {
            Some(legs) => serde_json::from_value(legs.clone()).unwrap_or_default(),
            None => vec![
                leg(self.debit_account_id, "debit"),
                leg(self.credit_account_id, "credit"),
            ],
        };
        legs.sort_unstable_by(|one, other| one.account_id.cmp(&other.account_id));
        legs
    }
}

#[derive(HasQuery)]
#[diesel(table_name = postings)]
struct PostingRow {
    transfer_id: TransferId,
    account_id: AccountId,
    direction: String,
    amount: i64,
    currency: String,
    sequence: i64,
    balance_after: i64,
    posted_at: DateTime<Utc>,
}

impl PostingRow {
    fn into_posting(self) -> Posting {
        Posting {
            account_id: self.account_id.to_string(),
            direction: self.direction,
            amount: self.amount,
            currency: self.currency,
            sequence: self.sequence,
            balance_after: self.balance_after,
            posted_at: time_word(self.posted_at),
        }
    }
}
