//! The gate of a promotion: on the two weeks up to the newest label, as the transfers were seen when they were decided, the
//! candidate finds frauds no worse than the champion, and what it does costs no more.

#![expect(clippy::float_arithmetic, reason = "metrics are floats")]

use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::{ApiError, Currency};
use utoipa::ToSchema;

use super::queries;
use crate::evaluation;
use crate::feature::Vector;
use crate::model::Model;
use crate::score::cost::{self, CostPolicy};

const WINDOW: TimeDelta = TimeDelta::days(14);
/// What one comparison looks through.
pub const MAX_DECISIONS: i64 = 200_000;

/// A decision, and what became known of it. What nobody labelled counts as genuine.
pub struct Decided {
    pub vector: Vector,
    pub amount: i64,
    pub currency: Currency,
    pub fraud: bool,
}

/// How a candidate compares to the champion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gate {
    pub passed: bool,
    /// `worse`, `costlier`, or `too_few_labels`: none of a fraud, or of nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    pub decisions: u64,
    pub frauds: u64,
    pub champion: Measured,
    pub candidate: Measured,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Measured {
    /// The mean of the precision over the steps of the recall.
    pub average_precision: f64,
    /// Of what it would have done, in whole major units.
    pub cost: f64,
}

impl Gate {
    pub fn of(champion: &Model, candidate: &Model, policy: &CostPolicy, decided: &[Decided]) -> Self {
        let frauds = evaluation::len(decided) - evaluation::len(&genuine(decided));
        let champion = measure(champion, policy, decided);
        let candidate = measure(candidate, policy, decided);
        let why_not = if frauds == 0 || frauds == evaluation::len(decided) {
            Some("too_few_labels")
        } else if candidate.average_precision < champion.average_precision {
            Some("worse")
        } else if candidate.cost > champion.cost {
            Some("costlier")
        } else {
            None
        };
        Self {
            passed: why_not.is_none(),
            why_not: why_not.map(str::to_owned),
            from: None,
            until: None,
            decisions: evaluation::len(decided),
            frauds,
            champion,
            candidate,
        }
    }
}

fn genuine(decided: &[Decided]) -> Vec<&Decided> {
    decided.iter().filter(|it| !it.fraud).collect()
}

pub fn measure(model: &Model, policy: &CostPolicy, decided: &[Decided]) -> Measured {
    let mut scored = Vec::with_capacity(decided.len());
    let mut cost = 0.0;
    for it in decided {
        let probability = model.probability(&it.vector.0);
        let amount = cost::major(it.amount, it.currency);
        let action = policy.action(probability, amount, true);
        cost += policy.costs.of(action, amount, it.fraud);
        scored.push((probability, it.fraud));
    }
    let frauds = scored.iter().any(|(_, fraud)| *fraud);
    Measured {
        average_precision: if frauds {
            evaluation::average_precision(&scored)
        } else {
            0.0
        },
        cost,
    }
}

/// What two models are compared on: the last two labelled weeks, or the newest of them that are read.
#[derive(Default)]
pub struct Sample {
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    decided: Vec<Decided>,
}

impl Sample {
    pub async fn read(conn: &mut AsyncPgConnection) -> Result<Self, ApiError> {
        let Some(until) = queries::newest_labelled(conn).await? else {
            return Ok(Self::default());
        };
        let (from, decided) = queries::decided_between(conn, until - WINDOW, until, MAX_DECISIONS).await?;
        Ok(Self {
            from: Some(from),
            until: Some(until),
            decided,
        })
    }

    /// Takes seconds.
    pub fn compare(&self, champion: &Model, candidate: &Model, policy: &CostPolicy) -> Gate {
        Gate {
            from: self.from,
            until: self.until,
            ..Gate::of(champion, candidate, policy, &self.decided)
        }
    }
}
