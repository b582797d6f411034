//! Transfers and payments: what moves, what is refused, and what is remembered.

use platform::client::{new_key, transfer_body};
use platform::{Customer, Platform};
use serde_json::{Value, json};

use crate::parties::payer_and_payee;

const TRANSFERS: &str = "/api/v1/transfers";
const DEPOSITS: &str = "/api/v1/payments/deposits";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_moves_money_and_both_sides_see_it() {
    let platform = Platform::start().await;
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;

    let mut body = transfer_body(&from, &to, 2_550, "USD");
    body["description"] = json!("Dinner ☀");
    body["metadata"] = json!({ "order": "A-1001" });
    let transfer = payer
        .post_with_key(TRANSFERS, &new_key(), body.clone())
        .await
        .must_be(201);

    assert_eq!(transfer["status"], "posted");
    for member in [
        "debit_account_id",
        "credit_account_id",
        "amount",
        "currency",
        "description",
        "metadata",
    ] {
        assert_eq!(transfer[member], body[member], "{member}");
    }
    assert_eq!(payer.balance(&from).await, (7_450, 0, 7_450));
    assert_eq!(payee.balance(&to).await, (2_550, 0, 2_550));
    let path = format!("{TRANSFERS}/{}", transfer["id"].as_str().unwrap());
    for side in [&payer, &payee] {
        assert_eq!(side.get(&path).await.must_be(200), transfer);
    }
    let postings = payee
        .get(&format!("/api/v1/accounts/{to}/postings"))
        .await
        .must_be(200);
    assert_eq!(postings["data"][0]["transfer_id"], transfer["id"]);
    assert_eq!(postings["data"][0]["direction"], "credit");
    assert_eq!(postings["data"][0]["balance_after"], 2_550);
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bodies_are_refused_with_a_pointer_and_move_nothing() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let good = transfer_body(&from, &to, 1, "USD");
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    let cases = [
        (with("amount", json!(0)), "/amount"),
        (with("amount", json!(-1)), "/amount"),
        (with("amount", json!(1.5)), "/amount"),
        (with("amount", json!(1.0)), "/amount"),
        (with("amount", json!("1")), "/amount"),
        (with("amount", json!(9_007_199_254_740_992_i64)), "/amount"),
        (with("amount", json!(u64::MAX)), "/amount"),
        (with("amount", Value::Null), "/amount"),
        (with("currency", json!("usd")), "/currency"),
        (with("currency", json!("XXX")), "/currency"),
        (
            with("debit_account_id", json!(payer.user_id)),
            "/debit_account_id",
        ),
        (
            with("credit_account_id", json!("acct_nonsense")),
            "/credit_account_id",
        ),
        (with("description", json!("line\nbreak")), "/description"),
        (with("metadata", json!({ "key": 1 })), "/metadata/key"),
        (with("surprise", json!(true)), "/surprise"),
    ];
    for (body, pointer) in cases {
        let answer = payer.post_with_key(TRANSFERS, &new_key(), body.clone()).await;
        answer.must_be_problem(400, "invalid_body");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    assert_eq!(payer.balance(&from).await, (10_000, 0, 10_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_the_json_asked_for_is_refused() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let send = async |kind: &str, body: String| {
        let request = payer
            .request(reqwest::Method::POST, TRANSFERS)
            .header("idempotency-key", new_key());
        payer.send(request.header("content-type", kind).body(body)).await
    };
    let good = transfer_body(&from, &to, 1, "USD").to_string();
    for body in ["", "{", "[]", "null", "\u{feff}{}", "{\"amount\":1}}"] {
        let answer = send("application/json", body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer}");
    }
    let twice = good.replacen('{', "{\"amount\":1,", 1);
    send("application/json", twice)
        .await
        .must_be_problem(400, "invalid_body");
    send("text/plain", good.clone())
        .await
        .must_be_problem(415, "unsupported_media_type");
    let padded = format!("{good}{}", " ".repeat(70_000));
    send("application/json", padded)
        .await
        .must_be_problem(413, "body_too_large");
    assert_eq!(send("application/json; charset=utf-8", good).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_refuse_with_their_code_and_an_outcome() {
    let platform = Platform::start().await;
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    let euros = payee.open_account("EUR").await;
    let nowhere = "acct_01h455vb4pex5vsknk084sn02q";
    let refused = async |by: &Customer, from: &str, to: &str, amount: i64, currency: &str, code: &str| {
        let answer = by.transfer(from, to, amount, currency).await;
        let problem = answer.must_be_problem(422, code);
        assert_eq!(problem["outcome"], "none", "{answer}");
    };

    refused(&payer, &from, &to, 10_001, "USD", "insufficient_funds").await;
    refused(&payer, &from, &from, 1, "USD", "same_account").await;
    refused(&payer, &from, &to, 1, "EUR", "currency_mismatch").await;
    refused(&payer, &from, &euros, 1, "USD", "currency_mismatch").await;
    refused(&payer, &from, nowhere, 1, "USD", "account_not_found").await;
    // An account of somebody else and one that does not exist are not told apart.
    refused(&payee, &from, &to, 1, "USD", "account_not_found").await;
    refused(&payee, nowhere, &to, 1, "USD", "account_not_found").await;

    payee
        .post_empty(&format!("/api/v1/accounts/{to}/freeze"))
        .await
        .must_be(200);
    refused(&payer, &from, &to, 1, "USD", "account_frozen").await;
    payee
        .post_empty(&format!("/api/v1/accounts/{to}/unfreeze"))
        .await
        .must_be(200);
    payee
        .post_empty(&format!("/api/v1/accounts/{to}/close"))
        .await
        .must_be(200);
    refused(&payer, &from, &to, 1, "USD", "account_closed").await;
    payer
        .post_empty(&format!("/api/v1/accounts/{from}/freeze"))
        .await
        .must_be(200);
    refused(&payer, &from, &to, 1, "USD", "account_frozen").await;
    assert_eq!(payer.balance(&from).await, (10_000, 0, 10_000));
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_seen_by_its_two_sides_only() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let stranger = platform.register("stranger").await;
    let key = new_key();
    let transfer = payer
        .post_with_key(TRANSFERS, &key, transfer_body(&from, &to, 1, "USD"))
        .await
        .must_be(201);
    let path = format!("{TRANSFERS}/{}", transfer["id"].as_str().unwrap());
    stranger.get(&path).await.must_be_problem(404, "not_found");
    stranger
        .get(&format!("/api/v1/idempotency-keys/{key}"))
        .await
        .must_be_problem(404, "not_found");
    stranger
        .get("/api/v1/integrity")
        .await
        .must_be_problem(403, "role_required");
    assert_eq!(stranger.get(TRANSFERS).await.must_be(200)["data"], json!([]));
    payer
        .get(&format!("{TRANSFERS}/{from}"))
        .await
        .must_be_problem(400, "invalid_id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_gets_the_same_answer_and_has_one_effect() {
    let platform = Platform::start().await;
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    let key = new_key();
    let body = transfer_body(&from, &to, 100, "USD");
    let first = payer.post_with_key(TRANSFERS, &key, body.clone()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    let second = payer.post_with_key(TRANSFERS, &key, body.clone()).await;
    assert_eq!((second.status, &second.text), (201, &first.text));
    assert_eq!(second.header("idempotent-replayed"), Some("true"));

    let other = transfer_body(&from, &to, 101, "USD");
    payer
        .post_with_key(TRANSFERS, &key, other)
        .await
        .must_be_problem(422, "idempotency_key_reused");
    let deposit = json!({ "account_id": from, "amount": 100, "currency": "USD" });
    payer
        .post_with_key(DEPOSITS, &key, deposit)
        .await
        .must_be_problem(422, "idempotency_key_reused");
    assert_eq!(payee.balance(&to).await.0, 100);

    // The same key of another user is another key.
    let deposit = json!({ "account_id": to, "amount": 7, "currency": "USD" });
    payee.post_with_key(DEPOSITS, &key, deposit).await.must_be(201);

    let remembered = payer
        .get(&format!("/api/v1/idempotency-keys/{key}"))
        .await
        .must_be(200);
    assert_eq!(
        (&remembered["status"], &remembered["body"]),
        (&json!(201), &first.body)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definite_refusal_is_remembered_too() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let key = new_key();
    let body = transfer_body(&from, &to, 10_001, "USD");
    let refused = payer.post_with_key(TRANSFERS, &key, body.clone()).await;
    refused.must_be_problem(422, "insufficient_funds");
    payer.deposit(&from, 10_000, "USD").await.must_be(201);
    let again = payer.post_with_key(TRANSFERS, &key, body).await;
    assert_eq!((again.status, &again.text), (422, &refused.text));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_moves_only_under_a_key() {
    let platform = Platform::start().await;
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    let bodies = [
        (TRANSFERS, transfer_body(&from, &to, 1, "USD")),
        (
            DEPOSITS,
            json!({ "account_id": from, "amount": 1, "currency": "USD" }),
        ),
        (
            "/api/v1/payments/withdrawals",
            json!({ "account_id": from, "amount": 1, "currency": "USD" }),
        ),
    ];
    for (path, body) in bodies {
        payer
            .post(path, body.clone())
            .await
            .must_be_problem(400, "missing_idempotency_key");
        for key in ["with space", &"k".repeat(256)] {
            payer
                .post_with_key(path, key, body.clone())
                .await
                .must_be_problem(400, "invalid_idempotency_key");
        }
    }
    assert_eq!(payer.balance(&from).await, (10_000, 0, 10_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_cross_the_edge_through_the_clearing_account() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let account = customer.open_account("JPY").await;
    let deposit = customer.deposit(&account, 5_000, "JPY").await.must_be(201);
    assert_eq!(
        (&deposit["kind"], &deposit["status"]),
        (&json!("deposit"), &json!("posted"))
    );
    let withdrawal = customer.withdraw(&account, 2_000, "JPY").await.must_be(201);
    assert_eq!(withdrawal["credit_account_id"], deposit["debit_account_id"]);
    customer
        .withdraw(&account, 3_001, "JPY")
        .await
        .must_be_problem(422, "insufficient_funds");
    customer
        .deposit(&account, 1, "USD")
        .await
        .must_be_problem(422, "currency_mismatch");
    assert_eq!(customer.balance(&account).await, (3_000, 0, 3_000));

    // The clearing account is nobody's to pay from or to.
    let clearing = deposit["debit_account_id"].as_str().unwrap();
    customer
        .transfer(clearing, &account, 1, "JPY")
        .await
        .must_be_problem(422, "account_not_found");
    customer
        .transfer(&account, clearing, 1, "JPY")
        .await
        .must_be_problem(422, "account_not_found");
    let other = platform.register("other").await;
    other
        .deposit(&account, 1, "JPY")
        .await
        .must_be_problem(422, "account_not_found");
    other
        .withdraw(&account, 1, "JPY")
        .await
        .must_be_problem(422, "account_not_found");
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_rail_no_money_enters() {
    let platform = Platform::builder()
        .set(platform::Service::Transactions, "SANDBOX_RAIL", false)
        .start()
        .await
        .unwrap();
    let customer = platform.register("customer").await;
    let account = customer.open_account("USD").await;
    customer
        .deposit(&account, 1, "USD")
        .await
        .must_be_problem(422, "rail_unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_shows_each_transfer_once_while_more_are_made() {
    let platform = Platform::start().await;
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    let savings = payer.open_account("USD").await;
    let mut made = Vec::new();
    for number in 0..12 {
        let credit = if number % 3 == 0 { &savings } else { &to };
        made.push(payer.transfer(&from, credit, 1, "USD").await.must_be(201)["id"].clone());
    }
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut path = format!("{TRANSFERS}?limit=5");
    loop {
        let page = payer.get(&path).await.must_be(200);
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|transfer| transfer["id"].clone()),
        );
        payer.transfer(&from, &to, 1, "USD").await.must_be(201);
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{TRANSFERS}?limit=5&after={cursor}"),
            None => break,
        }
    }
    made.reverse();
    assert_eq!(
        seen.iter().filter(|id| made.contains(id)).collect::<Vec<_>>(),
        made.iter().collect::<Vec<_>>()
    );
    let received = payee
        .get(&format!("{TRANSFERS}?limit=100&status=posted"))
        .await
        .must_be(200);
    assert_eq!(received["data"].as_array().unwrap().len(), 8 + pages);

    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "after=x",
        "unknown=1",
        "status=lost",
    ] {
        payer
            .get(&format!("{TRANSFERS}?{query}"))
            .await
            .must_be_problem(400, "invalid_query");
    }
}
