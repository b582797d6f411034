//! Where every kind of login ends: a user who has proved who they are gets a session.
//!
//! Deliberately absent: the proof. Who calls [`begin`] has just had it, in whatever way, and says by which methods.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use shared::ApiError;
use shared::id::SessionId;

use super::handlers::{LoginResponse, TokensResponse, secret_answer};
use super::queries::{self, NewSession};
use super::{Client, Secret, Session};
use crate::field_keys::Protection;
use crate::login_attempts::device;
use crate::state::AppState;
use crate::users::{StoredUser, User};

/// How a user proved who they are; the names are those of RFC 8176, which has none for another provider's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Password,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "pwd",
        }
    }
}

/// A login that succeeded, before it is put into the words of an answer.
pub struct Login {
    pub user: User,
    pub session: Session,
    /// The session's credential, which nothing shows again.
    pub secret: Secret,
    refresh_token: Secret,
}

impl Login {
    /// The answer of the API's own logins, whatever the kind.
    pub fn answer(self, state: &AppState) -> Result<HttpResponse, ApiError> {
        let Self {
            user,
            session,
            secret,
            refresh_token,
        } = self;
        let now = session.created_at;
        let device_token = device::issue_token(&state.field_keys, &user.email)?;
        let cookie = device::cookie(&device_token);
        let mut answer = secret_answer(LoginResponse {
            session_id: secret.reveal(),
            device_token,
            tokens: TokensResponse::new(state, user, session.id, &session.amr, &refresh_token, now)?,
        });
        answer.add_cookie(&cookie).map_err(ApiError::internal)?;
        Ok(answer)
    }
}

/// Begins a session of `user`, whose row the caller has locked in this transaction, so that no change of a password and no ban
/// slips past. `protection` is taken before that lock, as by everybody.
pub async fn begin(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user: StoredUser,
    client: Client,
    methods: &[Method],
    now: DateTime<Utc>,
) -> Result<Login, ApiError> {
    let (secret, refresh_token) = (Secret::session()?, Secret::refresh_token()?);
    let new = NewSession {
        id: SessionId::new(),
        secret_hash: secret.hash(),
        refresh_token_hash: refresh_token.hash(),
        amr: methods.iter().map(|method| method.name().to_owned()).collect(),
        client,
    };
    let session = queries::begin(connection, protection, user.id, new, now).await?;
    Ok(Login {
        user: user.decrypt(&state.field_keys)?,
        session,
        secret,
        refresh_token,
    })
}
