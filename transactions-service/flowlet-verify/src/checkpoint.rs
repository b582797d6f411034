//! A checkpoint: what is signed every few seconds. It stands for all blocks since the one before it, for that one, and for the
//! head of the audit log.

use std::fmt;
use std::str::FromStr;

use crate::Hash;

/// The first line.
const KIND: &str = "flowlet.checkpoint.1";

/// The text of a checkpoint; each member is a line with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// 1, 2, 3 …
    pub number: u64,
    /// UTC with microseconds.
    pub time: String,
    /// The hash of the text of the one before it; of the first, zeros.
    pub previous: Hash,
    /// How many blocks it adds, and the root of the tree over them.
    pub blocks: u64,
    pub root: Hash,
    /// The number of the last entry of the audit log, and its hash; 0 and zeros while there is none.
    pub audit_number: u64,
    pub audit_hash: Hash,
}

impl Checkpoint {
    /// What the next one refers to.
    pub fn hash(&self) -> Hash {
        Hash::of(&[self.to_string().as_bytes()])
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{KIND}")?;
        writeln!(f, "number {}", self.number)?;
        writeln!(f, "time {}", self.time)?;
        writeln!(f, "previous {}", self.previous)?;
        writeln!(f, "blocks {} {}", self.blocks, self.root)?;
        writeln!(f, "audit-log {} {}", self.audit_number, self.audit_hash)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the text of a checkpoint")]
pub struct InvalidCheckpoint;

impl FromStr for Checkpoint {
    type Err = InvalidCheckpoint;

    fn from_str(text: &str) -> Result<Self, InvalidCheckpoint> {
        parse(text)
            .filter(|parsed| parsed.to_string() == text)
            .ok_or(InvalidCheckpoint)
    }
}

fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    (lines.next() == Some(KIND)).then_some(())?;
    let mut member = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let number = member("number")?.parse().ok()?;
    let time = member("time")?.to_owned();
    let previous = member("previous")?.parse().ok()?;
    let (blocks, root) = member("blocks")?.split_once(' ')?;
    let (audit_number, audit_hash) = member("audit-log")?.split_once(' ')?;
    Some(Checkpoint {
        number,
        time,
        previous,
        blocks: blocks.parse().ok()?,
        root: root.parse().ok()?,
        audit_number: audit_number.parse().ok()?,
        audit_hash: audit_hash.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let checkpoint = Checkpoint {
            number: 7,
            time: "2026-11-22T08:00:00.000000Z".to_owned(),
            previous: Hash::of(&[b"6"]),
            blocks: 2,
            root: Hash::of(&[b"root"]),
            audit_number: 0,
            audit_hash: Hash::ZERO,
        };
        let text = checkpoint.to_string();
        assert_eq!(text.parse(), Ok(checkpoint));
        for other in [
            "",
            &text[..text.len() - 1],
            &format!("{text}more\n"),
            &text.replace("number 7", "number 07"),
            &text.replace("blocks", "block"),
        ] {
            assert_eq!(other.parse::<Checkpoint>(), Err(InvalidCheckpoint), "{other}");
        }
    }
}
