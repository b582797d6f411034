//! A rule on a log of a few transfers.

use shared::clients::transactions::{TransferKind, TransferStatus};
use uuid::Uuid;

use super::*;
use crate::rule::written::WrittenRule;

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

/// Six ordinary transfers before the days in question, then one of 500, labelled as fraud, and one of 600, not labelled.
fn tried(rule: &ParsedRule, points: u16, stored: Decision) -> TrialResult {
    let policy = Policy {
        review_at: 500,
        block_at: 800,
    };
    let from = transfer(10, 1).occurred_at;
    let mut trial = Trial::new(rule, points, policy, from);
    let score = |transfer: &LoggedTransfer| Score {
        transfer_id: transfer.transfer_id,
        score: 300,
        decision: stored,
        reasons: Vec::new(),
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

#[test]
fn a_trial_tells_what_would_have_been_blocked_and_how_much_of_it_is_fraud() {
    let unusual = "amount / account.mean >= 5 and account.count >= 5";
    let result = tried(&rule(unusual, Some(Decision::Block)), 0, Decision::Allow);
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
    let with = |points| tried(&any, points, Decision::Allow);
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
    assert_eq!(tried(&any, 0, Decision::Review).would_review.transfers, 0);
    assert_eq!(tried(&any, 0, Decision::Block).would_review.transfers, 0);
    let allow = rule("amount >= 500 major", Some(Decision::Allow));
    assert_eq!(tried(&allow, 0, Decision::Block).would_allow.transfers, 2);
}
