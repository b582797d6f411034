//! Signed notes (c2sp.org/signed-note): text, an empty line, and signatures that name their key. Any program for such notes
//! can check ours.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::Hash;

/// The name that our keys sign under.
pub const SIGNER: &str = "flowlet-ledger";

/// The algorithm's number in key ids and in published keys.
const ED25519_NUMBER: u8 = 1;

/// A key that is published: `GET /api/v1/ledger/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedKey {
    /// Eight hexadecimal digits.
    pub key_id: String,
    /// As programs for signed notes take it: `flowlet-ledger+<key id>+<base64>`.
    pub verifier: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedKeys {
    pub keys: Vec<PublishedKey>,
}

/// The keys that a signature may be by.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<[u8; 4], Vec<u8>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    #[error("not the JSON that GET /api/v1/ledger/keys answers")]
    Format,
    #[error("there is no key in it")]
    Empty,
    #[error("a key is not one of Ed25519, or its id is not its own")]
    Key,
}

impl Keys {
    pub fn from_json(text: &str) -> Result<Self, InvalidKeys> {
        let published: PublishedKeys = serde_json::from_str(text).map_err(|_| InvalidKeys::Format)?;
        let verifiers = published.keys.iter().map(|key| key.verifier.as_str());
        Self::from_verifiers(verifiers)
    }

    pub fn from_verifiers<'a>(verifiers: impl Iterator<Item = &'a str>) -> Result<Self, InvalidKeys> {
        let keys: BTreeMap<_, _> = verifiers
            .map(parse_verifier)
            .collect::<Option<_>>()
            .ok_or(InvalidKeys::Key)?;
        match keys.is_empty() {
            true => Err(InvalidKeys::Empty),
            false => Ok(Self(keys)),
        }
    }
}

fn parse_verifier(text: &str) -> Option<([u8; 4], Vec<u8>)> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let key = STANDARD.decode(key).ok()?;
    let (algorithm, public) = key.split_first()?;
    let right = name == SIGNER && *algorithm == ED25519_NUMBER && public.len() == 32;
    let own_id = key_id(public);
    (right && id == hexadecimal(&own_id)).then(|| (own_id, public.to_vec()))
}

fn key_id(public: &[u8]) -> [u8; 4] {
    let Hash(hash) = Hash::of(&[SIGNER.as_bytes(), b"\n", &[ED25519_NUMBER], public]);
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn published(public: &[u8]) -> PublishedKey {
    let key_id = hexadecimal(&key_id(public));
    let key = STANDARD.encode([&[ED25519_NUMBER], public].concat());
    PublishedKey {
        verifier: format!("{SIGNER}+{key_id}+{key}"),
        key_id,
    }
}

/// `text`, which ends with a newline, with its signature below it.
pub fn sign(text: &str, key: &Ed25519KeyPair) -> String {
    let signature = key.sign(text.as_bytes());
    let signature = [&key_id(key.public_key().as_ref()), signature.as_ref()].concat();
    format!("{text}\n\u{2014} {SIGNER} {}\n", STANDARD.encode(signature))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNote {
    #[error("it is not a signed note")]
    Format,
    #[error("it is signed by none of the given keys")]
    UnknownKey,
    #[error("its signature is not of what it says")]
    Signature,
}

/// The text of a note, whether or not it is genuine.
pub fn text_of(note: &str) -> Option<&str> {
    let at = note.rfind("\n\n")?;
    note.get(..at.checked_add(1)?)
}

/// The text of a note that one of `keys` signed.
pub fn open<'a>(note: &'a str, keys: &Keys) -> Result<&'a str, InvalidNote> {
    let text = text_of(note).ok_or(InvalidNote::Format)?;
    let signatures = note.get(text.len()..).and_then(|rest| rest.strip_prefix('\n'));
    let signatures = signatures
        .and_then(|rest| rest.strip_suffix('\n'))
        .ok_or(InvalidNote::Format)?;
    let mut refusal = InvalidNote::UnknownKey;
    for line in signatures.split('\n') {
        let signature = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '));
        let (name, signature) = signature.ok_or(InvalidNote::Format)?;
        let signature = STANDARD.decode(signature).map_err(|_| InvalidNote::Format)?;
        let (id, signature) = signature.split_first_chunk::<4>().ok_or(InvalidNote::Format)?;
        let Some(key) = keys.0.get(id).filter(|_| name == SIGNER) else {
            continue;
        };
        match UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), signature) {
            Ok(()) => return Ok(text),
            Err(_) => refusal = InvalidNote::Signature,
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn keys(pairs: &[&Ed25519KeyPair]) -> Keys {
        let keys = pairs
            .iter()
            .map(|pair| published(pair.public_key().as_ref()))
            .collect();
        Keys::from_json(&serde_json::to_string(&PublishedKeys { keys }).unwrap()).unwrap()
    }

    #[test]
    fn a_note_opens_with_the_key_that_signed_it_and_unaltered_only() {
        let (one, other) = (key(1), key(2));
        let note = sign("first\nsecond\n", &one);
        assert_eq!(open(&note, &keys(&[&other, &one])), Ok("first\nsecond\n"));
        assert_eq!(open(&note, &keys(&[&other])), Err(InvalidNote::UnknownKey));
        let altered = note.replace("second", "sec0nd");
        assert_eq!(open(&altered, &keys(&[&one])), Err(InvalidNote::Signature));
        for broken in [
            "",
            "first\n",
            "first\n\n",
            &note[..note.len() - 1],
            &note.replace('\u{2014}', "-"),
        ] {
            assert_eq!(
                open(broken, &keys(&[&one])),
                Err(InvalidNote::Format),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn keys_that_are_not_ours_are_refused() {
        let good = published(key(1).public_key().as_ref()).verifier;
        let verifiers = |text: &str| Keys::from_verifiers(std::iter::once(text)).err();
        assert_eq!(verifiers(&good), None);
        for bad in [
            "",
            "x",
            &good.replace(SIGNER, "somebody"),
            &good[..good.len() - 4],
        ] {
            assert_eq!(verifiers(bad), Some(InvalidKeys::Key), "{bad}");
        }
        assert_eq!(Keys::from_json("{}").err(), Some(InvalidKeys::Format));
        assert_eq!(Keys::from_json(r#"{"keys":[]}"#).err(), Some(InvalidKeys::Empty));
    }
}
