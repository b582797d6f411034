//! What people of staff do with users: look at them, give and take roles, ban, act for them, erase them.
//!
//! The duties are separate. Nobody does any of it to themselves; only a superadmin touches an administrator or makes one;
//! compliance places the hold that keeps an administrator from erasing somebody. Each change is in the audit log, in its own
//! transaction, and takes effect at once: whoever loses a right loses every session and every token with it.

pub mod audit_log;
pub mod changes;
pub mod handlers;
pub mod impersonation;
pub mod privacy;
pub mod queries;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::id::UserId;
use shared::{ApiError, Denial, Principal, Role};
use utoipa::ToSchema;

use crate::users::User;

pub const READERS: [Role; 4] = [Role::Support, Role::Compliance, Role::Admin, Role::Superadmin];
pub const ADMINISTRATORS: [Role; 2] = [Role::Admin, Role::Superadmin];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    Active,
    /// Banned: cannot log in.
    Disabled,
}

impl UserStatus {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// A user as staff sees them.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserRecord {
    #[serde(flatten)]
    pub user: User,
    pub status: UserStatus,
    /// Since when the user must not be erased.
    pub legal_hold_at: Option<DateTime<Utc>>,
}

/// Why somebody is banned. A word, and no text, because the audit log keeps it for ever.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BanReason {
    Fraud,
    Abuse,
    Security,
    UserRequest,
    Other,
}

/// Whether `principal` may change anything about a user with these roles.
pub fn require_authority(principal: &Principal, subject: UserId, roles: &[Role]) -> Result<(), ApiError> {
    principal.require_any(&ADMINISTRATORS)?;
    require_another(principal, subject)?;
    let administrates = roles.iter().any(|role| ADMINISTRATORS.contains(role));
    if administrates && !principal.has_any(&[Role::Superadmin]) {
        return Err(superadmin_required());
    }
    Ok(())
}

pub fn require_another(principal: &Principal, subject: UserId) -> Result<(), ApiError> {
    if principal.user_id == subject {
        let detail = "Somebody else has to do this: nobody decides about their own rights.";
        return Err(ApiError::forbidden("own_user", detail).denied(Denial::Forbidden));
    }
    Ok(())
}

/// Whether `principal` may turn a user's roles from `before` into `after`.
pub fn check_role_change(
    principal: &Principal,
    subject: UserId,
    before: &[Role],
    after: &[Role],
) -> Result<(), ApiError> {
    require_authority(principal, subject, before)?;
    let makes_administrator = after.iter().any(|role| ADMINISTRATORS.contains(role));
    if makes_administrator && !principal.has_any(&[Role::Superadmin]) {
        return Err(superadmin_required());
    }
    Ok(())
}

fn superadmin_required() -> ApiError {
    let detail = "Only a superadmin makes, changes or removes administrators.";
    ApiError::forbidden("role_required", detail).denied(Denial::Forbidden)
}

pub fn no_such_user() -> ApiError {
    ApiError::not_found("There is no such user.")
}

#[cfg(test)]
mod tests {
    use shared::Assurance;
    use shared::id::SessionId;

    use super::*;

    fn staff(role: Role) -> Principal {
        Principal {
            user_id: UserId::new(),
            session_id: SessionId::new(),
            client_id: None,
            roles: vec![Role::Customer, role],
            scopes: None,
            actor: None,
            expires_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            assurance: Assurance::Aal1,
            authenticated_at: DateTime::from_timestamp(1_799_999_700, 0).unwrap(),
            authorization: None,
        }
    }

    #[test]
    fn who_may_give_and_take_which_role() {
        use Role::{Admin, Compliance, Customer, Partner, Superadmin, Support};
        for (by, before, after, allowed) in [
            (Admin, [Customer], [Support], true),
            (Admin, [Support], [Compliance], true),
            (Admin, [Customer], [Partner], true),
            (Admin, [Customer], [Admin], false),
            (Admin, [Customer], [Superadmin], false),
            (Admin, [Admin], [Customer], false),
            (Admin, [Superadmin], [Customer], false),
            (Superadmin, [Customer], [Admin], true),
            (Superadmin, [Superadmin], [Customer], true),
            (Support, [Customer], [Partner], false),
            (Compliance, [Customer], [Support], false),
            (Customer, [Customer], [Admin], false),
        ] {
            let outcome = check_role_change(&staff(by), UserId::new(), &before, &after);
            assert_eq!(outcome.is_ok(), allowed, "{by:?} turns {before:?} into {after:?}");
        }
    }

    #[test]
    fn nobody_changes_their_own_roles() {
        let superadmin = staff(Role::Superadmin);
        let outcome = check_role_change(&superadmin, superadmin.user_id, &superadmin.roles, &Role::ALL);
        assert_eq!(outcome.unwrap_err().code(), "own_user");
    }
}
