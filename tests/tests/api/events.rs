//! `GET /api/v1/events`: what happened to a user's accounts, each event once and in order, also while it happens.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use platform::client::{eventually, new_key, text_of};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

use crate::parties::payer_and_payee;

const EVENTS: &str = "/api/v1/events";

/// All events that `query` selects, read page by page as soon as there are so many.
async fn events(customer: &Customer, query: &str, count: usize) -> Vec<Value> {
    eventually("all events are there", async || {
        let mut read = Vec::new();
        let mut after = String::new();
        loop {
            let page = customer
                .get(&format!("{EVENTS}?limit=3{query}{after}"))
                .await
                .must_be(200);
            read.extend(page["data"].as_array().unwrap().clone());
            after = format!("&after={}", text_of(&page, "next_cursor"));
            if page["has_more"] == false {
                break;
            }
        }
        (read.len() >= count).then_some(read)
    })
    .await
}

fn types(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| text_of(event, "type")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_see_what_happened_to_their_accounts_and_nothing_else() {
    let platform = Platform::builder()
        .without(Service::Ml)
        .set(Service::Transactions, "UNSCORED_POST_LIMIT", 1_000)
        .set(Service::Transactions, "SCORE_DEADLINE_MS", 200)
        .start()
        .await
        .unwrap();
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;

    let posted = payer.transfer(&from, &to, 500, "USD").await.must_be(201);
    let suspicious = payer.transfer(&from, &to, 6_000, "USD").await.must_be(201);
    let reject = format!("/api/v1/transfers/{}/reject", text_of(&suspicious, "id"));
    officer
        .post_with_key(&reject, &new_key(), Value::Null)
        .await
        .must_be(200);
    let hold = payer.place_hold(&from, &to, 300, "USD").await.must_be(201);
    let hold_path = format!("/api/v1/holds/{}", text_of(&hold, "id"));
    for (action, body, status) in [
        ("capture", json!({ "amount": 200 }), 201),
        ("release", json!({}), 200),
    ] {
        payee
            .post_with_key(&format!("{hold_path}/{action}"), &new_key(), body)
            .await
            .must_be(status);
    }

    let of_payer = events(&payer, "", 8).await;
    assert_eq!(
        types(&of_payer),
        [
            "transfer.posted",
            "transfer.posted",
            "transfer.in_review",
            "transfer.rejected",
            "hold.placed",
            "transfer.posted",
            "hold.captured",
            "hold.released"
        ]
    );
    let of_payee = events(&payee, "", 5).await;
    assert_eq!(
        types(&of_payee),
        [
            "transfer.posted",
            "hold.placed",
            "transfer.posted",
            "hold.captured",
            "hold.released"
        ]
    );
    for (events, account) in [(&of_payer, &from), (&of_payee, &to)] {
        for (number, event) in (1..).zip(events) {
            assert_eq!(
                (&event["account_id"], &event["account_sequence"]),
                (&json!(account), &json!(number)),
                "{event}"
            );
            assert!(text_of(event, "id").starts_with("evt_"), "{event}");
            assert!(event["data"].get("risk").is_none(), "{event}");
        }
    }
    // What it tells is what was true then.
    assert_eq!(of_payer[1]["data"], posted);
    assert_eq!(of_payee[1]["data"], hold);
    assert_eq!(of_payee[4]["data"]["status"], "captured");

    // Nobody else sees any of it.
    assert_eq!(officer.get(EVENTS).await.must_be(200)["data"], json!([]));
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_selected_by_type_and_account_and_any_other_filter_is_refused() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let (one, two) = (
        ada.open_funded_account(1_000, "USD").await,
        ada.open_account("USD").await,
    );
    ada.transfer(&one, &two, 100, "USD").await.must_be(201);
    ada.place_hold(&one, &two, 100, "USD").await.must_be(201);
    // A transfer between two of one's own accounts is an event of each.
    assert_eq!(events(&ada, "", 5).await.len(), 5);
    assert_eq!(events(&ada, "&type=hold.placed", 2).await.len(), 2);
    let of_two = events(&ada, &format!("&account_id={two}"), 2).await;
    assert_eq!(types(&of_two), ["transfer.posted", "hold.placed"]);
    let both = format!("&account_id={one}&type=transfer.posted");
    assert_eq!(events(&ada, &both, 2).await.len(), 2);

    for wrong in [
        "type=transfer.imagined",
        "status=posted",
        "limit=0",
        "after=x",
        "account_id=acct_1",
    ] {
        let answer = ada.get(&format!("{EVENTS}?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer}");
    }
    // Somebody else's account is as one that is not there.
    let ben = platform.register("ben").await;
    let of_ada = ben.get(&format!("{EVENTS}?account_id={one}")).await.must_be(200);
    assert_eq!(of_ada["data"], json!([]));
    platform.stop().await.unwrap();
}

/// Transfers by two replicas with two lanes each, while one reads. What is read is never preceded by something new, and the
/// events of an account are in the order of its postings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_while_others_write_gets_each_event_once_and_in_order() {
    const CLIENTS: usize = 8;
    const EACH: usize = 25;
    let platform = Platform::builder()
        .replicas(2)
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    let from = ada.open_funded_account(100_000, "USD").await;
    let to = ada.open_account("USD").await;
    let (ada, from, to) = (&ada, from.as_str(), to.as_str());
    let write = join_all((0..CLIENTS).map(|_| async move {
        for _ in 0..EACH {
            ada.transfer(from, to, 1, "USD").await.must_be(201);
        }
    }));
    let total = 1 + 2 * CLIENTS * EACH;
    let read = eventually_all(ada, total);
    let (_, events) = tokio::join!(write, read);
    // Nothing came twice, and nothing comes later.
    let mut sequences: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut transfers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in &events {
        let account = text_of(event, "account_id");
        let sequence = event["account_sequence"].as_i64().unwrap();
        sequences.entry(account.clone()).or_default().push(sequence);
        transfers
            .entry(account)
            .or_default()
            .push(text_of(&event["data"], "id"));
    }
    for (account, count) in [(from, 1 + CLIENTS * EACH), (to, CLIENTS * EACH)] {
        let expected: Vec<i64> = (1..=i64::try_from(count).unwrap()).collect();
        assert_eq!(sequences[account], expected);
        assert_eq!(transfers[account], postings(ada, account).await);
    }
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

/// Follows the events with the cursor of each answer until there are so many.
async fn eventually_all(customer: &Customer, total: usize) -> Vec<Value> {
    let mut read: Vec<Value> = Vec::new();
    let mut after = String::new();
    for _ in 0..5_000 {
        let page = customer
            .get(&format!("{EVENTS}?limit=7{after}"))
            .await
            .must_be(200);
        read.extend(page["data"].as_array().unwrap().clone());
        after = format!("&after={}", text_of(&page, "next_cursor"));
        if read.len() >= total && page["data"] == json!([]) {
            return read;
        }
    }
    panic!("{} of {total} events", read.len());
}

/// The transfers of an account's postings, oldest first.
async fn postings(customer: &Customer, account: &str) -> Vec<String> {
    let mut transfers = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/accounts/{account}/postings?limit=100{after}");
        let page = customer.get(&path).await.must_be(200);
        let data = page["data"].as_array().unwrap();
        transfers.extend(data.iter().map(|posting| text_of(posting, "transfer_id")));
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => break,
        }
    }
    transfers.reverse();
    transfers
}
