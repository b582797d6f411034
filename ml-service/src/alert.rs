//! Alerts: what a person has to judge. A transfer in review is one, and so is a posted transfer of somebody who is watched, and
//! a pattern of money laundering. One person at a time holds an alert; what they decide about held money the ledger carries
//! out ([`decisions`]), and what the ledger tells of closes the alert ([`job`]), so both agree whatever is killed in between.
//!
//! Deliberately absent: any way to move money from here. The analyst's own token goes to the ledger, which judges whether they
//! may decide.

pub mod decisions;
pub mod handlers;
pub mod history;
pub mod job;
pub mod queries;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use shared::id::{AccountId, AlertId, CaseId, TransferId, UserId};
use utoipa::ToSchema;

use crate::pattern::Pattern;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A transfer whose money is held until somebody decides.
    Review,
    /// A posted transfer of somebody who is on a watch list.
    Watch,
    Structuring,
    RapidMovement,
    FanIn,
    Cycle,
}

impl AlertKind {
    pub const ALL: [Self; 6] = [
        Self::Review,
        Self::Watch,
        Self::Structuring,
        Self::RapidMovement,
        Self::FanIn,
        Self::Cycle,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Watch => "watch",
            Self::Structuring => Pattern::Structuring.name(),
            Self::RapidMovement => Pattern::RapidMovement.name(),
            Self::FanIn => Pattern::FanIn.name(),
            Self::Cycle => Pattern::Cycle.name(),
        }
    }
}

impl From<Pattern> for AlertKind {
    fn from(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Structuring => Self::Structuring,
            Pattern::RapidMovement => Self::RapidMovement,
            Pattern::FanIn => Self::FanIn,
            Pattern::Cycle => Self::Cycle,
        }
    }
}

/// How long an alert may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// From its opening until it is overdue.
    pub fn deadline(self) -> Duration {
        Duration::hours(match self {
            Self::Low => 72,
            Self::Medium => 24,
            Self::High => 4,
            Self::Critical => 1,
        })
    }

    /// Of a transfer in review: somebody waits for the money, the more urgently the likelier it is that it is theirs to lose.
    pub fn of_review(score: Option<i16>) -> Self {
        match score {
            Some(800..) => Self::Critical,
            Some(600..) => Self::High,
            _ => Self::Medium,
        }
    }

    pub fn of_pattern(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Structuring | Pattern::Cycle | Pattern::FanIn => Self::Medium,
            Pattern::RapidMovement => Self::Low,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// Nobody has it.
    Open,
    Claimed,
    /// Decided here, and not yet known to be done at the ledger.
    Deciding,
    Closed,
}

impl AlertStatus {
    pub const ALL: [Self; 4] = [Self::Open, Self::Claimed, Self::Deciding, Self::Closed];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Deciding => "deciding",
            Self::Closed => "closed",
        }
    }
}

/// What becomes of held money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReviewOutcome {
    /// It is paid.
    Release,
    /// It goes back to the payer's disposal.
    Refuse,
}

impl ReviewOutcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Refuse => "refuse",
        }
    }
}

/// An alert, as people of staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertRecord {
    pub id: AlertId,
    pub case_id: CaseId,
    pub kind: AlertKind,
    pub severity: Severity,
    pub status: AlertStatus,
    /// Whose account, if it is a customer's.
    pub holder_id: Option<UserId>,
    pub account_id: AccountId,
    /// Of a review, or of who is watched.
    pub transfer_id: Option<TransferId>,
    /// What was seen.
    #[schema(example = "9.4 times this account's usual amount; first payment to this account")]
    pub sentence: String,
    /// What shows it, oldest first.
    pub transfer_ids: Vec<TransferId>,
    pub opened_at: DateTime<Utc>,
    /// Until when somebody has to have decided.
    pub due_at: DateTime<Utc>,
    pub overdue: bool,
    pub claimed_by: Option<UserId>,
    pub claimed_at: Option<DateTime<Utc>>,
    pub escalated_by: Option<UserId>,
    pub escalated_at: Option<DateTime<Utc>>,
    /// What was decided. A closed review without it was decided at the ledger.
    pub decision: Option<AlertDecision>,
    pub closed_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AlertDecision {
    /// `null` where no money was held.
    pub outcome: Option<ReviewOutcome>,
    pub fraud: bool,
    pub reason: String,
    pub decided_by: UserId,
    pub decided_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Opened,
    Claimed,
    Released,
    Escalated,
    Note,
    Evidence,
    Deciding,
    DecisionWithdrawn,
    Closed,
}

impl Action {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Claimed => "claimed",
            Self::Released => "released",
            Self::Escalated => "escalated",
            Self::Note => "note",
            Self::Evidence => "evidence",
            Self::Deciding => "deciding",
            Self::DecisionWithdrawn => "decision_withdrawn",
            Self::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_severe_the_sooner_it_is_due() {
        let deadlines = Severity::ALL.map(Severity::deadline);
        assert!(deadlines.windows(2).all(|pair| pair[0] > pair[1]));
        let severities = [None, Some(500), Some(600), Some(799), Some(1000)].map(Severity::of_review);
        use Severity::{Critical, High, Medium};
        assert_eq!(severities, [Medium, Medium, High, High, Critical]);
    }
}
