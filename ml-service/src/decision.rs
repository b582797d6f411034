//! Decisions: what was answered about a transfer, explained to the people who have to answer for it.

pub mod handlers;
pub mod queries;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::clients::ml::{Decision, Reason};
use shared::clients::transactions::TransferStatus;
use shared::id::{AccountId, ModelId, TransferId};
use utoipa::ToSchema;

use crate::label::Label;

/// What was decided about a transfer, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FraudDecision)]
pub struct ExplainedDecision {
    pub transfer_id: TransferId,
    /// What became of it, as far as it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TransferStatus>,
    /// Whether it was decided without a score, because none came in time.
    pub fallback: bool,
    /// Absent when it was never scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<ExplainedScore>,
    /// What models said that only watch.
    pub shadows: Vec<ShadowScore>,
    /// Newest first: the first counts.
    pub labels: Vec<Label>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShadowScore {
    pub model_id: ModelId,
    pub probability: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedScore {
    /// The account that pays.
    pub account_id: AccountId,
    /// 0 to 1000.
    pub score: u16,
    pub decision: Decision,
    pub reasons: Vec<Reason>,
    /// Names the rules and the policy that were in force.
    pub rules_version: i64,
    pub scored_at: DateTime<Utc>,
    /// Whether it was known which device asked for it.
    pub device_known: bool,
    pub address_known: bool,
    /// How likely the model held a fraud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// The SHA-256 of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Up to which position of the log of facts scoring had learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// What was known of the transfer, by name; `null` where nothing was. Absent when the features have changed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<BTreeMap<&'static str, Option<f64>>>,
}
