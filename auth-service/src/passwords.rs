//! Passwords: what may be one, and how one is checked.
//!
//! Any characters, 15 to 256 of them unless the operator asks for another number, normalised (NFKC) so that two keyboards write
//! the same password; no rules of composition and no forced change, after NIST SP 800-63B-4. What could be guessed is refused
//! instead: what was stolen elsewhere and is on the operator's list, and, by an estimate of its strength, common passwords,
//! names, keyboard walks, dates, our name, and the user's own e-mail and name. One that gets onto the list later still logs in;
//! its user is told by mail to change it.

pub mod authentication;
pub mod breached;
pub mod foreign;
pub mod handlers;
pub mod hashing;
pub mod reset;

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use shared::ApiError;
use shared::config::Env;
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;
use zxcvbn::{Entropy, Score};

use breached::BreachedList;

/// Of a password that is the only proof.
const MIN_CHARACTERS: usize = 15;
/// Less is never enough, whatever the operator thinks.
const LEAST_MIN_CHARACTERS: usize = 8;
const MAX_CHARACTERS: usize = 256;
/// The estimate looks at the beginning only: its effort grows with the square of the length, and 64 cost as much as a hash.
const ESTIMATED_CHARACTERS: usize = 64;

/// A password, of at most 256 characters. To be set it needs 15, unless the operator has chosen another number, and not to be
/// easy to guess.
#[derive(Clone, Debug, ToSchema)]
#[schema(value_type = String, format = Password, max_length = 256, example = "three violet otters juggle")]
pub struct Password(SecretString);

impl Password {
    pub fn parse(text: &str) -> Option<Self> {
        // One more than allowed is enough to know, however long the text is.
        let length = text.chars().take(MAX_CHARACTERS + 1).count();
        (1..=MAX_CHARACTERS)
            .contains(&length)
            .then(|| Self(text.nfkc().collect::<String>().into()))
    }

    fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("expected a password of at most 256 characters"))
    }
}

/// A word that passwords should not be made of, whoever they are of.
const OUR_NAME: &str = "flowlet";

/// Who is going to have a password, in words that it should not be made of.
pub struct About {
    email: String,
    name: String,
}

impl About {
    pub fn new(email: &str, name: &str) -> Self {
        Self {
            email: email.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Our name; and `ada.lovelace@example.com` gives `ada`, `lovelace`, `adalovelace`, `example`, …
    fn words(&self) -> Vec<String> {
        let is_separator = |character: char| !character.is_alphanumeric();
        let texts = self.email.split('@').chain([self.name.as_str()]);
        let words = texts.flat_map(|text| {
            text.split(is_separator)
                .map(str::to_owned)
                .chain([text.replace(is_separator, "")])
        });
        words
            .filter(|word| word.chars().count() > 2)
            .chain([OUR_NAME.to_owned()])
            .collect()
    }
}

/// What passwords have to be.
#[derive(Debug)]
pub struct Rules {
    min_characters: usize,
    breached: Option<BreachedList>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            min_characters: MIN_CHARACTERS,
            breached: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct RulesConfig {
    min_characters: usize,
    breached: Option<PathBuf>,
}

impl RulesConfig {
    pub fn from_env(env: &mut Env) -> Self {
        let min_characters = env.or("PASSWORD_MIN_LENGTH", MIN_CHARACTERS);
        if !(LEAST_MIN_CHARACTERS..=MAX_CHARACTERS / 4).contains(&min_characters) {
            env.refuse("PASSWORD_MIN_LENGTH", "is not between 8 and 64");
        }
        Self {
            min_characters,
            breached: env.optional("BREACHED_PASSWORDS"),
        }
    }
}

impl Rules {
    pub fn new(config: &RulesConfig) -> anyhow::Result<Self> {
        Ok(Self {
            min_characters: config.min_characters,
            breached: config.breached.as_deref().map(BreachedList::open).transpose()?,
        })
    }

    /// Whether it was stolen somewhere. A list that cannot be read stops nobody: the estimate is there besides.
    fn is_breached(&self, password: &Password) -> bool {
        let Some(list) = &self.breached else { return false };
        list.contains(password.expose()).unwrap_or_else(|error| {
            tracing::error!(
                error = format!("{error:#}"),
                "the list of breached passwords cannot be read"
            );
            false
        })
    }

    /// Whether it is among the first that anybody tries.
    fn is_common(password: &Password) -> bool {
        estimate(password.expose(), &[]).score() == Score::Zero
    }

    /// Why `password` must not be set; `None` when it may. Takes milliseconds, so it runs where passwords are hashed.
    fn weakness(&self, password: &Password, about: &About) -> Option<String> {
        let length = password.expose().chars().count();
        if length < self.min_characters {
            let least = self.min_characters;
            return Some(format!("The password needs at least {least} characters."));
        }
        if self.is_breached(password) {
            let advice =
                "The password is on a list of stolen ones, which are tried first. Choose another one.";
            return Some(advice.to_owned());
        }
        guessable(password, about)
    }
}

fn estimate(password: &str, words: &[&str]) -> Entropy {
    let beginning: String = password.chars().take(ESTIMATED_CHARACTERS).collect();
    zxcvbn::zxcvbn(&beginning, words)
}

/// Why a password is easy to guess, if it is.
fn guessable(password: &Password, about: &About) -> Option<String> {
    let password = password.expose();
    if password.to_lowercase().contains(&about.email) {
        return Some("The password must not contain the e-mail address.".to_owned());
    }
    let words = about.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let estimate = estimate(password, &words);
    if estimate.score() >= Score::Three {
        return None;
    }
    let advice = estimate.feedback().map(|feedback| {
        let warning = feedback.warning().map(|warning| warning.to_string());
        let suggestions = feedback.suggestions().iter().map(ToString::to_string);
        warning
            .into_iter()
            .chain(suggestions)
            .collect::<Vec<_>>()
            .join(" ")
    });
    Some(
        format!(
            "The password is too easy to guess. {}",
            advice.unwrap_or_default()
        )
        .trim_end()
        .to_owned(),
    )
}

/// 422 with advice.
fn weak_password(advice: String) -> ApiError {
    ApiError::unprocessable("weak_password", advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weakness_of(text: &str) -> Option<String> {
        let about = About::new("ada.lovelace@example.com", "Ada Lovelace");
        Rules::default().weakness(&Password::parse(text).unwrap(), &about)
    }

    #[test]
    fn what_could_be_guessed_is_refused_with_advice() {
        for bad in [
            "a",
            "short7!",
            "password",
            "Password1!",
            "12345678901234567890",
            "qwertyuiopasdfgh",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "adalovelace1234",
            "flowlet12345678",
            "kX9$vbq2Lz-7Rw",
            "ADA.lovelace@example.com and more words",
        ] {
            let advice = weakness_of(bad).unwrap_or_else(|| panic!("{bad} passed"));
            assert!(advice.len() > 20, "{bad}: {advice}");
        }
    }

    #[test]
    fn a_long_or_random_password_of_any_characters_may_be_set() {
        let long = "Öl-Pferd über 7 Brücken 雨 ".repeat(9);
        for good in [
            "three violet otters juggle",
            "kX9$vbq2Lz-7Rw4",
            "дождь стучит по крыше",
            &long,
        ] {
            assert_eq!(weakness_of(good), None, "{good}");
        }
    }

    #[test]
    fn the_operator_may_ask_for_less_or_more_within_bounds() {
        let rules = |least: &str| {
            let mut env = Env::from_pairs([("PASSWORD_MIN_LENGTH", least)]);
            let config = RulesConfig::from_env(&mut env);
            env.finish(config).map(|config| Rules::new(&config).unwrap())
        };
        let about = About::new("ada@example.com", "Ada");
        let refused = |least, text| {
            let password = Password::parse(text).unwrap();
            rules(least).unwrap().weakness(&password, &about).is_some()
        };
        assert!(!refused("8", "kX9$vbq2Lz") && refused("11", "kX9$vbq2Lz"));
        assert!(rules("7").is_err() && rules("65").is_err());
    }

    #[test]
    fn a_common_password_is_told_from_a_weak_one_of_ones_own() {
        let is_common = |text| Rules::is_common(&Password::parse(text).unwrap());
        assert!(is_common("password") && is_common("qwertyuiop"));
        assert!(!is_common("three violet otters juggle") && !is_common("kX9$vbq2Lz"));
    }

    #[test]
    fn length_is_bounded_in_characters() {
        assert!(Password::parse(&"é".repeat(256)).is_some());
        assert!(Password::parse(&"é".repeat(257)).is_none());
        assert!(Password::parse("").is_none());
    }

    #[test]
    fn two_ways_to_type_it_are_one_password() {
        let (composed, decomposed) = (Password::parse("caf\u{e9}"), Password::parse("cafe\u{301}"));
        assert_eq!(composed.unwrap().expose(), decomposed.unwrap().expose());
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Password::parse("hunter2hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
