//! Parts of the service that are switched on and off while it runs.

use futures_util::future::join_all;
use platform::platform::Replica;
use platform::{Answer, Client, Platform, Service};
use serde_json::json;
use shared::Role;

const TWO_FACTOR: &str = "/api/v1/auth/modules/two-factor";
const TABLE: &str = "auth.two_factor_methods";

async fn switch(admin: &Client, on: bool) -> Answer {
    admin.put(TWO_FACTOR, json!({ "enabled": on })).await
}

async fn is_there(sql: &tokio_postgres::Client, table: &str) -> bool {
    let there = "SELECT to_regclass($1::text) IS NOT NULL";
    sql.query_one(there, &[&table]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_module_needs_is_made_when_it_is_first_switched_on_and_stays() {
    let platform = Platform::start().await;
    let sql = platform.sql().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    assert!(!is_there(&sql, TABLE).await, "the module was never switched on");
    let before = admin.get("/api/v1/auth/modules").await.must_be(200);
    assert_eq!(before["items"][0]["name"], "two-factor");
    assert_eq!(
        (&before["items"][0]["enabled"], &before["items"][0]["version"]),
        (&json!(false), &json!(0))
    );

    let on = switch(&admin, true).await.must_be(200);
    assert_eq!((&on["enabled"], &on["version"]), (&json!(true), &json!(3)));
    assert!(is_there(&sql, TABLE).await);
    let insert = "INSERT INTO auth.two_factor_required_roles VALUES ('support')";
    sql.batch_execute(insert).await.unwrap();

    let off = switch(&admin, false).await.must_be(200);
    assert_eq!((&off["enabled"], &off["version"]), (&json!(false), &json!(3)));
    assert_eq!(switch(&admin, true).await.must_be(200)["enabled"], true);
    let kept = "SELECT count(*) FROM auth.two_factor_required_roles";
    assert_eq!(sql.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 1);

    // What somebody has damaged is repaired by switching on once more.
    let damage =
        "DROP TABLE auth.two_factor_codes; ALTER TABLE auth.sessions DROP COLUMN two_factor_verified_at";
    sql.batch_execute(damage).await.unwrap();
    switch(&admin, true).await.must_be(200);
    assert!(is_there(&sql, "auth.two_factor_codes").await);
    sql.batch_execute("SELECT two_factor_verified_at FROM auth.sessions")
        .await
        .unwrap();

    let unknown = admin.put("/api/v1/auth/modules/blog", json!({ "enabled": true }));
    unknown.await.must_be_problem(404, "not_found");
    let request = admin.put(TWO_FACTOR, json!({ "enabled": "yes" })).await;
    request.must_be_problem(400, "invalid_body");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_switch_at_once_agree() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let at = |number| {
        let service = Service::Auth;
        let url = platform.url_of(Replica { service, number });
        Client::new(platform.http.clone(), url).with_token(&admin.access_token)
    };
    let replicas = [at(0), at(1)];
    let switches = (0..8).map(|turn| switch(&replicas[turn % 2], true));
    for answer in join_all(switches).await {
        let module = answer.must_be(200);
        assert_eq!(
            (&module["enabled"], &module["version"]),
            (&json!(true), &json!(3))
        );
    }
    // The other one knows at once.
    for turn in 0..6 {
        let on = turn % 2 == 0;
        switch(&replicas[turn % 2], on).await.must_be(200);
        let other = &replicas[(turn + 1) % 2];
        let modules = other.get("/api/v1/auth/modules").await.must_be(200);
        assert_eq!(modules["items"][0]["enabled"], on);
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_in_a_session_that_goes_on_switch() {
    let platform = Platform::start().await;
    let support = platform.register_with_role("support", Role::Support).await;
    switch(&support, true).await.must_be_problem(403, "role_required");
    let admin = platform.register_with_role("admin", Role::Admin).await;
    admin.post_empty("/api/v1/auth/logout").await.must_be(204);
    switch(&admin, true).await.must_be_problem(401, "session_revoked");
    assert!(!is_there(&platform.sql().await, TABLE).await);

    // The service has no other way to change its schema than this one.
    let url = platform
        .server
        .runtime_url(Service::Auth, &platform.database)
        .unwrap();
    let (runtime, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for refused in [
        "UPDATE auth.modules SET migrations = ARRAY['pg_sleep']",
        "INSERT INTO auth.modules (name, migrations) VALUES ('mine', ARRAY['x'])",
        "SELECT auth.two_factor_base()",
        "CREATE TABLE auth.mine ()",
    ] {
        let error = runtime.batch_execute(refused).await.unwrap_err();
        let code = error.code().cloned();
        assert_eq!(
            code,
            Some(tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{refused}"
        );
    }
    platform.stop().await.unwrap();
}
