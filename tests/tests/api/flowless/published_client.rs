//! A client that others wrote and published, unchanged and as a process of its own.

use platform::Service;
use platform::tools::{Tool, ensure};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_python_client_runs_unchanged() {
    let platform = super::start().await;
    let python = ensure(Tool::FlowfullPython).await.unwrap();
    let ran = Command::new(python)
        .arg(format!(
            "{}/tests/api/flowless/published_client.py",
            env!("CARGO_MANIFEST_DIR")
        ))
        .args(["--gateway", &platform.url(Service::Gateway), "--mail"])
        .arg(platform.inbox.directory())
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout);
    let failed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{printed}\n{failed}");
    assert!(printed.ends_with("That was all.\n"), "{printed}");
    platform.stop().await.unwrap();
}
