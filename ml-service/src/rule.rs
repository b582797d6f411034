//! The fraud rules, and the policy that turns their points into a decision. Rules are data: people propose and activate them
//! (`rule_proposal`) and running services follow within seconds. Each kind of rule is code, here, with typed parameters.
//!
//! Volume alone is never suspicious, a busy merchant is not a thief; what every rule asks is whether the *amount* is
//! unusual for this account. All arithmetic is on integers. Amounts in parameters are whole major units; a currency
//! without minor units counts a hundred of its units as one, since a yen is worth about a cent.

pub mod book;
pub mod handlers;
pub mod queries;
pub mod written;

use chrono::{Datelike, Timelike};
use serde::Deserialize;
use shared::Currency;
use shared::clients::ml::{Decision, Reason, ScoreRequest};

use crate::account_state::AccountState;
use crate::expression::{Facts, Fraction, Value, Variable};
use written::ParsedRule;

/// The scale ends here, however many points the rules add up to.
pub const MAX_SCORE: u16 = 1000;

/// The rules and the policy in force together.
#[derive(Debug)]
pub struct RuleSet {
    /// Names this set in every stored score.
    pub version: i64,
    pub rules: Vec<Rule>,
    /// Proposals that are only counted.
    pub shadow: Vec<Rule>,
    pub policy: Policy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub code: String,
    pub condition: Condition,
    pub points: u16,
}

/// From which score a transfer is reviewed or blocked.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub review_at: u16,
    pub block_at: u16,
}

/// When a rule applies. In the database: `kind` and `params`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", content = "params", rename_all = "snake_case")]
pub enum Condition {
    AmountOverHistory(AmountOverHistory),
    AmountLargeForNewAccount(AmountLargeForNewAccount),
    Velocity(Velocity),
    NewCounterpartyLarge(NewCounterpartyLarge),
    Expression(ParsedRule),
}

/// `factor` times the account's mean or more, once it has made `min_transfers`, and no small amount.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmountOverHistory {
    factor: u32,
    min_transfers: u32,
    min_amount: MajorUnits,
}

/// A large amount from an account that has made fewer than `max_transfers`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmountLargeForNewAccount {
    max_transfers: u32,
    min_amount: MajorUnits,
}

/// One of many transfers in an hour, and of an amount that is `factor` times the account's mean or more. Without the second
/// half every busy account would be stopped; with it, a burst of unusual payments is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Velocity {
    max_per_hour: u32,
    factor: u32,
    min_amount: MajorUnits,
}

/// The first payment to somebody, and `large_amount` or more, or as unusual as in [`AmountOverHistory`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCounterpartyLarge {
    factor: u32,
    min_transfers: u32,
    min_amount: MajorUnits,
    large_amount: MajorUnits,
}

/// An amount in whole units of any currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct MajorUnits(u32);

impl MajorUnits {
    fn minor(self, currency: Currency) -> i64 {
        i64::from(self.0).saturating_mul(10_i64.saturating_pow(currency.exponent().max(2)))
    }
}

/// What is known when a transfer is scored.
pub struct Evidence<'a> {
    pub transfer: &'a ScoreRequest,
    /// Absent before the debit account's first posted transfer.
    pub state: Option<&'a AccountState>,
    /// Transfers from the debit account in the last hour, with those that are earlier in the same batch.
    pub count_in_hour: i64,
    /// Whether the device or the address is known that asks.
    pub origin_known: bool,
}

impl Evidence<'_> {
    fn transfer_count(&self) -> i64 {
        self.state.map_or(0, |state| state.transfer_count)
    }

    fn reaches(&self, amount: MajorUnits) -> bool {
        self.transfer.amount >= amount.minor(self.transfer.currency)
    }

    /// `amount ≥ factor × sum ÷ count`, without the division.
    fn is_times_the_mean(&self, factor: u32) -> bool {
        self.state.is_some_and(|state| {
            i128::from(self.transfer.amount) * i128::from(state.transfer_count)
                >= i128::from(factor) * i128::from(state.amount_sum)
        })
    }

    fn is_unusual(&self, factor: u32, min_transfers: u32, min_amount: MajorUnits) -> bool {
        self.transfer_count() >= i64::from(min_transfers)
            && self.reaches(min_amount)
            && self.is_times_the_mean(factor)
    }

    /// `9.4 times this account's usual amount`
    fn times_the_mean(&self) -> String {
        let tenths = self.state.map_or(0, |state| {
            i128::from(self.transfer.amount) * i128::from(state.transfer_count) * 10
                / i128::from(state.amount_sum.max(1))
        });
        format!(
            "{}.{} times this account's usual amount",
            tenths / 10,
            tenths % 10
        )
    }
}

impl Facts for Evidence<'_> {
    fn value(&self, variable: Variable) -> Option<Value<'_>> {
        let transfer = self.transfer;
        match variable {
            Variable::Amount => Some(Value::integer(transfer.amount)),
            Variable::Currency => Some(Value::Text(transfer.currency.code())),
            Variable::Kind => transfer.kind.map(|kind| Value::Text(kind.word())),
            Variable::Hour => Some(Value::integer(transfer.requested_at.hour().into())),
            Variable::Weekday => {
                let weekday = transfer.requested_at.weekday().number_from_monday();
                Some(Value::integer(weekday.into()))
            }
            Variable::OriginKnown => Some(Value::Bool(self.origin_known)),
            Variable::AccountCount => Some(Value::integer(self.transfer_count())),
            Variable::AccountCount1h => Some(Value::integer(self.count_in_hour)),
            Variable::AccountMean => {
                let state = self.state?;
                Fraction::of(state.amount_sum, state.transfer_count).map(Value::Number)
            }
            Variable::AccountMax => self.state.map(|state| Value::integer(state.amount_max)),
            Variable::CounterpartyKnown => {
                let counterparty = transfer.credit_account_id;
                Some(Value::Bool(
                    self.state.is_some_and(|state| state.has_paid(counterparty)),
                ))
            }
        }
    }

    fn major(&self) -> i64 {
        MajorUnits(1).minor(self.transfer.currency)
    }

    fn exponent(&self) -> u32 {
        self.transfer.currency.exponent()
    }
}

impl Condition {
    /// Why it applies, in words, if it does.
    fn finding(&self, evidence: &Evidence<'_>) -> Option<String> {
        match self {
            Self::AmountOverHistory(it) => evidence
                .is_unusual(it.factor, it.min_transfers, it.min_amount)
                .then(|| evidence.times_the_mean()),
            Self::AmountLargeForNewAccount(it) => {
                let count = evidence.transfer_count();
                (count < i64::from(it.max_transfers) && evidence.reaches(it.min_amount))
                    .then(|| format!("a large amount for an account with {count} earlier transfers"))
            }
            Self::Velocity(it) => {
                let earlier = evidence.count_in_hour;
                (earlier >= i64::from(it.max_per_hour) && evidence.is_unusual(it.factor, 1, it.min_amount))
                    .then(|| {
                        format!(
                            "{earlier} transfers in the hour before, and {}",
                            evidence.times_the_mean()
                        )
                    })
            }
            Self::NewCounterpartyLarge(it) => {
                let counterparty = evidence.transfer.credit_account_id;
                if evidence.state.is_some_and(|state| state.has_paid(counterparty)) {
                    None
                } else if evidence.reaches(it.large_amount) {
                    Some("first payment to this account, and a large amount".to_owned())
                } else {
                    evidence
                        .is_unusual(it.factor, it.min_transfers, it.min_amount)
                        .then(|| format!("first payment to this account, and {}", evidence.times_the_mean()))
                }
            }
            Self::Expression(it) => it.finding(evidence),
        }
    }

    /// The same without the words, which take longer.
    fn holds(&self, evidence: &Evidence<'_>) -> bool {
        match self {
            Self::Expression(it) => it.holds(evidence),
            _ => self.finding(evidence).is_some(),
        }
    }
}

impl Policy {
    pub fn decide(self, score: u16) -> Decision {
        if score >= self.block_at {
            Decision::Block
        } else if score >= self.review_at {
            Decision::Review
        } else {
            Decision::Allow
        }
    }
}

impl Policy {
    /// The score in the band of a decision that was not made by points alone, so that both say the same.
    pub fn within(self, decision: Decision, score: u16) -> u16 {
        match decision {
            Decision::Allow => score.min(self.review_at.saturating_sub(1)),
            Decision::Review => score.clamp(
                self.review_at,
                self.block_at.saturating_sub(1).max(self.review_at),
            ),
            Decision::Block => score.max(self.block_at),
        }
    }
}

impl Rule {
    fn reason(&self, evidence: &Evidence<'_>) -> Option<Reason> {
        Some(Reason {
            code: self.code.clone(),
            detail: self.condition.finding(evidence)?,
            points: self.points,
        })
    }

    /// What it demands by itself.
    pub fn action(&self) -> Option<Decision> {
        match &self.condition {
            Condition::Expression(rule) => rule.action,
            _ => None,
        }
    }
}

/// What the rules say about a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub reasons: Vec<Reason>,
    /// What the strongest of them demands, whatever the points add up to: to review or block it; or, where no rule demands that,
    /// to let it through.
    pub action: Option<Decision>,
}

impl Findings {
    /// The decision, where points alone would have made `by_points`.
    pub fn decide(&self, by_points: Decision) -> Decision {
        match self.action {
            Some(Decision::Allow) => Decision::Allow,
            Some(action) => action.max(by_points),
            None => by_points,
        }
    }
}

impl RuleSet {
    /// What applies to a transfer.
    pub fn findings(&self, evidence: &Evidence<'_>) -> Findings {
        let mut findings = Findings {
            reasons: Vec::new(),
            action: None,
        };
        for rule in &self.rules {
            if let Some(reason) = rule.reason(evidence) {
                findings.reasons.push(reason);
                findings.action = findings.action.max(rule.action());
            }
        }
        findings
    }

    /// The codes of the proposals that would apply.
    pub fn shadow_hits(&self, evidence: &Evidence<'_>) -> Vec<&str> {
        let hits = self.shadow.iter().filter(|rule| rule.condition.holds(evidence));
        hits.map(|rule| rule.code.as_str()).collect()
    }
}

/// The rules that the migrations seed.
#[cfg(test)]
pub fn seeded_rules() -> RuleSet {
    let migration = include_str!("../migrations/2026-11-21-000001_rules_states_scores/up.sql");
    let seed = migration
        .split_once("INSERT INTO rules (code, kind, params, points) VALUES")
        .unwrap()
        .1;
    let seed = seed.split_once(';').unwrap().0;
    let rules = seed.split("\n    (").skip(1).map(|row| {
        let quoted: Vec<&str> = row.split('\'').collect();
        let points = quoted[6].trim_matches(|it: char| !it.is_ascii_digit());
        let params: serde_json::Value = serde_json::from_str(quoted[5]).unwrap();
        Rule {
            code: quoted[1].to_owned(),
            condition: serde_json::from_value(serde_json::json!({ "kind": quoted[3], "params": params }))
                .unwrap(),
            points: points.parse().unwrap(),
        }
    });
    let policy = Policy {
        review_at: 500,
        block_at: 800,
    };
    RuleSet {
        version: 1,
        rules: rules.collect(),
        shadow: Vec::new(),
        policy,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::id::{AccountId, TransferId};
    use uuid::Uuid;

    use super::*;
    use crate::account_state::state_of;

    fn known() -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(2))
    }

    fn stranger() -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(3))
    }

    fn transfer(to: AccountId, amount: i64, currency: &str) -> ScoreRequest {
        ScoreRequest {
            transfer_id: TransferId::new(),
            debit_account_id: AccountId::from_uuid(Uuid::from_u128(1)),
            credit_account_id: to,
            amount,
            currency: currency.parse().unwrap(),
            requested_at: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            kind: None,
            initiated_by: None,
            origin: None,
        }
    }

    /// What a condition finds in a transfer from an account that made `history` transfers of 20.00 to [`known`].
    #[track_caller]
    fn check(kind: &str, params: &str, cases: &[(usize, i64, ScoreRequest, Option<&str>)]) {
        let params: serde_json::Value = serde_json::from_str(params).unwrap();
        let condition: Condition = serde_json::from_value(json!({ "kind": kind, "params": params })).unwrap();
        for (history, count_in_hour, transfer, expected) in cases {
            let state = state_of(&vec![2000; *history], known());
            let evidence = Evidence {
                transfer,
                state: state.as_ref(),
                count_in_hour: *count_in_hour,
                origin_known: false,
            };
            let finding = condition.finding(&evidence);
            assert_eq!(
                finding.as_deref(),
                *expected,
                "{history} {count_in_hour} {transfer:?}"
            );
        }
    }

    #[test]
    fn amount_over_history() {
        let times = Some("10.0 times this account's usual amount");
        check(
            "amount_over_history",
            r#"{"factor": 10, "min_transfers": 5, "min_amount": 200}"#,
            &[
                (5, 0, transfer(known(), 20_000, "USD"), times),
                (5, 0, transfer(known(), 19_999, "USD"), None),
                (4, 0, transfer(known(), 20_000, "USD"), None),
                (0, 0, transfer(known(), shared::money::MAX_AMOUNT, "USD"), None),
                // Of a currency without minor units a hundred count as one, of one with three digits a thousand.
                (5, 0, transfer(known(), 20_000, "JPY"), times),
                (5, 0, transfer(known(), 20_000, "BHD"), None),
            ],
        );
    }

    #[test]
    fn amount_large_for_new_account() {
        check(
            "amount_large_for_new_account",
            r#"{"max_transfers": 5, "min_amount": 10000}"#,
            &[
                (
                    0,
                    0,
                    transfer(known(), 1_000_000, "USD"),
                    Some("a large amount for an account with 0 earlier transfers"),
                ),
                (
                    4,
                    0,
                    transfer(known(), 1_000_000, "USD"),
                    Some("a large amount for an account with 4 earlier transfers"),
                ),
                (4, 0, transfer(known(), 999_999, "USD"), None),
                (5, 0, transfer(known(), 1_000_000, "USD"), None),
            ],
        );
    }

    #[test]
    fn velocity() {
        let found = Some("20 transfers in the hour before, and 5.0 times this account's usual amount");
        check(
            "velocity",
            r#"{"max_per_hour": 20, "factor": 5, "min_amount": 100}"#,
            &[
                (30, 20, transfer(known(), 10_000, "USD"), found),
                (30, 19, transfer(known(), 10_000, "USD"), None),
                (30, 20, transfer(known(), 9_999, "USD"), None),
                (30, 1_000_000, transfer(known(), 2_000, "USD"), None),
                (0, 1_000_000, transfer(known(), 10_000, "USD"), None),
            ],
        );
    }

    #[test]
    fn new_counterparty_large() {
        let large = Some("first payment to this account, and a large amount");
        let unusual = Some("first payment to this account, and 10.0 times this account's usual amount");
        check(
            "new_counterparty_large",
            r#"{"factor": 10, "min_transfers": 5, "min_amount": 200, "large_amount": 10000}"#,
            &[
                (5, 0, transfer(stranger(), 20_000, "USD"), unusual),
                (5, 0, transfer(known(), 20_000, "USD"), None),
                (5, 0, transfer(stranger(), 19_999, "USD"), None),
                (4, 0, transfer(stranger(), 20_000, "USD"), None),
                (0, 0, transfer(stranger(), 1_000_000, "USD"), large),
                (5, 0, transfer(known(), 1_000_000, "USD"), None),
            ],
        );
    }

    #[test]
    fn a_rule_that_is_not_understood_is_an_error() {
        for (kind, params) in [
            ("velocity", json!({"max_per_hour": 20, "factor": 5})),
            (
                "velocity",
                json!({"max_per_hour": 20, "factor": 5, "min_amount": 1, "max_per_day": 3}),
            ),
            (
                "velocity",
                json!({"max_per_hour": 20, "factor": 5.5, "min_amount": 1}),
            ),
            (
                "velocity",
                json!({"max_per_hour": -1, "factor": 5, "min_amount": 1}),
            ),
            ("unknown", json!({})),
        ] {
            let condition = serde_json::from_value::<Condition>(json!({ "kind": kind, "params": params }));
            assert!(condition.is_err(), "{kind} {params}");
        }
    }

    #[test]
    fn points_become_a_decision() {
        let policy = Policy {
            review_at: 500,
            block_at: 800,
        };
        let decisions = [0, 499, 500, 799, 800, MAX_SCORE].map(|score| policy.decide(score));
        use Decision::{Allow, Block, Review};
        assert_eq!(decisions, [Allow, Allow, Review, Review, Block, Block]);
        for decision in [Allow, Review, Block] {
            for score in [0, 499, 500, 799, 800, MAX_SCORE] {
                assert_eq!(policy.decide(policy.within(decision, score)), decision, "{score}");
            }
        }
    }
}
