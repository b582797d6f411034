//! What an administrator decides about logins while the service runs: the settings, and the secrets of the backends that
//! validate sessions over the bridge.
//!
//! Both are asked for with each validation, so a replica keeps them for a second: that long a revoked secret still works.

pub mod handlers;
pub mod queries;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use shared::id::BridgeSecretId;
use shared::{ApiError, Db};
use utoipa::ToSchema;

use crate::schema::{bridge_secrets, instance_settings};
use crate::sessions::sha256;

const KEPT_FOR: Duration = Duration::from_secs(1);

/// What of the client of a session must be as it was at the login, when a backend validates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValidationMode {
    Disabled,
    /// The address, where the backend tells it.
    Standard,
    /// The program too.
    Advanced,
    /// Both, which the backend has to tell, and the device where the session has one.
    Strict,
}

impl ValidationMode {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "disabled" => Self::Disabled,
            "standard" => Self::Standard,
            "advanced" => Self::Advanced,
            "strict" => Self::Strict,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Standard => "standard",
            Self::Advanced => "advanced",
            Self::Strict => "strict",
        }
    }
}

/// The settings, as they are stored.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = instance_settings, check_for_backend(diesel::pg::Pg))]
pub struct Settings {
    validation_mode: String,
    pub session_lifetime_s: i32,
    pub secret_for_registration: bool,
    pub updated_at: DateTime<Utc>,
}

impl Settings {
    /// The database has no other names than these.
    pub fn validation_mode(&self) -> ValidationMode {
        ValidationMode::parse(&self.validation_mode).unwrap_or(ValidationMode::Strict)
    }
}

/// What a bridge secret is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// Validates sessions.
    Server,
    /// Goes with an app that anybody can read, and may only register users.
    Browser,
}

impl SecretKind {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Browser => "browser",
        }
    }
}

/// A bridge secret as it is stored.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = bridge_secrets, check_for_backend(diesel::pg::Pg))]
pub struct BridgeSecret {
    pub id: BridgeSecretId,
    secret_hash: Vec<u8>,
    pub name: String,
    kind: String,
    pub created_at: DateTime<Utc>,
}

impl BridgeSecret {
    pub fn kind(&self) -> SecretKind {
        match self.kind.as_str() {
            "server" => SecretKind::Server,
            _ => SecretKind::Browser,
        }
    }
}

/// The settings and secrets at one moment.
pub struct Snapshot {
    pub settings: Settings,
    secrets: Vec<BridgeSecret>,
    /// Those of the environment.
    given: Arc<[Vec<u8>]>,
}

impl Snapshot {
    /// What this text is good for as a bridge secret.
    pub fn secret_kind(&self, presented: &str) -> Option<SecretKind> {
        let hash = sha256(presented);
        if self.given.contains(&hash) {
            return Some(SecretKind::Server);
        }
        let mut known = self.secrets.iter().filter(|secret| secret.secret_hash == hash);
        known.next().map(BridgeSecret::kind)
    }
}

pub struct Instance {
    given: Arc<[Vec<u8>]>,
    kept: RwLock<Option<(Arc<Snapshot>, Instant)>>,
}

impl Instance {
    pub fn new(given: &[SecretString]) -> Self {
        Self {
            given: given
                .iter()
                .map(|secret| sha256(secret.expose_secret()))
                .collect(),
            kept: RwLock::default(),
        }
    }

    pub async fn snapshot(&self, db: &Db) -> Result<Arc<Snapshot>, ApiError> {
        if let Some((snapshot, read_at)) = &*self.kept.read().unwrap_or_else(PoisonError::into_inner)
            && read_at.elapsed() < KEPT_FOR
        {
            return Ok(Arc::clone(snapshot));
        }
        let read_at = Instant::now();
        let mut connection = db.connection().await?;
        let snapshot = Arc::new(Snapshot {
            settings: queries::settings(&mut connection).await?,
            secrets: queries::list_secrets(&mut connection).await?,
            given: Arc::clone(&self.given),
        });
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Arc::clone(&snapshot), read_at));
        Ok(snapshot)
    }

    /// Forgets what was kept, after it was changed here.
    fn changed(&self) {
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
