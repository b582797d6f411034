//! The rules one by one, every order of those that want one hold, and any steps at random.

use proptest::prelude::*;
use shared::Amount;
use shared::clients::transactions::Limits;
use shared::id::{TransferId, UserId};

use super::*;
use crate::ledger_account::Spent;
use crate::leg::{Condition, Legs};
use crate::transfer::Note;

fn holder(number: u128) -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(number))
}

fn account_id(number: u128) -> AccountId {
    AccountId::from_uuid(uuid::Uuid::from_u128(number))
}

fn customer(number: u128, posted: i64) -> LockedAccount {
    LockedAccount {
        id: account_id(number),
        kind: AccountKind::Customer,
        holder_id: Some(holder(number)),
        currency: "USD".parse().unwrap(),
        status: LedgerStatus::Open,
        posted,
        held: 0,
        floor: Some(0),
        version: 0,
        limits: Limits::default(),
        spent: Spent::default(),
    }
}

fn clearing(posted: i64) -> LockedAccount {
    LockedAccount {
        kind: AccountKind::Clearing,
        holder_id: None,
        floor: None,
        ..customer(0, posted)
    }
}

fn pair(debit: u128, credit: u128, minor: i64) -> Legs {
    Legs::pair(
        account_id(debit),
        account_id(credit),
        amount(minor),
        "USD".parse().unwrap(),
    )
}

fn order(kind: TransferKind, debit: u128, credit: u128, amount: i64) -> TransferOrder {
    let own = if kind == TransferKind::Deposit {
        credit
    } else {
        debit
    };
    TransferOrder::new(kind, pair(debit, credit, amount), Note::default(), holder(own))
}

fn book(accounts: impl IntoIterator<Item = LockedAccount>) -> Book {
    Book::new(accounts, [], [])
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn amount(minor: i64) -> Amount {
    Amount::try_from(minor).unwrap()
}

/// Of account 1 in favour of account 2, for a minute.
fn hold_order(minor: i64) -> HoldOrder {
    HoldOrder {
        id: HoldId::new(),
        account_id: account_id(1),
        credit_account_id: account_id(2),
        amount: amount(minor),
        currency: "USD".parse().unwrap(),
        description: None,
        metadata: None,
        expires_after_s: 60,
        capture_after_s: None,
        initiated_by: holder(1),
    }
}

fn capture_order(minor: Option<i64>) -> CaptureOrder {
    CaptureOrder {
        transfer_id: TransferId::new(),
        amount: minor.map(amount),
        note: Note::default(),
        initiated_by: holder(2),
    }
}

fn more(book: &Book, hold: HoldId, by: i64) -> IncrementOrder {
    let hold = book.hold(hold).unwrap();
    hold.incremented(amount(by), holder(1)).unwrap()
}

/// A book with such a hold, placed at second 0 out of 100.
fn book_with_hold(minor: i64) -> (Book, HoldId) {
    let order = hold_order(minor);
    let mut payer = customer(1, 100);
    payer.held = minor;
    let book = Book::new([payer, customer(2, 0)], [order.placed_at(at(0))], []);
    (book, order.id)
}

/// A posted transfer of 40 from account 1 to account 2, and the order that gives some of it back.
fn posted_transfer() -> (Book, TransferOrder, LockedTransfer) {
    let original = LockedTransfer {
        id: TransferId::new(),
        posted: true,
        amount: 40,
        refunded: 0,
        reversal_id: None,
    };
    let book = Book::new([customer(1, 60), customer(2, 40)], [], [original.clone()]);
    (book, original_order(&original), original)
}

fn original_order(original: &LockedTransfer) -> TransferOrder {
    TransferOrder {
        kind: TransferKind::Refund,
        original_transfer_id: Some(original.id),
        ..order(TransferKind::Transfer, 2, 1, 40)
    }
}

fn scored(decision: Decision) -> Scoring {
    Scoring::Scored(Risk {
        score: 0,
        decision,
        reasons: vec![],
    })
}

/// The debit and the credit.
fn posted(verdict: Verdict) -> [Leg; 2] {
    match verdict {
        Verdict::Posted(legs) => legs.try_into().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn transfer(amount: i64) -> TransferOrder {
    order(TransferKind::Transfer, 1, 2, amount)
}

fn refused(accounts: [LockedAccount; 2], order: &TransferOrder) -> Option<Refusal> {
    let mut book = book(accounts.clone());
    let refusal = book.decide(order, &scored(Decision::Allow)).err();
    let unchanged = accounts
        .iter()
        .all(|account| book.account(account.id) == Some(account));
    assert!(refusal.is_none() || unchanged, "a refusal changed something");
    refusal
}

#[test]
fn a_transfer_posts_two_legs_with_the_balances_after_them() {
    let mut book = book([customer(1, 100), customer(2, 5)]);
    let verdict = book.decide(&transfer(30), &scored(Decision::Allow)).unwrap();
    let [debit, credit] = posted(verdict);
    assert_eq!((debit.balance_after, debit.sequence), (70, 1));
    assert_eq!((credit.balance_after, credit.sequence), (35, 1));
}

#[test]
fn each_rule_refuses_with_its_own_code_and_changes_nothing() {
    let with = |number, change: fn(&mut LockedAccount)| {
        let mut account = customer(number, 100);
        change(&mut account);
        account
    };
    let (payer, payee) = (customer(1, 100), customer(2, 0));
    let frozen: fn(&mut LockedAccount) = |it| it.status = LedgerStatus::Frozen;
    let closed: fn(&mut LockedAccount) = |it| it.status = LedgerStatus::Closed;
    let yen: fn(&mut LockedAccount) = |it| it.currency = "JPY".parse().unwrap();
    let full: fn(&mut LockedAccount) = |it| it.posted = MAX_AMOUNT;
    let holding: fn(&mut LockedAccount) = |it| it.held = 1;
    let stranger: fn(&mut LockedAccount) = |it| it.holder_id = Some(holder(9));
    let cases = [
        (
            [payer.clone(), payee.clone()],
            101,
            Some(Refusal::InsufficientFunds),
        ),
        ([payer.clone(), payee.clone()], 100, None),
        (
            [with(1, holding), payee.clone()],
            100,
            Some(Refusal::InsufficientFunds),
        ),
        (
            [with(1, stranger), payee.clone()],
            1,
            Some(Refusal::AccountNotFound(Pointer::Debit)),
        ),
        (
            [payer.clone(), customer(3, 0)],
            1,
            Some(Refusal::AccountNotFound(Pointer::Credit)),
        ),
        (
            [with(1, frozen), payee.clone()],
            1,
            Some(Refusal::AccountFrozen(Pointer::Debit)),
        ),
        (
            [payer.clone(), with(2, frozen)],
            1,
            Some(Refusal::AccountFrozen(Pointer::Credit)),
        ),
        (
            [with(1, closed), payee.clone()],
            1,
            Some(Refusal::AccountClosed(Pointer::Debit)),
        ),
        (
            [payer.clone(), with(2, closed)],
            1,
            Some(Refusal::AccountClosed(Pointer::Credit)),
        ),
        (
            [with(1, yen), payee.clone()],
            1,
            Some(Refusal::CurrencyMismatch(Pointer::Debit)),
        ),
        (
            [payer.clone(), with(2, yen)],
            1,
            Some(Refusal::CurrencyMismatch(Pointer::Credit)),
        ),
        (
            [payer.clone(), with(2, full)],
            1,
            Some(Refusal::BalanceLimit(Pointer::Credit)),
        ),
    ];
    for (accounts, amount, expected) in cases {
        assert_eq!(
            refused(accounts.clone(), &transfer(amount)),
            expected,
            "{accounts:?}"
        );
    }
}

#[test]
fn nobody_moves_money_out_of_or_into_a_clearing_account_but_by_a_payment() {
    let accounts = || [clearing(-100), customer(1, 100)];
    for order in [
        order(TransferKind::Transfer, 1, 0, 10),
        order(TransferKind::Transfer, 0, 1, 10),
    ] {
        assert!(matches!(
            refused(accounts(), &order),
            Some(Refusal::AccountNotFound(_))
        ));
    }
    for order in [
        order(TransferKind::Withdrawal, 1, 0, 10),
        order(TransferKind::Deposit, 0, 1, 10),
    ] {
        assert_eq!(refused(accounts(), &order), None);
    }
    let to_another = TransferOrder {
        initiated_by: holder(7),
        ..order(TransferKind::Deposit, 0, 1, 10)
    };
    assert_eq!(
        refused(accounts(), &to_another),
        Some(Refusal::AccountNotFound(Pointer::Credit))
    );
}

#[test]
fn the_score_decides_and_its_absence_falls_back_by_amount() {
    let decide = |amount, scoring: Scoring| {
        book([customer(1, 100), customer(2, 0)])
            .decide(&transfer(amount), &scoring)
            .unwrap()
    };
    assert_eq!(decide(10, scored(Decision::Block)), Verdict::Blocked);
    assert_eq!(
        decide(10, scored(Decision::Review)),
        Verdict::InReview(ReviewReason::Risk)
    );
    assert!(matches!(
        decide(10, Scoring::Missing { post_limit: 10 }),
        Verdict::Posted(_)
    ));
    assert_eq!(
        decide(11, Scoring::Missing { post_limit: 10 }),
        Verdict::InReview(ReviewReason::Risk)
    );
}

#[test]
fn what_is_held_for_review_cannot_be_spent_and_approval_posts_it() {
    let hold = review_hold(1, 60);
    let mut payer = customer(1, 100);
    payer.held = 60;
    let mut book = Book::new([payer, customer(2, 0)], [hold.clone()], []);
    assert_eq!(
        book.decide(&transfer(41), &scored(Decision::Allow)),
        Err(Refusal::InsufficientFunds)
    );
    let verdict = book.approve(&transfer(60), &[hold.id]).unwrap();
    let [debit, credit] = posted(verdict);
    assert_eq!((debit.balance_after, credit.balance_after), (40, 60));
    assert_eq!(book.account(account_id(1)).unwrap().held, 0);
    assert_eq!(book.approve(&transfer(60), &[hold.id]), Err(Refusal::NotInReview));
    assert_eq!(book.reject(&transfer(60), &[hold.id]), Err(Refusal::NotInReview));
}

#[test]
fn what_waits_for_a_person_meets_its_condition_when_its_money_is_held() {
    let decide = |book: &mut Book, least| {
        let pair = transfer(60).legs;
        let mut legs: Vec<LegOrder> = pair.iter().cloned().collect();
        legs[0].available_balance = Some(Condition {
            gte: Some(least),
            lte: None,
        });
        let legs = Legs::parse(legs).unwrap();
        let order = TransferOrder::new(TransferKind::Transfer, legs, Note::default(), holder(1));
        book.decide(&order, &scored(Decision::Review))
    };
    let mut book = book([customer(1, 100), customer(2, 0)]);
    let before = book.account(account_id(1)).unwrap().clone();
    assert_eq!(
        decide(&mut book, 41),
        Err(Refusal::ConditionFailed(Pointer::Debit))
    );
    assert_eq!(book.account(account_id(1)), Some(&before));
    assert_eq!(decide(&mut book, 40), Ok(Verdict::InReview(ReviewReason::Risk)));
    let held = LockedAccount { held: 60, ..before };
    assert_eq!(book.account(account_id(1)), Some(&held));
    assert_eq!(book.account(account_id(2)).unwrap().version, 0);
}

fn review_hold(account: u128, amount: i64) -> LockedHold {
    LockedHold {
        id: HoldId::new(),
        account_id: account_id(account),
        amount,
        captured: 0,
        released: 0,
        expired: false,
        terms: None,
    }
}

#[test]
fn a_hold_is_captured_in_parts_and_the_rest_released_never_more_than_it_has() {
    let (mut book, hold) = book_with_hold(60);
    let (order, verdict) = book.capture_hold(hold, &capture_order(Some(25)), at(1)).unwrap();
    assert_eq!((order.legs.total(), order.captured_hold_id), (25, Some(hold)));
    assert_eq!(posted(verdict).map(|leg| leg.balance_after), [75, 25]);
    assert_eq!(
        book.capture_hold(hold, &capture_order(Some(36)), at(1)),
        Err(Refusal::HoldExceeded)
    );
    assert_eq!(
        book.release_hold(hold, Some(amount(36))),
        Err(Refusal::HoldExceeded)
    );
    book.release_hold(hold, None).unwrap();
    let account = book.account(account_id(1)).unwrap();
    assert_eq!((account.posted, account.held), (75, 0));
    for refused in [
        book.release_hold(hold, None).err(),
        book.capture_hold(hold, &capture_order(None), at(1)).err(),
        book.increment_hold(hold, &more(&book, hold, 1), &Scoring::Exempt, at(1))
            .err(),
    ] {
        assert_eq!(refused, Some(Refusal::HoldEnded));
    }
}

#[test]
fn a_hold_ends_when_its_time_is_up_and_not_before() {
    let (mut book, hold) = book_with_hold(60);
    assert_eq!(book.expire_hold(hold, at(59)), Err(Refusal::HoldNotExpired));
    assert_eq!(
        book.capture_hold(hold, &capture_order(None), at(60)),
        Err(Refusal::HoldExpired)
    );
    assert_eq!(
        book.increment_hold(hold, &more(&book, hold, 1), &Scoring::Exempt, at(60)),
        Err(Refusal::HoldExpired)
    );
    book.expire_hold(hold, at(60)).unwrap();
    assert_eq!(book.account(account_id(1)).unwrap().available(), Some(100));
    assert!(book.hold(hold).unwrap().expired);
}

#[test]
fn more_can_be_held_only_of_what_is_available() {
    let (mut book, hold) = book_with_hold(60);
    assert_eq!(
        book.increment_hold(hold, &more(&book, hold, 41), &Scoring::Exempt, at(1)),
        Err(Refusal::InsufficientFunds)
    );
    assert_eq!(book.hold(hold).unwrap().amount, 60);
    book.increment_hold(hold, &more(&book, hold, 40), &Scoring::Exempt, at(1))
        .unwrap();
    assert_eq!(book.account(account_id(1)).unwrap().available(), Some(0));
    let transfer = book.decide(&transfer(1), &scored(Decision::Allow));
    assert_eq!(transfer, Err(Refusal::InsufficientFunds));
}

#[test]
fn a_hold_does_not_grow_past_a_look_at_it() {
    let at_most = |post_limit| Scoring::Missing { post_limit };
    for (scoring, expected) in [
        (scored(Decision::Review), Err(Refusal::BlockedByRisk)),
        (scored(Decision::Block), Err(Refusal::BlockedByRisk)),
        // What counts is the whole hold, not what is added to it.
        (at_most(89), Err(Refusal::BlockedByRisk)),
        (at_most(90), Ok(())),
    ] {
        let (mut book, hold) = book_with_hold(60);
        assert_eq!(
            book.increment_hold(hold, &more(&book, hold, 30), &scoring, at(1)),
            expected
        );
        let held = book.account(account_id(1)).unwrap().held;
        assert_eq!(held, if expected.is_ok() { 90 } else { 60 });
    }
}

fn limited(per_transfer: Option<i64>, daily: Option<i64>, monthly: Option<i64>) -> LockedAccount {
    LockedAccount {
        limits: Limits {
            per_transfer,
            daily,
            monthly,
        },
        ..customer(1, 1_000)
    }
}

#[test]
fn limits_count_what_was_spent_and_what_is_held() {
    let mut account = limited(None, Some(100), Some(150));
    account.spent = Spent {
        today: 30,
        this_month: 90,
    };
    let mut book = book([account, customer(2, 0)]);
    let pay = |book: &mut Book, minor| book.decide(&transfer(minor), &Scoring::Exempt).map(drop);
    let pointer = Pointer::Debit;
    assert_eq!(pay(&mut book, 71), Err(Refusal::DailyLimitExceeded(pointer)));
    assert_eq!(pay(&mut book, 61), Err(Refusal::MonthlyLimitExceeded(pointer)));
    let hold = hold_order(40);
    book.place_hold(&hold, &Scoring::Exempt).unwrap();
    assert_eq!(pay(&mut book, 21), Err(Refusal::MonthlyLimitExceeded(pointer)));
    pay(&mut book, 20).unwrap();
    let spent = book.account(account_id(1)).unwrap().spent;
    assert_eq!((spent.today, spent.this_month), (50, 110));
    assert_eq!(
        book.place_hold(&hold_order(1), &Scoring::Exempt),
        Err(Refusal::MonthlyLimitExceeded(Pointer::Account))
    );
}

#[test]
fn a_capture_was_counted_when_it_was_held() {
    let (mut book, hold) = book_with_hold(60);
    let account = book.accounts.get_mut(&account_id(1)).unwrap();
    account.limits.daily = Some(60);
    book.capture_hold(hold, &capture_order(Some(45)), at(1)).unwrap();
    let account = book.account(account_id(1)).unwrap();
    assert_eq!((account.spent.today, account.held), (45, 15));
    assert_eq!(account.check_limits(1, 1), Err(ExceededLimit::Daily));
    book.release_hold(hold, None).unwrap();
    assert_eq!(book.account(account_id(1)).unwrap().check_limits(15, 15), Ok(()));
}

#[test]
fn one_transfer_or_hold_has_a_limit_of_its_own() {
    let mut book = book([limited(Some(50), None, None), customer(2, 0)]);
    assert_eq!(
        book.decide(&transfer(51), &scored(Decision::Review)),
        Err(Refusal::TransferLimitExceeded(Pointer::Debit))
    );
    let order = hold_order(50);
    book.place_hold(&order, &Scoring::Exempt).unwrap();
    book.holds.insert(order.id, order.placed_at(at(0)));
    assert_eq!(
        book.increment_hold(order.id, &more(&book, order.id, 1), &Scoring::Exempt, at(1)),
        Err(Refusal::TransferLimitExceeded(Pointer::Account))
    );
    book.decide(&transfer(50), &Scoring::Exempt).unwrap();
}

#[test]
fn what_goes_back_and_what_comes_in_is_not_spent() {
    let mut book = book([limited(Some(1), Some(1), Some(1)), customer(2, 100), clearing(0)]);
    book.decide(&order(TransferKind::Deposit, 0, 1, 50), &Scoring::Exempt)
        .unwrap();
    let refund = TransferOrder {
        kind: TransferKind::Refund,
        ..transfer(40)
    };
    book.decide(&refund, &Scoring::Exempt).unwrap();
    assert_eq!(book.account(account_id(1)).unwrap().spent, Spent::default());
}

#[test]
fn above_an_amount_a_second_person_decides() {
    let approvals: Approvals = "USD=50".parse().unwrap();
    let mut book = book([customer(1, 1_000), customer(2, 0), clearing(0)]).with_approvals(approvals);
    let mut decide = |order: &TransferOrder, decision| book.decide(order, &scored(decision)).unwrap();
    assert!(matches!(
        decide(&transfer(50), Decision::Allow),
        Verdict::Posted(_)
    ));
    for (order, decision, expected) in [
        (
            transfer(51),
            Decision::Allow,
            Verdict::InReview(ReviewReason::Amount),
        ),
        (
            transfer(51),
            Decision::Review,
            Verdict::InReview(ReviewReason::Risk),
        ),
        (transfer(51), Decision::Block, Verdict::Blocked),
        (
            order(TransferKind::Withdrawal, 1, 0, 51),
            Decision::Allow,
            Verdict::InReview(ReviewReason::Amount),
        ),
    ] {
        assert_eq!(decide(&order, decision), expected);
    }
    let deposit = order(TransferKind::Deposit, 0, 1, 51);
    assert!(matches!(
        book.decide(&deposit, &Scoring::Exempt),
        Ok(Verdict::Posted(_))
    ));
    assert_eq!(
        book.place_hold(&hold_order(51), &Scoring::Exempt),
        Err(Refusal::ApprovalRequired)
    );
}

#[test]
fn what_a_person_would_have_to_look_at_cannot_be_held() {
    for (decision, expected) in [
        (Decision::Allow, Ok(())),
        (Decision::Review, Err(Refusal::BlockedByRisk)),
        (Decision::Block, Err(Refusal::BlockedByRisk)),
    ] {
        let mut book = book([customer(1, 100), customer(2, 0)]);
        assert_eq!(book.place_hold(&hold_order(60), &scored(decision)), expected);
    }
}

#[test]
fn refunds_together_are_never_more_than_was_posted() {
    let (mut book, order, original) = posted_transfer();
    let part = |minor| TransferOrder {
        legs: pair(2, 1, minor),
        ..order.clone()
    };
    book.refund(&part(15), original.id).unwrap();
    assert_eq!(book.refund(&part(26), original.id), Err(Refusal::RefundExceeded));
    book.refund(&part(25), original.id).unwrap();
    assert_eq!(book.refund(&part(1), original.id), Err(Refusal::RefundExceeded));
    assert_eq!(book.account(account_id(1)).unwrap().posted, 100);
    assert_eq!(
        book.propose_reversal(&order, original.id),
        Err(Refusal::AlreadyRefunded)
    );
}

#[test]
fn a_refund_that_cannot_be_paid_uses_nothing_up() {
    let (mut book, order, original) = posted_transfer();
    book.change_account(account_id(2), |account| {
        account.held = 30;
        Ok(())
    })
    .unwrap();
    assert_eq!(book.refund(&order, original.id), Err(Refusal::InsufficientFunds));
    assert_eq!(book.transfers[&original.id].refunded, 0);
}

#[test]
fn a_reversal_happens_once_and_can_be_proposed_again_only_when_rejected() {
    let (mut book, order, original) = posted_transfer();
    let reversal = TransferOrder {
        kind: TransferKind::Reversal,
        ..order.clone()
    };
    assert_eq!(
        book.propose_reversal(&reversal, original.id),
        Ok(Verdict::InReview(ReviewReason::Reversal))
    );
    assert_eq!(book.account(account_id(2)).unwrap().available(), Some(0));
    for refused in [
        book.propose_reversal(&reversal, original.id),
        book.refund(&order, original.id),
    ] {
        assert_eq!(refused, Err(Refusal::AlreadyReversed));
    }
    let hold = review_hold(2, 40);
    book.holds.insert(hold.id, hold.clone());
    book.reject(&reversal, &[hold.id]).unwrap();
    assert_eq!(book.account(account_id(2)).unwrap().available(), Some(40));
    book.propose_reversal(&reversal, original.id).unwrap();
    let hold = review_hold(2, 40);
    book.holds.insert(hold.id, hold.clone());
    book.approve(&reversal, &[hold.id]).unwrap();
    assert_eq!(book.account(account_id(1)).unwrap().posted, 100);
    assert_eq!(
        book.propose_reversal(&reversal, original.id),
        Err(Refusal::AlreadyReversed)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Decide {
        kind: TransferKind,
        debit: u128,
        credit: u128,
        amount: i64,
        decision: Decision,
    },
    /// Of account 1 to the three others.
    Several {
        amounts: [i64; 3],
        least: Option<i64>,
        decision: Decision,
    },
    Settle {
        index: usize,
        approve: bool,
    },
    Place {
        debit: u128,
        credit: u128,
        amount: i64,
    },
    Change {
        index: usize,
        action: Action,
        second: i64,
    },
    GiveBack {
        index: usize,
        amount: i64,
        reverse: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Increment(i64),
    Capture(Option<i64>),
    Release(Option<i64>),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let decision =
        prop_oneof![4 => Just(Decision::Allow), 1 => Just(Decision::Review), 1 => Just(Decision::Block)];
    let kind = prop_oneof![
        Just(TransferKind::Transfer),
        Just(TransferKind::Deposit),
        Just(TransferKind::Withdrawal)
    ];
    let action = prop_oneof![
        (1..50_i64).prop_map(Action::Increment),
        prop::option::of(1..100_i64).prop_map(Action::Capture),
        prop::option::of(1..100_i64).prop_map(Action::Release),
        Just(Action::Expire),
    ];
    prop_oneof![
        5 => (kind, 1..5_u128, 1..5_u128, 1..200_i64, decision.clone())
            .prop_map(|(kind, debit, credit, amount, decision)| match kind {
                TransferKind::Deposit => Step::Decide { kind, debit: 0, credit, amount, decision },
                TransferKind::Withdrawal => Step::Decide { kind, debit, credit: 0, amount, decision },
                _ => Step::Decide { kind, debit, credit, amount, decision },
            }),
        2 => (prop::array::uniform3(1..60_i64), prop::option::of(0..100_i64), decision)
            .prop_map(|(amounts, least, decision)| Step::Several { amounts, least, decision }),
        1 => (0..8_usize, any::<bool>()).prop_map(|(index, approve)| Step::Settle { index, approve }),
        2 => (1..5_u128, 1..5_u128, 1..100_i64)
            .prop_map(|(debit, credit, amount)| Step::Place { debit, credit, amount }),
        3 => (0..8_usize, action, 0..90_i64)
            .prop_map(|(index, action, second)| Step::Change { index, action, second }),
        2 => (0..8_usize, 1..100_i64, any::<bool>())
            .prop_map(|(index, amount, reverse)| Step::GiveBack { index, amount, reverse }),
    ]
}

/// What a batch writes besides the book, kept between steps as the database keeps it.
#[derive(Default)]
struct Written {
    in_review: Vec<(TransferOrder, Vec<HoldId>)>,
    placed: Vec<HoldId>,
    posted: Vec<TransferOrder>,
}

impl Written {
    fn record(&mut self, book: &mut Book, order: TransferOrder, verdict: Verdict) -> Vec<Leg> {
        match verdict {
            Verdict::Posted(legs) => {
                let original = LockedTransfer {
                    id: order.id,
                    posted: true,
                    amount: order.legs.total(),
                    refunded: 0,
                    reversal_id: None,
                };
                book.transfers.insert(order.id, original);
                self.posted.push(order);
                legs
            }
            Verdict::InReview(_) => {
                let mut holds = Vec::new();
                for debit in order.legs.debits() {
                    let hold = LockedHold {
                        account_id: debit.account_id,
                        ..review_hold(0, debit.amount.minor())
                    };
                    holds.push(hold.id);
                    book.holds.insert(hold.id, hold);
                }
                self.in_review.push((order, holds));
                vec![]
            }
            Verdict::Blocked => vec![],
        }
    }

    /// The legs that the step posts.
    fn take(&mut self, book: &mut Book, step: Step) -> Vec<Leg> {
        match step {
            Step::Decide {
                kind,
                debit,
                credit,
                amount,
                decision,
            } if debit != credit => {
                let order = order(kind, debit, credit, amount);
                let verdict = book.decide(&order, &scored(decision));
                verdict.map_or(vec![], |verdict| self.record(book, order, verdict))
            }
            Step::Several {
                amounts,
                least,
                decision,
            } => {
                let leg = |account: u128, direction, minor: i64| LegOrder {
                    account_id: account_id(account),
                    direction,
                    amount: amount(minor),
                    currency: "USD".parse().unwrap(),
                    available_balance: None,
                };
                let mut legs = vec![leg(1, Direction::Debit, amounts.iter().sum())];
                legs[0].available_balance = least.map(|least| Condition {
                    gte: Some(least),
                    lte: None,
                });
                for (account, minor) in (2..5).zip(amounts) {
                    legs.push(leg(account, Direction::Credit, minor));
                }
                let legs = Legs::parse(legs).unwrap();
                let order = TransferOrder::new(TransferKind::Transfer, legs, Note::default(), holder(1));
                let verdict = book.decide(&order, &scored(decision));
                let legs = verdict.map_or(vec![], |verdict| self.record(book, order, verdict));
                if let (Some(least), false) = (least, legs.is_empty()) {
                    assert!(book.account(account_id(1)).unwrap().available().unwrap() >= least);
                }
                legs
            }
            Step::Settle { index, approve } if index < self.in_review.len() => {
                let (order, holds) = self.in_review.remove(index);
                if !approve {
                    book.reject(&order, &holds).unwrap();
                    return vec![];
                }
                match book.approve(&order, &holds) {
                    Ok(verdict) => self.record(book, order, verdict),
                    // What it asked for may not hold any more. Then it is still in review.
                    Err(refusal) => {
                        assert!(matches!(refusal, Refusal::ConditionFailed(_)), "{refusal:?}");
                        self.in_review.push((order, holds));
                        vec![]
                    }
                }
            }
            Step::Place {
                debit,
                credit,
                amount: minor,
            } if debit != credit => {
                let order = HoldOrder {
                    account_id: account_id(debit),
                    credit_account_id: account_id(credit),
                    initiated_by: holder(debit),
                    ..hold_order(minor)
                };
                if book.place_hold(&order, &scored(Decision::Allow)).is_ok() {
                    self.placed.push(order.id);
                    book.holds.insert(order.id, order.placed_at(at(0)));
                }
                vec![]
            }
            Step::Change {
                index,
                action,
                second,
            } if index < self.placed.len() => {
                let (id, now) = (self.placed[index], at(second));
                match action {
                    Action::Increment(by) => {
                        _ = book
                            .increment_hold(id, &more(book, id, by), &Scoring::Exempt, now)
                            .ok()
                    }
                    Action::Release(part) => drop(book.release_hold(id, part.map(amount))),
                    Action::Expire => drop(book.expire_hold(id, now)),
                    Action::Capture(part) => {
                        let captured = book.capture_hold(id, &capture_order(part), now);
                        return captured.map_or(vec![], |(order, verdict)| self.record(book, order, verdict));
                    }
                }
                vec![]
            }
            Step::GiveBack {
                index,
                amount: minor,
                reverse,
            } if index < self.posted.len() => {
                let original = self.posted[index].clone();
                let (kind, legs) = match (reverse, original.legs.as_pair()) {
                    (false, Some((debit, credit))) => {
                        let legs = (credit.account_id, debit.account_id, amount(minor), debit.currency);
                        (TransferKind::Refund, Legs::pair(legs.0, legs.1, legs.2, legs.3))
                    }
                    _ => (TransferKind::Reversal, original.legs.reversed()),
                };
                let payer = legs.debits().next().unwrap().account_id;
                let payer = book.account(payer).unwrap().holder_id.unwrap_or(holder(9));
                let back = TransferOrder {
                    original_transfer_id: Some(original.id),
                    ..TransferOrder::new(kind, legs, Note::default(), payer)
                };
                let reverse = kind == TransferKind::Reversal;
                let verdict = if reverse {
                    book.propose_reversal(&back, original.id)
                } else {
                    book.refund(&back, original.id)
                };
                verdict.map_or(vec![], |verdict| self.record(book, back, verdict))
            }
            _ => vec![],
        }
    }
}

/// Who wants a hold of 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    Capture(Option<i64>),
    Release(Option<i64>),
    Expire,
    /// Of what was captured last.
    Refund(i64),
}

const ACTORS: [Actor; 7] = [
    Actor::Capture(None),
    Actor::Capture(Some(40)),
    Actor::Release(None),
    Actor::Release(Some(40)),
    Actor::Expire,
    Actor::Refund(30),
    Actor::Refund(40),
];

/// Every order of `count` different ones of `actors`.
fn orders_of(actors: &[Actor], count: usize) -> Vec<Vec<Actor>> {
    if count == 0 {
        return vec![vec![]];
    }
    let mut orders = Vec::new();
    for (index, actor) in actors.iter().enumerate() {
        let others = [&actors[..index], &actors[index + 1..]].concat();
        let rest = orders_of(&others, count - 1);
        orders.extend(rest.into_iter().map(|rest| [vec![*actor], rest].concat()));
    }
    orders
}

impl Actor {
    fn act(self, book: &mut Book, written: &mut Written, id: HoldId, now: DateTime<Utc>) -> bool {
        match self {
            Self::Capture(part) => {
                let captured = book.capture_hold(id, &capture_order(part), now);
                let captured = captured.map(|(order, verdict)| written.record(book, order, verdict));
                captured.is_ok()
            }
            Self::Release(part) => book.release_hold(id, part.map(amount)).is_ok(),
            Self::Expire => book.expire_hold(id, now).is_ok(),
            Self::Refund(minor) => written.posted.last().is_some_and(|original| {
                let back = TransferOrder {
                    kind: TransferKind::Refund,
                    original_transfer_id: Some(original.id),
                    ..order(TransferKind::Transfer, 2, 1, minor)
                };
                book.refund(&back, original.id).is_ok()
            }),
        }
    }
}

#[test]
fn one_hold_is_taken_once_in_every_order_of_two_to_four_who_want_it() {
    let orders = (2..=4).flat_map(|count| orders_of(&ACTORS, count));
    for order in orders {
        // Its time is up before the first of them, before the second, ..., or after the last.
        for due in 0..=order.len() {
            let (mut book, id) = book_with_hold(60);
            let mut written = Written::default();
            for (index, actor) in order.iter().enumerate() {
                let now = at(if index < due { 1 } else { 60 });
                let done = actor.act(&mut book, &mut written, id, now);
                let is_late = matches!(actor, Actor::Capture(_)) && index >= due;
                let is_early = *actor == Actor::Expire && index < due;
                assert!(!(done && (is_late || is_early)), "{order:?}");

                let hold = book.hold(id).unwrap();
                assert!(
                    hold.captured >= 0 && hold.released >= 0 && hold.remaining() >= 0,
                    "{order:?}"
                );
                let transfers = || book.transfers.values();
                let captured: i64 = transfers().map(|it| it.amount).sum();
                let refunded: i64 = transfers().map(|it| it.refunded).sum();
                assert!(transfers().all(|it| it.refunded <= it.amount), "{order:?}");
                let [payer, payee] = [1, 2].map(|number| book.account(account_id(number)).unwrap());
                assert_eq!(
                    (hold.captured, hold.remaining()),
                    (captured, payer.held),
                    "{order:?}"
                );
                assert_eq!(
                    (payer.posted, payee.posted),
                    (100 - captured + refunded, captured - refunded),
                    "{order:?}"
                );
            }
        }
    }
}

proptest! {
    /// Whatever is asked in whatever order: money is neither made nor lost, nobody spends what is not available,
    /// postings are numbered without a gap, what is held is what open holds have left, and nothing is given back
    /// twice.
    #[test]
    fn the_books_balance_after_every_step(steps in prop::collection::vec(step(), 1..80)) {
        let mut book = book((1..5).map(|number| customer(number, 0)).chain([clearing(0)]));
        let mut written = Written::default();
        let mut sequences: HashMap<AccountId, i64> = HashMap::new();
        for step in steps {
            for leg in written.take(&mut book, step) {
                let last = sequences.entry(leg.account_id).or_default();
                prop_assert_eq!(leg.sequence, *last + 1);
                *last = leg.sequence;
                prop_assert_eq!(book.account(leg.account_id).unwrap().posted, leg.balance_after);
            }
            let accounts: Vec<&LockedAccount> = (0..5).map(|number| book.account(account_id(number)).unwrap()).collect();
            prop_assert_eq!(accounts.iter().map(|it| it.posted).sum::<i64>(), 0);
            for account in accounts {
                prop_assert!(account.floor.is_none_or(|floor| account.available().unwrap() >= floor));
                let holds = book.holds.values().filter(|hold| hold.account_id == account.id);
                prop_assert_eq!(account.held, holds.map(LockedHold::remaining).sum::<i64>());
            }
            for hold in book.holds.values() {
                prop_assert!(hold.captured >= 0 && hold.released >= 0 && hold.remaining() >= 0);
            }
            for transfer in book.transfers.values() {
                prop_assert!((0..=transfer.amount).contains(&transfer.refunded));
                prop_assert!(transfer.refunded == 0 || transfer.reversal_id.is_none());
            }
        }
    }
}
