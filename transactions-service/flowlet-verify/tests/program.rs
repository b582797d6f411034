//! The program itself, on an export and a proof that are made here: everything fits, and whatever is altered is named.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use flowlet_verify::export::{BlockLine, CheckpointLine, End, Entry, Line};
use flowlet_verify::fact::{Leg, Posting};
use flowlet_verify::note::{PublishedKeys, published, sign};
use flowlet_verify::proof::{Proof, ProvenFact};
use flowlet_verify::{Block, Checkpoint, Fact, Hash, merkle};
use serde_json::Value;

const TIME: &str = "2026-11-22T08:00:00.000000Z";

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn fact(number: usize) -> Fact {
    let leg = |account: &str, direction: &str| Leg {
        account_id: account.to_owned(),
        direction: direction.to_owned(),
        amount: 100,
        currency: "USD".to_owned(),
    };
    let legs = vec![leg("acct_a", "debit"), leg("acct_b", "credit")];
    let posting = |leg: &Leg| Posting {
        account_id: leg.account_id.clone(),
        direction: leg.direction.clone(),
        amount: leg.amount,
        currency: leg.currency.clone(),
        sequence: 3,
        balance_after: 400,
        posted_at: TIME.to_owned(),
    };
    Fact {
        transfer_id: format!("xfer_{number}"),
        kind: "transfer".to_owned(),
        status: "posted".to_owned(),
        created_at: TIME.to_owned(),
        completed_at: Some(TIME.to_owned()),
        initiated_by: "usr_a".to_owned(),
        decided_by: Some("usr_c".to_owned()),
        rejection_code: Some("none".to_owned()),
        hold_id: Some("hold_a".to_owned()),
        original_transfer_id: Some("xfer_z".to_owned()),
        effective_date: Some("2026-11-22".to_owned()),
        reference_sha256: Some(Hash::of(&[b"reference"])),
        description_sha256: Some(Hash::of(&[b"description"])),
        metadata_sha256: Some(Hash::of(&[b"metadata"])),
        postings: legs.iter().map(posting).collect(),
        legs,
    }
}

/// Two checkpoints, of two blocks and of one, in two chains; eight facts.
fn ledger() -> (Vec<Line>, Proof) {
    let mut lines = Vec::new();
    let mut proof = Proof {
        transfer_id: "xfer_4".to_owned(),
        facts: Vec::new(),
    };
    let mut previous = Hash::ZERO;
    let mut head = Hash::ZERO;
    // The number of the checkpoint, and of each of its blocks the chain, the height and the facts.
    let plan = [
        (1, vec![("chn_a", 0, 0..3), ("chn_b", 0, 3..6)]),
        (2, vec![("chn_a", 1, 6..8)]),
    ];
    for (number, of_checkpoint) in plan {
        let mut blocks = Vec::new();
        for (chain, height, facts) in of_checkpoint {
            let facts: Vec<Fact> = facts.map(fact).collect();
            let leaves: Vec<Hash> = facts.iter().map(Fact::leaf).collect();
            let block = Block {
                id: format!("blk_{chain}{height}"),
                chain_id: chain.to_owned(),
                height,
                previous_hash: if height == 0 { Hash::ZERO } else { head },
                root: merkle::root(&leaves),
                facts: u64::try_from(facts.len()).unwrap(),
                created_at: TIME.to_owned(),
            };
            if chain == "chn_a" {
                head = block.hash();
            }
            blocks.push((block, facts, leaves));
        }
        let hashes: Vec<Hash> = blocks.iter().map(|(block, ..)| block.hash()).collect();
        let checkpoint = Checkpoint {
            number,
            time: TIME.to_owned(),
            previous,
            blocks: u64::try_from(blocks.len()).unwrap(),
            root: merkle::root(&hashes),
            audit_number: 0,
            audit_hash: Hash::ZERO,
        };
        previous = checkpoint.hash();
        let note = sign(&checkpoint.to_string(), &key(1));
        let entry = |id: &str, hash| Entry {
            id: id.to_owned(),
            hash,
        };
        lines.push(Line::Checkpoint(CheckpointLine {
            note: note.clone(),
            blocks: blocks
                .iter()
                .map(|(block, ..)| entry(&block.id, block.hash()))
                .collect(),
        }));
        for (place, (block, facts, leaves)) in blocks.into_iter().enumerate() {
            let found = facts
                .iter()
                .position(|fact| fact.transfer_id == proof.transfer_id);
            proof.facts.extend(found.map(|index| ProvenFact {
                fact: facts[index].clone(),
                index: u64::try_from(index).unwrap(),
                path: merkle::path(&leaves, index).unwrap(),
                block: block.clone(),
                block_index: u64::try_from(place).unwrap(),
                block_path: merkle::path(&hashes, place).unwrap(),
                checkpoint: note.clone(),
            }));
            let entries = facts
                .iter()
                .map(|fact| entry(&fact.transfer_id, fact.leaf()))
                .collect();
            lines.push(Line::Block(BlockLine {
                block,
                facts: entries,
            }));
            lines.extend(facts.into_iter().map(|fact| Line::Fact(Box::new(fact))));
        }
    }
    lines.push(Line::End(End {
        checkpoint: 2,
        facts: 8,
    }));
    (lines, proof)
}

/// A directory of the test's own.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "desk-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        let desk = Self(directory);
        for (file, seed) in [("keys", 1), ("other-keys", 2)] {
            let keys = vec![published(key(seed).public_key().as_ref())];
            desk.put(file, &serde_json::to_string(&PublishedKeys { keys }).unwrap());
        }
        desk
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    /// The exit code, and all that is said.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlet-verify"));
        let output = command.args(arguments).current_dir(&self.0).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    fn check(&self, lines: &[String]) -> (i32, String) {
        self.put("export", &lines.join("\n"));
        self.run(&["export", "export", "--keys", "keys"])
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn export() -> Vec<String> {
    ledger()
        .0
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect()
}

/// Every value in `value` that is no list and no object, by its pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(name, member)| pointers(member, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// Another value of the same kind.
fn altered(value: &Value) -> Value {
    match value {
        Value::Number(number) => (number.as_i64().unwrap() + 1).into(),
        // Another hash.
        Value::String(text) if text.len() == 64 => {
            let first = if text.starts_with('0') { "1" } else { "0" };
            format!("{first}{}", &text[1..]).into()
        }
        Value::String(text) => format!("{text}0").into(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_not_altered_fits() {
    let (desk, lines) = (Desk::new(), export());
    let (code, said) = desk.check(&lines);
    assert!(
        code == 0 && said.contains("8 facts in 3 blocks, checkpoints 1 to 2"),
        "{said}"
    );
    let (_, proof) = ledger();
    desk.put("proof", &serde_json::to_string(&proof).unwrap());
    let (code, said) = desk.run(&["proof", "proof", "--keys", "keys"]);
    assert!(code == 0 && said.contains("the proof of xfer_4 fits"), "{said}");
    assert!(
        said.contains("debit acct_a 100 USD: posting 3, balance 400"),
        "{said}"
    );
}

#[test]
fn every_value_of_a_fact_that_is_altered_is_named_with_its_line() {
    let (desk, lines) = (Desk::new(), export());
    // Lines count from 1; the sixth fact of the first checkpoint is in line 8.
    let (place, id) = (7, "xfer_4");
    let fact: Value = serde_json::from_str(&lines[place]).unwrap();
    let mut found = Vec::new();
    pointers(&fact, "", &mut found);
    assert_eq!(found.len(), 14 + 2 * 4 + 2 * 7);
    for pointer in found {
        let mut fact = fact.clone();
        let value = fact.pointer_mut(&pointer).unwrap();
        *value = altered(value);
        let mut lines = lines.clone();
        lines[place] = fact.to_string();
        let (code, said) = desk.check(&lines);
        let expected = match pointer.as_str() {
            "/fact/transfer_id" => format!("line 8: transfer {id}0 does not belong here"),
            _ => format!("line 8: transfer {id} was altered"),
        };
        assert!(code == 1 && said.starts_with(&expected), "{pointer}: {said}");
        for (name, list) in [("legs", "/fact/legs"), ("postings", "/fact/postings")] {
            let mut fact = fact.clone();
            fact.pointer_mut(list).unwrap().as_array_mut().unwrap().pop();
            lines[place] = fact.to_string();
            assert_eq!(desk.check(&lines).0, 1, "{name}");
        }
    }
}

#[test]
fn what_is_left_out_put_in_or_moved_is_named() {
    let (desk, lines) = (Desk::new(), export());
    let told = |change: &dyn Fn(&mut Vec<String>), expected: &str| {
        let mut lines = lines.clone();
        change(&mut lines);
        let (code, said) = desk.check(&lines);
        assert!(code == 1 && said.contains(expected), "{expected}: {said}");
    };
    told(
        &|lines| drop(lines.remove(7)),
        "line 6: transfer xfer_4 is missing below",
    );
    told(
        &|lines| lines.insert(7, lines[2].clone()),
        "line 8: transfer xfer_0 does not belong here",
    );
    told(
        &|lines| lines.insert(7, lines[7].clone()),
        "line 9: transfer xfer_4 does not belong here",
    );
    told(
        &|lines| lines.swap(6, 7),
        "line 7: transfer xfer_4 is out of place",
    );
    told(
        &|lines| lines.insert(3, "what?".to_owned()),
        "line 4: it is not a line of an export",
    );
    told(
        &|lines| drop(lines.drain(5..9)),
        "line 1: block blk_chn_b0 is missing below",
    );
    told(
        &|lines| lines[1..9].rotate_left(4),
        "line 2: block blk_chn_b0 is out of place",
    );
    told(&|lines| drop(lines.pop()), "the export is cut off");
    told(
        &|lines| drop(lines.drain(9..13)),
        "8 facts up to checkpoint 2 are promised; there are 6 up to 1",
    );
    told(
        &|lines| drop(lines.drain(..9)),
        "8 facts up to checkpoint 2 are promised",
    );
    told(
        &|lines| lines.push(lines[2].clone()),
        "line 15: it comes after the end",
    );
}

#[test]
fn an_altered_block_or_checkpoint_is_named() {
    let (desk, lines) = (Desk::new(), export());
    let told = |place: usize, from: &str, to: &str, expected: &str| {
        let mut lines = lines.clone();
        assert!(lines[place].contains(from), "{}", lines[place]);
        lines[place] = lines[place].replacen(from, to, 1);
        let (code, said) = desk.check(&lines);
        assert!(code == 1 && said.contains(expected), "{expected}: {said}");
    };
    let root = |place: usize| {
        let line: Value = serde_json::from_str(&lines[place]).unwrap();
        line["block"]["block"]["root"].as_str().unwrap().to_owned()
    };
    told(
        5,
        &root(5),
        &root(1),
        "line 6: block blk_chn_b0: it, or the list of its facts, was altered",
    );
    told(5, "chn_b\"", "chn_c\"", "line 6: block blk_chn_b0 was altered");
    told(
        10,
        "\"height\":1",
        "\"height\":2",
        "line 11: block blk_chn_a1 does not follow",
    );
    told(
        5,
        "\"id\":\"xfer_4\"",
        "\"id\":\"xfer_9\"",
        "line 8: transfer xfer_4 does not belong here",
    );
    told(
        9,
        "blocks 1 ",
        "blocks 2 ",
        "line 10: checkpoint 2: its signature is not of what it says",
    );
    told(9, "number 2", "number 3", "line 10: checkpoint 3 does not follow");
    told(9, "previous ", "previouS ", "line 10: it has no checkpoint in it");
}

#[test]
fn a_kept_checkpoint_shows_a_history_that_was_written_anew() {
    let (desk, lines) = (Desk::new(), export());
    desk.put("export", &lines.join("\n"));
    let note_of = |place: usize| {
        let line: Value = serde_json::from_str(&lines[place]).unwrap();
        line["checkpoint"]["note"].as_str().unwrap().to_owned()
    };
    let with = |note: &str| {
        desk.put("kept", note);
        desk.run(&["export", "export", "--keys", "keys", "--checkpoint", "kept"])
    };
    assert_eq!(with(&note_of(0)).0, 0);
    let text = flowlet_verify::note::text_of(&note_of(9)).unwrap().to_owned();
    let mut other: Checkpoint = text.parse().unwrap();
    other.root = Hash::ZERO;
    let (code, said) = with(&sign(&other.to_string(), &key(1)));
    assert!(
        code == 1 && said.contains("checkpoint 2 is not the one that was kept"),
        "{said}"
    );
    other.number = 3;
    let (code, said) = with(&sign(&other.to_string(), &key(1)));
    assert!(
        code == 1 && said.contains("it ends before checkpoint 3, which was kept"),
        "{said}"
    );
    // One that nobody signed is no reason to doubt the export.
    assert_eq!(with(&sign(&other.to_string(), &key(2))).0, 2);
}

#[test]
fn a_proof_that_was_altered_or_signed_by_somebody_else_does_not_fit() {
    let (desk, (_, proof)) = (Desk::new(), ledger());
    let told = |proof: &Value, expected: &str| {
        desk.put("proof", &proof.to_string());
        let (code, said) = desk.run(&["proof", "proof", "--keys", "keys"]);
        assert!(code == 1 && said.contains(expected), "{expected}: {said}");
    };
    let proof = serde_json::to_value(&proof).unwrap();
    let mut found = Vec::new();
    pointers(&proof, "", &mut found);
    for pointer in found {
        let mut proof = proof.clone();
        let value = proof.pointer_mut(&pointer).unwrap();
        *value = altered(value);
        told(&proof, "does NOT fit");
    }
    let mut forged = proof.clone();
    let note = proof["facts"][0]["checkpoint"].as_str().unwrap();
    forged["facts"][0]["checkpoint"] = sign(flowlet_verify::note::text_of(note).unwrap(), &key(2)).into();
    told(&forged, "it is signed by none of the given keys");
    let mut empty = proof.clone();
    empty["facts"] = Value::Array(Vec::new());
    told(&empty, "it has no facts");
}

#[test]
fn what_cannot_be_checked_ends_with_two_and_says_why() {
    let desk = Desk::new();
    desk.put("export", &export().join("\n"));
    desk.put("nothing", "{}");
    for (arguments, expected) in [
        (&["export"][..], "usage:"),
        (&["export", "export", "--keys", "missing"], "missing:"),
        (
            &["export", "export", "--keys", "nothing"],
            "nothing: not the JSON",
        ),
        (&["export", "missing", "--keys", "keys"], "missing:"),
        (&["proof", "nothing", "--keys", "keys"], "nothing: not a proof"),
    ] {
        let (code, said) = desk.run(arguments);
        assert!(code == 2 && said.contains(expected), "{arguments:?}: {said}");
    }
    let (code, said) = desk.run(&["export", "export", "--keys", "other-keys"]);
    assert!(
        code == 1 && said.contains("checkpoint 1: it is signed by none of the given keys"),
        "{said}"
    );
}
