//! The model's part of a decision: its probability, the cheapest action by expected cost, and its reasons. The rules come
//! first and are never overruled; the model can only add caution.

#![expect(
    clippy::float_arithmetic,
    reason = "probabilities are floats; no balance is made of them"
)]

use shared::clients::ml::{Decision, Reason, Score, ScoreRequest};

use super::cost::{self, decision};
use crate::feature::Vector;
use crate::model;
use crate::registered_model::book::InUse;
use crate::rule::{MAX_SCORE, Policy};

/// How many transfers of a batch get exact reasons from the model; each takes a fraction of a millisecond, and the lane waits.
const MAX_EXPLAINED: usize = 64;

/// Adds what the champion says of each transfer; tells its probabilities.
pub fn add_model(
    scores: &mut [Score],
    transfers: &[ScoreRequest],
    vectors: &[Vector],
    in_use: &InUse,
    policy: Policy,
) -> Vec<f64> {
    let mut explained = 0;
    let mut probabilities = Vec::with_capacity(scores.len());
    for ((score, transfer), vector) in scores.iter_mut().zip(transfers).zip(vectors) {
        let probability = in_use.champion.probability(&vector.0).clamp(0.0, 1.0);
        probabilities.push(probability);
        let amount = cost::major(transfer.amount, transfer.currency);
        let action = decision(in_use.costs.action(probability, amount, in_use.reviews_left));
        let points = points_of(probability, action, policy);
        if action != Decision::Allow {
            let mut reasons = Vec::new();
            if explained < MAX_EXPLAINED {
                explained = explained.saturating_add(1);
                reasons = in_use.champion.reasons(vector);
            }
            score.reasons.extend(reasons_of(&reasons, points));
        }
        score.decision = score.decision.max(action);
        score.score = score.score.max(points);
    }
    probabilities
}

/// A probability on the scale of scores, within the band of the decision that it led to.
fn points_of(probability: f64, action: Decision, policy: Policy) -> u16 {
    let points = thousandths(probability).min(MAX_SCORE);
    match action {
        Decision::Allow => points.min(policy.review_at.saturating_sub(1)),
        Decision::Review => points.clamp(
            policy.review_at,
            policy.block_at.saturating_sub(1).max(policy.review_at),
        ),
        Decision::Block => points.max(policy.block_at),
    }
}

/// The points are shared out by what each reason adds to the log-odds.
fn reasons_of(reasons: &[model::Reason], points: u16) -> Vec<Reason> {
    let whole: f64 = reasons.iter().map(|reason| reason.contribution).sum();
    if reasons.is_empty() || whole <= 0.0 {
        return vec![Reason {
            code: "model".to_owned(),
            detail: "together it looks like earlier frauds".to_owned(),
            points,
        }];
    }
    let share = |reason: &model::Reason| Reason {
        code: reason.code.to_owned(),
        detail: reason.detail.clone(),
        points: thousandths(reason.contribution / whole * f64::from(points) / 1000.0),
    };
    reasons.iter().map(share).collect()
}

#[expect(
    clippy::as_conversions,
    reason = "what is out of range becomes the nearest end of it, and NaN zero"
)]
fn thousandths(value: f64) -> u16 {
    (value * 1000.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        review_at: 500,
        block_at: 800,
    };

    #[test]
    fn a_score_says_the_same_as_the_decision() {
        for (probability, action, expected) in [
            (0.0, Decision::Allow, 0),
            (0.123, Decision::Allow, 123),
            (0.99, Decision::Allow, 499),
            (0.2, Decision::Review, 500),
            (0.6, Decision::Review, 600),
            (0.99, Decision::Review, 799),
            (0.3, Decision::Block, 800),
            (1.0, Decision::Block, 1000),
            (f64::NAN, Decision::Allow, 0),
        ] {
            let points = points_of(probability, action, POLICY);
            assert_eq!(points, expected, "{probability} {action:?}");
            assert_eq!(POLICY.decide(points), action, "{probability}");
        }
    }

    #[test]
    fn reasons_share_the_points() {
        let reason = |contribution| model::Reason {
            code: "unusual_amount",
            detail: String::new(),
            contribution,
        };
        let points: Vec<u16> = reasons_of(&[reason(3.0), reason(1.0)], 800)
            .iter()
            .map(|reason| reason.points)
            .collect();
        assert_eq!(points, [600, 200]);
        assert_eq!(
            reasons_of(&[], 700).first().map(|reason| reason.points),
            Some(700)
        );
    }
}
