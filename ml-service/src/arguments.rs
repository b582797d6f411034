//! What the offline commands are told: `--name value` and `--flag`, nothing else, and nothing twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use shared::clients::ml::SERVICE;

pub struct Arguments {
    given: BTreeMap<String, Option<String>>,
    /// What could be given, for whoever did not.
    usage: &'static str,
}

/// What stands behind the command on the command line of this process. A program that is every service names this one there.
pub fn after_command() -> impl Iterator<Item = String> {
    let mut words = std::env::args().skip(2).peekable();
    words.next_if(|word| word == SERVICE);
    words
}

impl Arguments {
    /// Of this process.
    pub fn of_process(usage: &'static str) -> anyhow::Result<Self> {
        Self::parse(after_command(), usage)
    }

    pub fn parse(words: impl Iterator<Item = String>, usage: &'static str) -> anyhow::Result<Self> {
        let mut words = words.peekable();
        let mut given = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
                bail!("{word:?} is no option; known are {usage}");
            };
            let value = words.next_if(|next| !next.starts_with("--"));
            ensure!(
                given.insert(name.to_owned(), value).is_none(),
                "--{name} is there twice"
            );
        }
        Ok(Self { given, usage })
    }

    pub fn flag(&mut self, name: &str) -> anyhow::Result<bool> {
        match self.given.remove(name) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => bail!("--{name} takes no value, and has {value:?}"),
        }
    }

    pub fn optional<T: FromStr>(&mut self, name: &str) -> anyhow::Result<Option<T>> {
        match self.given.remove(name) {
            None => Ok(None),
            Some(None) => bail!("--{name} needs a value"),
            Some(Some(value)) => {
                let parsed = value
                    .parse()
                    .ok()
                    .with_context(|| format!("--{name} cannot be {value:?}"))?;
                Ok(Some(parsed))
            }
        }
    }

    pub fn required<T: FromStr>(&mut self, name: &str) -> anyhow::Result<T> {
        self.optional(name)?
            .with_context(|| format!("--{name} is missing in {}", self.usage))
    }

    pub fn path(&mut self, name: &str) -> anyhow::Result<PathBuf> {
        self.required(name)
    }

    /// What is left was not asked for: somebody would wonder why it does nothing.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.given.keys().next() {
            Some(name) => bail!("--{name} is not known, only {}", self.usage),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> anyhow::Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned), "--data FILE")
    }

    #[test]
    fn options_have_values_and_flags_have_none() {
        let mut given = arguments("--data a.csv --json --seed 7").unwrap();
        assert_eq!(given.path("data").unwrap(), PathBuf::from("a.csv"));
        assert!(given.flag("json").unwrap() && !given.flag("quiet").unwrap());
        assert_eq!(given.required::<u64>("seed").unwrap(), 7);
        assert_eq!(given.optional::<u64>("trees").unwrap(), None);
        given.finish().unwrap();
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(arguments("data").is_err() && arguments("--a 1 --a 2").is_err());
        assert!(arguments("--seed x").unwrap().required::<u64>("seed").is_err());
        assert!(arguments("--json yes").unwrap().flag("json").is_err());
        assert!(arguments("").unwrap().path("data").is_err());
        assert!(arguments("--typo 1").unwrap().finish().is_err());
    }
}
