//! The steps that the customers of a [`World`](crate::world::World) take at random: every operation of the ledger that moves
//! or holds money, with right and with wrong values.

use proptest::prelude::*;

/// Without a fraud score, what is larger waits for a person.
pub const REVIEWED_ABOVE: i64 = 600;
/// What is larger needs a second person: dollars only.
pub const APPROVAL_ABOVE: i64 = 450;

pub fn approval_is_needed(amount: i64, currency: &str) -> bool {
    currency == "USD" && amount > APPROVAL_ABOVE
}

/// One thing that somebody tries. Accounts, holds and transfers are numbers that are taken modulo how many there are.
#[derive(Clone, Debug)]
pub enum Step {
    Deposit {
        account: usize,
        amount: i64,
        stranger: bool,
    },
    Withdraw {
        account: usize,
        amount: i64,
        stranger: bool,
    },
    Transfer {
        order: Order,
        dry_run: bool,
    },
    Batch {
        orders: Vec<Order>,
        atomic: bool,
        dry_run: bool,
    },
    PlaceHold {
        from: usize,
        to: usize,
        amount: i64,
    },
    ChangeHold {
        hold: usize,
        change: Change,
        by_payer: bool,
    },
    /// Its time is up.
    Expire {
        hold: usize,
    },
    /// The time has come at which it is captured by itself.
    CaptureByItself {
        hold: usize,
    },
    Refund {
        transfer: usize,
        amount: i64,
        by_payer: bool,
    },
    Reverse {
        transfer: usize,
    },
    Decide {
        transfer: usize,
        approve: bool,
    },
    /// So many runs, a day apart, the first in some days.
    Schedule {
        order: Order,
        times: u16,
    },
    /// Its next run is due now.
    Run {
        schedule: usize,
    },
    Steer {
        schedule: usize,
        action: Action,
    },
    SetLimits {
        account: usize,
        limits: Limits,
    },
    SetStatus {
        account: usize,
        status: Status,
    },
    /// An earlier request again, as it was or with another amount.
    Repeat {
        request: usize,
        altered: bool,
    },
}

/// A transfer of one account to one or more others. With `also`, a second account pays too.
#[derive(Clone, Debug)]
pub struct Order {
    pub from: usize,
    pub to: Vec<(usize, i64)>,
    pub also: Option<(usize, usize, i64)>,
    /// What must be left available in the first account.
    pub least: Option<i64>,
    pub stranger: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Change {
    Increment(i64),
    Capture(Option<i64>),
    Release(Option<i64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Open,
    Frozen,
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub enum Action {
    Pause,
    Resume,
    Cancel,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub per_transfer: Option<i64>,
    pub daily: Option<i64>,
    pub monthly: Option<i64>,
}

/// The steps of a case.
pub fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..=count)
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1..200_i64, 1 => 400..=REVIEWED_ABOVE, 1 => REVIEWED_ABOVE..900]
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

fn order() -> impl Strategy<Value = Order> {
    let payee = || (which(), amount());
    let to = prop_oneof![
        3 => prop::collection::vec(payee(), 1..=1),
        1 => prop::collection::vec(payee(), 2..=3),
    ];
    let also = prop_oneof![4 => Just(None), 1 => (which(), which(), amount()).prop_map(Some)];
    let least = prop_oneof![4 => Just(None), 1 => (0..800_i64).prop_map(Some)];
    (which(), to, also, least, rarely()).prop_map(|(from, to, also, least, stranger)| Order {
        from,
        to,
        also,
        least,
        stranger,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => payment(),
        10 => transfer(),
        13 => hold(),
        10 => going_back(),
        5 => schedule(),
        5 => change_or_repetition(),
    ]
}

/// One of those that there are.
fn which() -> impl Strategy<Value = usize> {
    0..64_usize
}

fn payment() -> impl Strategy<Value = Step> {
    (which(), amount(), rarely(), any::<bool>()).prop_map(
        |(account, amount, stranger, enters)| match enters {
            true => Step::Deposit {
                account,
                amount,
                stranger,
            },
            false => Step::Withdraw {
                account,
                amount,
                stranger,
            },
        },
    )
}

fn transfer() -> impl Strategy<Value = Step> {
    let batch = (prop::collection::vec(order(), 1..4), any::<bool>(), rarely());
    let batch = batch.prop_map(|(orders, atomic, dry_run)| Step::Batch {
        orders,
        atomic,
        dry_run,
    });
    prop_oneof![
        4 => (order(), rarely()).prop_map(|(order, dry_run)| Step::Transfer { order, dry_run }),
        1 => batch,
    ]
}

fn hold() -> impl Strategy<Value = Step> {
    let part = || prop::option::of(1..300_i64);
    let change = prop_oneof![
        1 => amount().prop_map(Change::Increment),
        3 => part().prop_map(Change::Capture),
        2 => part().prop_map(Change::Release),
    ];
    let change = (which(), change, any::<bool>());
    prop_oneof![
        4 => (which(), which(), amount()).prop_map(|(from, to, amount)| Step::PlaceHold { from, to, amount }),
        8 => change.prop_map(|(hold, change, by_payer)| Step::ChangeHold { hold, change, by_payer }),
        1 => which().prop_map(|hold| Step::Expire { hold }),
        1 => which().prop_map(|hold| Step::CaptureByItself { hold }),
    ]
}

fn going_back() -> impl Strategy<Value = Step> {
    let refund = (which(), amount(), rarely()).prop_map(|(transfer, amount, by_payer)| Step::Refund {
        transfer,
        amount,
        by_payer,
    });
    let decide = (which(), any::<bool>());
    prop_oneof![
        2 => refund,
        1 => which().prop_map(|transfer| Step::Reverse { transfer }),
        2 => decide.prop_map(|(transfer, approve)| Step::Decide { transfer, approve }),
    ]
}

fn schedule() -> impl Strategy<Value = Step> {
    let action = prop_oneof![2 => Just(Action::Pause), 3 => Just(Action::Resume), 1 => Just(Action::Cancel)];
    let steer = (which(), action).prop_map(|(schedule, action)| Step::Steer { schedule, action });
    prop_oneof![
        2 => (order(), 1..6_u16).prop_map(|(order, times)| Step::Schedule { order, times }),
        3 => which().prop_map(|schedule| Step::Run { schedule }),
        2 => steer,
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = |least: i64, most: i64| prop::option::of(least..most);
    (limit(50, 900), limit(200, 4_000), limit(500, 8_000)).prop_map(|(per_transfer, daily, monthly)| Limits {
        per_transfer,
        daily,
        monthly,
    })
}

fn change_or_repetition() -> impl Strategy<Value = Step> {
    let status = prop_oneof![4 => Just(Status::Open), 2 => Just(Status::Frozen), 1 => Just(Status::Closed)];
    let repeat = (which(), any::<bool>());
    prop_oneof![
        (which(), limits()).prop_map(|(account, limits)| Step::SetLimits { account, limits }),
        (which(), status).prop_map(|(account, status)| Step::SetStatus { account, status }),
        repeat.prop_map(|(request, altered)| Step::Repeat { request, altered }),
    ]
}
