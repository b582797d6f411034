//! A block: the facts that one database transaction committed. Blocks that one connection wrote are a chain.

use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::encoding::Encoder;
use crate::merkle::leaf_hash;

/// The header of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    pub id: String,
    pub chain_id: String,
    /// 0, 1, 2 … within the chain.
    pub height: i64,
    /// Of the block before it in the chain; of the first, zeros.
    pub previous_hash: Hash,
    /// Of the tree over its facts.
    pub root: Hash,
    /// How many facts it has.
    pub facts: u64,
    /// UTC with microseconds.
    pub created_at: String,
}

impl Block {
    /// The leaf of the checkpoint's tree, and what the next block of the chain refers to.
    pub fn hash(&self) -> Hash {
        let mut encoder = Encoder::new("flowlet.block.1");
        encoder.text(&self.id);
        encoder.text(&self.chain_id);
        encoder.number(self.height);
        encoder.hash(Some(self.previous_hash));
        encoder.hash(Some(self.root));
        encoder.number(self.facts);
        encoder.text(&self.created_at);
        leaf_hash(&encoder.finish())
    }
}
