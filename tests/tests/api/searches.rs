//! Looking for transfers: each filter, their combinations, and pages that stay right while others write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use platform::client::{new_key, text_of, transfer_body};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

const TRANSFERS: &str = "/api/v1/transfers";

/// The `path` as it is in a list, page by page.
async fn pages(customer: &Customer, path: &str, limit: usize) -> Vec<Vec<Value>> {
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let between = if path.contains('?') { '&' } else { '?' };
        let page = customer
            .get(&format!("{path}{between}limit={limit}{after}"))
            .await
            .must_be(200);
        pages.push(page["data"].as_array().unwrap().clone());
        assert!(pages.len() < 1000, "{path} has no end");
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return pages,
        }
    }
}

/// The ids that a filter finds, in the order of the list.
async fn found(customer: &Customer, query: &str) -> Vec<String> {
    let pages = pages(customer, &format!("{TRANSFERS}?{query}"), 3).await;
    pages.concat().iter().map(|it| text_of(it, "id")).collect()
}

async fn make(customer: &Customer, body: Value) -> String {
    let made = customer.post_with_key(TRANSFERS, &new_key(), body).await;
    text_of(&made.must_be(201), "id")
}

fn with(mut body: Value, member: &str, value: Value) -> Value {
    body[member] = value;
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_are_found_by_what_they_have_in_common() {
    let platform = Platform::start().await;
    let (payer, payee) = (platform.register("payer").await, platform.register("payee").await);
    let from = payer.open_funded_account(1_000_000, "USD").await;
    let savings = payer.open_account("USD").await;
    let (shop, other_shop) = (payee.open_account("USD").await, payee.open_account("USD").await);

    let small = make(&payer, transfer_body(&from, &shop, 100, "USD")).await;
    let saved = make(&payer, transfer_body(&from, &savings, 5_000, "USD")).await;
    let body = with(
        transfer_body(&from, &other_shop, 300, "USD"),
        "reference",
        json!("R 1/ä"),
    );
    let referred = make(&payer, body).await;
    let metadata = json!({ "order": "A-1001", "lane": "7" });
    let described = make(
        &payer,
        with(transfer_body(&savings, &shop, 700, "USD"), "metadata", metadata),
    )
    .await;
    let leg = |account: &str, direction: &str, amount: i64| json!({ "account_id": account, "direction": direction, "amount": amount, "currency": "USD" });
    let legs = json!({
        "legs": [leg(&from, "debit", 30), leg(&shop, "credit", 10), leg(&savings, "credit", 20)],
        "reference": "payroll",
    });
    let several = make(&payer, legs).await;
    let refund = payee
        .post_with_key(
            &format!("{TRANSFERS}/{small}/refunds"),
            &new_key(),
            json!({ "amount": 40 }),
        )
        .await
        .must_be(201);
    let refund = text_of(&refund, "id");

    let all = [&refund, &several, &described, &referred, &saved, &small];
    let deposit = found(&payer, "kind=deposit").await;
    assert_eq!(deposit.len(), 1);
    assert_eq!(found(&payer, "").await[..6], all.map(String::clone));

    let cases = [
        (
            format!("account_id={savings}"),
            vec![&several, &described, &saved],
        ),
        (
            format!("account_id={savings}&kind=transfer&max_amount=700"),
            vec![&described],
        ),
        (
            format!("counterparty_account_id={shop}"),
            vec![&refund, &several, &described, &small],
        ),
        (
            format!("counterparty_account_id={savings}"),
            vec![&several, &saved],
        ),
        (
            format!("account_id={from}&counterparty_account_id={shop}"),
            vec![&refund, &several, &small],
        ),
        ("kind=refund".to_owned(), vec![&refund]),
        (
            "min_amount=300&max_amount=700".to_owned(),
            vec![&described, &referred],
        ),
        (
            "min_amount=300&max_amount=700&status=in_review".to_owned(),
            vec![],
        ),
        ("reference=R%201/%C3%A4".to_owned(), vec![&referred]),
        ("reference=R".to_owned(), vec![]),
        ("metadata[order]=A-1001".to_owned(), vec![&described]),
        (
            "metadata%5Border%5D=A-1001&metadata[lane]=7".to_owned(),
            vec![&described],
        ),
        ("metadata[order]=A-1001&metadata[lane]=8".to_owned(), vec![]),
        ("metadata[order]=A-1001&reference=payroll".to_owned(), vec![]),
        (format!("reference=payroll&account_id={savings}"), vec![&several]),
    ];
    for (query, expected) in cases {
        assert_eq!(
            found(&payer, &query).await,
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{query}"
        );
    }
    // Each side finds it, also who is paid as one of several.
    for (query, expected) in [
        (
            format!("account_id={shop}"),
            vec![&refund, &several, &described, &small],
        ),
        (
            format!("counterparty_account_id={savings}"),
            vec![&several, &described],
        ),
        ("metadata[order]=A-1001".to_owned(), vec![&described]),
        ("reference=payroll".to_owned(), vec![&several]),
        (
            String::new(),
            vec![&refund, &several, &described, &referred, &small],
        ),
    ] {
        assert_eq!(
            found(&payee, &query).await,
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{query}"
        );
    }
    let stranger = platform.register("stranger").await;
    for query in ["metadata[order]=A-1001", "reference=payroll", ""] {
        assert!(found(&stranger, query).await.is_empty(), "{query}");
    }
    let answer = stranger.get(&format!("{TRANSFERS}?account_id={from}")).await;
    answer.must_be_problem(404, "not_found");
    assert!(
        found(&stranger, &format!("counterparty_account_id={from}"))
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_are_found_by_when_they_were_made() {
    let platform = Platform::start().await;
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(1_000, "USD").await;
    let savings = payer.open_account("USD").await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let transfer = payer.transfer(&from, &savings, 1, "USD").await.must_be(201);
        made.push((text_of(&transfer, "id"), text_of(&transfer, "created_at")));
    }
    let [(first, _), (second, at), (third, _)] = <[_; 3]>::try_from(made).unwrap();
    let of_transfers = |query: String| format!("kind=transfer&{query}");
    assert_eq!(
        found(&payer, &of_transfers(format!("created_from={at}"))).await,
        [third.clone(), second.clone()]
    );
    assert_eq!(
        found(&payer, &of_transfers(format!("created_before={at}"))).await,
        [first]
    );
    let long_ago = "created_from=1970-01-01T00:00:00Z&created_before=2020-01-01T00:00:00%2B02:00";
    assert!(found(&payer, long_ago).await.is_empty());
    assert_eq!(found(&payer, "created_from=1900-01-01T00:00:00Z").await.len(), 4);
    assert!(
        found(&payer, "created_from=9999-01-01T00:00:00Z")
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_filter_is_refused() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    for query in [
        "colour=red",
        "metadata=x",
        "metadata[a%20b]=x",
        "min_amount=ten",
        "min_amount=2&max_amount=1",
        "created_from=yesterday",
        "kind=gift",
        "account_id=usr_01h455vb4pex5vsknk084sn02q",
        "account_id=acct_01h455vb4pex5vsknk084sn02q%20OR%201=1",
    ] {
        let answer = customer.get(&format!("{TRANSFERS}?{query}")).await;
        answer.must_be_problem(400, "invalid_query");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviewers_filter_what_waits_for_them() {
    // Nobody scores it in time, so a person decides.
    let platform = Platform::builder()
        .without(Service::Ml)
        .set(Service::Transactions, "SCORE_DEADLINE_MS", 200)
        .start()
        .await
        .unwrap();
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(10_000_000, "USD").await;
    let savings = payer.open_account("USD").await;
    let body = with(
        transfer_body(&from, &savings, 5_000_000, "USD"),
        "metadata",
        json!({ "case": "7" }),
    );
    let waiting = make(&payer, body).await;
    let reviewer = platform.register_with_role("reviewer", Role::Compliance).await;
    for (query, there) in [
        (format!("account_id={from}"), true),
        (format!("counterparty_account_id={savings}"), true),
        ("metadata[case]=7".to_owned(), true),
        ("metadata[case]=8".to_owned(), false),
        ("min_amount=5000001".to_owned(), false),
    ] {
        let query = format!("status=in_review&{query}");
        assert_eq!(
            found(&reviewer, &query).await.contains(&waiting),
            there,
            "{query}"
        );
    }
    assert!(found(&reviewer, "status=posted").await.is_empty());
}

/// I11: while others write, each item that was there is on exactly one page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_item_that_was_there_is_on_one_page_while_others_write() {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let (payer, payee) = (platform.register("payer").await, platform.register("payee").await);
    let from = payer.open_funded_account(1_000_000, "USD").await;
    let (to, savings) = (payee.open_account("USD").await, payer.open_account("USD").await);
    for number in 0..40 {
        let to = if number % 4 == 0 { &savings } else { &to };
        payer
            .transfer(&from, to, 1 + number % 2, "USD")
            .await
            .must_be(201);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..4).map(|_| {
        let (payer, from, to, stop) = (payer.clone(), from.clone(), to.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                payer.transfer(&from, &to, 1, "USD").await.must_be(201);
                written += 1;
            }
            written
        })
    });
    let writers: Vec<_> = writers.collect();
    let lists = [
        TRANSFERS.to_owned(),
        format!("{TRANSFERS}?account_id={from}"),
        format!("{TRANSFERS}?counterparty_account_id={to}&max_amount=1"),
        format!("/api/v1/accounts/{from}/postings"),
    ];
    for list in lists {
        let newest_first = |pages: Vec<Vec<Value>>| {
            let name = |item: &Value| text_of(item, "id") + &item["sequence"].to_string();
            pages.concat().iter().map(name).collect::<Vec<_>>()
        };
        let before = newest_first(pages(&payer, &list, 100).await);
        let seen = newest_first(pages(&payer, &list, 7).await);
        let of_before: Vec<_> = seen.iter().filter(|item| before.contains(item)).collect();
        assert_eq!(of_before, before.iter().collect::<Vec<_>>(), "{list}");
        let mut distinct = seen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "{list} repeats itself");
        assert!(seen.len() > 20, "{list} has {} items", seen.len());
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert!(written > 20, "only {written} were written meanwhile");
    platform.assert_invariants().await;
}
