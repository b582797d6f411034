//! What is proven of a transfer: that it was posted, rejected or put in review, with everything that money depends on.

use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::encoding::Encoder;
use crate::merkle::leaf_hash;

/// One thing that became of a transfer, as it was committed. A transfer that was reviewed has two.
///
/// Ids, words and times are as the API shows them. What people wrote is only there as its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub transfer_id: String,
    pub kind: String,
    /// `posted`, `in_review` or `rejected`.
    pub status: String,
    /// UTC with microseconds: `2026-11-22T08:00:00.000000Z`.
    pub created_at: String,
    pub completed_at: Option<String>,
    pub initiated_by: String,
    /// Of what was decided in a review.
    pub decided_by: Option<String>,
    pub rejection_code: Option<String>,
    /// Of a capture.
    pub hold_id: Option<String>,
    /// Of a refund or reversal.
    pub original_transfer_id: Option<String>,
    pub effective_date: Option<String>,
    pub reference_sha256: Option<Hash>,
    pub description_sha256: Option<Hash>,
    /// Of the JSON object in canonical form (RFC 8785).
    pub metadata_sha256: Option<Hash>,
    /// What was asked for, in the order of the account ids.
    pub legs: Vec<Leg>,
    /// What it did to the accounts, in the same order; none unless it was posted.
    pub postings: Vec<Posting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    pub account_id: String,
    pub direction: String,
    /// Minor units.
    pub amount: i64,
    pub currency: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posting {
    pub account_id: String,
    pub direction: String,
    pub amount: i64,
    pub currency: String,
    /// Its number within the account.
    pub sequence: i64,
    pub balance_after: i64,
    pub posted_at: String,
}

impl Fact {
    /// The leaf of the block's tree.
    pub fn leaf(&self) -> Hash {
        let mut encoder = Encoder::new("flowlet.fact.1");
        encoder.text(&self.transfer_id);
        encoder.text(&self.kind);
        encoder.text(&self.status);
        encoder.text(&self.created_at);
        encoder.optional(self.completed_at.as_deref());
        encoder.text(&self.initiated_by);
        encoder.optional(self.decided_by.as_deref());
        encoder.optional(self.rejection_code.as_deref());
        encoder.optional(self.hold_id.as_deref());
        encoder.optional(self.original_transfer_id.as_deref());
        encoder.optional(self.effective_date.as_deref());
        encoder.hash(self.reference_sha256);
        encoder.hash(self.description_sha256);
        encoder.hash(self.metadata_sha256);
        encoder.number(self.legs.len());
        for leg in &self.legs {
            encoder.text(&leg.account_id);
            encoder.text(&leg.direction);
            encoder.number(leg.amount);
            encoder.text(&leg.currency);
        }
        encoder.number(self.postings.len());
        for posting in &self.postings {
            encoder.text(&posting.account_id);
            encoder.text(&posting.direction);
            encoder.number(posting.amount);
            encoder.text(&posting.currency);
            encoder.number(posting.sequence);
            encoder.number(posting.balance_after);
            encoder.text(&posting.posted_at);
        }
        leaf_hash(&encoder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Block;

    /// The example of README.md, computed without this code. If it fails, old proofs no longer fit.
    #[test]
    fn what_is_hashed_never_changes() {
        let time = || "2026-11-22T08:00:00.000000Z".to_owned();
        let id = |prefix: &str, last: char| format!("{prefix}_01h455vb4pex5vsknk084sn02{last}");
        let side = |account: char, direction: &str| Leg {
            account_id: id("acct", account),
            direction: direction.to_owned(),
            amount: 1050,
            currency: "USD".to_owned(),
        };
        let legs = vec![side('q', "debit"), side('r', "credit")];
        let posting = |(leg, (sequence, balance_after)): (&Leg, (i64, i64))| Posting {
            account_id: leg.account_id.clone(),
            direction: leg.direction.clone(),
            amount: leg.amount,
            currency: leg.currency.clone(),
            sequence,
            balance_after,
            posted_at: time(),
        };
        let fact = Fact {
            transfer_id: id("xfer", 'q'),
            kind: "transfer".to_owned(),
            status: "posted".to_owned(),
            created_at: time(),
            completed_at: Some(time()),
            initiated_by: id("usr", 'q'),
            decided_by: None,
            rejection_code: None,
            hold_id: None,
            original_transfer_id: None,
            effective_date: None,
            reference_sha256: None,
            description_sha256: Some(Hash::of(&[b"Rent"])),
            metadata_sha256: Some(Hash::of(&[br#"{"order":"A-1001"}"#])),
            postings: legs.iter().zip([(3, 8950), (1, 1050)]).map(posting).collect(),
            legs,
        };
        let leaf = fact.leaf();
        let expected = "4f00d9c95de67052f8f86ed2a7ae1aaab511c638cc387694d4ecb5cd714fbd3f";
        assert_eq!(leaf.to_string(), expected);
        let block = Block {
            id: id("blk", 'q'),
            chain_id: id("chn", 'q'),
            height: 0,
            previous_hash: Hash::ZERO,
            root: leaf,
            facts: 1,
            created_at: time(),
        };
        let expected = "0bb927e02d7b4b78fc9f3f8d6f917033d9d69c4f5996253598059da59b99e08a";
        assert_eq!(block.hash().to_string(), expected);
    }
}
