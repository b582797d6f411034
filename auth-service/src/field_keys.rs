//! The keys that protect personal data: what is written with which, and whether the configured ones are the right ones.
//!
//! `FIELD_KEYS` and `BLIND_INDEX_KEYS` say which keys there are; the table `field_keys` says which of them are in use. So every
//! replica changes to another key at the same moment, in whatever order they were restarted, and a key that something is
//! still encrypted with cannot be forgotten unnoticed. `rotation` moves everything to another key, and `plaintext` takes
//! away what versions from before field encryption have written.
//!
//! Deliberately absent: other personal data than in `COLUMNS`; the schema has none.

pub mod plaintext;
pub mod queries;
pub mod rotation;
mod walk;

use shared::FieldKeys;
use shared::field_key::{Column, Encrypted, FieldError, KeyNumber};
use uuid::Uuid;

pub const EMAIL: Column = Column("auth.users.email");
pub const NAME: Column = Column("auth.users.name");
pub const IP: Column = Column("auth.sessions.ip");
pub const USER_AGENT: Column = Column("auth.sessions.user_agent");
pub const DEVICE_ID: Column = Column("auth.sessions.device_id");
pub const USER_NAME: Column = Column("auth.users.user_name");
pub const PROFILE: Column = Column("auth.users.profile");
pub const API_KEY_NAME: Column = Column("auth.api_keys.name");
const CHECK_VALUE: Column = Column("auth.field_keys.check_value");

/// Where personal data are: the columns of versions from before field encryption, where there were any, and those that
/// replace them.
struct PersonalColumn {
    place: Column,
    table: &'static str,
    plaintext: Option<&'static str>,
    encrypted: &'static str,
}

const COLUMNS: [PersonalColumn; 8] = [
    PersonalColumn {
        place: EMAIL,
        table: "users",
        plaintext: Some("email"),
        encrypted: "email_encrypted",
    },
    PersonalColumn {
        place: NAME,
        table: "users",
        plaintext: Some("name"),
        encrypted: "name_encrypted",
    },
    PersonalColumn {
        place: IP,
        table: "sessions",
        plaintext: Some("ip"),
        encrypted: "ip_encrypted",
    },
    PersonalColumn {
        place: USER_AGENT,
        table: "sessions",
        plaintext: Some("user_agent"),
        encrypted: "user_agent_encrypted",
    },
    PersonalColumn {
        place: DEVICE_ID,
        table: "sessions",
        plaintext: None,
        encrypted: "device_id_encrypted",
    },
    PersonalColumn {
        place: USER_NAME,
        table: "users",
        plaintext: None,
        encrypted: "user_name_encrypted",
    },
    PersonalColumn {
        place: PROFILE,
        table: "users",
        plaintext: None,
        encrypted: "profile_encrypted",
    },
    PersonalColumn {
        place: API_KEY_NAME,
        table: "api_keys",
        plaintext: None,
        encrypted: "name_encrypted",
    },
];

const PLAINTEXT: &str = "plaintext";
const ENCRYPTION: &str = "encryption";
const BLIND_INDEX: &str = "blind_index";

const FILLING: &str = "filling";
const ACTIVE: &str = "active";
const RETIRING: &str = "retiring";
const RETIRED: &str = "retired";

/// What the database knows about a key: see the comments on `field_keys`.
#[derive(Debug)]
pub struct KnownKey {
    purpose: String,
    number: i32,
    status: String,
    check_value: Option<Vec<u8>>,
}

/// Why the configured keys are not those of the database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    #[error(
        "{0} has no key with the number {1}, which personal data in the database need. Add it; to do without it, \
         run `auth-service rotate-field-keys` first"
    )]
    Missing(&'static str, i32),
    #[error("{0} has another key with the number {1} than the one that the database was written with")]
    Different(&'static str, i32),
    #[error("no key is in use yet")]
    NoneInUse,
}

/// Whether these keys can read everything and write what is to be written.
fn verify(keys: &FieldKeys, known: &[KnownKey]) -> Result<(), KeyProblem> {
    for key in known {
        let is_needed = match (key.purpose.as_str(), key.status.as_str()) {
            (ENCRYPTION, status) => [ACTIVE, RETIRING].contains(&status),
            (BLIND_INDEX, status) => [ACTIVE, FILLING].contains(&status),
            _ => continue,
        };
        let variable = variable_of(&key.purpose);
        match is_right(keys, key) {
            Some(true) => {}
            Some(false) => return Err(KeyProblem::Different(variable, key.number)),
            None if is_needed => return Err(KeyProblem::Missing(variable, key.number)),
            None => {}
        }
    }
    let in_use = |purpose| active_number(known, purpose).is_some();
    if in_use(ENCRYPTION) && in_use(BLIND_INDEX) {
        Ok(())
    } else {
        Err(KeyProblem::NoneInUse)
    }
}

fn variable_of(purpose: &str) -> &'static str {
    match purpose {
        ENCRYPTION => "FIELD_KEYS",
        _ => "BLIND_INDEX_KEYS",
    }
}

/// Whether the key that is configured under this number is the known one; `None` when there is none.
fn is_right(keys: &FieldKeys, known: &KnownKey) -> Option<bool> {
    let number = KeyNumber::try_from(known.number).ok()?;
    let value = known.check_value.clone()?;
    let outcome = match known.purpose.as_str() {
        ENCRYPTION => Encrypted::try_from(value)
            .and_then(|value| keys.decrypt(CHECK_VALUE, Uuid::nil(), &value))
            .map(|_| true),
        _ => keys
            .blind_index(number, CHECK_VALUE, "")
            .map(|expected| expected == value),
    };
    match outcome {
        Err(FieldError::UnknownKey(_)) => None,
        outcome => Some(outcome == Ok(true)),
    }
}

/// Something that only this key makes.
fn check_value(keys: &FieldKeys, purpose: &str, number: KeyNumber) -> Result<Vec<u8>, FieldError> {
    match purpose {
        ENCRYPTION => {
            let value = keys.encrypt(number, CHECK_VALUE, Uuid::nil(), "")?;
            Ok(value.as_ref().to_vec())
        }
        _ => keys.blind_index(number, CHECK_VALUE, ""),
    }
}

fn active_number(known: &[KnownKey], purpose: &str) -> Option<i32> {
    let mut active = known
        .iter()
        .filter(|key| key.purpose == purpose && key.status == ACTIVE);
    active.next().map(|key| key.number)
}

/// What a transaction that writes personal data writes, until it ends.
pub struct Protection<'k> {
    keys: &'k FieldKeys,
    encryption: KeyNumber,
    /// The keys under which each e-mail is indexed.
    blind_index: Vec<KeyNumber>,
    /// Whether plaintext is written too, for a version from before field encryption that may be running.
    writes_plaintext: bool,
    /// Whether there may be rows that only such a version has written.
    pub reads_plaintext: bool,
}

impl<'k> Protection<'k> {
    fn new(keys: &'k FieldKeys, known: &[KnownKey]) -> Result<Self, KeyProblem> {
        let number = |number: i32| KeyNumber::try_from(number).map_err(|_| KeyProblem::NoneInUse);
        let indexed = known
            .iter()
            .filter(|key| key.purpose == BLIND_INDEX && [ACTIVE, FILLING].contains(&key.status.as_str()));
        let plaintext = known.iter().find(|key| key.purpose == PLAINTEXT);
        let plaintext = plaintext.map_or(RETIRED, |key| key.status.as_str());
        Ok(Self {
            keys,
            encryption: number(active_number(known, ENCRYPTION).ok_or(KeyProblem::NoneInUse)?)?,
            blind_index: indexed.map(|key| number(key.number)).collect::<Result<_, _>>()?,
            writes_plaintext: plaintext == ACTIVE,
            reads_plaintext: plaintext != RETIRED,
        })
    }

    pub fn encrypt(&self, column: Column, row: Uuid, text: &str) -> Result<Encrypted, FieldError> {
        self.keys.encrypt(self.encryption, column, row, text)
    }

    /// Whether a value is what would be written today.
    fn is_current(&self, value: &Encrypted) -> bool {
        value.key() == self.encryption
    }

    /// The text for the plaintext column, where that is still written.
    pub fn plaintext<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.writes_plaintext.then_some(text)
    }

    /// The number of each key under which an e-mail is to be found, and its index.
    pub fn email_indexes(&self, email: &str) -> Result<Vec<(KeyNumber, Vec<u8>)>, FieldError> {
        let index = |number: &KeyNumber| Ok((*number, self.keys.blind_index(*number, EMAIL, email)?));
        self.blind_index.iter().map(index).collect()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Keys with these numbers, told apart by a seed.
    fn keys(encryption: &[(u8, u8)], blind_index: &[(u8, u8)]) -> FieldKeys {
        let list = |keys: &[(u8, u8)], base: u8| {
            let key = |seed: u8| STANDARD.encode((0..32).map(|at: u8| at ^ seed ^ base).collect::<Vec<_>>());
            let pairs = keys
                .iter()
                .map(|(number, seed)| format!("{number}:{}", key(*seed)));
            pairs.collect::<Vec<_>>().join(",")
        };
        FieldKeys::parse(&list(encryption, 0), &list(blind_index, 128)).unwrap()
    }

    fn known(keys: &FieldKeys, purpose: &str, number: i32, status: &str) -> KnownKey {
        let value = |number| check_value(keys, purpose, KeyNumber::try_from(number).unwrap()).unwrap();
        KnownKey {
            purpose: purpose.to_owned(),
            number,
            status: status.to_owned(),
            check_value: (purpose != PLAINTEXT).then(|| value(number)),
        }
    }

    #[test]
    fn keys_are_right_when_they_read_and_write_everything() {
        let all = keys(&[(1, 1), (2, 2)], &[(1, 1), (2, 2)]);
        let rows = |encryption: &[(i32, &str)], blind_index: &[(i32, &str)]| -> Vec<KnownKey> {
            let one = encryption
                .iter()
                .map(|(number, status)| known(&all, ENCRYPTION, *number, status));
            let other = blind_index
                .iter()
                .map(|(number, status)| known(&all, BLIND_INDEX, *number, status));
            one.chain(other).collect()
        };
        let (old, new) = (keys(&[(1, 1)], &[(1, 1)]), keys(&[(2, 2)], &[(2, 2)]));
        let before = rows(&[(1, ACTIVE)], &[(1, ACTIVE)]);
        assert_eq!(verify(&old, &before), Ok(()));
        assert_eq!(verify(&all, &before), Ok(()));
        assert_eq!(verify(&new, &before), Err(KeyProblem::Missing("FIELD_KEYS", 1)));

        let during = rows(&[(1, RETIRING), (2, ACTIVE)], &[(1, ACTIVE), (2, FILLING)]);
        assert_eq!(verify(&all, &during), Ok(()));
        assert_eq!(verify(&old, &during), Err(KeyProblem::Missing("FIELD_KEYS", 2)));
        assert_eq!(verify(&new, &during), Err(KeyProblem::Missing("FIELD_KEYS", 1)));

        let after = rows(&[(1, RETIRED), (2, ACTIVE)], &[(1, RETIRED), (2, ACTIVE)]);
        assert_eq!(verify(&all, &after), Ok(()));
        assert_eq!(verify(&new, &after), Ok(()));
        assert_eq!(verify(&old, &after), Err(KeyProblem::Missing("FIELD_KEYS", 2)));

        let other = |encryption, blind_index| keys(&[(1, encryption)], &[(1, blind_index)]);
        assert_eq!(
            verify(&other(9, 1), &before),
            Err(KeyProblem::Different("FIELD_KEYS", 1))
        );
        assert_eq!(
            verify(&other(1, 9), &before),
            Err(KeyProblem::Different("BLIND_INDEX_KEYS", 1))
        );
        assert_eq!(verify(&old, &[]), Err(KeyProblem::NoneInUse));
    }

    #[test]
    fn the_database_says_what_is_written() {
        let keys = keys(&[(2, 2), (1, 1)], &[(2, 2), (1, 1)]);
        let mut rows = vec![
            known(&keys, PLAINTEXT, 0, ACTIVE),
            known(&keys, ENCRYPTION, 1, ACTIVE),
            known(&keys, BLIND_INDEX, 1, ACTIVE),
        ];
        let before = Protection::new(&keys, &rows).unwrap();
        let value = before.encrypt(NAME, Uuid::nil(), "Ada").unwrap();
        assert_eq!(i32::from(value.key()), 1);
        assert_eq!(before.email_indexes("ada@example.com").unwrap().len(), 1);
        assert_eq!(
            (before.plaintext("Ada"), before.reads_plaintext),
            (Some("Ada"), true)
        );

        rows[0].status = RETIRED.to_owned();
        rows[1].status = RETIRING.to_owned();
        rows.push(known(&keys, ENCRYPTION, 2, ACTIVE));
        rows.push(known(&keys, BLIND_INDEX, 2, FILLING));
        let after = Protection::new(&keys, &rows).unwrap();
        let value = after.encrypt(NAME, Uuid::nil(), "Ada").unwrap();
        assert_eq!(i32::from(value.key()), 2);
        assert_eq!(after.email_indexes("ada@example.com").unwrap().len(), 2);
        assert_eq!((after.plaintext("Ada"), after.reads_plaintext), (None, false));
    }
}
