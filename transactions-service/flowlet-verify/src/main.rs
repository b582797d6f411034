//! `flowlet-verify`: checks a proof or an export of the ledger on any machine, without asking anybody.
//!
//! It ends with 0 if everything fits, with 1 and the name of what was altered if not, and with 2 if there was nothing that could
//! be checked.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;

use flowlet_verify::export::{Report, Verifier};
use flowlet_verify::proof::{Proof, ProvenFact};
use flowlet_verify::{Checkpoint, Keys, note};

const USAGE: &str = "\
usage: flowlet-verify proof FILE --keys FILE
       flowlet-verify export FILE --keys FILE [--checkpoint FILE]

  proof         the answer of GET /api/v1/transfers/{transfer_id}/proof
  export        the answer of GET /api/v1/ledger/export; - for standard input
  --keys        the answer of GET /api/v1/ledger/keys, kept from when you trusted it
  --checkpoint  a checkpoint that you kept, as text: the export must have the very same

It ends with 0 if everything fits, 1 if something was altered, 2 if it could not be checked.
";

/// How many problems are told one by one.
const SHOWN: usize = 100;

/// Why nothing could be checked.
struct Unchecked(String);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Unchecked(why)) => {
            eprintln!("flowlet-verify: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything fits.
fn run(arguments: &[String]) -> Result<bool, Unchecked> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["proof", file, "--keys", keys] => check_proof(file, &read_keys(keys)?),
        ["export", file, "--keys", keys] => check_export(file, &read_keys(keys)?, None),
        ["export", file, "--keys", keys, "--checkpoint", kept] => {
            let keys = read_keys(keys)?;
            let kept = read_checkpoint(kept, &keys)?;
            check_export(file, &keys, Some(kept))
        }
        ["--help" | "-h"] => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => Err(Unchecked(format!("these arguments are not known\n{USAGE}"))),
    }
}

fn read(file: &str) -> Result<String, Unchecked> {
    fs::read_to_string(file).map_err(|error| Unchecked(format!("{file}: {error}")))
}

fn read_keys(file: &str) -> Result<Keys, Unchecked> {
    Keys::from_json(&read(file)?).map_err(|error| Unchecked(format!("{file}: {error}")))
}

fn read_checkpoint(file: &str, keys: &Keys) -> Result<Checkpoint, Unchecked> {
    let note = read(file)?;
    let text = note::open(&note, keys).map_err(|error| Unchecked(format!("{file}: {error}")))?;
    text.parse()
        .map_err(|error| Unchecked(format!("{file}: {error}")))
}

fn check_proof(file: &str, keys: &Keys) -> Result<bool, Unchecked> {
    let proof: Proof = serde_json::from_str(&read(file)?)
        .map_err(|error| Unchecked(format!("{file}: not a proof: {error}")))?;
    match proof.verify(keys) {
        Ok(checkpoints) => {
            for (proven, checkpoint) in proof.facts.iter().zip(checkpoints) {
                tell_fact(proven, &checkpoint);
            }
            println!("the proof of {} fits", proof.transfer_id);
            Ok(true)
        }
        Err(error) => {
            println!("the proof of {} does NOT fit: {error}", proof.transfer_id);
            Ok(false)
        }
    }
}

fn tell_fact(ProvenFact { fact, .. }: &ProvenFact, checkpoint: &Checkpoint) {
    let at = fact.completed_at.as_deref().unwrap_or(&fact.created_at);
    println!("{} {} at {at}, by {}", fact.kind, fact.status, fact.initiated_by);
    for leg in &fact.legs {
        let posting = fact
            .postings
            .iter()
            .find(|posting| posting.account_id == leg.account_id);
        let after = posting.map(|it| format!(": posting {}, balance {}", it.sequence, it.balance_after));
        let (direction, amount, currency) = (&leg.direction, leg.amount, &leg.currency);
        println!(
            "  {direction} {} {amount} {currency}{}",
            leg.account_id,
            after.unwrap_or_default()
        );
    }
    println!(
        "  in checkpoint {} of {}, {}",
        checkpoint.number,
        checkpoint.time,
        checkpoint.hash()
    );
}

fn check_export(file: &str, keys: &Keys, kept: Option<Checkpoint>) -> Result<bool, Unchecked> {
    let unreadable = |error: io::Error| Unchecked(format!("{file}: {error}"));
    let input: Box<dyn BufRead> = match file {
        "-" => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(file).map_err(unreadable)?)),
    };
    let mut verifier = Verifier::new(keys, kept);
    for line in input.lines() {
        verifier.read(&line.map_err(unreadable)?);
    }
    Ok(tell(&verifier.finish()))
}

fn tell(report: &Report) -> bool {
    for problem in report.problems.iter().take(SHOWN) {
        println!("{problem}");
    }
    let untold = report.problems.len().saturating_sub(SHOWN);
    if untold > 0 {
        println!("and {untold} more");
    }
    let Report { facts, blocks, .. } = report;
    if let (Some(first), Some(last)) = (&report.first, &report.last) {
        println!(
            "{facts} facts in {blocks} blocks, checkpoints {} to {}",
            first.number, last.number
        );
        println!("the last is of {}, {}", last.time, last.hash());
        if first.number > 1 {
            println!(
                "what was before checkpoint {} is not in it, and was not checked",
                first.number
            );
        }
    } else {
        println!("there is no checkpoint in it");
    }
    let fits = report.problems.is_empty();
    println!(
        "{}",
        if fits {
            "everything fits"
        } else {
            "it does NOT fit"
        }
    );
    fits
}
