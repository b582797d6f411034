//! Opening, reading, naming, freezing and closing accounts.

use chrono::Duration;
use platform::client::{eventually, new_key, text_of};
use platform::{Answer, Customer, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

const ACCOUNTS: &str = "/api/v1/accounts";

fn path(account_id: &str) -> String {
    format!("{ACCOUNTS}/{account_id}")
}

async fn command(customer: &Customer, account_id: &str, command: &str) -> Answer {
    customer
        .post_empty(&format!("{ACCOUNTS}/{account_id}/{command}"))
        .await
}

async fn status_of(customer: &Customer, account_id: &str) -> String {
    text_of(&customer.get(&path(account_id)).await.must_be(200), "status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_opened_empty_and_found_again() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    for kind in ["checking", "savings", "business"] {
        for currency in ["USD", "EUR", "JPY", "BHD"] {
            let body = json!({ "kind": kind, "currency": currency, "nickname": "Rent" });
            let account = ada.post(ACCOUNTS, body).await.must_be(201);
            let id = text_of(&account, "id");
            assert!(id.starts_with("acct_"), "{account}");
            assert_eq!(account["kind"], kind);
            assert_eq!(account["currency"], currency);
            assert_eq!(account["nickname"], "Rent");
            assert_eq!(account["status"], "active");
            assert_eq!(
                account["balance"],
                json!({ "posted": 0, "held": 0, "available": 0 })
            );
            assert_eq!(ada.get(&path(&id)).await.must_be(200), account);
        }
    }
    let unnamed = ada
        .post(ACCOUNTS, json!({ "kind": "savings", "currency": "USD" }))
        .await;
    assert_eq!(unnamed.must_be(201)["nickname"], Value::Null);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_account_is_refused_and_told_where() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let with = |member: &str, value: Value| {
        let mut body = json!({ "kind": "checking", "currency": "USD" });
        body[member] = value;
        body
    };
    for (member, value) in [
        ("kind", json!("gold")),
        ("kind", json!("Checking")),
        ("kind", Value::Null),
        ("currency", json!("usd")),
        ("currency", json!("XYZ")),
        ("currency", json!("XXX")),
        ("currency", json!("")),
        ("currency", json!(840)),
        ("nickname", json!("")),
        ("nickname", json!("x".repeat(65))),
        ("nickname", json!("a\u{202e}b")),
        ("nickname", json!(7)),
        ("balance", json!(1_000_000)),
        ("owner_id", json!(ada.user_id)),
        ("status", json!("active")),
    ] {
        let answer = ada.post(ACCOUNTS, with(member, value.clone())).await;
        answer.must_be_problem(400, "invalid_body");
        assert_eq!(answer.pointers(), [format!("/{member}")], "{value} {answer}");
    }
    ada.post(ACCOUNTS, json!({ "kind": "checking" }))
        .await
        .must_be_problem(400, "invalid_body");
    let list = ada.get(ACCOUNTS).await.must_be(200);
    assert_eq!(list["data"], json!([]));
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_another_kind_is_told_from_an_unknown_one() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let unknown = "acct_01h455vb4pex5vsknk084sn02q";
    for suffix in ["", "/postings"] {
        for id in [
            ada.user_id.as_str(),
            "xfer_01h455vb4pex5vsknk084sn02q",
            "acct_",
            "1",
            "acct_01H455VB4PEX5VSKNK084SN02Q",
        ] {
            let answer = ada.get(&format!("{}{suffix}", path(id))).await;
            answer.must_be_problem(400, "invalid_id");
        }
        let answer = ada.get(&format!("{}{suffix}", path(unknown))).await;
        answer.must_be_problem(404, "not_found");
    }
    for verb in ["freeze", "unfreeze", "close"] {
        command(&ada, unknown, verb)
            .await
            .must_be_problem(404, "not_found");
        command(&ada, &ada.user_id, verb)
            .await
            .must_be_problem(400, "invalid_id");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_again_with_the_same_key_opens_nothing_new() {
    let platform = Platform::start().await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let body = json!({ "kind": "checking", "currency": "USD" });
    let first = ada.post_with_key(ACCOUNTS, "first", body.clone()).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let id = text_of(&first.must_be(201), "id");
    let again = ada.post_with_key(ACCOUNTS, "first", body.clone()).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(text_of(&again.must_be(201), "id"), id);

    let other = json!({ "kind": "savings", "currency": "USD" });
    let reused = ada.post_with_key(ACCOUNTS, "first", other).await;
    reused.must_be_problem(422, "idempotency_key_reused");
    // A key is the user's own.
    let bobs = bob.post_with_key(ACCOUNTS, "first", body.clone()).await;
    assert_ne!(text_of(&bobs.must_be(201), "id"), id);

    let key = new_key();
    let at_once = (0..8).map(|_| ada.post_with_key(ACCOUNTS, &key, body.clone()));
    let answers = futures_util::future::join_all(at_once).await;
    let mut ids: Vec<String> = answers
        .into_iter()
        .map(|answer| text_of(&answer.must_be(201), "id"))
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_listed_in_pages_newest_first() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let mut opened = Vec::new();
    for _ in 0..5 {
        opened.push(ada.open_account("USD").await);
    }
    opened.reverse();
    let mut seen = Vec::new();
    let mut next = format!("{ACCOUNTS}?limit=2");
    loop {
        let page = ada.get(&next).await.must_be(200);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2, "{page}");
        seen.extend(data.iter().map(|account| text_of(account, "id")));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        next = format!("{ACCOUNTS}?limit=2&after={cursor}");
    }
    assert_eq!(seen, opened);
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "after=nonsense",
        "offset=2",
        "status=active",
        "limit=1&limit=2",
    ] {
        let answer = ada.get(&format!("{ACCOUNTS}?{query}")).await;
        answer.must_be_problem(400, "invalid_query");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nickname_is_set_and_taken_away() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let id = ada.open_account("USD").await;
    for nickname in [json!("Holidays"), json!("Miete für März ☀"), Value::Null] {
        let changed = ada
            .patch(&path(&id), json!({ "nickname": nickname }))
            .await
            .must_be(200);
        assert_eq!(changed["nickname"], nickname);
        assert_eq!(ada.get(&path(&id)).await.must_be(200)["nickname"], nickname);
    }
    for body in [
        json!({}),
        json!({ "nickname": "" }),
        json!({ "status": "closed" }),
        json!({ "nickname": "x", "kind": "savings" }),
    ] {
        ada.patch(&path(&id), body)
            .await
            .must_be_problem(400, "invalid_body");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_balance_and_the_postings_are_what_happened() {
    let platform = Platform::start().await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let (from, to) = (
        ada.open_funded_account(10_000, "USD").await,
        bob.open_account("USD").await,
    );
    ada.transfer(&from, &to, 2_500, "USD").await.must_be(201);
    ada.transfer(&from, &to, 500, "USD").await.must_be(201);
    assert_eq!(ada.balance(&from).await, (7_000, 0, 7_000));
    assert_eq!(bob.balance(&to).await, (3_000, 0, 3_000));

    let postings = ada.get(&format!("{}/postings", path(&from))).await.must_be(200);
    let lines: Vec<Value> = postings["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|posting| {
            json!([
                posting["sequence"],
                posting["direction"],
                posting["amount"],
                posting["balance_after"]
            ])
        })
        .collect();
    assert_eq!(
        json!(lines),
        json!([
            [3, "debit", 500, 7_000],
            [2, "debit", 2_500, 7_500],
            [1, "credit", 10_000, 10_000]
        ])
    );
    let page = ada
        .get(&format!("{}/postings?limit=1", path(&from)))
        .await
        .must_be(200);
    let after = page["next_cursor"].as_str().unwrap();
    let next = ada
        .get(&format!("{}/postings?limit=1&after={after}", path(&from)))
        .await
        .must_be(200);
    assert_eq!(next["data"][0]["sequence"], 2);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_account_neither_sends_nor_receives_until_it_is_unfrozen() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(10_000, "USD").await,
        ada.open_funded_account(10_000, "USD").await,
    );
    for _ in 0..2 {
        let frozen = command(&ada, &one, "freeze").await.must_be(200);
        assert_eq!(
            (&frozen["status"], &frozen["frozen_by"]),
            (&json!("frozen"), &json!("owner"))
        );
    }
    for answer in [
        ada.transfer(&one, &other, 100, "USD").await,
        ada.transfer(&other, &one, 100, "USD").await,
        ada.deposit(&one, 100, "USD").await,
        ada.withdraw(&one, 100, "USD").await,
    ] {
        answer.must_be_problem(422, "account_frozen");
    }
    command(&ada, &one, "close")
        .await
        .must_be_problem(422, "account_frozen");
    assert_eq!(ada.balance(&one).await, (10_000, 0, 10_000));
    for _ in 0..2 {
        let active = command(&ada, &one, "unfreeze").await.must_be(200);
        assert_eq!(active["status"], "active");
        assert_eq!(active.get("frozen_by"), None);
    }
    ada.transfer(&one, &other, 100, "USD").await.must_be(201);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_of_compliance_is_not_the_owners_to_lift() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let id = ada.open_account("USD").await;
    command(&ada, &id, "freeze").await.must_be(200);
    let frozen = command(&officer, &id, "freeze").await.must_be(200);
    assert_eq!(frozen["frozen_by"], "compliance");
    for verb in ["unfreeze", "close"] {
        command(&ada, &id, verb)
            .await
            .must_be_problem(403, "frozen_by_compliance");
    }
    // Freezing it again does not make it the owner's freeze.
    assert_eq!(
        command(&ada, &id, "freeze").await.must_be(200)["frozen_by"],
        "compliance"
    );
    command(&officer, &id, "unfreeze").await.must_be(200);
    assert_eq!(status_of(&ada, &id).await, "active");
    // Closing is the owner's alone, and so is looking.
    command(&officer, &id, "close")
        .await
        .must_be_problem(404, "not_found");
    officer.get(&path(&id)).await.must_be_problem(404, "not_found");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_closed_only_when_it_is_empty_and_then_for_good() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(10_000, "USD").await,
        ada.open_account("USD").await,
    );
    command(&ada, &one, "close")
        .await
        .must_be_problem(422, "account_not_empty");
    assert_eq!(status_of(&ada, &one).await, "active");
    ada.transfer(&one, &other, 10_000, "USD").await.must_be(201);
    for _ in 0..2 {
        let closed = command(&ada, &one, "close").await.must_be(200);
        assert_eq!(closed["status"], "closed");
    }
    for verb in ["freeze", "unfreeze"] {
        command(&ada, &one, verb)
            .await
            .must_be_problem(422, "account_closed");
    }
    for answer in [
        ada.transfer(&other, &one, 100, "USD").await,
        ada.deposit(&one, 100, "USD").await,
    ] {
        answer.must_be_problem(422, "account_closed");
    }
    // Its history stays readable.
    let postings = ada.get(&format!("{}/postings", path(&one))).await.must_be(200);
    assert_eq!(postings["data"].as_array().unwrap().len(), 2);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_paying_in_at_once_never_strands_money() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    for _ in 0..8 {
        let id = ada.open_account("USD").await;
        let (closed, deposited) = tokio::join!(command(&ada, &id, "close"), ada.deposit(&id, 100, "USD"));
        match (closed.status, deposited.status) {
            (200, 422) => assert_eq!(status_of(&ada, &id).await, "closed"),
            (422, 201) => assert_eq!(ada.balance(&id).await, (100, 0, 100)),
            _ => panic!("{closed}\n{deposited}"),
        }
    }
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_opened_while_the_ledger_was_down_becomes_active_by_itself() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    platform.stop_service(Service::Transactions).await.unwrap();
    let key = new_key();
    let body = json!({ "kind": "checking", "currency": "USD" });
    let pending = ada.post_with_key(ACCOUNTS, &key, body.clone()).await.must_be(201);
    assert_eq!(pending["status"], "pending");
    assert_eq!(pending["balance"]["available"], 0);
    let id = text_of(&pending, "id");
    // Details need the ledger; nothing is made up without it.
    ada.get(&path(&id))
        .await
        .must_be_problem(503, "service_unavailable");

    platform.start_service(Service::Transactions).await.unwrap();
    // The job leaves an account alone while the request that opened it may still be at work.
    platform.clock.advance(Duration::seconds(6));
    platform.wait_until_no_account_is_pending().await;
    assert_eq!(status_of(&ada, &id).await, "active");
    let replayed = ada.post_with_key(ACCOUNTS, &key, body).await.must_be(201);
    assert_eq!(text_of(&replayed, "id"), id);
    ada.deposit(&id, 100, "USD").await.must_be(201);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_that_the_ledger_missed_is_made_up_for() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(1_000, "USD").await,
        ada.open_account("USD").await,
    );
    platform.stop_service(Service::Transactions).await.unwrap();
    command(&ada, &one, "freeze")
        .await
        .must_be_problem(503, "service_unavailable");
    platform.start_service(Service::Transactions).await.unwrap();
    platform.clock.advance(Duration::seconds(6));
    eventually("the account is frozen", async || {
        (ada.get(&path(&one)).await.body["status"] == "frozen").then_some(())
    })
    .await;
    ada.transfer(&one, &other, 100, "USD")
        .await
        .must_be_problem(422, "account_frozen");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_go_on_while_accounts_service_is_down() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let (one, other) = (
        ada.open_funded_account(1_000, "USD").await,
        ada.open_account("USD").await,
    );
    platform.stop_service(Service::Accounts).await.unwrap();
    ada.transfer(&one, &other, 100, "USD").await.must_be(201);
    let reading = ada.get(&path(&one)).await;
    reading.must_be_problem(503, "service_unavailable");
    assert!(reading.header("retry-after").is_some(), "{reading}");
    let opening = ada
        .request(Method::POST, ACCOUNTS)
        .json(&json!({ "kind": "checking", "currency": "USD" }));
    ada.send(opening)
        .await
        .must_be_problem(503, "service_unavailable");
    platform.start_service(Service::Accounts).await.unwrap();
    eventually("accounts can be read again", async || {
        (ada.get(&path(&one)).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ada.balance(&one).await, (900, 0, 900));
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}
