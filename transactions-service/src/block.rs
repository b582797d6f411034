//! Blocks: each transaction of a lane writes one, with the hash of every fact that it commits.
//!
//! A chain is begun by each connection of a lane, and ends with it: a lane that lost its connection, or the reply to a COMMIT,
//! begins another, so it can never continue a block that was not committed, and lanes never wait for each other. Checkpoints
//! bring all chains together. What is hashed, and how, is `flowlet-verify`'s; here it is filled in, once as it is written, and
//! once as it is read back (`queries`), which shares nothing with the writing but the form.

pub mod queries;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use flowlet_verify::fact::{Fact, Leg, Posting};
use flowlet_verify::{Block, Hash, merkle};
use shared::clients::transactions::Direction;
use shared::id::{BlockId, ChainId, TransferId, UserId};

use crate::book;
use crate::lane::writes::Writes;
use crate::transfer::{Note, TransferOrder, TransferRecord};

/// The blocks that one connection writes.
pub struct Chain {
    id: ChainId,
    height: i64,
    /// Of the last block that is known to be committed.
    previous_hash: Hash,
}

/// A block that is to be written.
pub struct NewBlock {
    pub id: BlockId,
    pub chain_id: ChainId,
    pub height: i64,
    pub previous_hash: Hash,
    pub root: Hash,
    pub transfer_ids: Vec<TransferId>,
    pub leaves: Vec<Hash>,
    pub created_at: DateTime<Utc>,
    hash: Hash,
}

impl Chain {
    pub fn begin() -> Self {
        Self {
            id: ChainId::new(),
            height: 0,
            previous_hash: Hash::ZERO,
        }
    }

    /// The next block, with the facts of `writes`; none if there are none.
    pub fn next_block(&self, writes: &Writes) -> Option<NewBlock> {
        let facts = facts_of(writes);
        let leaves: Vec<Hash> = facts.iter().map(|(_, fact)| fact.leaf()).collect();
        let id = BlockId::new();
        let block = Block {
            id: id.to_string(),
            chain_id: self.id.to_string(),
            height: self.height,
            previous_hash: self.previous_hash,
            root: merkle::root(&leaves),
            facts: u64::try_from(leaves.len()).ok().filter(|facts| *facts > 0)?,
            created_at: time_word(writes.posted_at),
        };
        Some(NewBlock {
            id,
            chain_id: self.id,
            height: self.height,
            previous_hash: self.previous_hash,
            root: block.root,
            transfer_ids: facts.into_iter().map(|(id, _)| id).collect(),
            leaves,
            created_at: writes.posted_at,
            hash: block.hash(),
        })
    }

    /// `block` is committed.
    pub fn advance(&mut self, block: &NewBlock) {
        self.height = self.height.saturating_add(1);
        self.previous_hash = block.hash;
    }
}

impl NewBlock {
    /// As they are stored.
    pub fn leaf_bytes(&self) -> Vec<u8> {
        self.leaves
            .iter()
            .flat_map(|Hash(bytes)| bytes)
            .copied()
            .collect()
    }
}

/// What is committed, in the order in which it is a leaf.
fn facts_of(writes: &Writes) -> Vec<(TransferId, Fact)> {
    let mut postings: HashMap<TransferId, Vec<Posting>> = HashMap::new();
    for posting in &writes.postings {
        let of_transfer = postings.entry(posting.transfer_id).or_default();
        of_transfer.push(posting_of(&posting.leg, writes.posted_at));
    }
    let mut fact = |order: &TransferOrder, record: &TransferRecord, decided_by: Option<UserId>| {
        let postings = postings.remove(&order.id).unwrap_or_default();
        (order.id, fact_of(order, record, decided_by, postings))
    };
    let mut facts = Vec::with_capacity(writes.transfers.len());
    for new in &writes.transfers {
        facts.push(fact(&new.order, &new.record, None));
    }
    for review in &writes.reviews {
        facts.push(fact(&review.order, &review.record, Some(review.decided_by)));
    }
    facts
}

fn fact_of(
    order: &TransferOrder,
    record: &TransferRecord,
    decided_by: Option<UserId>,
    mut postings: Vec<Posting>,
) -> Fact {
    let Note {
        description,
        metadata,
        reference,
        effective_date,
    } = &order.note;
    let mut legs: Vec<Leg> = order
        .legs
        .iter()
        .map(|leg| Leg {
            account_id: leg.account_id.to_string(),
            direction: direction_word(leg.direction).to_owned(),
            amount: leg.amount.minor(),
            currency: leg.currency.code().to_owned(),
        })
        .collect();
    legs.sort_unstable_by(|one, other| one.account_id.cmp(&other.account_id));
    postings.sort_unstable_by(|one, other| one.account_id.cmp(&other.account_id));
    Fact {
        transfer_id: order.id.to_string(),
        kind: order.kind.word().to_owned(),
        status: record.status.word().to_owned(),
        created_at: time_word(record.created_at),
        completed_at: record.completed_at.map(time_word),
        initiated_by: order.initiated_by.to_string(),
        decided_by: decided_by.map(|id| id.to_string()),
        rejection_code: record.rejection_code.clone(),
        hold_id: order.captured_hold_id.map(|id| id.to_string()),
        original_transfer_id: order.original_transfer_id.map(|id| id.to_string()),
        effective_date: effective_date.map(|date| date.to_string()),
        reference_sha256: reference.as_ref().map(|text| hash_of_text(text.as_str())),
        description_sha256: description.as_ref().map(|text| hash_of_text(text.as_str())),
        metadata_sha256: metadata.as_ref().map(|pairs| hash_of_pairs(pairs.pairs())),
        legs,
        postings,
    }
}

fn posting_of(leg: &book::Leg, posted_at: DateTime<Utc>) -> Posting {
    Posting {
        account_id: leg.account_id.to_string(),
        direction: direction_word(leg.direction).to_owned(),
        amount: leg.amount,
        currency: leg.currency.code().to_owned(),
        sequence: leg.sequence,
        balance_after: leg.balance_after,
        posted_at: time_word(posted_at),
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Debit => "debit",
        Direction::Credit => "credit",
    }
}

/// UTC with microseconds, which is what the database keeps.
pub fn time_word(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn hash_of_text(text: &str) -> Hash {
    Hash::of(&[text.as_bytes()])
}

/// Of their canonical form (RFC 8785): the keys are ASCII and in order, and nothing has to be escaped but `"` and `\`.
fn hash_of_pairs(pairs: &BTreeMap<String, String>) -> Hash {
    hash_of_text(&serde_json::to_string(pairs).unwrap_or_default())
}
