//! The model that assesses, and its reasons. Its file is one of [`crate::model`], of the features in [`super::feature`].

use super::borrower::millionths;
use super::feature::{FEATURES, Features, sentence};
use super::{AdverseReason, Band, MAX_REASONS};
use crate::model::{Model, ModelError};

static SHIPPED: &[u8] = include_bytes!("../../models/risk.json");

/// What counts less than this is no reason, in thousandths of log-odds.
const LEAST_REASON: i64 = 20;

/// What it says of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub probability_ppm: u32,
    pub band: Band,
    /// What counted most first.
    pub reasons: Vec<AdverseReason>,
}

/// Names the features and their order, so that a model of others is refused.
pub fn schema() -> String {
    let names: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
    format!("risk: {}", names.join(" "))
}

#[derive(Debug)]
pub struct RiskModel(Model);

impl RiskModel {
    pub fn load(bytes: &[u8]) -> Result<Self, ModelError> {
        Model::load_with_schema(bytes, &schema()).map(Self)
    }

    /// The one in `models/risk.json`, which `ml-service risk-train` makes.
    pub fn shipped() -> Result<Self, ModelError> {
        Self::load(SHIPPED)
    }

    pub fn model(&self) -> &Model {
        &self.0
    }

    pub fn assess(&self, features: &Features) -> Verdict {
        let row = features.row();
        let probability_ppm = u32::try_from(millionths(self.0.probability(&row))).unwrap_or(1_000_000);
        let mut reasons: Vec<AdverseReason> = features
            .iter()
            .zip(self.0.contributions(&row))
            .map(|((feature, value), contribution)| AdverseReason {
                code: feature.name.to_owned(),
                sentence: sentence(feature.name, value),
                log_odds_thousandths: thousandths(contribution),
            })
            .filter(|reason| reason.log_odds_thousandths >= LEAST_REASON)
            .collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.log_odds_thousandths));
        reasons.truncate(MAX_REASONS);
        Verdict {
            probability_ppm,
            band: Band::of(probability_ppm),
            reasons,
        }
    }
}

#[expect(
    clippy::float_arithmetic,
    clippy::as_conversions,
    reason = "log-odds are floats; of what is out of range, the end of the scale"
)]
fn thousandths(log_odds: f64) -> i64 {
    (log_odds * 1_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> RiskModel {
        RiskModel::shipped().unwrap()
    }

    fn with(values: &[(&str, i64)]) -> Features {
        let mut features = Features::default();
        for (name, value) in values {
            features.set(name, *value);
        }
        features
    }

    const STEADY: [(&str, i64); 6] = [
        ("history_days", 400),
        ("income_months", 6),
        ("savings_rate", 2_500),
        ("missed_payments", 0),
        ("buffer_days", 120),
        ("delinquencies", 0),
    ];
    const BEHIND: [(&str, i64); 6] = [
        ("history_days", 400),
        ("savings_rate", -1_000),
        ("missed_payments", 4),
        ("buffer_days", 3),
        ("delinquencies", 3),
        ("utilisation", 9_500),
    ];

    #[test]
    fn who_keeps_to_what_is_owed_is_told_from_who_does_not() {
        let (steady, behind) = (model().assess(&with(&STEADY)), model().assess(&with(&BEHIND)));
        assert!(steady.band <= Band::Low, "{steady:?}");
        assert!(behind.band >= Band::High, "{behind:?}");
        assert!((1..=MAX_REASONS).contains(&behind.reasons.len()));
        let codes: Vec<&str> = behind.reasons.iter().map(|reason| reason.code.as_str()).collect();
        assert!(
            codes.contains(&"delinquencies") || codes.contains(&"missed_payments"),
            "{codes:?}"
        );
        assert!(
            behind
                .reasons
                .is_sorted_by_key(|reason| -reason.log_odds_thousandths)
        );
    }

    #[test]
    fn the_parts_of_all_features_make_the_log_odds() {
        let model = model();
        let trees = model.model().ensemble();
        for features in [with(&STEADY), with(&BEHIND), Features::default()] {
            let row = features.row();
            let parts: f64 = trees.contributions(&row).iter().sum();
            let off = (trees.expected() + parts - trees.log_odds(&row)).abs();
            assert!(off < 1e-9, "{off}");
        }
    }

    #[test]
    fn a_file_that_is_not_whole_or_of_other_features_is_refused() {
        assert!(RiskModel::load(&SHIPPED[..SHIPPED.len() - 9]).is_err());
        let text = std::str::from_utf8(SHIPPED).unwrap();
        let changed = text.replacen("history_days", "shoe_size", 1);
        assert!(RiskModel::load(changed.as_bytes()).is_err());
        assert!(Model::load(SHIPPED).is_err(), "it is no model of payments");
    }
}
