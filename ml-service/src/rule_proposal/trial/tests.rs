//! A rule on a log of a few transfers.

use shared::clients::transactions::{TransferKind, TransferStatus};
use uuid::Uuid;

use super::*;
use crate::rule::written::WrittenRule;
use crate::rule::{Condition, Policy, Rule};

fn rule(expression: &str, action: Option<Decision>) -> ParsedRule {
    let rule = WrittenRule {
        expression: expression.to_owned(),
        sentence: "it applies".to_owned(),
        action,
    };
    rule.try_into().unwrap()
}

/// The transfer of an hour, from account 1, in whole dollars.
fn transfer(hour: i64, dollars: i64) -> LoggedTransfer {
    LoggedTransfer {
        position: hour,
        transfer_id: TransferId::new(),
        kind: TransferKind::Transfer,
        status: TransferStatus::Posted,
        original_transfer_id: None,
        debit_account_id: AccountId::from_uuid(Uuid::from_u128(1)),
        credit_account_id: AccountId::from_uuid(Uuid::from_u128(2)),
        debit_holder_id: None,
        credit_holder_id: None,
        amount: dollars * 100,
        currency: "USD".parse().unwrap(),
        description: None,
        code: None,
        decided_by: None,
        device: None,
        address: None,
        occurred_at: DateTime::from_timestamp(1_790_000_000 + hour * 3600, 0).unwrap(),
    }
}

/// The rules in force: one that adds points, one that blocks, and the earlier version of the one that is tried.
fn in_force() -> RuleSet {
    let any = |action| rule("amount >= 1 major", action);
    let coded = |code: &str, action, points| Rule {
        code: code.to_owned(),
        condition: Condition::Expression(any(action)),
        points,
    };
    RuleSet {
        version: 1,
        rules: vec![
            coded("other", None, 300),
            coded("blocks", Some(Decision::Block), 0),
            coded("tried", Some(Decision::Review), 100),
        ],
        shadow: Vec::new(),
        policy: Policy {
            review_at: 500,
            block_at: 800,
        },
    }
}

/// Six ordinary transfers before the days in question, then one of 500, labelled as fraud, one of 600, not labelled, and one of 20.
/// All were decided alike, for these reasons.
fn tried(rule: &ParsedRule, points: u16, stored: Decision, reasons: &[(&str, u16)]) -> TrialResult {
    let rules = in_force();
    let candidate = Candidate {
        code: "tried",
        rule,
        points,
        rules: &rules,
    };
    let from = transfer(10, 1).occurred_at;
    let mut trial = Trial::new(candidate, from);
    let reason = |(code, points): &(&str, u16)| Reason {
        code: (*code).to_owned(),
        detail: "it is so".to_owned(),
        points: *points,
    };
    let score = |transfer: &LoggedTransfer| Score {
        transfer_id: transfer.transfer_id,
        score: reasons.iter().map(|(_, points)| points).sum(),
        decision: stored,
        reasons: reasons.iter().map(reason).collect(),
    };
    for hour in 0..6 {
        let ordinary = transfer(hour, 20);
        trial.take(&ordinary, Some(&score(&ordinary)), None);
    }
    for (hour, dollars, label) in [(10, 500, Some(true)), (11, 600, None), (12, 20, Some(false))] {
        let transfer = transfer(hour, dollars);
        trial.take(&transfer, Some(&score(&transfer)), label);
    }
    trial.finish(7, true)
}

const OTHER: &[(&str, u16)] = &[("other", 300)];

#[test]
fn a_trial_tells_what_would_have_been_blocked_and_how_much_of_it_is_fraud() {
    let unusual = "amount / account.mean >= 5 and account.count >= 5";
    let result = tried(&rule(unusual, Some(Decision::Block)), 0, Decision::Allow, OTHER);
    assert_eq!((result.tried.transfers, result.applies.transfers), (3, 2));
    let blocked = Count {
        transfers: 2,
        fraud: 1,
        no_fraud: 0,
    };
    assert_eq!(result.would_block, blocked);
    assert_eq!(
        result.summary,
        "Applies to 2 of 3 transfers; would have blocked 2, 1 of them fraud, and reviewed 0, none of them known as fraud."
    );
}

#[test]
fn points_count_with_the_score_that_was_given() {
    let any = rule("amount >= 500 major", None);
    let with = |points| tried(&any, points, Decision::Allow, OTHER);
    assert_eq!(
        (with(199).would_review.transfers, with(200).would_review.transfers),
        (0, 2)
    );
    assert_eq!(
        (with(499).would_block.transfers, with(500).would_block.transfers),
        (0, 2)
    );
}

#[test]
fn what_was_decided_that_way_already_is_not_counted_again() {
    let any = rule("amount >= 500 major", Some(Decision::Review));
    for (stored, reasons) in [
        (Decision::Review, &[("gone", 500)][..]),
        (Decision::Block, &[("blocks", 0)]),
        (Decision::Block, &[]),
        (Decision::Review, &[("tried", 100)]),
    ] {
        let result = tried(&any, 0, stored, reasons);
        assert_eq!(result.would_review.transfers, 0, "{reasons:?}");
    }
}

#[test]
fn what_a_rule_allows_others_may_still_stop() {
    let allow = rule("amount >= 500 major", Some(Decision::Allow));
    let allowed = |stored, reasons| tried(&allow, 0, stored, reasons).would_allow.transfers;
    assert_eq!(allowed(Decision::Review, &[("other", 300), ("other", 300)]), 2);
    // Another rule, the model, the lists, and what is not known any more.
    assert_eq!(allowed(Decision::Block, &[("blocks", 0)]), 0);
    assert_eq!(allowed(Decision::Review, &[("model", 600)]), 0);
    assert_eq!(allowed(Decision::Block, &[("block_list", 0)]), 0);
    assert_eq!(allowed(Decision::Block, &[]), 0);
    let block = rule("amount >= 500 major", Some(Decision::Block));
    let listed = tried(&block, 0, Decision::Allow, &[("allow_list", 0)]);
    assert_eq!((listed.applies.transfers, listed.would_block.transfers), (2, 0));
}

#[test]
fn a_version_takes_the_place_of_the_one_before() {
    let before = &[("other", 300), ("tried", 100)];
    // Its points do not count twice: 300 and 199 are no review, 300 and 200 are.
    let points = rule("amount >= 500 major", None);
    let with = |points_of_it| tried(&points, points_of_it, Decision::Review, before);
    assert_eq!(with(199).would_allow.transfers, 3);
    assert_eq!(
        (with(200).would_allow.transfers, with(200).would_review.transfers),
        (1, 0)
    );
    // One that applies to less lets the rest through.
    let rarer = rule("amount >= 600 major", Some(Decision::Review));
    assert_eq!(
        tried(&rarer, 0, Decision::Review, before).would_allow.transfers,
        2
    );
}

#[test]
fn what_was_not_read_is_said() {
    let any = rule("amount >= 500 major", None);
    let rules = in_force();
    let candidate = Candidate {
        code: "tried",
        rule: &any,
        points: 0,
        rules: &rules,
    };
    let result = Trial::new(candidate, transfer(0, 1).occurred_at).finish(7, false);
    assert!(
        result
            .summary
            .ends_with("Only the first part of the days was read."),
        "{}",
        result.summary
    );
}
