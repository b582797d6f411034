//! Where every kind of login ends: a user who has proved who they are gets a session.
//!
//! Deliberately absent: the proof. Who calls [`begin`] has just had it, in whatever way, and says by which methods.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use shared::id::SessionId;
use shared::{ApiError, FieldKeys};

use super::handlers::{LoginResponse, TokensResponse, secret_answer};
use super::queries::{self, NewSession};
use super::{Client, Secret, Session};
use crate::access_tokens::Authentication;
use crate::field_keys::Protection;
use crate::login_attempts::device;
use crate::state::AppState;
use crate::two_factor::login_handlers::PendingLoginResponse;
use crate::two_factor::pending_login::{self, HeldBack, PendingLogin};
use crate::users::{StoredUser, User};

/// How a user proved who they are; the names are those of RFC 8176, which has none for another provider's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Password,
    /// Of an app, of a list on paper, or of an e-mail.
    OneTimeCode,
    TextMessage,
    /// A passkey, whose authenticator has verified the user.
    Passkey,
    /// Two proofs of different kinds, or one that is two.
    Several,
    /// What was sent to the e-mail, a link or a code.
    Mail,
    /// The word of another provider.
    Federated,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "pwd",
            Self::OneTimeCode => "otp",
            Self::TextMessage => "sms",
            Self::Passkey => "pop",
            Self::Several => "mfa",
            Self::Mail => "otp",
            Self::Federated => "fed",
        }
    }
}

/// What a login comes to.
pub enum Login {
    Session(Box<BegunSession>),
    /// A second factor is needed first.
    Pending(Box<PendingLogin>),
}

/// A login that succeeded, before it is put into the words of an answer.
pub struct BegunSession {
    pub user: User,
    pub session: Session,
    /// The session's credential, which nothing shows again.
    pub secret: Secret,
    /// What the device can show at the next login.
    pub device_token: String,
    refresh_token: Secret,
}

impl Login {
    /// The answer of the API's own logins, whatever the kind.
    pub fn answer(self, state: &AppState) -> Result<HttpResponse, ApiError> {
        match self {
            Self::Session(begun) => {
                let login = begun.response(state)?;
                let cookie = device::cookie(&login.device_token);
                let mut answer = secret_answer(login);
                answer.add_cookie(&cookie).map_err(ApiError::internal)?;
                Ok(answer)
            }
            Self::Pending(pending) => Ok(PendingLoginResponse::answer(&pending)),
        }
    }
}

impl BegunSession {
    pub fn response(self, state: &AppState) -> Result<LoginResponse, ApiError> {
        let Self {
            user,
            session,
            secret,
            device_token,
            refresh_token,
        } = self;
        let authentication = Authentication {
            amr: &session.amr,
            at: session.authenticated_at,
            authorization: None,
        };
        let now = session.created_at;
        Ok(LoginResponse {
            session_id: secret.reveal(),
            device_token,
            tokens: TokensResponse::new(state, user, session.id, &authentication, &refresh_token, now)?,
        })
    }
}

/// Begins a session of `user`, unless a second factor is needed first. The caller has locked the user's row in this transaction,
/// so that no change of a password and no ban slips past. `protection` is taken before that lock, as by everybody.
pub async fn begin(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user: StoredUser,
    client: Client,
    methods: &[Method],
    now: DateTime<Utc>,
) -> Result<Login, ApiError> {
    let user = user.decrypt(&state.field_keys)?;
    let user = match pending_login::hold_back(connection, user, &client, methods, now).await? {
        HeldBack::Yes(pending) => return Ok(Login::Pending(Box::new(pending))),
        HeldBack::No(user) => user,
    };
    let proved = Proved {
        id: SessionId::new(),
        secret: Secret::session()?,
        amr: methods.iter().map(|method| method.name().to_owned()).collect(),
    };
    let keys = &state.field_keys;
    let begun = begin_proved(connection, protection, keys, user, client, proved, now).await?;
    Ok(Login::Session(Box::new(begun)))
}

/// A session of which nothing more has to be proved.
pub struct Proved {
    pub id: SessionId,
    pub secret: Secret,
    pub amr: Vec<String>,
}

/// Begins a session whose user has proved all there is to prove. The same holds as for [`begin`].
pub async fn begin_proved(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    keys: &FieldKeys,
    user: User,
    client: Client,
    Proved { id, secret, amr }: Proved,
    now: DateTime<Utc>,
) -> Result<BegunSession, ApiError> {
    let refresh_token = Secret::refresh_token()?;
    let new = NewSession {
        id,
        secret_hash: secret.hash(),
        refresh_token_hash: refresh_token.hash(),
        amr,
        client,
    };
    let session = queries::begin(connection, protection, user.id, new, now).await?;
    Ok(BegunSession {
        device_token: device::issue_token(keys, user.id)?,
        user,
        session,
        secret,
        refresh_token,
    })
}
