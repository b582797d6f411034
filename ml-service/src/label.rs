//! Labels: whether a transfer was fraud, as people come to know it. They are never changed: a later one counts instead, and what
//! was learnt from the one before is taken back.
//!
//! A label is learnt when it arrives, by the server's clock and in the order of the log's positions, so nobody can make a
//! model look as if it had known earlier.

pub mod handlers;
pub mod queries;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::id::{TransferId, UserId};
use utoipa::ToSchema;

/// Who came to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// A review that was decided.
    Decision,
    /// The customer disputed it.
    Dispute,
    /// A partner told us.
    Partner,
    /// Somebody of ours looked into it.
    Analyst,
}

impl LabelSource {
    pub const ALL: [Self; 4] = [Self::Decision, Self::Dispute, Self::Partner, Self::Analyst];

    /// Whether somebody of ours stands behind it.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Decision | Self::Analyst)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Dispute => "dispute",
            Self::Partner => "partner",
            Self::Analyst => "analyst",
        }
    }
}

/// What somebody says about a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    pub transfer_id: TransferId,
    pub fraud: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Labelled {
    Added,
    /// The newest label says the same.
    Unchanged,
    /// Nothing is known of such a transfer; of a partner also: they are no party to it.
    UnknownTransfer,
    /// It is the labeller's own, so somebody else judges it.
    OwnTransfer,
    /// A partner's word does not change what somebody of ours has found.
    Overruled,
}

/// A label, as it was given.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Label {
    pub fraud: bool,
    pub source: LabelSource,
    pub known_at: DateTime<Utc>,
    pub labelled_by: UserId,
}
