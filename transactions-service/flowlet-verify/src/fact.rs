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
