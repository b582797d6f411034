//! Configuration from the environment, typed, read once, and checked as a whole: a wrong start names every variable
//! that is missing or wrong, not just the first.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use secrecy::SecretString;

/// The shortest secret that is accepted: 256 bits written in hexadecimal are 64 characters, in base64 43.
const MIN_SECRET_LENGTH: usize = 32;

/// The variables of this process, and what was found wrong with them.
#[derive(Debug, Default)]
pub struct Env {
    variables: HashMap<String, String>,
    problems: Vec<String>,
}

impl Env {
    /// Reads the environment of the process. A variable that is set but empty counts as absent. Of each `NAME_FILE` the
    /// file's content becomes the value of `NAME`, which is how Kubernetes and Docker mount secrets.
    pub fn from_process() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut env = Self::default();
        for (name, value) in pairs {
            let value = value.into();
            if !value.is_empty() {
                env.variables.insert(name.into(), value);
            }
        }
        env
    }

    pub fn required<T: FromStr<Err: Display> + Default>(&mut self, name: &'static str) -> T {
        match self.value(name) {
            Some(text) => self.parse(name, &text).unwrap_or_default(),
            None => {
                self.problems.push(format!("{name} is not set"));
                T::default()
            }
        }
    }

    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.value(name)?;
        self.parse(name, &text)
    }

    pub fn or<T: FromStr<Err: Display>>(&mut self, name: &'static str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// A connection URL with a password in it.
    pub fn secret_url(&mut self, name: &'static str) -> SecretString {
        SecretString::from(self.required::<String>(name))
    }

    /// A secret such as a key, never shorter than 32 characters.
    pub fn secret(&mut self, name: &'static str) -> SecretString {
        let text = self.required::<String>(name);
        if !text.is_empty() && text.len() < MIN_SECRET_LENGTH {
            self.problems
                .push(format!("{name} is shorter than {MIN_SECRET_LENGTH} characters"));
        }
        SecretString::from(text)
    }

    /// One or two secrets, separated by a comma: the first signs, both are accepted, so that one can be replaced.
    pub fn secrets(&mut self, name: &'static str) -> Vec<SecretString> {
        let text = self.required::<String>(name);
        let parts: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        if parts.len() > 2 {
            self.problems.push(format!("{name} has more than two secrets"));
        }
        if parts.iter().any(|part| part.len() < MIN_SECRET_LENGTH) {
            self.problems.push(format!(
                "{name} has a secret shorter than {MIN_SECRET_LENGTH} characters"
            ));
        }
        parts.into_iter().map(SecretString::from).collect()
    }

    /// Says that a value is wrong in a way only its user can tell.
    pub fn refuse(&mut self, name: &'static str, why: impl Display) {
        self.problems.push(format!("{name} {why}"));
    }

    /// The configuration that was read, or every problem that was found.
    pub fn finish<T>(self, config: T) -> anyhow::Result<T> {
        anyhow::ensure!(
            self.problems.is_empty(),
            "wrong configuration:\n  {}",
            self.problems.join("\n  ")
        );
        Ok(config)
    }

    fn value(&mut self, name: &'static str) -> Option<String> {
        if let Some(text) = self.variables.get(name) {
            return Some(text.clone());
        }
        let path = self.variables.get(&format!("{name}_FILE"))?;
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end().to_owned()),
            Err(error) => {
                self.problems.push(format!("{name}_FILE cannot be read: {error}"));
                None
            }
        }
    }

    /// The text itself is never part of the message: it may be a secret.
    fn parse<T: FromStr<Err: Display>>(&mut self, name: &'static str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{name} cannot be read: {error}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_named_and_no_value_is_shown() {
        let mut env = Env::from_pairs([("PORT", "abc"), ("KEY", "hunter2"), ("EMPTY", "")]);
        env.required::<u16>("PORT");
        env.secret("KEY");
        env.required::<String>("EMPTY");
        env.secrets("ABSENT");
        let text = env.finish(()).unwrap_err().to_string();
        for name in [
            "PORT cannot be read",
            "KEY is shorter",
            "EMPTY is not set",
            "ABSENT is not set",
        ] {
            assert!(text.contains(name), "{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_mounted_file_is_read_like_a_variable() {
        let path = std::env::temp_dir().join(format!("flowlet-secret-{}", std::process::id()));
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        let mut env = Env::from_pairs([("KEY_FILE", path.to_string_lossy())]);
        let key = env.secret("KEY");
        std::fs::remove_file(&path).unwrap();
        env.finish(()).unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&key).len(), 32);
    }
}
