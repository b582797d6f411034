//! Encryption of single values in the database, and blind indexes that find some of them again.
//!
//! An encrypted value is `1 | key number | nonce | ciphertext and tag`: AES-256-GCM-SIV (RFC 8452) under a random nonce, which
//! forgives should one ever repeat. What it is bound to names its column and row, so a value that was copied to another
//! place does not decrypt there. A blind index is HMAC-SHA-256 of a value in its one written form: whoever has the key
//! finds equal values, and whoever has only the database learns nothing but which are equal.
//!
//! Deliberately absent: which of the keys is in use, which a service keeps with its data; and hiding how long a value is.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{Output, ToSql};
use diesel::sql_types::Binary;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::ApiError;
use crate::config::Env;

const ENCRYPTION_VARIABLE: &str = "FIELD_KEYS";
const BLIND_INDEX_VARIABLE: &str = "BLIND_INDEX_KEYS";

/// More than one is only there while one replaces another.
const MAX_KEYS: usize = 4;
const KEY_BYTES: usize = 32;
/// Fewer than any 32 random bytes have.
const MIN_DIFFERENT_BYTES: usize = 12;

/// The longest text that is encrypted: a field is a name, an address or what somebody tells of themselves, not a document.
pub const MAX_TEXT_BYTES: usize = 8192;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 3;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// The number that an operator gave to a key. It is written into every value, so it never means another key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(u16);

impl KeyNumber {
    /// What every value that was encrypted under this key begins with.
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let [high, low] = self.0.to_be_bytes();
        [VERSION, high, low]
    }
}

impl From<KeyNumber> for i32 {
    fn from(number: KeyNumber) -> Self {
        number.0.into()
    }
}

impl TryFrom<i32> for KeyNumber {
    type Error = std::num::TryFromIntError;

    fn try_from(number: i32) -> Result<Self, Self::Error> {
        number.try_into().map(Self)
    }
}

impl fmt::Display for KeyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of values: `schema.table.column`, which is part of what each of them is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(pub &'static str);

/// The keys of a service's encrypted fields and blind indexes. Cheap to clone; never shows a key.
#[derive(Clone)]
pub struct FieldKeys(Arc<Keys>);

struct Keys {
    encryption: Vec<(KeyNumber, RandomizedNonceKey)>,
    blind_index: Vec<(KeyNumber, hmac::Key)>,
}

/// Why keys cannot be used, in words that show none of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {why}")]
pub struct InvalidKeys {
    variable: &'static str,
    why: &'static str,
}

/// Why a value cannot be encrypted or decrypted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("the key with the number {0} is needed, and is not configured")]
    UnknownKey(KeyNumber),
    #[error(
        "the value of {0} in row {1} was changed, or belongs to another column or row, or to another key"
    )]
    NotAuthentic(&'static str, Uuid),
    #[error("the value is not an encrypted one")]
    Malformed,
    #[error("the text is longer than {MAX_TEXT_BYTES} bytes")]
    TooLong,
    #[error("the value could not be encrypted")]
    NotEncrypted,
    #[error("there is no key")]
    NoKey,
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::internal(error)
    }
}

impl FieldKeys {
    fn none() -> Self {
        Self(Arc::new(Keys {
            encryption: Vec::new(),
            blind_index: Vec::new(),
        }))
    }

    /// Reads `FIELD_KEYS` and `BLIND_INDEX_KEYS`: `number:key` pairs separated by commas, each key 32 bytes in base64.
    pub fn from_env(env: &mut Env) -> Self {
        let encryption = secret_list(env, ENCRYPTION_VARIABLE);
        let blind_index = secret_list(env, BLIND_INDEX_VARIABLE);
        let (encryption, blind_index) = (encryption.expose_secret(), blind_index.expose_secret());
        // What is not set was told already.
        if encryption.is_empty() || blind_index.is_empty() {
            return Self::none();
        }
        Self::parse(encryption, blind_index).unwrap_or_else(|InvalidKeys { variable, why }| {
            env.refuse(variable, why);
            Self::none()
        })
    }

    /// Reads keys that only encrypt, from a variable of their own, written like `FIELD_KEYS`.
    pub fn encryption_from_env(env: &mut Env, variable: &'static str) -> Self {
        let text = secret_list(env, variable);
        let mut keys = Vec::new();
        // What is not set was told already.
        if !text.expose_secret().is_empty() {
            keys = parse(text.expose_secret())
                .and_then(|keys| ciphers(&keys))
                .unwrap_or_else(|why| {
                    env.refuse(variable, why);
                    Vec::new()
                });
        }
        Self(Arc::new(Keys {
            encryption: keys,
            blind_index: Vec::new(),
        }))
    }

    /// Reads keys that only make blind indexes, from a variable of their own, written like `BLIND_INDEX_KEYS`.
    pub fn blind_index_from_env(env: &mut Env, variable: &'static str) -> Self {
        let text = secret_list(env, variable);
        // What is not set was told already.
        if text.expose_secret().is_empty() {
            return Self::none();
        }
        Self::parse_blind_index(text.expose_secret()).unwrap_or_else(|why| {
            env.refuse(variable, why);
            Self::none()
        })
    }

    pub fn parse_blind_index(text: &str) -> Result<Self, &'static str> {
        Ok(Self(Arc::new(Keys {
            encryption: Vec::new(),
            blind_index: macs(&parse(text)?),
        })))
    }

    pub fn parse(encryption: &str, blind_index: &str) -> Result<Self, InvalidKeys> {
        let of = |variable| move |why| InvalidKeys { variable, why };
        let encryption = parse(encryption).map_err(of(ENCRYPTION_VARIABLE))?;
        let blind_index = parse(blind_index).map_err(of(BLIND_INDEX_VARIABLE))?;
        let keys: HashSet<&[u8]> = encryption.iter().map(|(_, key)| key.as_slice()).collect();
        if blind_index.iter().any(|(_, key)| keys.contains(key.as_slice())) {
            return Err(of(BLIND_INDEX_VARIABLE)("has a key that is in FIELD_KEYS too"));
        }
        let encryption = ciphers(&encryption).map_err(of(ENCRYPTION_VARIABLE))?;
        Ok(Self(Arc::new(Keys {
            encryption,
            blind_index: macs(&blind_index),
        })))
    }

    /// The numbers of the keys that encrypt, in the order they were given.
    pub fn encryption_keys(&self) -> impl Iterator<Item = KeyNumber> {
        self.0.encryption.iter().map(|(number, _)| *number)
    }

    /// The numbers of the keys of blind indexes, in the order they were given.
    pub fn blind_index_keys(&self) -> impl Iterator<Item = KeyNumber> {
        self.0.blind_index.iter().map(|(number, _)| *number)
    }

    /// The key that encrypts where the order decides: the first.
    pub fn first_encryption_key(&self) -> Result<KeyNumber, FieldError> {
        self.encryption_keys().next().ok_or(FieldError::NoKey)
    }

    /// The key that makes blind indexes where the order decides: the first.
    pub fn first_blind_index_key(&self) -> Result<KeyNumber, FieldError> {
        self.blind_index_keys().next().ok_or(FieldError::NoKey)
    }

    pub fn encrypt(
        &self,
        number: KeyNumber,
        column: Column,
        row: Uuid,
        text: &str,
    ) -> Result<Encrypted, FieldError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(FieldError::TooLong);
        }
        let mut sealed = Vec::with_capacity(text.len() + TAG_BYTES);
        sealed.extend_from_slice(text.as_bytes());
        let nonce = self
            .cipher(number)?
            .seal_in_place_append_tag(bound_to(number, column, row), &mut sealed)
            .map_err(|_| FieldError::NotEncrypted)?;
        Ok(Encrypted(
            [number.header().as_slice(), nonce.as_ref(), &sealed].concat(),
        ))
    }

    /// The text that was encrypted for this column of this row.
    pub fn decrypt(&self, column: Column, row: Uuid, value: &Encrypted) -> Result<String, FieldError> {
        let number = value.key();
        let (nonce, sealed) = value
            .0
            .get(HEADER_BYTES..)
            .and_then(|rest| rest.split_at_checked(NONCE_BYTES))
            .ok_or(FieldError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| FieldError::Malformed)?;
        let mut opened = sealed.to_vec();
        let text = self
            .cipher(number)?
            .open_in_place(nonce, bound_to(number, column, row), &mut opened)
            .map_err(|_| FieldError::NotAuthentic(column.0, row))?;
        String::from_utf8(text.to_vec()).map_err(|_| FieldError::Malformed)
    }

    /// What equal texts of a column have in common, under one key.
    pub fn blind_index(&self, number: KeyNumber, column: Column, text: &str) -> Result<Vec<u8>, FieldError> {
        let mut keys = self.0.blind_index.iter();
        let (_, key) = keys
            .find(|(known, _)| *known == number)
            .ok_or(FieldError::UnknownKey(number))?;
        let mut context = hmac::Context::with_key(key);
        for part in [column.0.as_bytes(), &[0], text.as_bytes()] {
            context.update(part);
        }
        Ok(context.sign().as_ref().to_vec())
    }

    fn cipher(&self, number: KeyNumber) -> Result<&RandomizedNonceKey, FieldError> {
        let mut keys = self.0.encryption.iter();
        keys.find(|(known, _)| *known == number)
            .map(|(_, key)| key)
            .ok_or(FieldError::UnknownKey(number))
    }
}

impl fmt::Debug for FieldKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldKeys")
            .field("encryption", &self.encryption_keys().collect::<Vec<_>>())
            .field("blind_index", &self.blind_index_keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The associated data. The name of a column has no zero byte, so no two places give the same bytes.
fn bound_to(number: KeyNumber, column: Column, row: Uuid) -> Aad<Vec<u8>> {
    let header = number.header();
    let parts = [header.as_slice(), column.0.as_bytes(), &[0], row.as_bytes()];
    Aad::from(parts.concat())
}

fn secret_list(env: &mut Env, variable: &'static str) -> SecretString {
    let text: String = env.required(variable);
    for (_, key) in text.split(',').filter_map(|pair| pair.split_once(':')) {
        env.check_secret(variable, key);
    }
    SecretString::from(text)
}

type KeyBytes = Zeroizing<Vec<u8>>;

fn ciphers(keys: &[(KeyNumber, KeyBytes)]) -> Result<Vec<(KeyNumber, RandomizedNonceKey)>, &'static str> {
    keys.iter()
        .map(|(number, key)| Ok((*number, RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?)))
        .collect::<Result<_, aws_lc_rs::error::Unspecified>>()
        .map_err(|_| "has a key that cannot be used")
}

fn macs(keys: &[(KeyNumber, KeyBytes)]) -> Vec<(KeyNumber, hmac::Key)> {
    keys.iter()
        .map(|(number, key)| (*number, hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())))
        .collect()
}

fn parse(text: &str) -> Result<Vec<(KeyNumber, KeyBytes)>, &'static str> {
    let mut keys: Vec<(KeyNumber, KeyBytes)> = Vec::new();
    for pair in text.split(',') {
        let (number, key) = parse_pair(pair.trim())
            .ok_or("is not a list of `number:key`, each number 1 to 65535 and each key 32 bytes in base64")?;
        if key.iter().collect::<HashSet<_>>().len() < MIN_DIFFERENT_BYTES {
            return Err("has a key that is not random");
        }
        if keys.iter().any(|(known, _)| *known == number) {
            return Err("has a number twice");
        }
        if keys.iter().any(|(_, known)| *known == key) {
            return Err("has a key twice");
        }
        keys.push((number, key));
    }
    if keys.len() > MAX_KEYS {
        return Err("has more than four keys");
    }
    Ok(keys)
}

fn parse_pair(pair: &str) -> Option<(KeyNumber, KeyBytes)> {
    let (number, key) = pair.split_once(':')?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let key = Zeroizing::new(STANDARD.decode(key).ok()?);
    (key.len() == KEY_BYTES).then_some((KeyNumber(number), key))
}

/// An encrypted value, `bytea` in the database.
#[derive(Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Binary)]
pub struct Encrypted(Vec<u8>);

impl Encrypted {
    /// The key that it was encrypted under.
    pub fn key(&self) -> KeyNumber {
        match self.0.as_slice() {
            [_, high, low, ..] => KeyNumber(u16::from_be_bytes([*high, *low])),
            // There is no shorter one: see `try_from`.
            _ => KeyNumber(0),
        }
    }
}

impl TryFrom<Vec<u8>> for Encrypted {
    type Error = FieldError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, FieldError> {
        let is_known = bytes.first() == Some(&VERSION);
        let fits = (OVERHEAD_BYTES..=OVERHEAD_BYTES + MAX_TEXT_BYTES).contains(&bytes.len());
        if is_known && fits {
            Ok(Self(bytes))
        } else {
            Err(FieldError::Malformed)
        }
    }
}

impl AsRef<[u8]> for Encrypted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encrypted(key {}, {} bytes)", self.key(), self.0.len())
    }
}

impl ToSql<Binary, Pg> for Encrypted {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        ToSql::<Binary, Pg>::to_sql(&self.0, out)
    }
}

impl FromSql<Binary, Pg> for Encrypted {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<Binary, Pg>>::from_sql(value)?;
        Ok(Self::try_from(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: Column = Column("auth.users.name");
    const EMAIL: Column = Column("auth.users.email");
    const ONE: KeyNumber = KeyNumber(1);
    const TWO: KeyNumber = KeyNumber(2);

    /// Key bytes that are told apart by `seed`.
    fn key(seed: u8) -> String {
        let bytes: Vec<u8> = (0..32).map(|index: u8| index.wrapping_mul(7) ^ seed).collect();
        STANDARD.encode(bytes)
    }

    fn keys(encryption: &[(u16, u8)]) -> FieldKeys {
        let pairs = encryption
            .iter()
            .map(|(number, seed)| format!("{number}:{}", key(*seed)));
        FieldKeys::parse(&pairs.collect::<Vec<_>>().join(","), &format!("1:{}", key(200))).unwrap()
    }

    fn row(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    proptest! {
        #[test]
        fn what_was_encrypted_is_read_again_in_its_place_and_nowhere_else(
            text in ".{0,200}", this in any::<u128>(), other in any::<u128>()
        ) {
            prop_assume!(this != other);
            let keys = keys(&[(1, 1), (2, 2)]);
            let value = keys.encrypt(ONE, NAME, row(this), &text).unwrap();
            prop_assert_eq!(keys.decrypt(NAME, row(this), &value), Ok(text.clone()));
            prop_assert_eq!(
                keys.decrypt(NAME, row(other), &value),
                Err(FieldError::NotAuthentic(NAME.0, row(other)))
            );
            prop_assert!(keys.decrypt(EMAIL, row(this), &value).is_err());
            prop_assert_eq!(value.as_ref().len(), text.len() + OVERHEAD_BYTES);
            prop_assert_eq!(Encrypted::try_from(value.as_ref().to_vec()), Ok(value));
        }

        #[test]
        fn a_value_that_was_changed_anywhere_is_refused(
            text in ".{0,50}", at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let keys = keys(&[(1, 1), (2, 2)]);
            let value = keys.encrypt(ONE, NAME, row(1), &text).unwrap();
            let mut bytes = value.as_ref().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let read = Encrypted::try_from(bytes).and_then(|value| keys.decrypt(NAME, row(1), &value));
            prop_assert!(read.is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = Encrypted::try_from(bytes) {
                prop_assert!(keys(&[(1, 1)]).decrypt(NAME, row(1), &value).is_err());
            }
        }

        #[test]
        fn equal_texts_and_only_they_have_the_same_index(one in ".{0,40}", other in ".{0,40}") {
            let keys = keys(&[(1, 1)]);
            let index = |text: &str| keys.blind_index(ONE, EMAIL, text).unwrap();
            prop_assert_eq!(index(&one) == index(&other), one == other);
            prop_assert_ne!(index(&one), keys.blind_index(ONE, NAME, &one).unwrap());
            prop_assert_eq!(index(&one).len(), 32);
        }

        #[test]
        fn any_text_for_keys_is_read_without_a_panic(text in ".{0,120}") {
            prop_assert!(FieldKeys::parse(&text, "1:x").is_err());
        }
    }

    #[test]
    fn the_same_text_is_never_encrypted_to_the_same_value() {
        let keys = keys(&[(1, 1)]);
        let encrypt = || keys.encrypt(ONE, NAME, row(1), "Ada").unwrap();
        assert_ne!(encrypt(), encrypt());
    }

    #[test]
    fn each_key_reads_its_own_values_and_no_others() {
        let (old, both) = (keys(&[(1, 1)]), keys(&[(2, 2), (1, 1)]));
        let value = old.encrypt(ONE, NAME, row(1), "Ada").unwrap();
        assert_eq!(value.key(), ONE);
        assert!(value.as_ref().starts_with(&ONE.header()));
        assert_eq!(both.decrypt(NAME, row(1), &value).unwrap(), "Ada");
        let new = keys(&[(2, 2)]);
        assert_eq!(
            new.decrypt(NAME, row(1), &value),
            Err(FieldError::UnknownKey(ONE))
        );
        assert_eq!(
            old.encrypt(TWO, NAME, row(1), "Ada"),
            Err(FieldError::UnknownKey(TWO))
        );
        let another = keys(&[(1, 3)]);
        assert_eq!(
            another.decrypt(NAME, row(1), &value),
            Err(FieldError::NotAuthentic(NAME.0, row(1)))
        );
    }

    #[test]
    fn a_text_has_a_greatest_length() {
        let keys = keys(&[(1, 1)]);
        let encrypt = |length| keys.encrypt(ONE, NAME, row(1), &"x".repeat(length));
        assert_eq!(encrypt(MAX_TEXT_BYTES + 1), Err(FieldError::TooLong));
        let longest = encrypt(MAX_TEXT_BYTES).unwrap();
        assert_eq!(
            Encrypted::try_from(longest.as_ref().to_vec()).as_ref(),
            Ok(&longest)
        );
    }

    #[test]
    fn wrong_keys_are_told_without_being_shown() {
        let good = format!("1:{}", key(1));
        for (encryption, blind_index, why) in [
            ("".to_owned(), good.clone(), "FIELD_KEYS is not a list"),
            (key(1), good.clone(), "FIELD_KEYS is not a list"),
            (format!("0:{}", key(1)), good.clone(), "FIELD_KEYS is not a list"),
            (
                format!("65536:{}", key(1)),
                good.clone(),
                "FIELD_KEYS is not a list",
            ),
            (
                "1:hunter2hunter2".to_owned(),
                good.clone(),
                "FIELD_KEYS is not a list",
            ),
            (
                format!("1:{}", STANDARD.encode([9; 31])),
                good.clone(),
                "FIELD_KEYS is not a list",
            ),
            (
                format!("1:{}", STANDARD.encode([9; 32])),
                good.clone(),
                "FIELD_KEYS has a key that is not random",
            ),
            (
                format!("1:{},1:{}", key(2), key(3)),
                good.clone(),
                "FIELD_KEYS has a number twice",
            ),
            (
                format!("1:{},2:{}", key(2), key(2)),
                good.clone(),
                "FIELD_KEYS has a key twice",
            ),
            (
                (1..6)
                    .map(|number| format!("{number}:{}", key(number)))
                    .collect::<Vec<_>>()
                    .join(","),
                good.clone(),
                "FIELD_KEYS has more than four",
            ),
            (
                good.clone(),
                format!("2:{}", key(1)),
                "BLIND_INDEX_KEYS has a key that is in FIELD_KEYS too",
            ),
            (good.clone(), format!("{good},"), "BLIND_INDEX_KEYS is not a list"),
        ] {
            let error = FieldKeys::parse(&encryption, &blind_index)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(why), "{why}: {error}");
            assert!(!error.contains("hunter2") && !error.contains(&key(1)), "{error}");
        }
    }

    #[test]
    fn neither_keys_nor_values_are_shown() {
        let keys = keys(&[(1, 1)]);
        let value = keys.encrypt(ONE, NAME, row(1), "Ada").unwrap();
        assert_eq!(format!("{value:?}"), "Encrypted(key 1, 34 bytes)");
        assert_eq!(
            format!("{keys:?}"),
            "FieldKeys { encryption: [KeyNumber(1)], blind_index: [KeyNumber(1)], .. }"
        );
    }
}
