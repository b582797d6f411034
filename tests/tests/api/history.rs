//! The history of an account: postings with the running balance, filtered, and the balance as of a moment.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use platform::client::text_of;
use platform::{Customer, Platform};
use serde_json::Value;

fn posted_at(posting: &Value) -> DateTime<Utc> {
    text_of(posting, "posted_at").parse().unwrap()
}

fn text(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Micros, true)
}

async fn postings(customer: &Customer, account: &str, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/accounts/{account}/postings?limit=100&{query}");
    let page = customer.get(&path).await.must_be(200);
    page["data"].as_array().unwrap().clone()
}

fn sequences(postings: &[Value]) -> Vec<i64> {
    let sequence = |posting: &Value| posting["sequence"].as_i64().unwrap();
    postings.iter().map(sequence).collect()
}

async fn balance_at(customer: &Customer, account: &str, moment: DateTime<Utc>) -> i64 {
    let path = format!("/api/v1/accounts/{account}/balance?as_of={}", text(moment));
    let balance = customer.get(&path).await.must_be(200);
    assert_eq!(
        text_of(&balance, "as_of").parse::<DateTime<Utc>>().unwrap(),
        moment,
        "{balance}"
    );
    assert_eq!(balance["currency"], "USD");
    balance["posted"].as_i64().unwrap()
}

/// The database's clock.
async fn now(platform: &Platform) -> DateTime<Utc> {
    let sql = platform.sql().await;
    sql.query_one("SELECT clock_timestamp()", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_as_of_a_moment_is_what_was_booked_until_then() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let opened = now(&platform).await;
    let account = customer.open_account("USD").await;
    assert_eq!(balance_at(&customer, &account, opened).await, 0);
    let savings = customer.open_account("USD").await;
    customer.deposit(&account, 10_000, "USD").await.must_be(201);
    for amount in [1, 20, 300] {
        customer
            .transfer(&account, &savings, amount, "USD")
            .await
            .must_be(201);
    }
    let history = postings(&customer, &account, "").await;
    assert_eq!(sequences(&history), [4, 3, 2, 1]);
    for (posting, before) in history.iter().zip([9_979, 9_999, 10_000, 0]) {
        let moment = posted_at(posting);
        let after = posting["balance_after"].as_i64().unwrap();
        assert_eq!(balance_at(&customer, &account, moment).await, after);
        let just_before = moment - chrono::TimeDelta::microseconds(1);
        assert_eq!(balance_at(&customer, &account, just_before).await, before);
    }
    let latest = customer
        .get(&format!("/api/v1/accounts/{account}/balance"))
        .await
        .must_be(200);
    assert_eq!(latest["posted"], 9_679);
    let path = format!("/api/v1/accounts/{account}/balance?as_of=");
    let tomorrow = text(now(&platform).await + chrono::TimeDelta::days(1));
    customer
        .get(&format!("{path}{tomorrow}"))
        .await
        .must_be_problem(422, "as_of_in_future");
    for query in [
        "yesterday",
        "",
        "2026-11-22",
        "-4800-01-01T00:00:00Z",
        "%2B99999-01-01T00:00:00Z",
    ] {
        customer
            .get(&format!("{path}{query}"))
            .await
            .must_be_problem(400, "invalid_query");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postings_are_found_by_time_and_direction() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let account = customer.open_funded_account(10_000, "USD").await;
    let savings = customer.open_account("USD").await;
    for _ in 0..4 {
        customer.transfer(&account, &savings, 1, "USD").await.must_be(201);
        customer.transfer(&savings, &account, 1, "USD").await.must_be(201);
    }
    let all = postings(&customer, &account, "").await;
    let at = |index: usize| text(posted_at(&all[index]));
    for (query, expected) in [
        ("direction=debit".to_owned(), vec![8, 6, 4, 2]),
        (format!("posted_from={}", at(2)), vec![9, 8, 7]),
        (format!("posted_before={}", at(6)), vec![2, 1]),
        (
            format!("posted_from={}&posted_before={}", at(6), at(2)),
            vec![6, 5, 4, 3],
        ),
        (
            format!("posted_from={}&posted_before={}&direction=credit", at(6), at(2)),
            vec![5, 3],
        ),
        (format!("posted_from={}&posted_before={}", at(2), at(6)), vec![]),
        (
            "posted_from=2020-01-01T00:00:00%2B01:00".to_owned(),
            (1..=9).rev().collect(),
        ),
        ("posted_before=2020-01-01T00:00:00Z".to_owned(), vec![]),
    ] {
        assert_eq!(
            sequences(&postings(&customer, &account, &query).await),
            expected,
            "{query}"
        );
    }
    let path = format!("/api/v1/accounts/{account}/postings");
    let first = customer
        .get(&format!("{path}?limit=3&direction=debit"))
        .await
        .must_be(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = postings(&customer, &account, &format!("direction=debit&after={cursor}")).await;
    assert_eq!(sequences(&rest), [2]);
    for query in [
        "direction=up",
        "posted_from=noon",
        "colour=red",
        "after=x",
        "limit=0",
    ] {
        customer
            .get(&format!("{path}?{query}"))
            .await
            .must_be_problem(400, "invalid_query");
    }
}

/// I12. The other transaction stands for that of another replica, which had the account first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_as_of_a_moment_never_changes() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let account = customer.open_funded_account(10_000, "USD").await;
    let savings = customer.open_account("USD").await;
    let sql = platform.sql().await;
    // The lane locks the account with the lower id, and waits for the other.
    let (_, other) = if account < savings {
        (&account, &savings)
    } else {
        (&savings, &account)
    };
    sql.batch_execute("BEGIN").await.unwrap();
    let locked = sql
        .execute(
            "SELECT FROM transactions.ledger_accounts WHERE id = $1 FOR NO KEY UPDATE",
            &[&other.parse::<shared::id::AccountId>().unwrap().uuid()],
        )
        .await
        .unwrap();
    assert_eq!(locked, 1);
    let transfer = tokio::spawn({
        let (customer, account, savings) = (customer.clone(), account.clone(), savings.clone());
        async move {
            customer
                .transfer(&account, &savings, 1_000, "USD")
                .await
                .must_be(201)
        }
    });
    waits_for_a_lock(&platform, 1).await;
    // Its transaction began before this moment, and commits after it.
    let moment = now(&platform).await;
    let asked = tokio::spawn({
        let (customer, account) = (customer.clone(), account.clone());
        async move { balance_at(&customer, &account, moment).await }
    });
    waits_for_a_lock(&platform, 2).await;
    assert!(!asked.is_finished());
    sql.batch_execute("COMMIT").await.unwrap();
    transfer.await.unwrap();
    let answer = asked.await.unwrap();
    assert_eq!(answer, 10_000);
    assert_eq!(balance_at(&customer, &account, moment).await, answer);
    let newest = postings(&customer, &account, "").await.remove(0);
    assert!(posted_at(&newest) > moment, "{newest} is dated before {moment}");
    assert_eq!(newest["balance_after"], 9_000);
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postings_are_dated_in_their_order_also_when_the_clock_is_set_back() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let account = customer.open_funded_account(10_000, "USD").await;
    let savings = customer.open_account("USD").await;
    let sql = platform.sql().await;
    // As if the clock had been an hour ahead until now.
    let moved = "UPDATE transactions.ledger_accounts SET last_changed_at = now() + interval '1 hour'";
    assert!(sql.execute(moved, &[]).await.unwrap() > 1);
    for _ in 0..3 {
        customer.transfer(&account, &savings, 1, "USD").await.must_be(201);
        customer.transfer(&savings, &account, 1, "USD").await.must_be(201);
    }
    let all = postings(&customer, &account, "").await;
    assert!(posted_at(&all[0]) > now(&platform).await);
    let dates: Vec<_> = all.iter().rev().map(posted_at).collect();
    assert!(dates.is_sorted(), "{dates:?}");
    platform.assert_invariants().await;
}

/// Waits until so many sessions wait for a lock.
async fn waits_for_a_lock(platform: &Platform, sessions: i64) {
    let sql = platform.sql().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    for _ in 0..500 {
        if sql.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) >= sessions {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody waits for the lock");
}
