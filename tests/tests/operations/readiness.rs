//! When a replica says that it is ready: not before the tables are there that its version was written for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use platform::client::eventually;
use platform::database::Server;
use platform::platform::free_listener;
use platform::postgres::Durability;
use platform::{Client, Platform, Service};
use serde_json::json;

const DATABASE: &str = "flowlet";

/// What `/readyz` of transactions-service says once it reaches the database.
async fn readiness(client: &Client) -> Option<(u16, serde_json::Value)> {
    let request = client.request(reqwest::Method::GET, "/readyz");
    let answer = client
        .try_send(request.timeout(Duration::from_secs(3)))
        .await
        .ok()?;
    let checks = answer.body["checks"].clone();
    (checks["database"] == "ok").then_some((answer.status, checks))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_start_before_their_tables_are_ready_once_these_are_there() {
    let server = Arc::new(Server::throwaway(Durability::Fast).await.unwrap());
    server.provision(DATABASE).await.unwrap();
    let listener = free_listener().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let listeners = BTreeMap::from([(Service::Transactions, listener)]);
    let starting = Platform::builder()
        .on(Arc::clone(&server), DATABASE)
        .listeners(listeners)
        .start();
    let migrating = async {
        let http = shared::http_client::connection_pool(Duration::from_secs(5)).unwrap();
        let client = Client::new(http, url);
        let before = eventually("it says that its tables are missing", async || {
            readiness(&client).await
        });
        let (status, checks) = before.await;
        assert_eq!((status, &checks["schema"]), (503, &json!("failed")), "{checks}");
        server.migrate(DATABASE, |_| ()).await.unwrap();
        let ready = eventually("it is ready", async || {
            readiness(&client).await.filter(|(status, _)| *status == 200)
        });
        assert_eq!(ready.await.1["schema"], json!("ok"));
    };
    let (platform, ()) = tokio::join!(starting, migrating);
    let platform = platform.unwrap();
    // A newer version's migration is no reason to stop.
    let newer = "INSERT INTO transactions.__diesel_schema_migrations (version) VALUES ('99990101000000')";
    platform.sql().await.batch_execute(newer).await.unwrap();
    platform.stop_service(Service::Transactions).await.unwrap();
    platform.start_service(Service::Transactions).await.unwrap();
    let customer = platform.register("customer").await;
    let from = customer.open_funded_account(100, "USD").await;
    let to = customer.open_account("USD").await;
    customer.transfer(&from, &to, 40, "USD").await.must_be(201);
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}
