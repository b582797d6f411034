//! Tokens and codes that are sent to an e-mail and prove, once, that whoever has one reads what arrives there.
//!
//! The database has their SHA-256 only. A token is bound to the e-mail that it was sent to, so it proves nothing about another
//! one that the user has changed to since. A code is short, so it is bound to the request of the program that asked for it and
//! may be tried five times. Using one is one statement that removes it, so of many uses at once one succeeds.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Deserializer};
use shared::id::UserId;
use shared::{ApiError, FieldKeys};
use utoipa::ToSchema;

use crate::schema::{one_time_tokens, users as users_table};
use crate::sessions::{Secret, sha256};
use crate::throttles::{self, Limit};
use crate::users::{self, StoredUser, User, email_indexes};

/// Enough for whoever mistypes; of a million codes, nothing to a guesser. Links go on to log in.
const CODE_TRIES: Limit = Limit {
    name: "tries of login codes",
    uses: 20,
    window: Duration::days(1),
};

/// What a token is good for, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    EmailVerification,
    PasswordReset,
    LoginLink,
    LoginCode,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::EmailVerification => "email_verification",
            Self::PasswordReset => "password_reset",
            Self::LoginLink => "login_link",
            Self::LoginCode => "login_code",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::EmailVerification => "ver_",
            Self::PasswordReset => "reset_",
            Self::LoginLink => "tok_",
            Self::LoginCode => "lrq_",
        }
    }

    pub fn lifetime(self) -> Duration {
        match self {
            Self::EmailVerification => Duration::days(1),
            Self::PasswordReset => Duration::hours(1),
            Self::LoginLink | Self::LoginCode => Duration::minutes(10),
        }
    }
}

/// A token that somebody presented; only what is needed to look it up is kept. Any text is one, known or unknown.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Password, example = "reset_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8")]
pub struct PresentedToken(secrecy::SecretString);

impl PresentedToken {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    fn expose(&self) -> &str {
        secrecy::ExposeSecret::expose_secret(&self.0)
    }
}

impl<'de> Deserialize<'de> for PresentedToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

/// A new request for a code, which only the program that asked for it has.
pub fn new_request() -> Result<Secret, ApiError> {
    Secret::generate(Purpose::LoginCode.prefix())
}

/// A token for whoever reads this e-mail, if that is an active user.
pub async fn issue(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    purpose: Purpose,
    email: &str,
    now: DateTime<Utc>,
) -> Result<Option<String>, ApiError> {
    let Some(user) = active_user(connection, keys, email).await? else {
        return Ok(None);
    };
    let token = Secret::generate(purpose.prefix())?.reveal();
    insert(connection, user, purpose, &token, None, email, now).await?;
    Ok(Some(token))
}

/// A code of six digits for whoever reads this e-mail and made this request.
pub async fn issue_code(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    request: &str,
    email: &str,
    now: DateTime<Utc>,
) -> Result<Option<String>, ApiError> {
    let Some(user) = active_user(connection, keys, email).await? else {
        return Ok(None);
    };
    let code = new_code()?;
    insert(
        connection,
        user,
        Purpose::LoginCode,
        request,
        Some(&code),
        email,
        now,
    )
    .await?;
    Ok(Some(code))
}

/// Six random digits, each number as likely as any other.
pub fn new_code() -> Result<String, ApiError> {
    const CODES: u32 = 1_000_000;
    loop {
        let mut bytes = [0; 4];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
        let number = u32::from_le_bytes(bytes);
        // The last, incomplete million would make small numbers likelier.
        if number < u32::MAX - u32::MAX % CODES {
            return Ok(format!("{:06}", number % CODES));
        }
    }
}

async fn active_user(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    email: &str,
) -> Result<Option<UserId>, ApiError> {
    let Some(user) = email_indexes::find_user(connection, keys, email).await? else {
        return Ok(None);
    };
    Ok(users_table::table
        .find(user)
        .filter(users_table::status.eq("active"))
        .select(users_table::id)
        .first(connection)
        .await
        .optional()?)
}

/// A mail that is sent a second time has another code for the same request.
async fn insert(
    connection: &mut AsyncPgConnection,
    user: UserId,
    purpose: Purpose,
    token: &str,
    code: Option<&str>,
    email: &str,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    let code_hash = code.map(|code| bound(token, code));
    diesel::insert_into(one_time_tokens::table)
        .values((
            one_time_tokens::token_hash.eq(sha256(token)),
            one_time_tokens::purpose.eq(purpose.name()),
            one_time_tokens::user_id.eq(user),
            one_time_tokens::email_hash.eq(bound(token, email)),
            one_time_tokens::code_hash.eq(&code_hash),
            one_time_tokens::created_at.eq(now),
            one_time_tokens::expires_at.eq(now + purpose.lifetime()),
        ))
        .on_conflict(one_time_tokens::token_hash)
        .do_update()
        .set(one_time_tokens::code_hash.eq(&code_hash))
        .execute(connection)
        .await
}

/// What nobody finds by trying who does not have the token.
fn bound(token: &str, text: &str) -> Vec<u8> {
    sha256(&format!("{token}\n{text}"))
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = one_time_tokens, check_for_backend(diesel::pg::Pg))]
struct Row {
    user_id: UserId,
    email_hash: Vec<u8>,
    expires_at: DateTime<Utc>,
}

async fn find_row(
    connection: &mut AsyncPgConnection,
    purpose: Purpose,
    token: &PresentedToken,
    now: DateTime<Utc>,
) -> QueryResult<Option<Row>> {
    one_time_tokens::table
        .find(sha256(token.expose()))
        .filter(one_time_tokens::purpose.eq(purpose.name()))
        .filter(one_time_tokens::expires_at.gt(now))
        .select(Row::as_select())
        .first(connection)
        .await
        .optional()
}

/// A token that works, and until when.
pub struct LiveToken {
    pub user: User,
    pub expires_at: DateTime<Utc>,
}

/// Looks at a token, which works under the same conditions as in [`consume`]; nothing is used up.
pub async fn find(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    purpose: Purpose,
    token: &PresentedToken,
    now: DateTime<Utc>,
) -> Result<Option<LiveToken>, ApiError> {
    let Some(row) = find_row(connection, purpose, token, now).await? else {
        return Ok(None);
    };
    let user = users::queries::find_active(connection, row.user_id).await?;
    let user = user.map(|user| user.decrypt(keys)).transpose()?;
    let user = user.filter(|user| row.email_hash == bound(token.expose(), &user.email));
    let expires_at = row.expires_at;
    Ok(user.map(|user| LiveToken { user, expires_at }))
}

/// Uses a token up. Returns its user, whose row stays locked until the transaction ends, with the e-mail that the token was
/// sent to; `None` when the token is none, was used or has expired, or the user is not active or has another e-mail by now.
pub async fn consume(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    purpose: Purpose,
    token: &PresentedToken,
    now: DateTime<Utc>,
) -> Result<Option<StoredUser>, ApiError> {
    let Some(row) = find_row(connection, purpose, token, now).await? else {
        return Ok(None);
    };
    // The user first, as everywhere.
    let user = users::profile::queries::lock(connection, row.user_id).await?;
    let used = diesel::delete(one_time_tokens::table.find(sha256(token.expose())))
        .execute(connection)
        .await?;
    let Some(user) = user.filter(|_| used == 1) else {
        return Ok(None);
    };
    let email = user.clone().decrypt(keys)?.email;
    Ok((row.email_hash == bound(token.expose(), &email)).then_some(user))
}

/// Counts a try of a code, and tells whether it is the right one. Committed on its own, so that no failure takes it back. Tries
/// are counted over all codes of a user as well, since codes can be asked for again and again.
pub async fn try_code(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    request: &PresentedToken,
    code: &str,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let live = one_time_tokens::table
        .find(sha256(request.expose()))
        .filter(one_time_tokens::purpose.eq(Purpose::LoginCode.name()))
        .filter(one_time_tokens::attempts_left.gt(0))
        .filter(one_time_tokens::expires_at.gt(now));
    let tried: Option<(UserId, Option<Vec<u8>>)> = diesel::update(live)
        .set(one_time_tokens::attempts_left.eq(one_time_tokens::attempts_left - 1))
        .returning((one_time_tokens::user_id, one_time_tokens::code_hash))
        .get_result(connection)
        .await
        .optional()?;
    let Some((user_id, Some(expected))) = tried else {
        return Ok(false);
    };
    match throttles::admit(connection, keys, CODE_TRIES, &user_id.to_string(), now).await {
        // No answer of its own: only who is a user has codes.
        Err(error) if error.code() == "rate_limited" => return Ok(false),
        counted => counted?,
    }
    Ok(verify_slices_are_equal(&expected, &bound(request.expose(), code)).is_ok())
}

/// Removes what a user has been sent for a purpose and not used.
pub async fn forget(
    connection: &mut AsyncPgConnection,
    user: UserId,
    purpose: Purpose,
) -> QueryResult<usize> {
    let of_user = one_time_tokens::table
        .filter(one_time_tokens::user_id.eq(user))
        .filter(one_time_tokens::purpose.eq(purpose.name()));
    diesel::delete(of_user).execute(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        for _ in 0..100 {
            let code = new_code().unwrap();
            assert!(
                code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()),
                "{code}"
            );
        }
    }

    #[test]
    fn a_presented_token_is_not_shown() {
        let token: PresentedToken = serde_json::from_value("reset_hunter2".into()).unwrap();
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
