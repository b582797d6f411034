//! What partners make go wrong on purpose, and that nobody can where there is no sandbox.

use platform::client::{new_key, text_of, transfer_body};
use platform::{Customer, Platform, Service};
use serde_json::json;

const TRANSFERS: &str = "/api/v1/transfers";

/// 100.00 in the first account.
async fn accounts(platform: &Platform) -> (Customer, String, String) {
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(10_000, "USD").await;
    let to = payer.open_account("USD").await;
    (payer, from, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_lost_or_late_after_its_effect() {
    let platform = Platform::start().await;
    let (payer, from, to) = accounts(&platform).await;
    for (fault, first) in [("sandbox-lose-answer", 503), ("sandbox-delay-answer", 201)] {
        let key = format!("{fault}-{}", new_key());
        let before = payer.balance(&from).await.0;
        let began = std::time::Instant::now();
        let answer = payer
            .post_with_key(TRANSFERS, &key, transfer_body(&from, &to, 100, "USD"))
            .await;
        assert_eq!(answer.status, first, "{fault}");
        if first == 503 {
            assert_eq!(
                answer.must_be_problem(503, "outcome_unknown")["outcome"],
                "unknown"
            );
        } else {
            assert!(began.elapsed() >= std::time::Duration::from_secs(5));
        }
        assert_eq!(payer.balance(&from).await.0, before - 100, "{fault}");
        let again = payer
            .post_with_key(TRANSFERS, &key, transfer_body(&from, &to, 100, "USD"))
            .await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        again.must_be(201);
        assert_eq!(payer.balance(&from).await.0, before - 100, "{fault}");
    }
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_expires_now_and_schedules_run_ahead_of_time() {
    let platform = Platform::start().await;
    let (payer, from, to) = accounts(&platform).await;
    let hold = payer.place_hold(&from, &to, 4_000, "USD").await;
    let hold = text_of(&hold.must_be(201), "id");
    let path = format!("/api/v1/sandbox/holds/{hold}/expire");
    for _ in 0..2 {
        assert_eq!(payer.post_empty(&path).await.must_be(200)["status"], "expired");
    }
    assert_eq!(payer.balance(&from).await, (10_000, 0, 10_000));

    let tomorrow = (platform.clock.now() + chrono::Duration::days(1)).date_naive();
    let schedule = json!({
        "transfer": transfer_body(&from, &to, 700, "USD"),
        "calendar": { "first_on": tomorrow, "at": "09:00", "time_zone": "UTC" },
    });
    let schedule = payer
        .post_with_key("/api/v1/transfer-schedules", &new_key(), schedule)
        .await;
    let schedule = format!(
        "/api/v1/transfer-schedules/{}",
        text_of(&schedule.must_be(201), "id")
    );
    let advance = json!({ "seconds": 2 * 24 * 3600 });
    payer
        .post("/api/v1/sandbox/clock/advance", advance)
        .await
        .must_be(200);
    // The same token still serves: only schedules go by that clock.
    platform::client::eventually("the schedule has run", async || {
        let schedule = payer.get(&schedule).await.must_be(200);
        (schedule["status"] == "completed").then_some(())
    })
    .await;
    assert_eq!(payer.balance(&to).await.0, 700);
    let wrong = payer
        .post("/api/v1/sandbox/clock/advance", json!({ "seconds": 0 }))
        .await;
    wrong.must_be_problem(400, "invalid_body");
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_goes_no_further_than_to_the_end_of_2100() {
    const ADVANCE: &str = "/api/v1/sandbox/clock/advance";
    let platform = Platform::start().await;
    let partner = platform.register("partner").await;
    let year = json!({ "seconds": 366 * 24 * 3600 });
    let mut now = String::new();
    let refused = loop {
        let answer = partner.post(ADVANCE, year.clone()).await;
        if answer.status != 200 {
            break answer;
        }
        now = text_of(&answer.body, "now");
        assert!(now.as_str() < "2101", "{now}");
    };
    refused.must_be_problem(422, "clock_too_far");
    assert!(now.starts_with("2100") || now.starts_with("2099"), "{now}");
    // What is refused has moved nothing, and a smaller step is still there.
    let moved = partner.post(ADVANCE, json!({ "seconds": 1 })).await.must_be(200);
    assert!(text_of(&moved, "now").as_str() < "2101", "{moved}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_sandbox_nothing_goes_wrong_on_purpose() {
    let platform = Platform::builder()
        .set(Service::Transactions, "SANDBOX_FAULTS", false)
        .start()
        .await
        .unwrap();
    let (payer, from, to) = accounts(&platform).await;
    let key = format!("sandbox-lose-answer-{}", new_key());
    let body = transfer_body(&from, &to, 100, "USD");
    payer.post_with_key(TRANSFERS, &key, body).await.must_be(201);
    let hold = payer.place_hold(&from, &to, 4_000, "USD").await;
    let hold = text_of(&hold.must_be(201), "id");
    let expire = format!("/api/v1/sandbox/holds/{hold}/expire");
    payer.post_empty(&expire).await.must_be_problem(404, "not_found");
    let advance = payer
        .post("/api/v1/sandbox/clock/advance", json!({ "seconds": 1 }))
        .await;
    advance.must_be_problem(404, "not_found");
    assert_eq!(payer.balance(&from).await, (9_900, 4_000, 5_900));
}
