//! The people who work on fraud: their roles, and the texts that they write.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use shared::audit::{self, AuditEntry, ListAuditLog};
use shared::error::Problem;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::{ApiError, Page, Principal, Role};
use utoipa::ToSchema;

use crate::state::State;

/// Who works with rules, lists and alerts.
pub const STAFF: [Role; 2] = [Role::Compliance, Role::Admin];
/// Who takes over what was escalated.
pub const SENIORS: [Role; 1] = [Role::Admin];

/// 1 to 500 characters, for people to read later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 500, example = "Called the payer: did not make it")]
pub struct Reason(String);

impl Reason {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        bounded(text, 500)
            .map(Self)
            .ok_or("expected 1 to 500 characters, none of which is a control character")
    }
}

/// 1 to 4,000 characters, of several lines if need be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 4000)]
pub struct Note(String);

impl Note {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Note {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        bounded(text, 4000)
            .map(Self)
            .ok_or("expected 1 to 4000 characters, none of which is a control character")
    }
}

fn bounded(text: String, most: usize) -> Option<String> {
    let is_allowed = |it: char| !it.is_control() || matches!(it, '\n' | '\t');
    let fits = !text.trim().is_empty() && text.chars().nth(most).is_none() && text.chars().all(is_allowed);
    fits.then_some(text)
}

/// What was changed about rules, lists and alerts, newest first. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListAuditLog),
    responses(
        (status = 200, description = "A page of entries", body = Page<AuditEntry>),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/audit-log")]
pub async fn list_fraud_audit_log(
    principal: Principal,
    query: web::Query<ListAuditLog>,
    state: web::Data<State>,
) -> Result<web::Json<Page<AuditEntry>>, ApiError> {
    principal.require_any(&STAFF)?;
    let mut conn = state.db.connection().await?;
    Ok(web::Json(audit::list(&mut conn, query.into_inner()).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_readable() {
        for text in ["", "  ", "a\u{7}b", &"x".repeat(501)] {
            assert!(Reason::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(Reason::try_from("é".repeat(500)).is_ok());
        assert!(Note::try_from("two\nlines".to_owned()).is_ok());
    }
}
