//! The tours of the README, as a newcomer takes them.

use platform::client::PASSWORD;
use platform::tools::{Tool, ensure};
use platform::{Platform, Service};
use shared::Role;
use tokio::process::Command;

/// What a tour printed.
async fn take(platform: &Platform, tour: &str, more: &[&str]) -> String {
    let python = ensure(Tool::Cyclonedx).await.unwrap();
    let took = Command::new(python)
        .arg(format!("{}/tours/{tour}.py", env!("CARGO_MANIFEST_DIR")))
        .args(["--gateway", &platform.url(Service::Gateway)])
        .args(more)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&took.stdout).into_owned();
    let failed = String::from_utf8_lossy(&took.stderr);
    assert!(took.status.success(), "{printed}\n{failed}");
    printed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_of_the_ledger_shows_what_it_says() {
    let platform = Platform::start().await;
    let printed = take(&platform, "ledger", &[]).await;
    for shown in ["its signature fits", "\"refunded\": 1000", "That was the tour."] {
        assert!(printed.contains(shown), "{printed}");
    }
    platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_of_logging_in_shows_what_it_says() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let mail = platform.inbox.directory().display().to_string();
    let more = [
        "--mail",
        &mail,
        "--admin",
        &admin.email,
        "--admin-password",
        PASSWORD,
    ];
    let printed = take(&platform, "auth", &more).await;
    for shown in [
        "\"email_verified\": true",
        "10 recovery codes",
        "pwd+otp+mfa  (this one)",
        "That was the tour.",
    ] {
        assert!(printed.contains(shown), "{printed}");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_of_fraud_shows_what_it_says() {
    let platform = Platform::start().await;
    let analyst = platform.register_with_role("analyst", Role::Compliance).await;
    let second = platform.register_with_role("second", Role::Admin).await;
    let more = [
        "--analyst",
        &analyst.email,
        "--analyst-password",
        PASSWORD,
        "--second",
        &second.email,
        "--second-password",
        PASSWORD,
        "--ml-service",
        concat!(env!("CARGO_BIN_EXE_dev"), " {} ml-service"),
    ];
    let printed = take(&platform, "fraud", &more).await;
    for shown in [
        "this account's usual amount",
        "\"fraud\": true",
        "13 frauds of 38 rows",
        "\"passed\": true",
        "refused: separation_of_duties",
        &format!("approved by {}", second.user_id),
        "\"model_id\": null",
        "That was the tour.",
    ] {
        assert!(printed.contains(shown), "{printed}");
    }
    platform.assert_invariants().await;
}
