//! Hashes, and the one form in which something is hashed: its members in a fixed order, each as its length in bytes, a colon,
//! its text and a newline; a member that is absent, as a dash and a newline. No text can be mistaken for two, or two for one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256, in hexadecimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Before the first.
    pub const ZERO: Self = Self([0; 32]);

    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a hash: 64 hexadecimal digits in lower case")]
pub struct InvalidHash;

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut hash = [0; 32];
        let lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 64 || !text.as_bytes().iter().all(lower) {
            return Err(InvalidHash);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| InvalidHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidHash)?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Writes members one after the other.
#[derive(Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// `kind` is the first member, so that nothing passes for something else.
    pub fn new(kind: &str) -> Self {
        let mut encoder = Self(Vec::with_capacity(1024));
        encoder.text(kind);
        encoder
    }

    pub fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.len().to_string().as_bytes());
        self.0.push(b':');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'\n');
    }

    pub fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.extend_from_slice(b"-\n"),
        }
    }

    pub fn number(&mut self, number: impl fmt::Display) {
        self.text(&number.to_string());
    }

    pub fn hash(&mut self, hash: Option<Hash>) {
        self.optional(hash.map(|hash| hash.to_string()).as_deref());
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_cannot_run_into_each_other() {
        let encoded = |members: &[Option<&str>]| {
            let mut encoder = Encoder::new("test");
            members.iter().for_each(|member| encoder.optional(*member));
            encoder.finish()
        };
        assert_eq!(encoded(&[Some("ä"), None]), "4:test\n2:ä\n-\n".as_bytes());
        let all = [
            encoded(&[Some("a"), Some("b")]),
            encoded(&[Some("a\n1:b")]),
            encoded(&[Some("ab")]),
            encoded(&[Some("-")]),
            encoded(&[None]),
            encoded(&[Some("")]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_hash_is_what_everybody_else_computes_and_reads_back() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of(&[b"a", b"bc"]).to_string(), abc);
        assert_eq!(abc.parse::<Hash>().unwrap(), Hash::of(&[b"abc"]));
        for text in ["", &abc[1..], &abc.to_uppercase(), &abc.replace("ba", "+a")] {
            assert!(text.parse::<Hash>().is_err(), "{text}");
        }
    }
}
