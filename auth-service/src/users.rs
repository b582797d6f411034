//! Users: who can log in, and what they may do.
//!
//! An e-mail is the login name, so it has exactly one written form: ASCII, trimmed, lower case. Addresses outside ASCII
//! are refused rather than normalised, because two look-alikes must never be two users.

pub mod email_indexes;
pub mod handlers;
pub mod import;
pub mod profile;
pub mod queries;

use anyhow::Context;
use chrono::{DateTime, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{Output, ToSql};
use diesel::sql_types::{Array, Nullable, Text, Uuid};
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use shared::field_key::{Encrypted, FieldError};
use shared::id::UserId;
use shared::{ApiError, Db, FieldKeys, Role};
use utoipa::ToSchema;

use crate::field_keys::{EMAIL, NAME, PROFILE, USER_NAME};
use crate::schema::users;
use profile::{Profile, UserName};

/// A person who can log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub id: UserId,
    /// In lower case, whatever was typed.
    #[schema(example = "ada@example.com")]
    pub email: String,
    #[schema(example = "Ada Lovelace")]
    pub name: String,
    /// Logs in as well as the e-mail.
    #[schema(example = "ada.lovelace")]
    pub user_name: Option<String>,
    /// Whether the user has proved to receive what is sent to the e-mail.
    pub email_verified: bool,
    /// Whether the user has a second factor or a passkey.
    pub two_factor: bool,
    pub profile: Profile,
    #[schema(value_type = Vec<Role>)]
    pub roles: Roles,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

diesel::define_sql_function! {
    /// Whether a user has a second factor or a passkey.
    fn has_second_factor(user_id: Uuid) -> Bool;
}

/// A user as the database has it. The plaintext is there only of users whom a version from before field encryption knows.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Pg))]
pub struct StoredUser {
    pub id: UserId,
    email: Option<String>,
    name: Option<String>,
    email_encrypted: Option<Encrypted>,
    name_encrypted: Option<Encrypted>,
    user_name_encrypted: Option<Encrypted>,
    profile_encrypted: Option<Encrypted>,
    pub email_verified_at: Option<DateTime<Utc>>,
    roles: Roles,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Whether somebody knows a password that logs in.
    pub has_password: bool,
    #[diesel(select_expression = has_second_factor(users::id))]
    pub two_factor: bool,
}

impl StoredUser {
    pub fn decrypt(self, keys: &FieldKeys) -> Result<User, FieldError> {
        let row = self.id.uuid();
        let read = |column, encrypted: Option<Encrypted>, plaintext: Option<String>| match encrypted {
            Some(value) => keys.decrypt(column, row, &value),
            None => plaintext.ok_or(FieldError::Malformed),
        };
        let read_new = |column, encrypted: Option<Encrypted>| {
            encrypted
                .map(|value| keys.decrypt(column, row, &value))
                .transpose()
        };
        let profile = read_new(PROFILE, self.profile_encrypted)?;
        Ok(User {
            id: self.id,
            email: read(EMAIL, self.email_encrypted, self.email)?,
            name: read(NAME, self.name_encrypted, self.name)?,
            user_name: read_new(USER_NAME, self.user_name_encrypted)?,
            email_verified: self.email_verified_at.is_some(),
            two_factor: self.two_factor,
            profile: profile.map_or(Ok(Profile::default()), |text| Profile::from_text(&text))?,
            roles: self.roles,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// A person who is about to be one.
pub struct NewUser {
    pub id: UserId,
    pub email: Email,
    pub name: Name,
    pub user_name: Option<UserName>,
    pub profile: Profile,
    pub password_hash: String,
    /// Whether somebody knows a password that matches the hash.
    pub has_password: bool,
}

/// 409: somebody has the e-mail.
fn email_taken() -> ApiError {
    ApiError::conflict(
        "email_taken",
        "There is already a user with this e-mail. Log in instead.",
    )
}

/// An e-mail address in its one written form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = String, format = Email, max_length = 254, example = "ada@example.com")]
pub struct Email(String);

impl Email {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.split_once('@')?;
        let well_formed = text.len() <= 254
            && (1..=64).contains(&local.len())
            && local
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_`{|}~".contains(&byte))
            && is_domain(domain);
        well_formed.then(|| Self(text.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// At least two labels, the last of which is not a number: not an IP address.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.rsplit_once('.')
        .is_some_and(|(_, top)| top.bytes().any(|byte| !byte.is_ascii_digit()))
        && text.split('.').all(is_label)
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("expected an e-mail address in ASCII, such as `ada@example.com`"))
    }
}

/// What a person wants to be called: 1 to 100 characters on one line.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 100, example = "Ada Lovelace")]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let well_formed = (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        well_formed.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("expected 1 to 100 characters without control characters"))
    }
}

/// The roles of a user, `text[]` in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = Array<Nullable<Text>>)]
pub struct Roles(pub Vec<Role>);

impl ToSql<Array<Nullable<Text>>, Pg> for Roles {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        let names: Vec<_> = self.0.iter().map(|role| Some(role.name())).collect();
        ToSql::<Array<Nullable<Text>>, Pg>::to_sql(&names, &mut out.reborrow())
    }
}

impl FromSql<Array<Nullable<Text>>, Pg> for Roles {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let names = <Vec<Option<String>> as FromSql<Array<Nullable<Text>>, Pg>>::from_sql(value)?;
        let roles = names.iter().flatten().map(|name| {
            let name: StrDeserializer<'_, ValueError> = name.as_str().into_deserializer();
            Role::deserialize(name)
        });
        Ok(Self(roles.collect::<Result<_, _>>()?))
    }
}

/// Gives a user a role, for an operator. It is in the user's tokens from their next refresh on.
pub async fn grant_role(db: &Db, keys: &FieldKeys, email: &str, role: Role) -> anyhow::Result<()> {
    let email = Email::parse(email).with_context(|| format!("`{email}` is not an e-mail address"))?;
    let mut connection = db.connection().await.map_err(ApiError::into_source)?;
    let user = email_indexes::find_user(&mut connection, keys, email.as_str())
        .await
        .map_err(ApiError::into_source)?;
    let user = user.with_context(|| format!("no user has the e-mail {}", email.as_str()))?;
    queries::add_role(&mut connection, user, role).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_has_one_written_form() {
        let email = |text| Email::parse(text).map(|email| email.0);
        assert_eq!(
            email(" Ada.L+tag@Example.COM ").as_deref(),
            Some("ada.l+tag@example.com")
        );
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "b".repeat(64));
        let long = format!("a@{}com", "abcdefg.".repeat(32));
        for bad in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.com",
            "a@b@example.com",
            "a da@example.com",
            "ada@exa mple.com",
            "ada@localhost",
            "ada@example.com.",
            "ada@.example.com",
            "ada@-example.com",
            "ada@127.0.0.1",
            "ada\u{0}@example.com",
            "ada\n@example.com",
            "аda@example.com",
            "ada@exämple.com",
            "\"ada\"@example.com",
            &long_local,
            &long_label,
            &long,
        ] {
            assert_eq!(email(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_bounded_and_on_one_line() {
        let name = |text: &str| serde_json::from_value::<Name>(text.into()).map(|name| name.0);
        assert_eq!(name(" Ädä 李 ").unwrap(), "Ädä 李");
        assert!(name(&"é".repeat(100)).is_ok());
        for bad in ["", "   ", "a\nb", "a\u{7f}b", &"é".repeat(101)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_role_is_stored_as_it_is_on_the_wire() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
    }
}
