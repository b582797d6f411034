//! From an account at a provider to a user of ours: logging in with it, linking it, and giving it up.

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use shared::ApiError;
use shared::id::{SessionId, UserId};

use super::{Identity, ProviderName, queries};
use crate::email_verification::{self, Requirement};
use crate::field_keys::{self, Protection};
use crate::messages::{self, Channel, Content};
use crate::passwordless;
use crate::sessions::login::{self, Login, Method};
use crate::sessions::{self, Client, session_revoked};
use crate::state::AppState;
use crate::users::profile::Profile;
use crate::users::{self, Email, Name, NewUser, StoredUser, email_indexes};

/// Begins a session of the account's user, who may be new.
pub async fn log_in(state: &AppState, client: Client, identity: &Identity) -> Result<Login, ApiError> {
    let now = state.clock.now();
    state
        .db
        .transaction("log_in_by_provider", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            let user = find_or_make(state, connection, &protection, identity, now).await?;
            // A user who is new stays, and verifies the e-mail.
            if let Err(error) = email_verification::require(state.email_verification, &user) {
                return Ok(Err(error));
            }
            let (client, methods) = (client.clone(), [Method::Federated]);
            login::begin(state, connection, &protection, user, client, &methods, now)
                .await
                .map(Ok)
        })
        .await?
}

async fn find_or_make(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    identity: &Identity,
    now: DateTime<Utc>,
) -> Result<StoredUser, ApiError> {
    if let Some(user) = queries::find_user(connection, identity).await? {
        let user = lock(connection, user).await?;
        // It may have been unlinked while the lock was waited for.
        return match queries::note_use(connection, identity, user.id, now).await? {
            0 => Err(super::not_accepted(anyhow::anyhow!(
                "the account is not linked any more"
            ))),
            _ => Ok(user),
        };
    }
    let Some(email) = &identity.email else {
        let detail = "The provider tells no e-mail. Allow it to, or register and link the account.";
        return Err(ApiError::unprocessable("email_required", detail));
    };
    let existing = email_indexes::find_user(connection, &state.field_keys, email.as_str()).await?;
    let user = match existing {
        Some(user) => claim(state, connection, user, identity, now).await?,
        None => make(state, connection, protection, identity, email, now).await?,
    };
    link_account(connection, protection, user, identity, now).await?;
    if existing.is_some() {
        tell(connection, protection, email.as_str(), identity.provider, now).await?;
    }
    lock(connection, user).await
}

async fn lock(connection: &mut AsyncPgConnection, user: UserId) -> Result<StoredUser, ApiError> {
    users::profile::queries::lock(connection, user)
        .await?
        .ok_or_else(|| super::not_accepted(anyhow::anyhow!("the user is not active")))
}

/// The user who has this e-mail, if the provider vouches for it.
async fn claim(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    user: UserId,
    identity: &Identity,
    now: DateTime<Utc>,
) -> Result<UserId, ApiError> {
    if !identity.email_verified {
        let detail = "There is already a user with this e-mail. Log in, and link the account.";
        return Err(ApiError::conflict("email_taken", detail));
    }
    let mut user = lock(connection, user).await?;
    passwordless::take_over(state, connection, &mut user, now).await?;
    Ok(user.id)
}

async fn make(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    identity: &Identity,
    email: &Email,
    now: DateTime<Utc>,
) -> Result<UserId, ApiError> {
    let local = email.as_str().split('@').next().unwrap_or_default();
    let name = identity.name.as_deref().and_then(Name::parse);
    let new = NewUser {
        id: UserId::new(),
        email: email.clone(),
        name: name
            .or_else(|| Name::parse(local))
            .ok_or_else(|| ApiError::internal(anyhow::anyhow!("the beginning of an e-mail is no name")))?,
        user_name: None,
        profile: Profile::default(),
        password_hash: state.hashing.nobodys_hash()?,
        has_password: false,
    };
    users::queries::insert(connection, protection, &new, now).await?;
    if identity.email_verified {
        users::queries::set_email_verified(connection, new.id, now).await?;
    } else if state.email_verification != Requirement::Off {
        let (channel, content) = (Channel::Email, Content::EmailVerification);
        messages::queries::queue(connection, protection, channel, email.as_str(), &content, now).await?;
    }
    Ok(new.id)
}

async fn link_account(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user: UserId,
    identity: &Identity,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    match queries::link(connection, protection, user, identity, now).await? {
        true => Ok(()),
        false => Err(already_linked()),
    }
}

fn already_linked() -> ApiError {
    let detail = "This account logs somebody else in, or you have linked another one of this provider.";
    ApiError::conflict("already_linked", detail)
}

async fn tell(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    email: &str,
    provider: ProviderName,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let content = Content::LoginAdded {
        provider: provider.name().to_owned(),
    };
    messages::queries::queue(connection, protection, Channel::Email, email, &content, now).await?;
    Ok(())
}

/// Has an account log the user of this session in from now on; the session must go on. Again is no error.
pub async fn link(state: &AppState, session: SessionId, identity: &Identity) -> Result<(), ApiError> {
    let now = state.clock.now();
    state
        .db
        .transaction("link_account", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            sessions::queries::require_live(connection, session, now).await?;
            let user = sessions::queries::find_live_user(connection, session, now).await?;
            let user = user.ok_or_else(session_revoked)?;
            if queries::find_user(connection, identity).await? == Some(user.id) {
                return Ok(());
            }
            link_account(connection, &protection, user.id, identity, now).await?;
            let email = user.decrypt(&state.field_keys)?.email;
            tell(connection, &protection, &email, identity.provider, now).await
        })
        .await
}

/// Has the account of a provider log this user in no more; never the last way in.
pub async fn unlink(state: &AppState, user: UserId, provider: ProviderName) -> Result<(), ApiError> {
    state
        .db
        .transaction("unlink_account", async |connection| {
            // Two at once wait for each other here.
            let user = lock(connection, user).await?;
            let accounts = queries::list(connection, user.id).await?;
            if !accounts.iter().any(|account| account.provider == provider.name()) {
                return Err(ApiError::not_found("No account of this provider is linked."));
            }
            if !user.has_password && accounts.len() == 1 {
                let detail = "You could not log in any more. Set a password first.";
                return Err(ApiError::conflict("last_login_method", detail));
            }
            queries::unlink(connection, user.id, provider).await?;
            Ok(())
        })
        .await
}
