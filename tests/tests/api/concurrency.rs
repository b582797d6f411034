//! The ledger under many hands at once.

use std::sync::Arc;

use futures_util::future::join_all;
use platform::client::{eventually, new_key, transfer_body};
use platform::invariants::integrity_report;
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};

const TRANSFERS: &str = "/api/v1/transfers";

async fn deadlocks(platform: &Platform) -> i64 {
    let query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    platform.sql().await.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_draining_one_account_of_n_units_get_exactly_n() {
    const UNITS: i64 = 300;
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let payer = platform.register("payer").await;
    let to = platform.register("payee").await.open_account("USD").await;
    let from = payer.open_funded_account(UNITS, "USD").await;
    let clients = (0..200).map(|_| {
        let (payer, from, to) = (payer.clone(), from.clone(), to.clone());
        tokio::spawn(async move {
            let mut successes = 0;
            for _ in 0..4 {
                let answer = payer.transfer(&from, &to, 1, "USD").await;
                match answer.status {
                    201 => successes += 1,
                    _ => _ = answer.must_be_problem(422, "insufficient_funds"),
                }
            }
            successes
        })
    });
    let successes: i64 = join_all(clients).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(successes, UNITS);
    assert_eq!(payer.balance(&from).await, (0, 0, 0));
    platform.assert_invariants().await;
}

/// Small deterministic numbers: a failing run can be told again by its client and step.
fn mixed(client: usize, step: usize) -> usize {
    (client * 7919 + step * 104_729 + client * step * 31) % 1009
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_transfers_of_64_clients_leave_the_books_balanced_and_never_deadlock() {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 3)
        .start()
        .await
        .unwrap();
    let mut accounts: Vec<(Customer, String)> = Vec::new();
    for number in 0..8 {
        let customer = platform.register(&format!("customer{number}")).await;
        let account = customer.open_funded_account(1_000, "USD").await;
        accounts.push((customer, account));
    }
    let accounts = Arc::new(accounts);
    let clients = (0..64).map(|client| {
        let accounts = Arc::clone(&accounts);
        tokio::spawn(async move {
            for step in 0..20 {
                let random = mixed(client, step);
                let (from, to) = (random % 8, (random / 8) % 8);
                let (customer, debit) = &accounts[from];
                let amount = i64::try_from(random % 400 + 1).unwrap();
                let answer = match random % 5 {
                    0 => customer.withdraw(debit, amount, "USD").await,
                    1 => customer.deposit(debit, amount, "USD").await,
                    _ if from == to => continue,
                    _ => customer.transfer(debit, &accounts[to].1, amount, "USD").await,
                };
                assert!(
                    answer.status == 201 || answer.code() == "insufficient_funds",
                    "{answer}"
                );
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(deadlocks(&platform).await, 0);
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sent_three_times_at_once_has_one_effect() {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let payer = platform.register("payer").await;
    let payee = platform.register("payee").await;
    let to = payee.open_account("USD").await;
    let from = payer.open_funded_account(100_000, "USD").await;
    let requests = (0..60).map(|number| {
        let (payer, from, to) = (payer.clone(), from.clone(), to.clone());
        tokio::spawn(async move {
            let key = new_key();
            let body = transfer_body(&from, &to, 10, "USD");
            // Every fourth request is also sent altered: exactly one of the two bodies may take the key.
            let altered = if number % 4 == 0 {
                transfer_body(&from, &to, 11, "USD")
            } else {
                body.clone()
            };
            let answers = join_all([
                payer.post_with_key(TRANSFERS, &key, body.clone()),
                payer.post_with_key(TRANSFERS, &key, altered),
                payer.post_with_key(TRANSFERS, &key, body),
            ])
            .await;
            let created: Vec<&Value> = answers
                .iter()
                .filter(|it| it.status == 201)
                .map(|it| &it.body)
                .collect();
            assert!(created.windows(2).all(|pair| pair[0] == pair[1]), "{created:?}");
            for answer in answers.iter().filter(|answer| answer.status != 201) {
                answer.must_be_problem(422, "idempotency_key_reused");
            }
            let fresh = answers
                .iter()
                .filter(|it| it.status == 201 && it.header("idempotent-replayed").is_none());
            assert_eq!(fresh.count(), 1);
            created[0]["amount"].as_i64().unwrap()
        })
    });
    let moved: i64 = join_all(requests).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(payee.balance(&to).await.0, moved);
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_shared_by_different_accounts_has_one_effect_across_lanes() {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 4)
        .start()
        .await
        .unwrap();
    let customer = platform.register("customer").await;
    let mut accounts = Vec::new();
    for _ in 0..8 {
        accounts.push(customer.open_funded_account(1_000, "USD").await);
    }
    for _ in 0..10 {
        let key = new_key();
        let requests = (0..8).map(|from| {
            let body = transfer_body(&accounts[from], &accounts[(from + 1) % 8], 1, "USD");
            let (customer, key) = (customer.clone(), key.clone());
            async move { customer.post_with_key(TRANSFERS, &key, body).await }
        });
        let answers = join_all(requests).await;
        assert_eq!(
            answers.iter().filter(|answer| answer.status == 201).count(),
            1,
            "{answers:?}"
        );
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.must_be_problem(422, "idempotency_key_reused");
        }
    }
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_races_with_paying_and_strands_nothing() {
    let platform = Platform::start().await;
    let payer = platform.register("payer").await;
    let payee = platform.register("payee").await;
    let from = payer.open_funded_account(1_000, "USD").await;
    for _ in 0..6 {
        let to = payee.open_account("USD").await;
        let close_path = format!("/api/v1/accounts/{to}/close");
        let (paid, closed) = tokio::join!(
            payer.transfer(&from, &to, 1, "USD"),
            payee.post_empty(&close_path)
        );
        match (paid.status, closed.status) {
            (201, 422) => _ = closed.must_be_problem(422, "account_not_empty"),
            (422, 200) => _ = paid.must_be_problem(422, "account_closed"),
            _ => panic!("{paid}\n{closed}"),
        }
    }
    platform.assert_invariants().await;
}

async fn connect_as_the_service(platform: &Platform) -> tokio_postgres::Client {
    let url = platform
        .server
        .runtime_url(Service::Transactions, &platform.database)
        .unwrap();
    let mut options: tokio_postgres::Config = url.parse().unwrap();
    options.options("-c search_path=transactions");
    let (client, connection) = options.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_itself_refuses_what_the_rules_forbid() {
    let platform = Platform::start().await;
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(100, "USD").await;
    let to = platform.register("payee").await.open_account("USD").await;
    payer.transfer(&from, &to, 10, "USD").await.must_be(201);
    let superuser = platform.sql().await;
    let runtime = connect_as_the_service(&platform).await;
    let forbidden_to_all = [
        "UPDATE transactions.postings SET amount = 1",
        "DELETE FROM transactions.postings",
        "TRUNCATE transactions.postings",
        "UPDATE transactions.ledger_accounts SET posted = -1 WHERE kind = 'customer'",
        "UPDATE transactions.ledger_accounts SET held = 1000000 WHERE kind = 'customer'",
        "UPDATE transactions.ledger_accounts SET status = 'closed'",
    ];
    for statement in forbidden_to_all {
        assert!(superuser.batch_execute(statement).await.is_err(), "{statement}");
    }
    let forbidden_to_the_service = [
        "UPDATE transfers SET amount = 1",
        "DELETE FROM transfers",
        "DELETE FROM ledger_accounts",
        "UPDATE outbox SET kind = 'x'",
        "UPDATE idempotency_keys SET body = ''",
        "SELECT * FROM auth.users",
        "SELECT * FROM accounts.accounts",
        "SELECT * FROM ml.scores",
        "CREATE TABLE mine (id int)",
        "DO $$ BEGIN EXECUTE (SELECT format('UPDATE %s SET amount = 1', max(inhrelid::regclass::text)) FROM pg_inherits WHERE inhparent = 'postings'::regclass); END $$",
    ];
    for statement in forbidden_to_the_service {
        assert!(runtime.batch_execute(statement).await.is_err(), "{statement}");
    }
    runtime
        .batch_execute("SELECT count(*) FROM postings")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrity_names_what_was_altered() {
    let platform = Platform::start().await;
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(100, "USD").await;
    let to = platform.register("payee").await.open_account("USD").await;
    payer.transfer(&from, &to, 10, "USD").await.must_be(201);
    let officer = platform
        .register_with_role("officer", shared::Role::Compliance)
        .await;
    let report = integrity_report(&officer).await.unwrap();
    assert_eq!(report["ok"], json!(true));
    let superuser = platform.sql().await;
    let alter =
        "UPDATE transactions.ledger_accounts SET posted = posted + 5 WHERE kind = 'customer' AND posted = 10";
    assert_eq!(superuser.execute(alter, &[]).await.unwrap(), 1);
    let report = integrity_report(&officer).await.unwrap();
    assert_eq!(report["ok"], json!(false));
    let failed: Vec<&Value> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == json!(false))
        .collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!(failed[0]["code"], "I3");
    assert_eq!(failed[0]["violations"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["duration_ms"].as_i64().unwrap() < 60_000, "{report}");
}

/// A check that does not end, because a table is locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_check_of_the_books_keeps_nobody_waiting_and_is_the_only_one() {
    const RUNS: &str = "/api/v1/integrity/runs";
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let officer = platform
        .register_with_role("officer", shared::Role::Compliance)
        .await;
    let before = integrity_report(&officer).await.unwrap();
    let mut superuser = platform.sql().await;
    let lock = superuser.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE transactions.postings")
        .await
        .unwrap();
    let begun = officer.post_empty(RUNS).await.must_be(202);
    assert!(begun["checked_at"].as_str().is_some(), "{begun}");
    for _ in 0..4 {
        let another = officer.post_empty(RUNS).await;
        another.must_be_problem(409, "integrity_run_in_progress");
        let report = officer.get("/api/v1/integrity").await.must_be(200);
        assert_eq!(
            (&report["running"], &report["checked_at"]),
            (&json!(true), &before["checked_at"])
        );
    }
    lock.rollback().await.unwrap();
    let report = eventually("the run is over", async || {
        let report = officer.get("/api/v1/integrity").await.must_be(200);
        (report["running"] == false).then_some(report)
    })
    .await;
    assert_eq!(report["checked_at"], begun["checked_at"]);
    assert_eq!(report["ok"], json!(true));
    platform.stop().await.unwrap();
}

/// Sends a request and resets the connection before the answer.
async fn send_and_reset(base_url: &str, request: &str, wait: std::time::Duration) {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(base_url.trim_start_matches("http://"))
        .await
        .unwrap();
    stream.set_zero_linger().unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(wait).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_its_connection_leaves_no_transaction_open() {
    let platform = Platform::start().await;
    let payer = platform.register("payer").await;
    let payee = platform.register("payee").await;
    let (from, to) = (
        payer.open_funded_account(10_000, "USD").await,
        payee.open_account("USD").await,
    );
    let mut keys = Vec::new();
    for number in 0..20 {
        let key = new_key();
        let transfer = transfer_body(&from, &to, 1, "USD").to_string();
        let account = json!({ "kind": "savings", "currency": "EUR" }).to_string();
        // Some are gone before they are read, some while they are decided.
        let wait = std::time::Duration::from_millis(number % 5);
        for (service, path, body) in [
            (Service::Transactions, TRANSFERS, &transfer),
            (Service::Accounts, "/api/v1/accounts", &account),
        ] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {key}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                payer.access_token,
                body.len()
            );
            send_and_reset(&platform.url(service), &request, wait).await;
        }
        keys.push(key);
    }
    let sql = platform.sql().await;
    platform::client::eventually("no transaction is open", async || {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        let open: i64 = sql.query_one(query, &[]).await.unwrap().get(0);
        (open == 0).then_some(())
    })
    .await;
    for key in keys {
        payer
            .post_with_key(TRANSFERS, &key, transfer_body(&from, &to, 1, "USD"))
            .await
            .must_be(201);
        let account = json!({ "kind": "savings", "currency": "EUR" });
        payer
            .post_with_key("/api/v1/accounts", &key, account)
            .await
            .must_be(201);
    }
    assert_eq!(payee.balance(&to).await.0, 20);
    let savings: i64 = sql
        .query_one(
            "SELECT count(*) FROM accounts.accounts WHERE kind = 'savings'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(savings, 20);
    platform.assert_invariants().await;
}
