//! The lines of an export, some blocks at a time, so that it takes the same memory however long the history is.

use std::collections::VecDeque;

use diesel_async::AsyncPgConnection;
use flowlet_verify::export::{BlockLine, CheckpointLine, End, Entry, Line};
use shared::ApiError;
use shared::id::TransferId;

use crate::block::queries::BlockRow;
use crate::{block, checkpoint};

/// Blocks whose facts are read together.
const BLOCKS: usize = 32;

/// Where an export stands.
pub struct Export {
    /// The number of the last checkpoint that was read.
    at: i64,
    upto: i64,
    /// Of that checkpoint, what was not told yet.
    blocks: VecDeque<BlockRow>,
    /// What the last line will tell: the number of the last checkpoint in it, and how many facts it has.
    told: i64,
    facts: u64,
    ended: bool,
}

impl Export {
    /// From the checkpoint after `after` to that with the number `upto`.
    pub fn new(after: i64, upto: i64) -> Self {
        Self {
            at: after.min(upto),
            upto,
            blocks: VecDeque::new(),
            told: 0,
            facts: 0,
            ended: false,
        }
    }

    /// The next lines; none after the last.
    pub async fn next(&mut self, conn: &mut AsyncPgConnection) -> Result<Option<Vec<Line>>, ApiError> {
        if !self.blocks.is_empty() {
            return Ok(Some(self.next_blocks(conn).await?));
        }
        if self.at < self.upto {
            self.at = self.at.saturating_add(1);
            return Ok(Some(vec![self.checkpoint(conn).await?]));
        }
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        Ok(Some(vec![Line::End(End {
            checkpoint: u64::try_from(self.told).map_err(ApiError::internal)?,
            facts: self.facts,
        })]))
    }

    async fn checkpoint(&mut self, conn: &mut AsyncPgConnection) -> Result<Line, ApiError> {
        let row = checkpoint::queries::find(conn, self.at).await?;
        self.told = self.at;
        self.blocks = checkpoint::queries::blocks_of(conn, &row).await?.into();
        let entry = |block: &BlockRow| {
            let header = block.header();
            let hash = header.hash();
            Entry { id: header.id, hash }
        };
        Ok(Line::Checkpoint(CheckpointLine {
            note: row.note,
            blocks: self.blocks.iter().map(entry).collect(),
        }))
    }

    async fn next_blocks(&mut self, conn: &mut AsyncPgConnection) -> Result<Vec<Line>, ApiError> {
        let count = self.blocks.len().min(BLOCKS);
        let blocks: Vec<BlockRow> = self.blocks.drain(..count).collect();
        let wanted: Vec<_> = blocks
            .iter()
            .map(|block| (block, block.transfers().collect()))
            .collect();
        let facts = block::queries::facts(conn, &wanted).await?;
        let mut lines = Vec::new();
        for ((block, ids), facts) in wanted.iter().zip(facts) {
            lines.push(block_line(block, ids));
            for fact in facts {
                self.facts = self.facts.saturating_add(1);
                lines.push(Line::Fact(Box::new(fact)));
            }
        }
        Ok(lines)
    }
}

fn block_line(row: &BlockRow, ids: &[TransferId]) -> Line {
    let entry = |(id, hash): (&TransferId, _)| {
        let id = id.to_string();
        Entry { id, hash }
    };
    Line::Block(BlockLine {
        block: row.header(),
        facts: ids.iter().zip(row.leaves()).map(entry).collect(),
    })
}
