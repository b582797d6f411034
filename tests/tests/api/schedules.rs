//! Schedules: transfers that are made later, once or by a calendar, each run once and with a clear end.

use chrono::{DateTime, Duration, Utc};
use platform::client::{Answer, eventually, new_key, text_of, transfer_body};
use platform::{Customer, Platform};
use serde_json::{Value, json};

use crate::parties::payer_and_payee;

const SCHEDULES: &str = "/api/v1/transfer-schedules";

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    to: String,
}

/// 100.00 in the payer's account.
async fn scene(replicas: usize) -> Scene {
    let platform = Platform::builder().replicas(replicas).start().await.unwrap();
    let (payer, from, _, to) = payer_and_payee(&platform, 10_000).await;
    Scene {
        platform,
        payer,
        from,
        to,
    }
}

impl Scene {
    /// From tomorrow on, at nine in Tokyo.
    fn calendar(&self, repeat: Value) -> Value {
        let tomorrow = (self.platform.clock.now() + Duration::days(1)).date_naive();
        json!({ "first_on": tomorrow, "at": "09:00", "time_zone": "Asia/Tokyo", "repeat": repeat })
    }

    async fn create(&self, amount: i64, calendar: Value) -> Answer {
        let transfer = transfer_body(&self.from, &self.to, amount, "USD");
        let body = json!({ "transfer": transfer, "calendar": calendar });
        self.payer.post_with_key(SCHEDULES, &new_key(), body).await
    }

    /// Their tokens expire, so the payer logs in again.
    async fn advance(&mut self, days: i64) {
        self.platform.clock.advance(Duration::days(days));
        self.payer = self.payer.log_in_again().await;
    }

    async fn get(&self, id: &str) -> Value {
        self.payer.get(&format!("{SCHEDULES}/{id}")).await.must_be(200)
    }

    async fn steer(&self, id: &str, action: &str) -> Answer {
        self.payer.post_empty(&format!("{SCHEDULES}/{id}/{action}")).await
    }

    async fn runs(&self, id: &str) -> Vec<Value> {
        let runs = self
            .payer
            .get(&format!("{SCHEDULES}/{id}/runs"))
            .await
            .must_be(200);
        runs["data"].as_array().unwrap().clone()
    }

    /// Waits until nothing is due, and gives the schedule as it is then.
    async fn settled(&self, id: &str) -> Value {
        eventually("what is due is made", async || {
            let schedule = self.get(id).await;
            let next: Option<DateTime<Utc>> =
                serde_json::from_value(schedule["next_run_at"].clone()).unwrap();
            next.is_none_or(|next| next > self.platform.clock.now())
                .then_some(schedule)
        })
        .await
    }
}

fn outcomes(runs: &[Value]) -> Vec<&str> {
    runs.iter().map(|run| run["outcome"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_runs_by_its_calendar_each_time_once_and_ends() {
    let mut scene = scene(2).await;
    let mut calendar = scene.calendar(json!({ "every": 1, "unit": "week" }));
    calendar["times"] = json!(3);
    let schedule = scene.create(700, calendar).await.must_be(201);
    let id = text_of(&schedule, "id");
    assert_eq!(schedule["status"], "active");
    assert_eq!(schedule["upcoming"].as_array().unwrap().len(), 3, "{schedule}");
    assert_eq!(schedule["upcoming"][0], schedule["next_run_at"]);
    assert!(
        text_of(&schedule, "next_run_at").ends_with("T00:00:00Z"),
        "{schedule}"
    );
    assert!(scene.runs(&id).await.is_empty());

    scene.advance(2).await;
    let schedule = scene.settled(&id).await;
    assert_eq!(scene.payer.balance(&scene.from).await, (9_300, 0, 9_300));
    assert_eq!(schedule["upcoming"].as_array().unwrap().len(), 2);
    // Two that were missed are both made up for, by whichever replica.
    scene.advance(20).await;
    let schedule = scene.settled(&id).await;
    assert_eq!(
        (&schedule["status"], &schedule["next_run_at"]),
        (&json!("completed"), &json!(null))
    );
    let runs = scene.runs(&id).await;
    assert_eq!(outcomes(&runs), ["posted"; 3]);
    assert_eq!(runs[0]["occurrence"], 2);
    assert_eq!(scene.payer.balance(&scene.from).await, (7_900, 0, 7_900));
    let transfer = format!("/api/v1/transfers/{}", text_of(&runs[0], "transfer_id"));
    assert_eq!(scene.payer.get(&transfer).await.must_be(200)["amount"], 700);
    for action in ["pause", "resume", "cancel"] {
        let refused = scene.steer(&id, action).await;
        refused.must_be_problem(422, "schedule_over");
    }
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_refused_says_why_and_three_in_a_row_end_it() {
    let mut scene = scene(1).await;
    let daily = scene.calendar(json!({ "every": 1, "unit": "day" }));
    let id = text_of(&scene.create(10_001, daily).await.must_be(201), "id");
    let once = scene.calendar(json!(null));
    let mut once = once;
    once.as_object_mut().unwrap().remove("repeat");
    let single = text_of(&scene.create(10_001, once).await.must_be(201), "id");
    scene.advance(2).await;
    let schedule = scene.settled(&id).await;
    assert_eq!(
        (&schedule["status"], &schedule["failure"]["code"]),
        (&json!("active"), &json!("insufficient_funds"))
    );
    let over = scene.settled(&single).await;
    assert_eq!(
        (&over["status"], &over["failure"]["code"]),
        (&json!("failed"), &json!("insufficient_funds"))
    );
    scene
        .steer(&single, "resume")
        .await
        .must_be_problem(422, "schedule_over");
    scene.advance(5).await;
    let schedule = scene.settled(&id).await;
    assert_eq!(schedule["status"], "failed");
    assert_eq!(outcomes(&scene.runs(&id).await), ["failed"; 3]);
    // With money, it goes on where it is now.
    scene.payer.deposit(&scene.from, 1, "USD").await.must_be(201);
    let resumed = scene.steer(&id, "resume").await.must_be(200);
    assert_eq!(resumed["status"], "active");
    scene.advance(1).await;
    let schedule = scene.settled(&id).await;
    assert_eq!(
        (&schedule["status"], &schedule["failure"]),
        (&json!("active"), &json!(null))
    );
    assert_eq!(scene.payer.balance(&scene.from).await.0, 0);
    scene.platform.assert_invariants().await;
}

/// More schedules than the runner takes at a time cannot be read, and have been due for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_cannot_be_made_do_not_keep_others_from_theirs() {
    const BROKEN: i64 = 200;
    let mut scene = scene(2).await;
    let weekly = scene.calendar(json!({ "every": 1, "unit": "week" }));
    let id = text_of(&scene.create(100, weekly).await.must_be(201), "id");
    let sql = scene.platform.sql().await;
    let broken = "INSERT INTO transactions.schedules
            (id, owner_id, key, fingerprint, transfer, time_zone, first_on, at_time, status, next_run_at)
        SELECT gen_random_uuid(), owner_id, 'broken-' || number, fingerprint, '{}', time_zone, first_on, at_time, status,
            now() - interval '1 day'
        FROM transactions.schedules, generate_series(1, $1::bigint) AS number";
    assert_eq!(sql.execute(broken, &[&BROKEN]).await.unwrap(), 200);
    scene.advance(2).await;
    scene.settled(&id).await;
    assert_eq!(outcomes(&scene.runs(&id).await), ["posted"]);
    // They are put off, and still to be made.
    eventually("all have been tried", async || {
        let query = "SELECT count(*) FROM transactions.schedules
            WHERE key LIKE 'broken-%' AND status = 'active' AND attempts > 0 AND retry_at > next_run_at";
        let tried: i64 = sql.query_one(query, &[]).await.unwrap().get(0);
        (tried == BROKEN).then_some(())
    })
    .await;
    // One that is mended is made, and waits no more.
    let mend = "UPDATE transactions.schedules SET transfer = (SELECT transfer FROM transactions.schedules WHERE transfer <> '{}')
        WHERE key = 'broken-7'";
    sql.execute(mend, &[]).await.unwrap();
    scene.advance(1).await;
    eventually("it has run", async || {
        let query = "SELECT FROM transactions.schedules
            WHERE key = 'broken-7' AND next_occurrence > 0 AND attempts = 0 AND retry_at IS NULL";
        sql.query_opt(query, &[]).await.unwrap()
    })
    .await;
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_while_it_is_paused_is_left_out() {
    let mut scene = scene(1).await;
    let daily = scene.calendar(json!({ "every": 1, "unit": "day" }));
    let id = text_of(&scene.create(100, daily).await.must_be(201), "id");
    for _ in 0..2 {
        let paused = scene.steer(&id, "pause").await.must_be(200);
        assert_eq!(
            (&paused["status"], &paused["upcoming"]),
            (&json!("paused"), &json!([]))
        );
    }
    scene.advance(10).await;
    assert!(scene.runs(&id).await.is_empty());
    let resumed = scene.steer(&id, "resume").await.must_be(200);
    let next: DateTime<Utc> = text_of(&resumed, "next_run_at").parse().unwrap();
    let now = scene.platform.clock.now();
    assert!(now < next && next <= now + Duration::days(1), "{resumed}");
    scene.advance(1).await;
    scene.settled(&id).await;
    assert_eq!(scene.runs(&id).await.len(), 1);
    scene.steer(&id, "cancel").await.must_be(200);
    scene.advance(3).await;
    let cancelled = scene.get(&id).await;
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(scene.runs(&id).await.len(), 1);
    let listed = scene
        .payer
        .get(&format!("{SCHEDULES}?status=cancelled"))
        .await
        .must_be(200);
    assert_eq!(listed["data"], json!([cancelled]));
    let none = scene
        .payer
        .get(&format!("{SCHEDULES}?status=active"))
        .await
        .must_be(200);
    assert_eq!(none["data"], json!([]));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_is_refused_and_one_that_is_repeated_is_the_same() {
    let scene = scene(1).await;
    let weekly = json!({ "every": 1, "unit": "week" });
    let with = |name: &str, value: Value| {
        let mut calendar = scene.calendar(weekly.clone());
        calendar[name] = value;
        calendar
    };
    for (calendar, status, code) in [
        (with("at", json!("9:00")), 400, "invalid_body"),
        (with("at", json!("24:00")), 400, "invalid_body"),
        (with("time_zone", json!("Mars/Olympus")), 400, "invalid_body"),
        (
            with("repeat", json!({ "every": 0, "unit": "day" })),
            400,
            "invalid_body",
        ),
        (with("times", json!(0)), 400, "invalid_body"),
        (with("first_on", json!("2020-01-01")), 422, "starts_in_the_past"),
        (with("first_on", json!("2126-01-01")), 422, "starts_too_late"),
        (with("last_on", json!("2020-01-01")), 422, "invalid_schedule"),
    ] {
        let refused = scene.create(1, calendar.clone()).await;
        assert_eq!((refused.status, refused.code()), (status, code), "{calendar}");
    }
    let mut body = json!({
        "transfer": transfer_body(&scene.from, &scene.from, 1, "USD"),
        "calendar": scene.calendar(weekly.clone()),
    });
    let key = new_key();
    let refused = scene.payer.post_with_key(SCHEDULES, &key, body.clone()).await;
    refused.must_be_problem(422, "same_account");
    body["transfer"] = transfer_body(&scene.to, &scene.from, 1, "USD");
    let refused = scene.payer.post_with_key(SCHEDULES, &key, body.clone()).await;
    refused.must_be_problem(422, "account_not_found");
    body["transfer"] = transfer_body(&scene.from, &scene.to, 1, "EUR");
    let refused = scene.payer.post_with_key(SCHEDULES, &key, body.clone()).await;
    refused.must_be_problem(422, "currency_mismatch");
    body["transfer"]["currency"] = json!("USD");
    body["dry_run"] = json!(true);
    let tried = scene
        .payer
        .post_with_key(SCHEDULES, &key, body.clone())
        .await
        .must_be(200);
    assert_eq!(
        (&tried["dry_run"], tried["upcoming"].as_array().unwrap().len()),
        (&json!(true), 5)
    );
    let none = scene.payer.get(SCHEDULES).await.must_be(200);
    assert_eq!(none["data"], json!([]));
    body["dry_run"] = json!(false);
    let made = scene
        .payer
        .post_with_key(SCHEDULES, &key, body.clone())
        .await
        .must_be(201);
    let again = scene.payer.post_with_key(SCHEDULES, &key, body.clone()).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.must_be(201), made);
    body["transfer"]["amount"] = json!(2);
    let other = scene.payer.post_with_key(SCHEDULES, &key, body).await;
    other.must_be_problem(422, "idempotency_key_reused");
}
