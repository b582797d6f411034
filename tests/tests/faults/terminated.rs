//! PostgreSQL ends every session of the platform five times a second, as an operator in distress or a failing pooler would.

use std::time::Duration;

use platform::Platform;
use tokio::time::sleep;

use crate::load::Load;

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_all_the_time_cost_answers_and_nothing_else() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform).await;
    let clients = load.start();
    load.wait_for(100).await;
    let sql = platform.sql().await;
    let mut ended = 0;
    for _ in 0..30 {
        ended += sql.query(TERMINATE, &[]).await.unwrap().len();
        sleep(Duration::from_millis(200)).await;
    }
    assert!(ended > 60, "only {ended} sessions were ended");
    load.wait_for(100).await;
    load.stop(clients).await;
    load.verify(&platform, "every session is terminated, each 200 ms")
        .await;
    platform.stop().await.unwrap();
}
