//! The module `two-factor`: a second proof of who somebody is, after the password or whatever came first.
//!
//! A user has at most one method of each kind; passkeys count as well, and are a slice of their own. A login that needs a
//! second proof is a `pending_login` until it has one, and no session. A six-digit code is guessed at over many logins, so
//! `attempts` counts over all of them and slows down; recovery codes and passkeys cannot be guessed and are never slowed
//! down, so whoever knows the password cannot keep the owner out by guessing.
//!
//! Deliberately absent: asking for a second proof when nobody logs in, which is `step_up`.

pub mod attempts;
pub mod enforcement;
pub mod handlers;
pub mod login_handlers;
pub mod method;
pub mod pending_login;
pub mod recovery_code;
pub mod remembered_device;
pub mod sent_code;
mod totp;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use shared::id::{SessionId, UserId};
use shared::{ApiError, FieldKeys};
use utoipa::ToSchema;

use crate::modules;
use crate::passkeys::{Assertion, wrong_passkey};
use crate::sessions::login::Method;
use crate::sessions::sha256;

const MAX_CODE_CHARACTERS: usize = 64;

/// Removes the second factors of a user, and what takes their place; also while the module is off. Passkeys are their own slice.
pub async fn remove_all(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<()> {
    if modules::has_table(connection, "two_factor_methods").await? {
        method::remove_all(connection, user_id).await?;
        recovery_code::remove_all(connection, user_id).await?;
        remembered_device::forget_all(connection, user_id).await?;
    }
    Ok(())
}

/// How a second proof is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A code of an app, by RFC 6238.
    Totp,
    /// A code that is sent by e-mail.
    Email,
    /// A code that is sent as a text message.
    Sms,
    /// An authenticator, by WebAuthn.
    Passkey,
    /// One of the codes that were given out for when nothing else is at hand.
    RecoveryCode,
}

impl Kind {
    /// What may be in the database as a method.
    const METHODS: [Self; 3] = [Self::Totp, Self::Email, Self::Sms];

    pub fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Passkey => "passkey",
            Self::RecoveryCode => "recovery_code",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::METHODS.into_iter().find(|kind| kind.name() == name)
    }

    /// What the session remembers of it.
    pub fn method(self) -> Method {
        match self {
            Self::Totp | Self::Email | Self::RecoveryCode => Method::OneTimeCode,
            Self::Sms => Method::TextMessage,
            Self::Passkey => Method::Passkey,
        }
    }
}

/// A code as a person types it: spaces and dashes are left out.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Password, max_length = 64, example = "492039")]
pub struct Code(SecretString);

impl Code {
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_CODE_CHARACTERS {
            return None;
        }
        let code: String = text.chars().filter(|one| !matches!(one, ' ' | '-')).collect();
        let is_plain = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_plain.then(|| Self(code.to_ascii_lowercase().into()))
    }

    fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("expected a code of digits or letters"))
    }
}

/// A code, and of what.
#[derive(Debug)]
pub struct Proof {
    pub method: Kind,
    pub code: Code,
}

/// A second proof.
#[derive(Debug)]
pub enum Second {
    Code(Proof),
    Passkey(Assertion),
}

impl Second {
    /// A request has the one or the other.
    pub fn parse(
        method: Option<Kind>,
        code: Option<Code>,
        passkey: Option<Assertion>,
    ) -> Result<Self, ApiError> {
        match (method, code, passkey) {
            (Some(method), Some(code), None) => Ok(Self::Code(Proof { method, code })),
            (None, None, Some(assertion)) => Ok(Self::Passkey(assertion)),
            _ => Err(ApiError::invalid(
                "invalid_body",
                "",
                "expected `method` and `code`, or `passkey`",
            )),
        }
    }

    pub fn method(&self) -> Method {
        match self {
            Self::Code(proof) => proof.method.method(),
            Self::Passkey(_) => Method::Passkey,
        }
    }

    /// 422: not 401, which would make clients log the user out.
    pub fn refusal(&self) -> ApiError {
        match self {
            Self::Code(_) => wrong_code(),
            Self::Passkey(_) => wrong_passkey(),
        }
    }
}

/// Who gives a code, and in which login or session, which a code that was sent is bound to.
#[derive(Clone, Copy)]
pub struct Claimant<'c> {
    pub user_id: UserId,
    pub asked_by: &'c [u8],
}

/// What codes are bound to that were sent for a session that goes on.
pub fn asked_by(session_id: SessionId) -> Vec<u8> {
    sha256(&session_id.to_string())
}

/// Whether the code is right; a right one is used up. To be committed either way, because an attempt counts.
pub async fn check(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    claimant: Claimant<'_>,
    proof: &Proof,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let Claimant { user_id, asked_by } = claimant;
    if proof.method == Kind::RecoveryCode {
        return recovery_code::use_up(connection, user_id, &proof.code).await;
    }
    let Some(method) = method::find(connection, user_id, proof.method).await? else {
        return Ok(false);
    };
    if method.activated_at.is_none() {
        return Ok(false);
    }
    check_method(connection, keys, &method, asked_by, &proof.code, now).await
}

/// The same for one method, which need not count yet.
pub async fn check_method(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    method: &method::StoredMethod,
    asked_by: &[u8],
    code: &Code,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    attempts::admit(connection, method.user_id, now).await?;
    let right = match method.kind()? {
        Kind::Totp => totp::use_up(connection, keys, method, code, now).await?,
        Kind::Email | Kind::Sms => sent_code::use_up(connection, keys, method, asked_by, code, now).await?,
        Kind::Passkey | Kind::RecoveryCode => false,
    };
    if right {
        attempts::forget(connection, method.user_id).await?;
        method::note_use(connection, method.id, now).await?;
    }
    Ok(right)
}

/// Refuses with 404 while the module is off.
pub async fn require_enabled(connection: &mut AsyncPgConnection) -> Result<(), ApiError> {
    if modules::is_enabled(connection, modules::TWO_FACTOR).await? {
        return Ok(());
    }
    Err(ApiError::new(
        actix_web::http::StatusCode::NOT_FOUND,
        "module_disabled",
        "Second factors are switched off here.",
    ))
}

/// 422: not 401, which would make clients log the user out.
pub fn wrong_code() -> ApiError {
    ApiError::unprocessable(
        "wrong_code",
        "The code is wrong, was used before, or is too old. Take the next one.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it_and_shown_to_nobody() {
        let code = |text: &str| Code::parse(text).map(|code| code.expose().to_owned());
        assert_eq!(code("492 039").as_deref(), Some("492039"));
        assert_eq!(code("7K3M-x2").as_deref(), Some("7k3mx2"));
        for bad in ["", " - ", "49203\u{0669}", "1;2", &"1".repeat(65)] {
            assert_eq!(code(bad), None, "{bad}");
        }
        assert!(!format!("{:?}", Code::parse("492039")).contains("492039"));
    }
}
