//! The metrics that each service exports: exactly these, each with a description, also before anything has happened.

use std::collections::BTreeSet;

use platform::client::eventually;
use platform::{Platform, Service};

const OF_EVERY_SERVICE: &str = "
    build_info
    http_request_duration_seconds http_requests_in_flight http_requests_total
    process_cpu_seconds_total process_open_fds process_resident_memory_bytes process_start_time_seconds
    security_access_denied_total";

const OF_A_DATABASE: &str = "
    db_connection_failures_total db_pool_connections_in_use db_pool_connections_max db_pool_wait_duration_seconds
    db_transactions_total";

const OF_CALLS: &str = "http_client_request_duration_seconds http_client_requests_total";

const OF_ACCESS_TOKENS: &str = "jwks_fetches_total token_cache_requests_total";

/// What a service counts beside what many do.
fn catalogue(service: Service) -> BTreeSet<&'static str> {
    let parts: &[&str] = match service {
        Service::Gateway => &[
            OF_CALLS,
            OF_ACCESS_TOKENS,
            "gateway_circuit_open gateway_rate_limited_total gateway_revocations_staleness_seconds
             gateway_revocations_total gateway_token_exchanges_total gateway_upstream_failures_total",
        ],
        Service::Auth => &[
            OF_A_DATABASE,
            OF_CALLS,
            "auth_login_attempts_total auth_refresh_token_repeats_total auth_refresh_token_reuses_total
             auth_registrations_total auth_second_factor_attempts_total
             auth_session_checks_total auth_sessions_revoked_total auth_validation_mismatches_total
             erasures_waiting_seconds redis_failures_total
             messages_lag_seconds messages_pending messages_total
             password_hashing_duration_seconds password_hashing_queue_depth password_hashing_queue_max
             password_hashing_shed_total
             token_cache_requests_total",
        ],
        Service::Accounts => &[
            OF_A_DATABASE,
            OF_CALLS,
            OF_ACCESS_TOKENS,
            "accounts_pending accounts_repairs_total idempotent_replays_total",
        ],
        Service::Transactions => &[
            OF_A_DATABASE,
            OF_CALLS,
            OF_ACCESS_TOKENS,
            "events_lag_seconds fraud_late_scores_total idempotent_replays_total
             lane_batch_retries_total lane_batch_size lane_commit_duration_seconds lane_outcomes_unknown_total lane_queue_depth
             lane_rejected_total lane_score_duration_seconds lane_scores_missed_total
             ledger_checkpoint_lag_seconds ledger_integrity_check_ok ledger_integrity_last_run_timestamp_seconds ledger_integrity_ok
             outbox_lag_seconds outbox_pending_events outbox_relay_failures_total outbox_relayed_total
             schedule_runs_total schedules_lag_seconds transfers_total
             webhook_deliveries_total webhook_delivery_duration_seconds webhook_lag_seconds webhook_pending_deliveries",
        ],
        Service::Ml => &[
            OF_A_DATABASE,
            OF_CALLS,
            OF_ACCESS_TOKENS,
            "fraud_alert_rate fraud_alerts_open fraud_alerts_overdue fraud_amount_psi fraud_average_precision
             fraud_cycle_searches_cut_total fraud_decisions_total fraud_missing_rate fraud_models_unreadable fraud_score_psi
             fraud_scoring_duration_seconds fraud_shadow_dropped_total fraud_shadow_rule_hits_total
             fraud_tail_share fraud_unscorable_total insight_feedback_total risk_assessments_total",
        ],
    };
    let names = parts.iter().chain([&OF_EVERY_SERVICE]);
    names.flat_map(|part| part.split_whitespace()).collect()
}

async fn page_of(platform: &Platform, service: Service) -> String {
    let answer = platform.client_of(service).get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.text
}

/// The names that have a line `# HELP` or `# TYPE`.
fn names_with<'a>(page: &'a str, what: &str) -> BTreeSet<&'a str> {
    let lines = page.lines().filter_map(|line| line.strip_prefix(what));
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

/// The value of a series, written as it is on the page.
fn value_of(page: &str, series: &str) -> Option<String> {
    let line = page.lines().find_map(|line| line.strip_prefix(series))?;
    line.strip_prefix(' ').map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_exports_exactly_its_catalogue() {
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .start()
        .await
        .unwrap();
    let at_the_start = page_of(&platform, Service::Transactions).await;
    for series in [
        "lane_outcomes_unknown_total",
        "lane_rejected_total",
        "outbox_relay_failures_total",
        r#"transfers_total{kind="transfer",status="in_review"}"#,
        r#"security_access_denied_total{service="transactions-service",reason="forbidden"}"#,
    ] {
        assert_eq!(value_of(&at_the_start, series).as_deref(), Some("0"), "{series}");
    }

    let ada = platform.register("ada").await;
    let (from, to) = (
        ada.open_funded_account(1_000, "USD").await,
        ada.open_account("USD").await,
    );
    ada.transfer(&from, &to, 100, "USD").await.must_be(201);
    ada.get("/api/v1/integrity").await.must_be(403);
    // It tells ml-service.
    let admin = platform.register_with_role("admin", shared::Role::Admin).await;
    let gone = platform.register("gone").await;
    let path = format!("/api/v1/auth/users/{}", gone.user_id);
    let reason = serde_json::json!({ "reason": "user_request" });
    admin.post(&format!("{path}/ban"), reason).await.must_be(200);
    admin
        .send(admin.request(reqwest::Method::DELETE, &path))
        .await
        .must_be(204);
    // It has to ask for the keys of tokens, and counts that.
    ada.get("/api/v1/fraud/monitoring").await.must_be(403);
    for service in Service::ALL {
        let expected = catalogue(service);
        eventually("all of the catalogue is exported", async || {
            let page = page_of(&platform, service).await;
            let missing = expected.difference(&names_with(&page, "# TYPE ")).count();
            (missing == 0).then_some(())
        })
        .await;
        let page = page_of(&platform, service).await;
        assert_eq!(names_with(&page, "# TYPE "), expected, "{}", service.name());
        assert_eq!(names_with(&page, "# HELP "), expected, "{}", service.name());
    }

    let page = page_of(&platform, Service::Transactions).await;
    for (series, value) in [
        (r#"transfers_total{kind="transfer",status="posted"}"#, "1"),
        (r#"transfers_total{kind="deposit",status="posted"}"#, "1"),
        ("ledger_integrity_ok", "1"),
        (r#"ledger_integrity_check_ok{check="I1"}"#, "1"),
        (r#"db_pool_connections_max{service="transactions-service"}"#, "4"),
        (
            r#"security_access_denied_total{service="transactions-service",reason="forbidden"}"#,
            "1",
        ),
    ] {
        assert_eq!(
            value_of(&page, series).as_deref(),
            Some(value),
            "{series} in\n{page}"
        );
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_do_not_balance_show_in_the_metrics_of_every_replica_and_after_a_restart() {
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .set(Service::Transactions, "INTEGRITY_INTERVAL_S", 1)
        .start()
        .await
        .unwrap();
    let shows = async |value: &str| {
        eventually("the metrics tell of the last check", async || {
            let page = page_of(&platform, Service::Transactions).await;
            let one = value_of(&page, r#"ledger_integrity_check_ok{check="I3"}"#)?;
            let all = value_of(&page, "ledger_integrity_ok")?;
            (one == value && all == value).then_some(())
        })
        .await;
    };
    shows("1").await;
    let ada = platform.register("ada").await;
    let account = ada.open_funded_account(1_000, "USD").await;
    shows("1").await;
    let id: shared::id::AccountId = account.parse().unwrap();
    let break_it = "UPDATE transactions.ledger_accounts SET posted = posted + 1 WHERE id = $1";
    platform
        .sql()
        .await
        .execute(break_it, &[&id.uuid()])
        .await
        .unwrap();
    shows("0").await;
    platform.stop_service(Service::Transactions).await.unwrap();
    platform.start_service(Service::Transactions).await.unwrap();
    shows("0").await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_do_not_reach_their_receiver_show_as_lag() {
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    let account = ada.open_account("USD").await;
    let pending = async |expected: &str| {
        eventually("the outbox is measured", async || {
            let page = page_of(&platform, Service::Transactions).await;
            let found = value_of(&page, "outbox_pending_events")?;
            let lag: f64 = value_of(&page, "outbox_lag_seconds")?.parse().unwrap();
            (found == expected && (lag > 0.0) == (expected != "0")).then_some(())
        })
        .await;
    };
    platform.stop_service(Service::Ml).await.unwrap();
    ada.deposit(&account, 1_000, "USD").await.must_be(201);
    pending("1").await;
    platform.start_service(Service::Ml).await.unwrap();
    pending("0").await;
    platform.stop().await.unwrap();
}
