//! What the model's probability leads to: the action whose expected cost is the least. To allow costs what a fraud takes,
//! to review costs a person's time, of which there is so much a day, and to block costs a customer's trust if it was none.
//!
//! Amounts are whole major units; a currency without minor units counts a hundred of its units as one, as in rules.

#![expect(
    clippy::float_arithmetic,
    reason = "expectations are floats; no balance is made of them"
)]

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::Currency;
use shared::clients::ml::Decision;

use crate::evaluation::{Action, COSTS, Costs};
use crate::feature::float;
use crate::schema::cost_policies;

#[derive(Clone, Copy, Debug)]
pub struct CostPolicy {
    pub version: i64,
    pub costs: Costs,
    /// Below it the model stops nothing.
    pub review_from: f64,
    /// None: it never blocks.
    pub block_from: Option<f64>,
    pub reviews_per_day: i32,
}

impl Default for CostPolicy {
    /// Before any was read: the model stops nothing.
    fn default() -> Self {
        Self {
            version: 0,
            costs: COSTS,
            review_from: f64::INFINITY,
            block_from: None,
            reviews_per_day: 0,
        }
    }
}

impl CostPolicy {
    /// The cheapest of the actions that may be taken, and the mildest of those that cost the same.
    pub fn action(&self, probability: f64, amount: f64, reviews_left: bool) -> Action {
        if probability.is_nan() || probability < self.review_from {
            return Action::Allow;
        }
        let costs = &self.costs;
        let mut action = Action::Allow;
        let mut least = probability * amount;
        if reviews_left && costs.review < least {
            action = Action::Review;
            least = costs.review;
        }
        let block = (1.0 - probability) * costs.of(Action::Block, amount, false);
        if self.block_from.is_some_and(|from| probability >= from) && block < least {
            action = Action::Block;
        }
        action
    }
}

pub fn decision(action: Action) -> Decision {
    match action {
        Action::Allow => Decision::Allow,
        Action::Review => Decision::Review,
        Action::Block => Decision::Block,
    }
}

/// In whole major units.
pub fn major(amount: i64, currency: Currency) -> f64 {
    float(amount) / float(10_i64.saturating_pow(currency.exponent().max(2)))
}

pub async fn load(conn: &mut AsyncPgConnection) -> QueryResult<CostPolicy> {
    type Row = (i64, f64, f64, f64, f64, Option<f64>, i32);
    let (version, review, false_block_share, false_block, review_from, block_from, reviews_per_day): Row =
        cost_policies::table
            .order(cost_policies::version.desc())
            .select((
                cost_policies::version,
                cost_policies::review,
                cost_policies::false_block_share,
                cost_policies::false_block,
                cost_policies::review_from,
                cost_policies::block_from,
                cost_policies::reviews_per_day,
            ))
            .first(conn)
            .await?;
    Ok(CostPolicy {
        version,
        costs: Costs {
            review,
            false_block_share,
            false_block,
        },
        review_from,
        block_from,
        reviews_per_day,
    })
}

/// How many transfers were sent to a person today (UTC).
pub async fn reviews_today(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        reviews: i64,
    }
    let counted: Counted = sql_query(
        "SELECT count(*) AS reviews FROM scores WHERE decision = 'review' \
         AND created_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'",
    )
    .get_result(conn)
    .await?;
    Ok(counted.reviews)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CostPolicy = CostPolicy {
        version: 1,
        costs: COSTS,
        review_from: 0.5,
        block_from: Some(0.9),
        reviews_per_day: 1,
    };

    #[test]
    fn the_cheapest_action_that_is_allowed_is_taken() {
        use Action::{Allow, Block, Review};
        for (probability, amount, reviews_left, expected) in [
            (0.49, 1_000_000.0, true, Allow),
            (0.5, 5.0, true, Allow),
            (0.5, 100.0, true, Review),
            (0.5, 100.0, false, Allow),
            // A review costs more than refusing so small a payment, but it may not be refused yet.
            (0.89, 10.0, true, Review),
            (0.95, 100.0, true, Block),
            (0.95, 100.0, false, Block),
            (0.91, 1_000.0, true, Review),
            (0.91, 1_000.0, false, Block),
            (f64::NAN, 100.0, true, Allow),
        ] {
            let action = POLICY.action(probability, amount, reviews_left);
            assert_eq!(action, expected, "{probability} {amount} {reviews_left}");
        }
    }

    #[test]
    fn a_policy_that_was_not_read_stops_nothing() {
        assert_eq!(CostPolicy::default().action(1.0, 1e9, true), Action::Allow);
    }

    #[test]
    fn a_yen_counts_as_a_cent() {
        assert_eq!(
            major(12_345, "USD".parse().unwrap()).to_bits(),
            123.45_f64.to_bits()
        );
        assert_eq!(
            major(12_345, "JPY".parse().unwrap()).to_bits(),
            123.45_f64.to_bits()
        );
    }
}
