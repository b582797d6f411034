//! That a login that is refused tells nobody who is a user: neither by what is answered, nor by what it costs, from which
//! the time comes that it takes. `benches/sessions` prints the times.

use std::sync::Arc;

use platform::client::{Answer, Customer, PASSWORD, eventually};
use platform::database::Server;
use platform::postgres::Durability;
use platform::{Platform, Service};
use serde_json::{Value, json};
use shared::id::UserId;

const DATABASE: &str = "flowlet";
/// So often a password may be wrong before there is a delay.
const FREE_GUESSES: usize = 4;
const USERS: usize = 3;

/// What auth-service has asked the database about users: each statement, and how often.
async fn statements(sql: &tokio_postgres::Client) -> Vec<(String, i64)> {
    let statements = "SELECT query, sum(calls)::bigint FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid
        WHERE rolname = 'auth_runtime' AND query ~ 'users|email_indexes|login_attempts' GROUP BY query ORDER BY query";
    let rows = sql.query(statements, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// How many passwords it has judged.
async fn judged(platform: &Platform) -> usize {
    let page = platform.client_of(Service::Auth).get("/metrics").await.text;
    let mut lines = page.lines();
    let count = lines.find_map(|line| line.strip_prefix("password_hashing_duration_seconds_count "));
    count.unwrap_or("0").parse().unwrap()
}

async fn log_in(platform: &Platform, email: &str, password: &str) -> Answer {
    let login = json!({ "email": email, "password": password });
    platform.client().post("/api/v1/auth/login", login).await
}

/// The answer without what belongs to the request.
fn told(answer: &Answer) -> (u16, Vec<String>, Value) {
    let mut body = answer.body.clone();
    body.as_object_mut().unwrap().remove("request_id");
    let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    (answer.status, headers, body)
}

async fn register(platform: &Platform, name: &str) -> Vec<Customer> {
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(platform.register(&format!("{name}{number}")).await);
    }
    users
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_refused_is_told_the_same_and_costs_the_same() {
    let settings = vec!["shared_preload_libraries=pg_stat_statements".to_owned()];
    let server = Server::throwaway_with(Durability::Fast, settings).await.unwrap();
    server.prepare(DATABASE, |_| ()).await.unwrap();
    // As processes, because what one process counts is for all its services.
    let platform = Platform::builder()
        .on(Arc::new(server), DATABASE)
        .processes(env!("CARGO_BIN_EXE_dev"))
        .set(Service::Auth, "EMAIL_VERIFICATION", "off")
        .start()
        .await
        .unwrap();
    let (known, disabled) = (
        register(&platform, "known").await,
        register(&platform, "disabled").await,
    );
    let sql = platform.sql().await;
    sql.batch_execute("CREATE EXTENSION pg_stat_statements")
        .await
        .unwrap();
    for user in &disabled {
        let id: UserId = user.user_id.parse().unwrap();
        let disable = "UPDATE auth.users SET status = 'disabled' WHERE id = $1";
        sql.execute(disable, &[&id.uuid()]).await.unwrap();
    }
    let emails = |users: &[Customer]| users.iter().map(|user| user.email.clone()).collect::<Vec<_>>();
    let unknown = |name: &str| {
        (0..USERS)
            .map(|number| format!("{name}{number}@example.com"))
            .collect()
    };
    let kinds: [(&str, Vec<String>, &str); 4] = [
        ("a wrong password", emails(&known), "not-the-password"),
        ("nobody", unknown("nobody"), "not-the-password"),
        (
            "nobody, with a password that somebody has",
            unknown("no"),
            PASSWORD,
        ),
        (
            "somebody disabled, with the right password",
            emails(&disabled),
            PASSWORD,
        ),
    ];
    let mut first = None;
    for (kind, emails, password) in kinds {
        sql.batch_execute("SELECT pg_stat_statements_reset()")
            .await
            .unwrap();
        let judged_before = judged(&platform).await;
        let mut answers = Vec::new();
        for email in emails.iter().cycle().take(USERS * FREE_GUESSES) {
            let refused = log_in(&platform, email, password).await;
            refused.must_be_problem(401, "invalid_credentials");
            answers.push(told(&refused));
        }
        // The next ones have to wait.
        for email in &emails {
            let refused = log_in(&platform, email, password).await;
            refused.must_be_problem(401, "invalid_credentials");
            let refused = log_in(&platform, email, password).await;
            refused.must_be_problem(429, "rate_limited");
            answers.push(told(&refused));
        }
        // It is counted after the answer, by the one thread that judges.
        let expected = judged_before + USERS * (FREE_GUESSES + 1);
        let judged = eventually("all are counted", async || {
            Some(judged(&platform).await).filter(|judged| *judged >= expected)
        });
        assert_eq!(judged.await, expected, "{kind}");
        let seen = (statements(&sql).await, answers);
        assert!(!seen.0.is_empty());
        match &first {
            None => first = Some(seen),
            Some(first) => assert_eq!(&seen, first, "{kind}"),
        }
    }
    platform.stop().await.unwrap();
}
