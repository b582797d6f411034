//! What lists cost when there is much: a million transfers and two million postings, and PostgreSQL's own account
//! (`auto_explain`) of how it ran the statements that our functions sent. Time is not measured, but rows and pages, so that a
//! busy machine changes nothing.
//!
//! Every list query of `transactions-service` belongs here: a new one is a new line of `every_list_query_walks_an_index`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ledger;
mod plan;

use chrono::TimeDelta;
use diesel_async::SimpleAsyncConnection;
use ledger::{LONG, Ledger, RARE, RUNS, TRANSFERS};
use plan::{Explained, Plan};
use serde::Deserialize;
use shared::Clock;
use shared::audit;
use shared::clients::transactions::{Direction, ListPostings};
use shared::id::{AccountId, HoldId, ScheduleId, TransferId, UserId, WebhookDeliveryId};
use shared::page::{Cursor, Limit};
use transactions_service::event::EventType;
use transactions_service::event::queries::{Found, Selection};
use transactions_service::schedule::ScheduleStatus;
use transactions_service::transfer::search::{self, Filter, Scope};
use transactions_service::webhook::DeliveryStatus;
use transactions_service::{event, hold, late_scoring, outbox, posting, schedule, webhook};
use uuid::Uuid;

/// The most rows that one node of a plan may handle for a page of a list: what a search looks through, and a little.
const MOST_ROWS: u64 = 2_300;
/// The same for a page without filters.
const MOST_ROWS_OF_A_PAGE: u64 = 150;

fn filter(query: &str) -> Filter {
    #[derive(Deserialize)]
    struct Nothing {}
    let parsed = Filter::parse::<Nothing>(query, &[]);
    parsed.unwrap_or_else(|error| panic!("{query}: {error}")).1
}

async fn find_transfers(
    explained: &mut Explained,
    scope: Scope,
    query: &str,
    after: Option<TransferId>,
) -> (Vec<Plan>, usize) {
    let filter = filter(query);
    let (found, plans) = explained
        .run(async |conn| {
            search::queries::find(conn, scope, &filter, after, Limit::default())
                .await
                .unwrap()
        })
        .await;
    (plans, found.rows.len())
}

async fn list_postings(
    explained: &mut Explained,
    account: AccountId,
    asked: &ListPostings,
) -> (Vec<Plan>, usize) {
    let (found, plans) = explained
        .run(async |conn| posting::queries::list(conn, account, asked).await.unwrap())
        .await;
    (plans, found.rows.len())
}

async fn list_holds(
    explained: &mut Explained,
    holder: UserId,
    open: bool,
    after: Option<HoldId>,
) -> (Vec<Plan>, usize) {
    let (rows, plans) = explained
        .run(async |conn| {
            hold::queries::list_of_holder(conn, holder, open, after, Limit::default())
                .await
                .unwrap()
        })
        .await;
    (plans, rows.len())
}

/// Panics unless each statement walked an index, and handled no more rows than that.
#[track_caller]
fn assert_bounded(what: &str, plans: &[Plan], most_rows: u64) {
    assert!(!plans.is_empty(), "{what} sent nothing");
    for plan in plans {
        let problems = plan.problems(most_rows);
        assert!(
            problems.is_empty(),
            "{what}: {}\n{}\n{:#}",
            problems.join("; "),
            plan.statement,
            plan.root
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_query_walks_an_index_and_a_deep_page_costs_what_the_first_does() {
    let ledger = Ledger::load().await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let mut explained = Explained::connect(&ledger, mode).await;
        what_is_not_bounded_is_seen(&mut explained).await;
        transfers_are_bounded(&mut explained, &ledger).await;
        postings_are_bounded(&mut explained, &ledger).await;
        events_are_bounded(&mut explained, &ledger).await;
        deliveries_are_bounded(&mut explained, &ledger).await;
        schedules_are_bounded(&mut explained, &ledger).await;
        the_rest_is_bounded(&mut explained, &ledger).await;
    }
    ledger.remove().await;
}

/// The control: statements as nobody should write them.
async fn what_is_not_bounded_is_seen(explained: &mut Explained) {
    for statement in [
        "SELECT FROM transfers WHERE description = 'Rent' LIMIT 21",
        "SELECT FROM transfers ORDER BY created_at DESC LIMIT 21",
        "SELECT FROM transfers WHERE kind = 'refund' ORDER BY id DESC LIMIT 21",
    ] {
        let (_, plans) = explained
            .run(async |conn| conn.batch_execute(statement).await.unwrap())
            .await;
        let problems: Vec<String> = plans.iter().flat_map(|plan| plan.problems(MOST_ROWS)).collect();
        assert!(!problems.is_empty(), "{statement} is taken for bounded");
    }
}

async fn transfers_are_bounded(explained: &mut Explained, ledger: &Ledger) {
    let (busy, quiet) = (ledger.busy_account, ledger.quiet_account);
    let (stranger, middle) = (ledger.stranger_account, ledger.created_at(TRANSFERS / 2));
    let later = middle + TimeDelta::hours(1);
    let merchant = Scope::OfHolder(ledger.merchant);
    // The filter, and how many transfers are on the first page of 20, one more telling that there is another.
    let cases = [
        (merchant, format!("account_id={busy}"), 21..=2001),
        (merchant, format!("account_id={quiet}"), 10..=10),
        (merchant, "status=posted".to_owned(), 21..=2001),
        (merchant, "status=rejected".to_owned(), 1..=20),
        (merchant, "kind=reversal".to_owned(), 0..=0),
        (merchant, "min_amount=900000".to_owned(), 0..=0),
        (merchant, format!("created_from={middle:?}"), 21..=2001),
        (merchant, format!("created_before={middle:?}"), 21..=2001),
        (
            merchant,
            format!("created_from={middle:?}&created_before={later:?}"),
            21..=2001,
        ),
        (merchant, format!("counterparty_account_id={stranger}"), 0..=20),
        (
            merchant,
            format!("account_id={busy}&counterparty_account_id={stranger}"),
            0..=20,
        ),
        (merchant, "reference=R-500000".to_owned(), 1..=1),
        (merchant, "reference=R-none".to_owned(), 0..=0),
        (merchant, "reference=everywhere".to_owned(), 21..=2001),
        (merchant, "metadata[order]=A-500000".to_owned(), 1..=1),
        (merchant, "metadata[channel]=web".to_owned(), 21..=2001),
        (
            merchant,
            "metadata[channel]=web&metadata[order]=A-500000".to_owned(),
            0..=1,
        ),
        (
            merchant,
            format!("metadata[channel]=web&account_id={quiet}"),
            0..=10,
        ),
        (Scope::OfHolder(ledger.stranger), String::new(), 21..=61),
        (Scope::OfHolder(ledger.stranger), "kind=refund".to_owned(), 0..=0),
        (Scope::InReview, "status=in_review".to_owned(), 21..=2001),
        (
            Scope::InReview,
            format!("status=in_review&account_id={busy}"),
            0..=2001,
        ),
    ];
    for (scope, query, expected) in cases {
        for after in [None, Some(ledger.transfer_id(TRANSFERS / 20))] {
            let (plans, found) = find_transfers(explained, scope, &query, after).await;
            assert_bounded(&format!("transfers?{query}"), &plans, MOST_ROWS);
            assert!(
                after.is_some() || expected.contains(&found),
                "transfers?{query}: {found} found, not {expected:?}"
            );
        }
    }
    for query in ["", "kind=reversal", "reference=everywhere"] {
        let (first, _) = find_transfers(explained, merchant, query, None).await;
        let after = Some(ledger.transfer_id(TRANSFERS / 20));
        let (deep, found) = find_transfers(explained, merchant, query, after).await;
        assert_same_cost(&format!("transfers?{query}"), &first, &deep);
        assert!(found > 20 || query == "kind=reversal", "{query}: {found}");
    }
    let (plans, _) = find_transfers(explained, merchant, "", None).await;
    assert_bounded("transfers", &plans, MOST_ROWS_OF_A_PAGE);
}

async fn postings_are_bounded(explained: &mut Explained, ledger: &Ledger) {
    let account = ledger.busy_account;
    let deep = Some(Cursor(1_000));
    let first = ListPostings::default();
    let (plans, found) = list_postings(explained, account, &first).await;
    assert_bounded("postings", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!(found, 21);
    let (deep_plans, found) = list_postings(
        explained,
        account,
        &ListPostings {
            after: deep,
            ..first.clone()
        },
    )
    .await;
    assert_eq!(found, 21);
    assert_same_cost("postings", &plans, &deep_plans);

    let moment = ledger.created_at(TRANSFERS / 2);
    for (asked, expected) in [
        (
            ListPostings {
                direction: Some(Direction::Debit),
                ..first.clone()
            },
            21..=21,
        ),
        (
            ListPostings {
                posted_before: Some(moment),
                ..first.clone()
            },
            21..=21,
        ),
        (
            ListPostings {
                posted_from: Some(ledger.created_at(TRANSFERS)),
                ..first.clone()
            },
            0..=0,
        ),
        (
            ListPostings {
                posted_from: Some(moment),
                posted_before: Some(moment),
                ..first.clone()
            },
            0..=0,
        ),
    ] {
        let (plans, found) = list_postings(explained, account, &asked).await;
        assert_bounded(&format!("{asked:?}"), &plans, MOST_ROWS);
        assert!(expected.contains(&found), "{asked:?}: {found}");
    }
    let (balance, plans) = explained
        .run(async |conn| {
            let past = posting::queries::past_of(conn, account).await.unwrap();
            posting::queries::balance_at(conn, account, &past, moment)
                .await
                .unwrap()
        })
        .await;
    assert_bounded("balance", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!(balance, ledger.balance_of_busy_account_at(moment).await);
}

async fn list_events(
    explained: &mut Explained,
    holder: UserId,
    selection: &Selection,
    after: i64,
) -> (Vec<Plan>, Found) {
    let (found, plans) = explained
        .run(async |conn| {
            event::queries::list_of_holder(conn, holder, selection, after, Limit::default())
                .await
                .unwrap()
        })
        .await;
    (plans, found)
}

async fn events_are_bounded(explained: &mut Explained, ledger: &Ledger) {
    let of_account = |account_id| Selection {
        account_id,
        kind: None,
    };
    for (what, selection) in [
        ("all", Selection::default()),
        ("of the busy account", of_account(Some(ledger.busy_account))),
    ] {
        let (first, found) = list_events(explained, ledger.merchant, &selection, 0).await;
        assert_bounded(&format!("events, {what}"), &first, MOST_ROWS_OF_A_PAGE);
        assert_eq!((found.rows.len(), found.position, found.has_more), (20, 20, true));
        let (deep, found) = list_events(explained, ledger.merchant, &selection, LONG - 1_000).await;
        assert_eq!(found.rows.len(), 20);
        assert_same_cost(&format!("events, {what}"), &first, &deep);
    }
    let quiet = of_account(Some(ledger.quiet_account));
    let (plans, found) = list_events(explained, ledger.merchant, &quiet, 0).await;
    assert_bounded("events of the quiet account", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!(
        (found.rows.len(), found.position, found.has_more),
        (10, LONG, false)
    );

    let of_another = of_account(Some(ledger.busy_account));
    let (plans, found) = list_events(explained, ledger.stranger, &of_another, 0).await;
    assert_bounded("events of somebody else's account", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!((found.rows.len(), found.has_more), (0, false));

    for account_id in [None, Some(ledger.quiet_account)] {
        let rare = Selection {
            kind: Some(EventType::HoldExpired),
            account_id,
        };
        let (mut after, mut positions) = (0, Vec::new());
        loop {
            let (plans, found) = list_events(explained, ledger.merchant, &rare, after).await;
            assert_bounded(&format!("events after {after}, {rare:?}"), &plans, MOST_ROWS);
            assert!(found.position > after, "the cursor stays at {after}");
            after = found.position;
            positions.extend(found.rows.iter().map(|row| row.position));
            if !found.has_more {
                break;
            }
        }
        assert_eq!((positions, after), (vec![RARE], LONG));
    }
}

async fn deliveries_are_bounded(explained: &mut Explained, ledger: &Ledger) {
    let mut list = async |status, after| {
        let (rows, plans) = explained
            .run(async |conn| {
                webhook::queries::list_deliveries(conn, ledger.endpoint, status, after, Limit::default())
                    .await
                    .unwrap()
            })
            .await;
        assert_bounded(
            &format!("deliveries?status={status:?}"),
            &plans,
            MOST_ROWS_OF_A_PAGE,
        );
        (plans, rows.len())
    };
    let deep = Some(WebhookDeliveryId::from_uuid(Uuid::from_u128(1_000)));
    for (status, expected) in [
        (None, 21),
        (Some(DeliveryStatus::Delivered), 21),
        (Some(DeliveryStatus::Failed), 1),
        (Some(DeliveryStatus::Pending), 1),
    ] {
        let (first, found) = list(status, None).await;
        assert_eq!(found, expected, "{status:?}");
        let (deep, _) = list(status, deep).await;
        assert_same_cost(&format!("deliveries?status={status:?}"), &first, &deep);
    }
}

async fn schedules_are_bounded(explained: &mut Explained, ledger: &Ledger) {
    let mut list = async |status, after| {
        let (rows, plans) = explained
            .run(async |conn| {
                schedule::queries::list(conn, ledger.merchant, status, after, Limit::default())
                    .await
                    .unwrap()
            })
            .await;
        assert_bounded(
            &format!("schedules?status={status:?}"),
            &plans,
            MOST_ROWS_OF_A_PAGE,
        );
        (plans, rows.len())
    };
    let deep = Some(ScheduleId::from_uuid(Uuid::from_u128(1_000)));
    for (status, expected) in [
        (None, 21),
        (Some(ScheduleStatus::Completed), 21),
        (Some(ScheduleStatus::Paused), 1),
        (Some(ScheduleStatus::Active), 0),
    ] {
        let (first, found) = list(status, None).await;
        assert_eq!(found, expected, "{status:?}");
        let (deep, _) = list(status, deep).await;
        assert_same_cost(&format!("schedules?status={status:?}"), &first, &deep);
    }
    let mut list_runs = async |before| {
        let (rows, plans) = explained
            .run(async |conn| {
                schedule::queries::list_runs(conn, ledger.schedule, before, Limit::default())
                    .await
                    .unwrap()
            })
            .await;
        assert_bounded("runs of a schedule", &plans, MOST_ROWS_OF_A_PAGE);
        assert_eq!(rows.len(), 21);
        plans
    };
    let (first, deep) = (list_runs(None).await, list_runs(Some(RUNS / 10)).await);
    assert_same_cost("runs of a schedule", &first, &deep);

    let now = Clock::system().now();
    let (rows, plans) = explained
        .run(async |conn| schedule::queries::find_due(conn, now, 64).await.unwrap())
        .await;
    assert_bounded("schedules that are due", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!(rows.len(), 64);
    let (first, plans) = explained
        .run(async |conn| schedule::queries::first_due_at(conn).await.unwrap())
        .await;
    assert_bounded("the schedule that is due first", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!(first, rows[0].next_run_at);
    let (live, plans) = explained
        .run(async |conn| {
            schedule::queries::count_live(conn, ledger.merchant)
                .await
                .unwrap()
        })
        .await;
    assert_bounded("schedules that are not over", &plans, MOST_ROWS_OF_A_PAGE);
    assert_eq!(live, 1);
}

async fn the_rest_is_bounded(explained: &mut Explained, ledger: &Ledger) {
    for open in [false, true] {
        let (first, found) = list_holds(explained, ledger.merchant, open, None).await;
        assert_bounded(&format!("holds?open={open}"), &first, MOST_ROWS_OF_A_PAGE);
        assert_eq!(found, 21);
    }
    let after = Some(HoldId::from_uuid(Uuid::from_u128(1_000)));
    let (first, _) = list_holds(explained, ledger.merchant, false, None).await;
    let (deep, _) = list_holds(explained, ledger.merchant, false, after).await;
    assert_same_cost("holds", &first, &deep);

    let (_, plans) = explained
        .run(async |conn| hold::queries::find_due(conn, 100).await.unwrap())
        .await;
    assert_bounded("holds that are due", &plans, MOST_ROWS_OF_A_PAGE);
    for (subject, expected) in [(None, 20), (Some("acct_7"), 20), (Some("acct_rare"), 1)] {
        let (page, plans) = explained
            .run(async |conn| {
                let asked_for = serde_json::from_value(serde_json::json!({ "subject": subject })).unwrap();
                audit::list(conn, asked_for).await.unwrap()
            })
            .await;
        assert_bounded(&format!("audit log of {subject:?}"), &plans, MOST_ROWS_OF_A_PAGE);
        assert_eq!(page.data.len(), expected, "{subject:?}");
    }
    let (_, plans) = explained
        .run(async |conn| late_scoring::find_unscored(conn).await.unwrap())
        .await;
    assert_bounded("transfers without a score", &plans, MOST_ROWS);
    let position = shared::clients::ml::Position {
        xid: 1,
        sequence: 50_000,
    };
    let (rows, plans) = explained
        .run(async |conn| outbox::read_after(conn, position, 500).await.unwrap())
        .await;
    assert_bounded("facts", &plans, 501);
    assert_eq!(rows.len(), 500);
}

/// By the pages that were looked at.
#[track_caller]
fn assert_same_cost(what: &str, first: &[Plan], deep: &[Plan]) {
    let pages = |plans: &[Plan]| plans.iter().map(Plan::pages).sum::<u64>();
    let (first, deep) = (pages(first), pages(deep));
    assert!(
        deep <= first + first / 2 + 20,
        "{what}: the first page looks at {first} pages of the database, a deep one at {deep}"
    );
}
