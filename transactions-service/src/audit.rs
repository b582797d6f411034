//! The audit log: what people of staff, and other services, changed in the ledger, in a chain of hashes.
//!
//! An entry is appended in the transaction of the change, so there is never one without the other. The database makes the
//! chain (`append_to_audit_log` in the migrations): the service's role can append and read, and nothing else. Transfers are
//! not in it; they are in blocks.

pub mod handlers;
pub mod queries;

use serde::Serialize;
use shared::clients::transactions::Actor;
use shared::id::UserId;
use shared::request_context;
use shared::{ApiError, Principal, Role};

pub use queries::append;

/// What is to be remembered of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A user's id, or a service's name.
    pub actor: String,
    /// With commas between them; empty for a service.
    pub roles: String,
    /// What was done, such as `account.status_changed`: lower-case letters and `_`, with a dot between noun and verb.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: String,
    /// JSON.
    pub before: Option<String>,
    /// JSON.
    pub after: Option<String>,
    pub request_id: Option<String>,
}

impl Entry {
    pub fn by_user(principal: &Principal, action: &'static str, subject: impl ToString) -> Self {
        Self::by(principal.user_id, &principal.roles, action, subject)
    }

    /// The same, when another service tells who it was.
    pub fn by_actor(actor: &Actor, action: &'static str, subject: impl ToString) -> Self {
        Self::by(actor.user_id, &actor.roles, action, subject)
    }

    fn by(user: UserId, roles: &[Role], action: &'static str, subject: impl ToString) -> Self {
        let roles: Vec<&str> = roles.iter().copied().map(role_word).collect();
        Self::new(user.to_string(), roles.join(","), action, subject)
    }

    pub fn by_service(service: &str, action: &'static str, subject: impl ToString) -> Self {
        Self::new(service.to_owned(), String::new(), action, subject)
    }

    fn new(actor: String, roles: String, action: &'static str, subject: impl ToString) -> Self {
        let request = request_context::current();
        Self {
            actor,
            roles,
            action,
            subject: subject.to_string(),
            before: None,
            after: None,
            request_id: request.map(|request| request.request_id.to_string()),
        }
    }

    /// From what to what. No personal data: the log is never shortened.
    pub fn change(self, before: &impl Serialize, after: &impl Serialize) -> Result<Self, ApiError> {
        let json = |value: Result<String, serde_json::Error>| value.map(Some).map_err(ApiError::internal);
        Ok(Self {
            before: json(serde_json::to_string(before))?,
            after: json(serde_json::to_string(after))?,
            ..self
        })
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Support => "support",
        Role::Compliance => "compliance",
        Role::Admin => "admin",
        Role::Superadmin => "superadmin",
        Role::Partner => "partner",
    }
}
