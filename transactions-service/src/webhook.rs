//! Webhooks: a user's events, sent to URLs of their own as Standard Webhooks (standardwebhooks.com).
//!
//! The feed of events makes a delivery for each endpoint that wants the event, in the transaction that makes the event.
//! [`delivery`] sends them, at least once each: first attempts in order per account, then again by [`RETRY_AFTER_S`]. An
//! endpoint that is gone, or that has failed for days, is disabled, and told nothing until its owner enables it; what it
//! missed can be replayed.

pub mod deliveries;
pub mod delivery;
pub mod handlers;
pub mod queries;
pub mod replay;
pub mod secret;
pub mod target;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::id::{AccountId, EventId, WebhookDeliveryId, WebhookEndpointId};
use utoipa::ToSchema;

use crate::event::EventType;
use crate::transfer::Description;

/// How many endpoints a user may have.
pub const MAX_ENDPOINTS: i64 = 16;

/// The type of the event that an owner sends to try an endpoint.
pub const TEST_TYPE: &str = "webhook.test";

/// How long after each failed attempt the next one comes. After the last there is none.
pub const RETRY_AFTER_S: [u32; 9] = [
    5,
    5 * 60,
    30 * 60,
    2 * 3600,
    5 * 3600,
    10 * 3600,
    14 * 3600,
    20 * 3600,
    24 * 3600,
];

/// The longest that a receiver can put us off.
const LONGEST_RETRY_AFTER_S: u32 = 24 * 3600;

/// When to try again after so many attempts, if at all: by the schedule, or later if the receiver asks for it.
pub fn retry_after_s(attempts: usize, asked_for: Option<u32>) -> Option<u32> {
    let scheduled = *RETRY_AFTER_S.get(attempts.checked_sub(1)?)?;
    let asked_for = asked_for.unwrap_or(0).min(LONGEST_RETRY_AFTER_S);
    Some(scheduled.max(asked_for))
}

/// What goes wrong on purpose, so that a receiver can be tried. In the sandbox only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Each delivery comes twice.
    Duplicate,
    /// Every other event of an account comes two seconds late, after the one that follows it.
    Reorder,
}

/// By how much `reorder` delays.
pub const REORDER_DELAY: TimeDelta = TimeDelta::seconds(2);

impl Fault {
    pub fn word(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Duplicate, Self::Reorder]
            .into_iter()
            .find(|fault| fault.word() == word)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBecause {
    /// You disabled it.
    Owner,
    /// It answered 410.
    Gone,
    /// Every attempt of five days failed.
    Failing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    Enabled,
    /// Events of this time are not sent to it, unless they are replayed.
    Disabled,
}

/// Where your events are sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub struct EndpointRecord {
    pub id: WebhookEndpointId,
    pub url: String,
    /// Only events of these types; of all types if it is empty.
    pub types: Vec<EventType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    pub status: EndpointStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_because: Option<DisabledBecause>,
    /// Since when each attempt has failed. After five days of it the endpoint is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<DateTime<Utc>>,
    /// Until when the secret before this one signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Its next attempt is to come.
    Pending,
    /// It was answered with a 2xx.
    Delivered,
    /// No attempt is left.
    Failed,
}

impl DeliveryStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    pub at: DateTime<Utc>,
    pub duration_ms: u32,
    /// What was answered, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryRecord {
    pub id: WebhookDeliveryId,
    /// The `webhook-id` that it is sent with.
    pub event_id: EventId,
    #[serde(rename = "type")]
    #[schema(example = "transfer.posted")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    pub status: DeliveryStatus,
    pub attempts: Vec<Attempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ten_attempts_over_three_days() {
        let waits: Vec<u32> = (1..)
            .map_while(|attempts| retry_after_s(attempts, None))
            .collect();
        assert_eq!(waits, RETRY_AFTER_S);
        assert_eq!((retry_after_s(0, None), retry_after_s(10, None)), (None, None));
        let days = waits.iter().sum::<u32>() / (24 * 3600);
        assert_eq!(days, 3);
    }

    #[test]
    fn a_receiver_can_ask_for_more_time_but_not_for_ever() {
        assert_eq!(retry_after_s(1, Some(120)), Some(120));
        assert_eq!(retry_after_s(2, Some(120)), Some(300));
        assert_eq!(retry_after_s(1, Some(u32::MAX)), Some(24 * 3600));
    }
}
