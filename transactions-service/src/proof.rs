//! Proofs for whoever does not want to take our word: of one transfer, and of everything.
//!
//! What they tell is read from the tables of transfers and postings at that moment; only the hashes are from when it was
//! committed. So a row that was altered makes a proof that does not fit, and `flowlet-verify` says where.

pub mod export;
pub mod handlers;

use diesel_async::AsyncPgConnection;
use flowlet_verify::merkle;
use flowlet_verify::proof::{Proof, ProvenFact};
use shared::ApiError;
use shared::id::{BlockId, TransferId};

use crate::{block, checkpoint};

/// Why there is no proof.
pub enum Unproven {
    /// It was committed before there were blocks.
    NoBlock,
    /// Its last block has no checkpoint yet.
    NotYet,
}

/// The proof of `transfer`.
pub async fn of_transfer(
    conn: &mut AsyncPgConnection,
    transfer: TransferId,
) -> Result<Result<Proof, Unproven>, ApiError> {
    let block_ids = block::queries::of_transfer(conn, transfer).await?;
    if block_ids.is_empty() {
        return Ok(Err(Unproven::NoBlock));
    }
    let mut facts = Vec::with_capacity(block_ids.len());
    for block_id in block_ids {
        match prove(conn, transfer, block_id).await? {
            Some(fact) => facts.push(fact),
            None => return Ok(Err(Unproven::NotYet)),
        }
    }
    let transfer_id = transfer.to_string();
    Ok(Ok(Proof { transfer_id, facts }))
}

async fn prove(
    conn: &mut AsyncPgConnection,
    transfer: TransferId,
    block_id: BlockId,
) -> Result<Option<ProvenFact>, ApiError> {
    let gone = || ApiError::internal(anyhow::anyhow!("{block_id} does not tell of {transfer} any more"));
    let block = block::queries::find(conn, block_id).await?.ok_or_else(gone)?;
    let Some(checkpoint) = checkpoint::queries::of_block(conn, block.xid).await? else {
        return Ok(None);
    };
    let facts = block::queries::facts(conn, &[(&block, vec![transfer])]).await?;
    let fact = facts.into_iter().flatten().next();
    let index = block.transfers().position(|id| id == transfer);
    let blocks = checkpoint::queries::blocks_of(conn, &checkpoint).await?;
    let block_index = blocks.iter().position(|other| other.id == block.id);
    let (fact, index) = fact.zip(index).ok_or_else(gone)?;
    let block_index = block_index.ok_or_else(gone)?;
    let hashes: Vec<_> = blocks.iter().map(|block| block.header().hash()).collect();
    Ok(Some(ProvenFact {
        fact,
        index: u64::try_from(index).unwrap_or(u64::MAX),
        path: merkle::path(&block.leaves(), index).unwrap_or_default(),
        block: block.header(),
        block_index: u64::try_from(block_index).unwrap_or(u64::MAX),
        block_path: merkle::path(&hashes, block_index).unwrap_or_default(),
        checkpoint: checkpoint.note,
    }))
}
