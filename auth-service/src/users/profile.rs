//! What users tell of themselves besides e-mail and name, and how they change it.
//!
//! A change is a JSON Merge Patch (RFC 7396): what is absent stays, what is null is removed. It is applied to the profile under the
//! lock of the user's row, so two changes at once both take effect.

pub mod handlers;
pub mod queries;

use chrono::NaiveDate;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use shared::ApiError;
use shared::field_key::FieldError;
use utoipa::ToSchema;

use super::{Email, Name};

const MAX_METADATA_BYTES: usize = 2048;

/// What a user tells of themselves. Nothing of it is checked with anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<Line<100>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Line<100>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<Line<32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mobile: Option<Line<32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub bio: Option<Bio>,
    /// Of birth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dob: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<Gender>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_email: Option<Email>,
    /// What another system calls the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<Line<100>>,
    /// A language tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<Line<35>>,
    /// A time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmz: Option<Line<64>>,
    /// Where a picture of the user is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Line<1024>>,
    /// A JSON object of at most 2 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
}

/// Up to `MAX` characters on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = String)]
pub struct Line<const MAX: usize>(String);

impl<const MAX: usize> Line<MAX> {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Line<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("expected 1 to {MAX} characters on one line")))
    }
}

/// Up to 500 characters on as many lines as they need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = String)]
pub struct Bio(String);

impl<'de> Deserialize<'de> for Bio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let is_shown = |character: char| character == '\n' || !character.is_control();
        if (1..=500).contains(&text.chars().count()) && text.chars().all(is_shown) {
            return Ok(Self(text.into_owned()));
        }
        Err(D::Error::custom("expected 1 to 500 characters"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gender {
    M,
    F,
    X,
}

/// Whatever a program wants to keep with its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata(Map<String, Value>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(deserializer)?;
        let length = serde_json::to_string(&members).map_err(D::Error::custom)?.len();
        if length > MAX_METADATA_BYTES {
            let problem = format!("expected at most {MAX_METADATA_BYTES} bytes of JSON");
            return Err(D::Error::custom(problem));
        }
        Ok(Self(members))
    }
}

/// What a user can log in with instead of the e-mail: 3 to 32 letters, digits, `.`, `_` and `-`, in lower case, the first a
/// letter.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, min_length = 3, max_length = 32, example = "ada.lovelace")]
pub struct UserName(String);

impl UserName {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let well_formed = (3..=32).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        well_formed.then(|| Self(text.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom("expected 3 to 32 of the characters a-z 0-9 . _ -, the first a letter")
        })
    }
}

impl Profile {
    pub fn from_text(text: &str) -> Result<Self, FieldError> {
        serde_json::from_str(text).map_err(|_| FieldError::Malformed)
    }

    pub fn to_text(&self) -> Result<String, ApiError> {
        serde_json::to_string(self).map_err(ApiError::internal)
    }

    /// This profile with some of its members changed; the first that cannot be is named in a 400.
    fn merged(&self, change: &Map<String, Value>) -> Result<Self, ApiError> {
        let Value::Object(mut members) = serde_json::to_value(self).map_err(ApiError::internal)? else {
            return Ok(Self::default());
        };
        let mut profile = self.clone();
        for (name, value) in change {
            members.insert(name.clone(), value.clone());
            profile = Self::deserialize(&members).map_err(|error| invalid(name, &error))?;
        }
        Ok(profile)
    }
}

fn invalid(member: &str, problem: &serde_json::Error) -> ApiError {
    let pointer = format!("/{}", member.replace('~', "~0").replace('/', "~1"));
    ApiError::invalid("invalid_body", pointer, problem.to_string())
}

/// What is to become different about a user.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub email: Option<Email>,
    pub name: Option<Name>,
    /// Some of nothing takes it away.
    pub user_name: Option<Option<UserName>>,
    /// Members of the profile.
    profile: Map<String, Value>,
}

impl Change {
    /// Of a body that says what is to be different; `email` and `name` cannot be taken away.
    pub fn parse(mut body: Map<String, Value>) -> Result<Self, ApiError> {
        let change = Self {
            email: take(&mut body, "email")?,
            name: take(&mut body, "name")?,
            user_name: take(&mut body, "user_name")?,
            profile: body,
        };
        // What is wrong whatever the profile is, is told before anything is locked.
        Profile::default().merged(&change.profile)?;
        Ok(change)
    }

    pub fn is_empty(&self) -> bool {
        self.email.is_none() && self.name.is_none() && self.user_name.is_none() && self.profile.is_empty()
    }

    /// Whether it decides who the user is, rather than what is told about them.
    pub fn is_critical(&self) -> bool {
        self.email.is_some()
    }
}

/// A member that is no part of the profile.
fn take<T: for<'de> Deserialize<'de>>(
    body: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, ApiError> {
    let value = body.remove(name).map(T::deserialize).transpose();
    value.map_err(|error| invalid(name, &error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_absent_stays_and_what_is_null_is_removed() {
        let before: Profile = serde_json::from_value(json!({ "phone": "+49 30 1", "bio": "a\nb" })).unwrap();
        let after = before.merged(&members(json!({ "phone": null, "dob": "1815-12-10" })));
        assert_eq!(
            serde_json::to_value(after.unwrap()).unwrap(),
            json!({ "bio": "a\nb", "dob": "1815-12-10" })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, pointer) in [
            (json!({ "dob": "1815-13-10" }), "/dob"),
            (json!({ "gender": "q" }), "/gender"),
            (json!({ "lang": "de", "bio": "x".repeat(501) }), "/bio"),
            (json!({ "phone": "1\n2" }), "/phone"),
            (json!({ "metadata": [] }), "/metadata"),
            (json!({ "metadata": { "a": "x".repeat(2048) } }), "/metadata"),
            (json!({ "roles": ["admin"] }), "/roles"),
            (json!({ "email": null }), "/email"),
            (json!({ "email": "ada" }), "/email"),
            (json!({ "user_name": "1ada" }), "/user_name"),
        ] {
            let problem = Change::parse(members(body.clone())).unwrap_err().problem();
            assert_eq!(problem.errors[0].pointer, pointer, "{body}");
        }
    }

    #[test]
    fn a_user_name_can_be_taken_away_and_has_one_written_form() {
        let user_name = |value: Value| {
            Change::parse(members(json!({ "user_name": value })))
                .unwrap()
                .user_name
        };
        assert_eq!(user_name(Value::Null), Some(None));
        assert_eq!(user_name(json!("Ada.L")).unwrap().unwrap().as_str(), "ada.l");
        assert_eq!(Change::parse(Map::new()).unwrap().user_name, None);
    }
}
