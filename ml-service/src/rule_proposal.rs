//! Rules as people make them: somebody proposes an expression, it is tried on what happened ([`trial`]), runs in the shadow if
//! that is wanted, and comes into force when somebody else activates it. What is in force is a version in `rule`.

pub mod handlers;
pub mod queries;
pub mod trial;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::clients::ml::Decision;
use shared::id::{RuleProposalId, UserId};
use utoipa::ToSchema;

use trial::TrialResult;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProposalStatus {
    Proposed,
    /// Counted where it would apply, without an effect.
    Shadow,
    /// In force, or it was.
    Active,
    Withdrawn,
}

impl ProposalStatus {
    pub const ALL: [Self; 4] = [Self::Proposed, Self::Shadow, Self::Active, Self::Withdrawn];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Shadow => "shadow",
            Self::Active => "active",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub const fn is_open(self) -> bool {
        matches!(self, Self::Proposed | Self::Shadow)
    }
}

/// The name of a rule: it is shown as the reason of a score, and a proposal with the code of a rule in force replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[a-z][a-z0-9_]{0,63}$", example = "night_withdrawal")]
pub struct RuleCode(String);

impl RuleCode {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RuleCode {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
        let begins = text.starts_with(|it: char| it.is_ascii_lowercase());
        let fits = begins && text.len() <= 64 && text.chars().all(is_allowed);
        fits.then_some(Self(text))
            .ok_or("expected a lower-case letter, then letters, digits and `_`, 64 in all")
    }
}

/// A proposal, as people of staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RuleProposalRecord {
    pub id: RuleProposalId,
    #[schema(example = "night_withdrawal")]
    pub code: String,
    #[schema(example = "kind == \"withdrawal\" and hour < 5 and amount >= 500 major")]
    pub expression: String,
    #[schema(example = "{amount} withdrawn at night")]
    pub sentence: String,
    /// What it demands by itself.
    pub action: Option<Decision>,
    /// What it adds to the score.
    pub points: u16,
    pub status: ProposalStatus,
    pub proposed_by: UserId,
    pub proposed_at: DateTime<Utc>,
    pub tested_at: Option<DateTime<Utc>>,
    /// What it would have done, when that was last asked.
    pub test: Option<TrialResult>,
    /// Who activated or withdrew it.
    pub decided_by: Option<UserId>,
    pub decided_at: Option<DateTime<Utc>>,
}
