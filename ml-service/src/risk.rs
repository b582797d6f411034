//! How likely a customer is to fall 90 days behind with what they owe: from how their accounts behaved ([`behaviour`]) and from
//! what is told about them ([`attribute`]), by trees that were trained on generated borrowers ([`borrower`], [`training`]).
//! An assessment has a probability, a band, and the reasons that counted most against the customer, which whoever refuses a
//! loan has to tell them; each reason's part in the log-odds is exact.
//!
//! `ml-service/risk.md` is the model's card. Deliberately absent: a decision, and anything about a person that must not count
//! (sex, age, origin, family, health, belief): such attributes are refused.

pub mod attribute;
pub mod behaviour;
pub mod borrower;
pub mod feature;
pub mod handlers;
pub mod model;
pub mod queries;
pub mod training;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub const MAX_REASONS: usize = 4;

/// Where a probability stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Below 2 %.
    VeryLow,
    /// Below 5 %.
    Low,
    /// Below 10 %.
    Medium,
    /// Below 20 %.
    High,
    VeryHigh,
}

impl Band {
    pub const ALL: [Self; 5] = [Self::VeryLow, Self::Low, Self::Medium, Self::High, Self::VeryHigh];

    /// Of a probability in millionths.
    pub const fn of(probability_ppm: u32) -> Self {
        match probability_ppm {
            0..20_000 => Self::VeryLow,
            20_000..50_000 => Self::Low,
            50_000..100_000 => Self::Medium,
            100_000..200_000 => Self::High,
            _ => Self::VeryHigh,
        }
    }

    /// As JSON and the database write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VeryLow => "very_low",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::VeryHigh => "very_high",
        }
    }
}

/// What counted against the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdverseReason {
    /// Stable.
    #[schema(example = "missed_payments")]
    pub code: String,
    /// For the customer.
    #[schema(example = "Payments that come regularly were left out: 3 in the last half year.")]
    pub sentence: String,
    /// What it adds to the logarithm of the odds, in thousandths: exact (TreeSHAP).
    #[schema(example = 412)]
    pub log_odds_thousandths: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_told_apart_where_they_say() {
        for (probability_ppm, band) in [
            (0, Band::VeryLow),
            (19_999, Band::VeryLow),
            (20_000, Band::Low),
            (99_999, Band::Medium),
            (199_999, Band::High),
            (1_000_000, Band::VeryHigh),
        ] {
            assert_eq!(Band::of(probability_ppm), band, "{probability_ppm}");
        }
    }
}
