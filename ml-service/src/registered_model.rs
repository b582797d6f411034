//! The registry of models: those that were trained elsewhere and brought here, and what each is used for. One decides, the
//! champion; shadows score the same transfers after the answer and decide nothing.
//!
//! A model becomes champion when one person proposes it, it is no worse than the champion on what has been labelled since,
//! and another person approves. Going back takes one person and no gate, since it is what one does in trouble.

pub mod book;
pub mod commands;
pub mod gate;
pub mod handlers;
pub mod queries;
pub mod shadow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::id::{ModelId, UserId};
use utoipa::ToSchema;

use gate::Gate;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelStatus {
    Candidate,
    /// Scores after the answer, and decides nothing.
    Shadow,
    /// Decides.
    Champion,
    Retired,
}

impl ModelStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Shadow => "shadow",
            Self::Champion => "champion",
            Self::Retired => "retired",
        }
    }
}

/// A model of the registry, without the model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RegisteredModel {
    pub id: ModelId,
    /// Names it in every decision that it made.
    pub sha256: String,
    pub status: ModelStatus,
    /// What it says of itself: the data, the time they are from, how it did on what it was not trained on.
    #[schema(value_type = Object)]
    pub card: serde_json::Value,
    pub registered_by: UserId,
    pub registered_at: DateTime<Utc>,
}

/// That a model shall decide.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Promotion {
    pub model_id: ModelId,
    pub gate: Gate,
    pub proposed_by: UserId,
    pub proposed_at: DateTime<Utc>,
    /// Absent while it waits for a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<DateTime<Utc>>,
}
