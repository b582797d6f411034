//! Lists as files, through the gateway: complete, harmless in a spreadsheet, and never complete by accident.

use futures_util::StreamExt;
use platform::client::{new_key, text_of, transfer_body};
use platform::{Customer, Platform};
use reqwest::Method;
use serde_json::{Value, json};
use shared::id::AccountId;

const TRANSFERS: &str = "/api/v1/transfers";

/// A small reader of RFC 4180, so that the writer is not checked with itself.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => line.push(std::mem::take(&mut cell)),
            '\r' if !quoted && characters.peek() == Some(&'\n') => {
                characters.next();
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            other => cell.push(other),
        }
    }
    assert!(
        line.is_empty() && cell.is_empty() && !quoted,
        "the last line has no end: {text:?}"
    );
    lines
}

fn parse_ndjson(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All items of a list, page by page.
async fn all(customer: &Customer, path: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = customer
            .get(&format!("{path}?limit=100{after}"))
            .await
            .must_be(200);
        items.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_what_the_list_has() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let account = customer.open_funded_account(1_000_000, "USD").await;
    let savings = customer.open_account("USD").await;
    let mut evil = transfer_body(&account, &savings, 7, "USD");
    evil["description"] = json!("=cmd|' /C calc'!A0");
    evil["reference"] = json!("+1, \"two\"");
    evil["metadata"] = json!({ "order": "A-1" });
    customer
        .post_with_key(TRANSFERS, &new_key(), evil)
        .await
        .must_be(201);
    let item = |_| json!({ "key": new_key(), "transfer": transfer_body(&account, &savings, 1, "USD") });
    let items: Vec<Value> = (0..150).map(item).collect();
    let batch = json!({ "mode": "independent", "items": items });
    customer
        .post("/api/v1/transfer-batches", batch)
        .await
        .must_be(200);

    let listed = all(&customer, TRANSFERS).await;
    assert_eq!(listed.len(), 152);
    let file = customer.get(&format!("{TRANSFERS}/export?format=ndjson")).await;
    assert_eq!(file.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        file.header("content-disposition"),
        Some("attachment; filename=\"transfers.ndjson\"")
    );
    assert_eq!(parse_ndjson(&file.text), listed);
    let file = customer.get(&format!("{TRANSFERS}/export?format=csv")).await;
    assert!(
        file.header("content-type").unwrap().starts_with("text/csv"),
        "{file}"
    );
    let lines = parse_csv(&file.text);
    assert_eq!(lines.len(), 153);
    for (line, transfer) in lines[1..].iter().zip(&listed) {
        let cell = |name: &str| line[lines[0].iter().position(|it| it == name).unwrap()].clone();
        for name in [
            "id",
            "kind",
            "status",
            "debit_account_id",
            "credit_account_id",
            "currency",
        ] {
            assert_eq!(cell(name), text_of(transfer, name), "{name}");
        }
        assert_eq!(cell("amount"), transfer["amount"].to_string());
        if transfer["amount"] == 7 {
            assert_eq!(cell("description"), "'=cmd|' /C calc'!A0");
            assert_eq!(cell("reference"), "'+1, \"two\"");
            assert_eq!(cell("metadata"), "{\"order\":\"A-1\"}");
        }
    }
    // The filters are those of the list.
    let file = customer
        .get(&format!("{TRANSFERS}/export?format=csv&metadata[order]=A-1"))
        .await;
    assert_eq!(parse_csv(&file.text).len(), 2);

    let path = format!("/api/v1/accounts/{account}/postings");
    let listed = all(&customer, &path).await;
    let file = customer.get(&format!("{path}/export?format=ndjson")).await;
    assert_eq!(parse_ndjson(&file.text), listed);
    let name = format!("attachment; filename=\"{account}-postings.ndjson\"");
    assert_eq!(file.header("content-disposition"), Some(name.as_str()));
    let file = customer
        .get(&format!("{path}/export?format=csv&direction=credit"))
        .await;
    let lines = parse_csv(&file.text);
    assert_eq!(lines.len(), 2, "{file}");
    assert_eq!(
        lines[1][2..7],
        ["1", "credit", "1000000", "USD", "1000000"].map(str::to_owned)
    );

    for query in [
        "",
        "?format=xlsx",
        "?format=csv&limit=5",
        "?format=csv&colour=red",
    ] {
        for path in [TRANSFERS, &path] {
            let answer = customer.get(&format!("{path}/export{query}")).await;
            answer.must_be_problem(400, "invalid_query");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_breaks_off_does_not_look_complete() {
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let account = customer.open_account("USD").await;
    let id = account.parse::<AccountId>().unwrap().uuid();
    let sql = platform.sql().await;
    // More than all buffers between the database and the client hold.
    let many = "INSERT INTO transactions.postings (transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at)
        SELECT gen_random_uuid(), $1, number, 'credit', 1, 'USD', number, now() FROM generate_series(1, 200000) AS number";
    let many = many.replace("gen_random_uuid()", "transactions.first_id_of(now()::date)");
    sql.execute(&many, &[&id]).await.unwrap();
    let counted = "UPDATE transactions.ledger_accounts SET version = 200000 WHERE id = $1";
    assert_eq!(sql.execute(counted, &[&id]).await.unwrap(), 1);

    let path = format!("/api/v1/accounts/{account}/postings/export?format=ndjson");
    let request = customer.request(Method::GET, &path);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.bytes_stream();
    let mut received = body.next().await.unwrap().unwrap().len();
    sql.batch_execute("ALTER TABLE transactions.postings RENAME TO gone")
        .await
        .unwrap();
    let end = loop {
        match body.next().await {
            Some(Ok(bytes)) => received += bytes.len(),
            end => break end,
        }
    };
    assert!(
        matches!(end, Some(Err(_))),
        "after {received} bytes it ends as if it were complete"
    );
    assert!(received > 1_000, "{received}");
    // What is wrong from the start is an error like any other.
    customer.get(&path).await.must_be_problem(500, "internal");
}
