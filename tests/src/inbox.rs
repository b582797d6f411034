//! What the platform would have sent: the files that auth-service writes in place of mail and text messages.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::eventually;
use crate::postgres::server_user;
use crate::secrets::random_text;

/// The directory of the files; that of a test is removed with it.
pub struct Inbox {
    directory: PathBuf,
    throwaway: bool,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if self.throwaway {
            // An error means that nothing was ever written there.
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Mail {
    pub kind: String,
    pub recipient: String,
    /// All of it, headers too.
    pub text: String,
}

impl Inbox {
    /// One that stays as long as the cluster in whose directory it is, and is removed with it by the same user.
    pub fn kept_in(directory: PathBuf) -> anyhow::Result<Self> {
        server_user::private_directory(&directory)?;
        Ok(Self {
            directory,
            throwaway: false,
        })
    }

    pub fn throwaway() -> anyhow::Result<Self> {
        let name = format!("flowlet-messages-{}", random_text()?);
        Ok(Self {
            directory: std::env::temp_dir().join(name),
            throwaway: true,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every message, oldest first.
    pub fn all(&self) -> Vec<Mail> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files.iter().filter_map(|file| read(file)).collect()
    }

    /// Every message of a kind to somebody.
    pub fn of(&self, recipient: &str, kind: &str) -> Vec<Mail> {
        let mut all = self.all();
        all.retain(|mail| mail.recipient == recipient && mail.kind == kind);
        all
    }

    /// The latest of at least so many messages of a kind to somebody, when they have come.
    pub async fn wait_for(&self, recipient: &str, kind: &str, count: usize) -> Mail {
        let what = format!("{count} of {kind} to {recipient}");
        eventually(&what, async || {
            let mails = self.of(recipient, kind);
            (mails.len() >= count).then(|| mails.last().cloned())?
        })
        .await
    }
}

fn read(file: &Path) -> Option<Mail> {
    let name = file.file_stem()?.to_str()?;
    if name.starts_with('.') {
        return None;
    }
    // A uuid of 36 characters, and a kind.
    let kind = name.get(37..)?.to_owned();
    let text = fs::read_to_string(file).ok()?;
    let recipient = text
        .lines()
        .find_map(|line| line.strip_prefix("To: "))?
        .to_owned();
    Some(Mail {
        kind,
        recipient,
        text,
    })
}

impl Mail {
    /// The token of its link.
    pub fn token(&self) -> String {
        let (_, rest) = self.text.split_once("?token=").unwrap_or_default();
        let is_part = |character: &char| character.is_ascii_alphanumeric() || "_-".contains(*character);
        rest.chars().take_while(is_part).collect()
    }

    /// Where its link leads, token and all.
    pub fn link(&self) -> &str {
        let mut words = self.text.split_whitespace();
        words.find(|word| word.contains("?token=")).unwrap_or_default()
    }

    /// Its code: the first word that is nothing but six digits.
    pub fn code(&self) -> String {
        let mut words = self.text.split(|one: char| !one.is_ascii_alphanumeric());
        let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
        let code = words.find(is_code);
        code.unwrap_or_else(|| panic!("no code in {}", self.text))
            .to_owned()
    }
}
