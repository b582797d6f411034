//! Passwords that were stolen somewhere, looked up in a file and nowhere else: no part of a password leaves the machine.
//!
//! `auth-service build-breached-list` makes the file from a list of passwords, or of their SHA-1 as Have I Been Pwned gives it
//! out: of each the first eight bytes of its SHA-1, sorted. Looking one up is some thirty short reads; of a billion passwords,
//! one in twenty billion that are not in the list would be taken for one of them.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use shared::config::Env;
use unicode_normalization::UnicodeNormalization;

const MAGIC: [u8; 8] = *b"breach\x00\x01";
const ENTRY_BYTES: u64 = 8;
/// Longer than any line of a list of hashes or passwords.
const MAX_LINE_BYTES: usize = 1024;

/// The opened file.
#[derive(Debug)]
pub struct BreachedList {
    file: File,
    entries: u64,
}

impl BreachedList {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let why = || format!("BREACHED_PASSWORDS: {}", path.display());
        let file = File::open(path).with_context(why)?;
        let bytes = file.metadata().with_context(why)?.len();
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0).with_context(why)?;
        ensure!(
            magic == MAGIC && bytes % ENTRY_BYTES == 0,
            "{} was not made by `build-breached-list`",
            path.display()
        );
        Ok(Self {
            file,
            entries: bytes / ENTRY_BYTES - 1,
        })
    }

    pub fn contains(&self, password: &str) -> anyhow::Result<bool> {
        let wanted = entry_of(password);
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)?.cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(true),
            }
        }
        Ok(false)
    }

    fn entry(&self, index: u64) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.file
            .read_exact_at(&mut bytes, (index + 1) * ENTRY_BYTES)
            .context("BREACHED_PASSWORDS")?;
        Ok(u64::from_be_bytes(bytes))
    }
}

fn entry_of(password: &str) -> u64 {
    let digest = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = aws_lc_rs::digest::digest(digest, password.as_bytes());
    first_bytes(digest.as_ref())
}

fn first_bytes(digest: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(bytes)
}

/// `auth-service build-breached-list`: makes the file `BREACHED_PASSWORDS` from `BREACHED_PASSWORDS_SOURCE`. It takes eight bytes
/// of memory for each line.
pub async fn build(mut env: Env) -> anyhow::Result<()> {
    let source: PathBuf = env.required("BREACHED_PASSWORDS_SOURCE");
    let target: PathBuf = env.required("BREACHED_PASSWORDS");
    let (source, target) = env.finish((source, target))?;
    let count = build_from(&source, &target)?;
    println!("{count} passwords in {}", target.display());
    Ok(())
}

fn build_from(source: &Path, target: &Path) -> anyhow::Result<usize> {
    let why = || source.display().to_string();
    let mut lines = BufReader::new(File::open(source).with_context(why)?);
    let (mut entries, mut line, mut number) = (Vec::new(), Vec::new(), 0_u64);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).with_context(why)? == 0 {
            break;
        }
        number += 1;
        ensure!(line.len() <= MAX_LINE_BYTES, "line {number} is too long");
        let text = std::str::from_utf8(&line).with_context(|| format!("line {number}"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if !text.is_empty() {
            entries.push(entry_of_line(text));
        }
    }
    entries.sort_unstable();
    entries.dedup();
    // Whoever has the old one open goes on with it.
    let partial = target.with_extension("partial");
    let mut file = BufWriter::new(File::create(&partial)?);
    file.write_all(&MAGIC)?;
    for entry in &entries {
        file.write_all(&entry.to_be_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    std::fs::rename(partial, target)?;
    Ok(entries.len())
}

/// A SHA-1 in hexadecimal, perhaps with a count behind it, or else a password.
fn entry_of_line(text: &str) -> u64 {
    let hash = text.split_once(':').map_or(text, |(hash, _)| hash);
    let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    match hash.get(..16).filter(|_| is_hash) {
        Some(first) => u64::from_str_radix(first, 16).unwrap_or_default(),
        None => entry_of(&text.nfkc().collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_list_is_found_and_nothing_else() {
        let directory = std::env::temp_dir();
        let name = uuid::Uuid::from_u128(0x6272_6561_6368_6564);
        let (source, target) = (
            directory.join(format!("{name}.txt")),
            directory.join(format!("{name}.list")),
        );
        // The SHA-1 of `password`, in both forms, beside plain ones.
        let lines = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9545824\r\n\
            5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8\n\
            three violet otters juggle\n\ncafe\u{301} au lait\nhunter2:hunter2\n";
        std::fs::write(&source, lines).unwrap();
        assert_eq!(build_from(&source, &target).unwrap(), 4);
        let list = BreachedList::open(&target).unwrap();
        for password in [
            "password",
            "three violet otters juggle",
            "caf\u{e9} au lait",
            "hunter2:hunter2",
        ] {
            assert!(list.contains(password).unwrap(), "{password}");
        }
        for number in 0..1000 {
            assert!(!list.contains(&format!("password{number}")).unwrap());
        }
        assert!(BreachedList::open(&source).is_err());
        for file in [source, target] {
            std::fs::remove_file(file).unwrap();
        }
    }
}
