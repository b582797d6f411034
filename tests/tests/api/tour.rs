//! The tour of the README, as a newcomer takes it.

use platform::Platform;
use platform::tools::{Tool, ensure};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_shows_what_it_says() {
    let platform = Platform::start().await;
    let python = ensure(Tool::Cyclonedx).await.unwrap();
    let tour = concat!(env!("CARGO_MANIFEST_DIR"), "/tour.py");
    let took = Command::new(python)
        .arg(tour)
        .arg(platform.url(platform::Service::Gateway))
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&took.stdout);
    let failed = String::from_utf8_lossy(&took.stderr);
    assert!(took.status.success(), "{printed}\n{failed}");
    for shown in ["its signature fits", "\"refunded\": 1000", "That was the tour."] {
        assert!(printed.contains(shown), "{printed}");
    }
    platform.assert_invariants().await;
}
