//! A schedule: a transfer that is made later, once or by a calendar, without its owner being there.
//!
//! Each occurrence goes through the lane like any request, under an idempotency key of its own, so it happens once whatever
//! crashes. What the platform owes is made up for: runs that were due while it was down happen when it is back, each. What was
//! due while its owner had paused it is left out.

pub mod calendar;
pub mod handlers;
pub mod queries;
pub mod runner;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::id::{ScheduleId, TransferId};
use utoipa::ToSchema;

use crate::transfer::handlers::TransferFields;
use calendar::Calendar;

/// After so many refusals one after the other a schedule is given up.
pub const MAX_FAILURES: i32 = 3;
/// How many runs ahead are shown.
const UPCOMING: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    /// It runs at `next_run_at`.
    Active,
    /// Its owner stopped it for a while.
    Paused,
    /// Its only run was refused, or three in a row were: see `failure`. It can be resumed if runs are left.
    Failed,
    /// All runs have been made.
    Completed,
    /// Its owner ended it.
    Cancelled,
}

impl ScheduleStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a run was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// That of the problem which a transfer would have been answered.
    #[schema(example = "insufficient_funds")]
    pub code: String,
    #[schema(example = "The available balance does not cover the amount.")]
    pub detail: String,
}

/// A transfer that is made later.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Schedule {
    pub id: ScheduleId,
    pub status: ScheduleStatus,
    #[schema(value_type = TransferFields)]
    pub transfer: serde_json::Value,
    #[serde(flatten)]
    pub calendar: Calendar,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// The next runs, at most 5.
    pub upcoming: Vec<DateTime<Utc>>,
    /// Of the last run, if it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    pub created_at: DateTime<Utc>,
    /// Whether it was only tried: nothing of it was kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// The money moved.
    Posted,
    /// The money is held and a person decides.
    InReview,
    /// Nothing happened, for the reason in `failure`.
    Failed,
}

impl RunOutcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::InReview => "in_review",
            Self::Failed => "failed",
        }
    }
}

/// A run of a schedule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScheduleRun {
    /// 0 is the first.
    pub occurrence: i32,
    pub due_at: DateTime<Utc>,
    pub ran_at: DateTime<Utc>,
    pub outcome: RunOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_id: Option<TransferId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}
