//! Is this the user's password? The one way to ask, with one answer for every kind of no.
//!
//! An unknown name, a wrong password and a disabled user take the same steps and get the same answer, and the attempt is counted
//! before the password is looked at, so guesses that race each other are counted like guesses in a row.

use chrono::{DateTime, Duration, Utc};
use diesel_async::AsyncPgConnection;
use shared::{ApiError, FieldKeys};

use super::Password;
use super::hashing::HashingPlace;
use crate::field_keys::Protection;
use crate::login_attempts::device::PresentedDevice;
use crate::messages::{Channel, Content};
use crate::state::AppState;
use crate::throttles::{self, Limit};
use crate::users::queries::{self, Credentials};
use crate::users::{StoredUser, email_indexes};
use crate::{login_attempts, messages};

/// A warning with every login would be overlooked.
const BREACH_MAILS: Limit = Limit {
    name: "mail about a breached password",
    uses: 1,
    window: Duration::days(30),
};

/// A password that was right, and the place in the hashing queue that the check had.
pub struct Authenticated {
    pub credentials: Credentials,
    pub hashing: HashingPlace,
    /// What `login_attempts` knows the user's by.
    pub attempts: Vec<u8>,
    hash_outdated: bool,
    password_is_known: bool,
}

pub async fn authenticate(
    state: &AppState,
    login_name: &str,
    password: &Password,
    device: &PresentedDevice,
    now: DateTime<Utc>,
) -> Result<Authenticated, ApiError> {
    let hashing = state.hashing.reserve()?;
    let keys = &state.field_keys;
    let (found, attempts) = {
        let mut connection = state.db.connection().await?;
        let user = email_indexes::find_user(&mut connection, keys, login_name).await?;
        let whose = user.map_or_else(|| login_name.to_owned(), login_attempts::of_user);
        let attempts = login_attempts::key_of(keys, &whose, device)?;
        login_attempts::admit(&mut connection, &attempts, now).await?;
        let found = queries::find_credentials(&mut connection, user).await?;
        (found, attempts)
    };
    let stored = found
        .as_ref()
        .map(|credentials| credentials.password_hash.as_str());
    let verdict = hashing.verify(password, stored).await?;
    let credentials = found
        .filter(|credentials| verdict.matches && credentials.is_active())
        .ok_or_else(invalid_credentials)?;
    Ok(Authenticated {
        credentials,
        hashing,
        attempts,
        hash_outdated: verdict.outdated,
        password_is_known: verdict.known,
    })
}

pub fn invalid_credentials() -> ApiError {
    ApiError::unauthorized("invalid_credentials", "The e-mail or the password is wrong.")
}

impl Authenticated {
    /// Hashes the password anew when today's parameters are others, after the answer; it never delays or fails a login.
    pub fn renew_hash(self, state: &AppState, password: Password) {
        if !self.hash_outdated {
            return;
        }
        let db = state.db.clone();
        state.spawn(async move {
            let renewed = async {
                let hash = self.hashing.hash(&password).await?;
                let mut connection = db.connection().await?;
                Ok::<_, ApiError>(queries::replace_hash(&mut connection, &self.credentials, &hash).await?)
            };
            if let Err(error) = renewed.await {
                tracing::warn!(%error, "a password keeps its old hash until the next login");
            }
        });
    }

    /// Queues a mail when the password is on a list of stolen ones: it still logs in, and its user had better change it.
    pub async fn warn_of_breach(
        &self,
        connection: &mut AsyncPgConnection,
        protection: &Protection<'_>,
        keys: &FieldKeys,
        user: &StoredUser,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        if !self.password_is_known {
            return Ok(());
        }
        let whom = user.id.to_string();
        match throttles::admit(connection, keys, BREACH_MAILS, &whom, now).await {
            Err(error) if error.code() == "rate_limited" => return Ok(()),
            told => told?,
        }
        let email = user.clone().decrypt(keys)?.email;
        let (channel, content) = (Channel::Email, Content::BreachedPassword);
        messages::queries::queue(connection, protection, channel, &email, &content, now).await?;
        Ok(())
    }
}
