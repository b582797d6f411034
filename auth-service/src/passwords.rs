//! Passwords: what may be one, and how one is checked.
//!
//! Any characters, 8 to 256 of them, normalised (NFKC) so that two keyboards write the same password; no rules of
//! composition and no forced change, after NIST SP 800-63B. What could be guessed is refused by an estimate of its strength
//! instead, which knows common passwords, names, keyboard walks, dates, and the user's own e-mail and name.

pub mod authentication;
pub mod handlers;
pub mod hashing;
pub mod reset;

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use shared::ApiError;
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;
use zxcvbn::Score;

const MIN_CHARACTERS: usize = 8;
const MAX_CHARACTERS: usize = 256;
/// The estimate looks at the beginning only: its effort grows with the square of the length, and 64 cost as much as a hash.
const ESTIMATED_CHARACTERS: usize = 64;

/// A password, of at most 256 characters. To be set it needs 8, and not to be easy to guess.
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

    /// `ada.lovelace@example.com` gives `ada`, `lovelace`, `adalovelace`, `example`, …
    fn words(&self) -> Vec<String> {
        let is_separator = |character: char| !character.is_alphanumeric();
        let texts = self.email.split('@').chain([self.name.as_str()]);
        let words = texts.flat_map(|text| {
            text.split(is_separator)
                .map(str::to_owned)
                .chain([text.replace(is_separator, "")])
        });
        words.filter(|word| word.chars().count() > 2).collect()
    }
}

/// Why `password` must not be set; `None` when it may. Takes milliseconds, so it runs where passwords are hashed.
fn weakness(password: &Password, about: &About) -> Option<String> {
    let password = password.expose();
    if password.chars().count() < MIN_CHARACTERS {
        return Some(format!(
            "The password needs at least {MIN_CHARACTERS} characters."
        ));
    }
    if password.to_lowercase().contains(&about.email) {
        return Some("The password must not contain the e-mail address.".to_owned());
    }
    let words = about.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let beginning: String = password.chars().take(ESTIMATED_CHARACTERS).collect();
    let estimate = zxcvbn::zxcvbn(&beginning, &words);
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
        weakness(&Password::parse(text).unwrap(), &about)
    }

    #[test]
    fn what_could_be_guessed_is_refused_with_advice() {
        for bad in [
            "a",
            "short7!",
            "password",
            "Password1!",
            "12345678901234567890",
            "qwertyuiopasdf",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "adalovelace1",
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
            "kX9$vbq2Lz",
            "дождь стучит по крыше",
            &long,
        ] {
            assert_eq!(weakness_of(good), None, "{good}");
        }
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
