//! The proof of one transfer: from each of its facts to a signed checkpoint.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::merkle::root_of_path;
use crate::note::{self, InvalidNote};
use crate::{Block, Fact, Hash, Keys};

/// What `GET /api/v1/transfers/{transfer_id}/proof` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub transfer_id: String,
    /// In the order they happened.
    pub facts: Vec<ProvenFact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenFact {
    pub fact: Fact,
    /// Where it stands in its block, from 0, and the hashes from there to the block's root.
    pub index: u64,
    pub path: Vec<Hash>,
    pub block: Block,
    /// Where the block stands in the checkpoint, and the hashes from there to the checkpoint's root.
    pub block_index: u64,
    pub block_path: Vec<Hash>,
    /// A signed note.
    pub checkpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    #[error("it has no facts")]
    Empty,
    #[error("fact {0} is of transfer {1}")]
    OtherTransfer(usize, String),
    #[error("fact {0} was altered, or is not the one that block {1} has at this place")]
    Fact(usize, String),
    #[error("block {1} of fact {0} was altered, or is not the one that the checkpoint has at this place")]
    Block(usize, String),
    #[error("the checkpoint of fact {0}: {1}")]
    Note(usize, InvalidNote),
    #[error("the checkpoint of fact {0} is signed, and is no checkpoint")]
    Checkpoint(usize),
}

impl Proof {
    /// The checkpoints that its facts lead to, if everything fits.
    pub fn verify(&self, keys: &Keys) -> Result<Vec<Checkpoint>, InvalidProof> {
        if self.facts.is_empty() {
            return Err(InvalidProof::Empty);
        }
        let facts = self.facts.iter().zip(1_usize..);
        facts
            .map(|(proven, number)| self.verify_fact(proven, number, keys))
            .collect()
    }

    fn verify_fact(
        &self,
        proven: &ProvenFact,
        number: usize,
        keys: &Keys,
    ) -> Result<Checkpoint, InvalidProof> {
        let ProvenFact { fact, block, .. } = proven;
        if fact.transfer_id != self.transfer_id {
            return Err(InvalidProof::OtherTransfer(number, fact.transfer_id.clone()));
        }
        if root_of_path(fact.leaf(), proven.index, block.facts, &proven.path) != Some(block.root) {
            return Err(InvalidProof::Fact(number, block.id.clone()));
        }
        let text = note::open(&proven.checkpoint, keys).map_err(|error| InvalidProof::Note(number, error))?;
        let checkpoint: Checkpoint = text.parse().map_err(|_| InvalidProof::Checkpoint(number))?;
        let root = root_of_path(
            block.hash(),
            proven.block_index,
            checkpoint.blocks,
            &proven.block_path,
        );
        if root != Some(checkpoint.root) {
            return Err(InvalidProof::Block(number, block.id.clone()));
        }
        Ok(checkpoint)
    }
}
