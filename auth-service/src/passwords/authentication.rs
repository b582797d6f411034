//! Is this the user's password? The one way to ask, with one answer for every kind of no.
//!
//! An unknown e-mail, a wrong password and a disabled user take the same steps and get the same answer, and the attempt is
//! counted before anything is looked up, so guesses that race each other are counted like guesses in a row.

use chrono::{DateTime, Utc};
use shared::ApiError;

use super::Password;
use super::hashing::HashingPlace;
use crate::login_attempts::{self, device::PresentedDevice};
use crate::state::AppState;
use crate::users::queries::{self, Credentials};

/// A password that was right, and the place in the hashing queue that the check had.
pub struct Authenticated {
    pub credentials: Credentials,
    pub hashing: HashingPlace,
    /// What `login_attempts` knows the e-mail by.
    pub email_hash: Vec<u8>,
    hash_outdated: bool,
}

pub async fn authenticate(
    state: &AppState,
    email: &str,
    password: &Password,
    device: &PresentedDevice,
    now: DateTime<Utc>,
) -> Result<Authenticated, ApiError> {
    let hashing = state.hashing.reserve()?;
    let email_hash = login_attempts::email_hash(&state.field_keys, email, device)?;
    let found = {
        let mut connection = state.db.connection().await?;
        login_attempts::admit(&mut connection, &email_hash, now).await?;
        queries::find_credentials(&mut connection, &state.field_keys, email).await?
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
        email_hash,
        hash_outdated: verdict.outdated,
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
}
