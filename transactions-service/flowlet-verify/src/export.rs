//! An export of the ledger, line by line: each checkpoint with the list of its blocks, each block with the list of its facts,
//! each fact, and a last line. The lists are there so that what was altered, left out or put in can be named.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::merkle::root;
use crate::{Block, Fact, Hash, Keys, note};

/// A line of `GET /api/v1/ledger/export`: an object with one member, which says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Checkpoint(CheckpointLine),
    Block(BlockLine),
    Fact(Box<Fact>),
    End(End),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointLine {
    /// Signed.
    pub note: String,
    /// In their order.
    pub blocks: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockLine {
    pub block: Block,
    /// In their order.
    pub facts: Vec<Entry>,
}

/// What a list says of a block, or of a fact, which has the id of its transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: String,
    pub hash: Hash,
}

/// What came before it: without this line, an export that was cut off would look complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The number of the last checkpoint; 0 if there is none.
    pub checkpoint: u64,
    pub facts: u64,
}

/// Something that does not fit, and the line where it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: u64,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// What was found in an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub problems: Vec<Problem>,
    pub facts: u64,
    pub blocks: u64,
    /// The first checkpoint and the last.
    pub first: Option<Checkpoint>,
    pub last: Option<Checkpoint>,
}

/// Takes an export line by line, and keeps of it no more than one block and the lists of one checkpoint.
pub struct Verifier<'a> {
    keys: &'a Keys,
    /// A checkpoint that somebody kept from before.
    pinned: Option<Checkpoint>,
    report: Report,
    line: u64,
    /// The next block of each chain: its height and what it refers to.
    chains: HashMap<String, (i64, Hash)>,
    blocks: Members,
    facts: Members,
    ended: bool,
}

/// What a list promises, and what came.
#[derive(Default)]
struct Members {
    /// Where the list is.
    line: u64,
    expected: Vec<Entry>,
    /// With their lines.
    found: Vec<(u64, Entry)>,
}

impl<'a> Verifier<'a> {
    pub fn new(keys: &'a Keys, pinned: Option<Checkpoint>) -> Self {
        Self {
            keys,
            pinned,
            report: Report::default(),
            line: 0,
            chains: HashMap::new(),
            blocks: Members::default(),
            facts: Members::default(),
            ended: false,
        }
    }

    /// The next line, as text.
    pub fn read(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(line) => self.take(line),
            Err(_) => {
                self.line = self.line.saturating_add(1);
                self.complain("it is not a line of an export");
            }
        }
    }

    /// The next line.
    pub fn take(&mut self, line: Line) {
        self.line = self.line.saturating_add(1);
        if self.ended {
            self.complain("it comes after the end");
        }
        match line {
            Line::Checkpoint(line) => self.take_checkpoint(line),
            Line::Block(line) => self.take_block(line),
            Line::Fact(fact) => self.take_fact(&fact),
            Line::End(end) => self.take_end(&end),
        }
    }

    /// After the last line.
    pub fn finish(mut self) -> Report {
        if !self.ended {
            self.close_checkpoint();
            self.complain("the export is cut off: its last line is missing");
        }
        if let Some(pinned) = &self.pinned {
            let reached = self.report.last.as_ref().map_or(0, |last| last.number);
            if reached < pinned.number {
                let text = format!("it ends before checkpoint {}, which was kept", pinned.number);
                self.complain(&text);
            }
        }
        self.report
    }

    fn complain(&mut self, text: &str) {
        self.complain_of(self.line, text);
    }

    fn complain_of(&mut self, line: u64, text: &str) {
        let text = text.to_owned();
        self.report.problems.push(Problem { line, text });
    }

    fn take_checkpoint(&mut self, line: CheckpointLine) {
        self.close_checkpoint();
        let genuine = note::open(&line.note, self.keys);
        let text = genuine.ok().or(note::text_of(&line.note)).unwrap_or_default();
        let Ok(checkpoint) = text.parse::<Checkpoint>() else {
            self.complain("it has no checkpoint in it");
            return;
        };
        if let Err(error) = genuine {
            self.complain(&format!("checkpoint {}: {error}", checkpoint.number));
        }
        self.follow(&checkpoint);
        let hashes: Vec<Hash> = line.blocks.iter().map(|entry| entry.hash).collect();
        let count = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
        if count != checkpoint.blocks || root(&hashes) != checkpoint.root {
            let text = format!(
                "the list of blocks of checkpoint {} was altered",
                checkpoint.number
            );
            self.complain(&text);
        }
        self.blocks = Members {
            line: self.line,
            expected: line.blocks,
            found: Vec::new(),
        };
        self.report.first.get_or_insert_with(|| checkpoint.clone());
        self.report.last = Some(checkpoint);
    }

    /// Whether `checkpoint` is the one after the last, and the one that was kept.
    fn follow(&mut self, checkpoint: &Checkpoint) {
        let number = checkpoint.number;
        let follows = match &self.report.last {
            Some(last) => last.number.checked_add(1) == Some(number) && last.hash() == checkpoint.previous,
            None => number > 1 || checkpoint.previous == Hash::ZERO,
        };
        if !follows {
            self.complain(&format!("checkpoint {number} does not follow the one before it"));
        }
        let other = |pinned: &Checkpoint| pinned.number == number && pinned != checkpoint;
        if self.pinned.as_ref().is_some_and(other) {
            self.complain(&format!("checkpoint {number} is not the one that was kept"));
        }
    }

    fn take_block(&mut self, BlockLine { block, facts }: BlockLine) {
        self.close_block();
        self.report.blocks = self.report.blocks.saturating_add(1);
        let id = &block.id;
        let hashes: Vec<Hash> = facts.iter().map(|entry| entry.hash).collect();
        let count = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
        if count != block.facts || root(&hashes) != block.root {
            self.complain(&format!("block {id}: it, or the list of its facts, was altered"));
        }
        let hash = block.hash();
        let whole = self.report.first.as_ref().is_none_or(|first| first.number == 1);
        let expected = match self.chains.get(&block.chain_id) {
            Some(expected) => Some(*expected),
            None => whole.then_some((0, Hash::ZERO)),
        };
        if expected.is_some_and(|expected| expected != (block.height, block.previous_hash)) {
            self.complain(&format!(
                "block {id} does not follow the one before it in its chain"
            ));
        }
        self.chains
            .insert(block.chain_id, (block.height.saturating_add(1), hash));
        self.blocks.found.push((self.line, Entry { id: block.id, hash }));
        self.facts = Members {
            line: self.line,
            expected: facts,
            found: Vec::new(),
        };
    }

    fn take_fact(&mut self, fact: &Fact) {
        self.report.facts = self.report.facts.saturating_add(1);
        let entry = Entry {
            id: fact.transfer_id.clone(),
            hash: fact.leaf(),
        };
        self.facts.found.push((self.line, entry));
    }

    fn take_end(&mut self, end: &End) {
        self.close_checkpoint();
        self.ended = true;
        let last = self.report.last.as_ref().map_or(0, |last| last.number);
        if (end.checkpoint, end.facts) != (last, self.report.facts) {
            let text = format!(
                "{} facts up to checkpoint {} are promised",
                end.facts, end.checkpoint
            );
            self.complain(&format!("{text}; there are {} up to {last}", self.report.facts));
        }
    }

    fn close_checkpoint(&mut self) {
        self.close_block();
        let members = std::mem::take(&mut self.blocks);
        self.compare("block", &members);
    }

    fn close_block(&mut self) {
        let members = std::mem::take(&mut self.facts);
        self.compare("transfer", &members);
    }

    /// Names what is altered, missing, too much or out of place.
    fn compare(&mut self, what: &str, members: &Members) {
        let same_order = members.found.iter().map(|(_, entry)| entry).eq(&members.expected);
        if same_order {
            return;
        }
        let before = self.report.problems.len();
        let mut waiting: BTreeMap<&str, Vec<Hash>> = BTreeMap::new();
        for entry in &members.expected {
            waiting.entry(&entry.id).or_default().push(entry.hash);
        }
        let mut unmatched = Vec::new();
        for (line, entry) in &members.found {
            let hashes = waiting.entry(&entry.id).or_default();
            match hashes.iter().position(|hash| *hash == entry.hash) {
                Some(place) => drop(hashes.swap_remove(place)),
                None => unmatched.push((*line, &*entry.id)),
            }
        }
        for (line, id) in unmatched {
            match waiting.get_mut(id).and_then(Vec::pop) {
                Some(_) => self.complain_of(line, &format!("{what} {id} was altered")),
                None => self.complain_of(line, &format!("{what} {id} does not belong here")),
            }
        }
        for (id, hashes) in waiting {
            for _ in hashes {
                self.complain_of(members.line, &format!("{what} {id} is missing below"));
            }
        }
        if self.report.problems.len() == before {
            let pairs = members.found.iter().zip(&members.expected);
            let mut misplaced = pairs.filter(|((_, found), expected)| found != *expected);
            if let Some(((line, found), _)) = misplaced.next() {
                self.complain_of(*line, &format!("{what} {} is out of place", found.id));
            }
        }
    }
}
