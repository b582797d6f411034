//! What ml-service is told of transfers: each of them once, with whose accounts they concern and where they were asked for.

use platform::client::{eventually, new_key, text_of, transfer_body};
use platform::{Platform, Service};
use reqwest::Method;
use serde_json::json;
use shared::Role;
use shared::id::{TransferId, UserId};
use uuid::Uuid;

use crate::parties::payer_and_payee;

const DEVICE: &str = "the-phone-of-the-payer";

struct Logged {
    position: i64,
    kind: String,
    status: String,
    holders: [Option<Uuid>; 2],
    decided_by: Option<Uuid>,
    origin: [Option<Uuid>; 2],
}

async fn logged(sql: &tokio_postgres::Client, transfer: &str) -> Option<Logged> {
    let id: TransferId = transfer.parse().unwrap();
    let row = sql
        .query_opt(
            "SELECT position, kind, status, debit_holder_id, credit_holder_id, decided_by, device, address
             FROM ml.transfers WHERE transfer_id = $1",
            &[&id.uuid()],
        )
        .await
        .unwrap()?;
    Some(Logged {
        position: row.get(0),
        kind: row.get(1),
        status: row.get(2),
        holders: [row.get(3), row.get(4)],
        decided_by: row.get(5),
        origin: [row.get(6), row.get(7)],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_facts_has_every_transfer_once_with_its_holders_and_a_hash_of_its_origin() {
    let platform = Platform::start().await;
    let sql = platform.sql().await;
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000_000).await;
    let user = |text: &str| text.parse::<UserId>().unwrap().uuid();
    let pay = async |amount| {
        let body = transfer_body(&from, &to, amount, "USD");
        let request = payer
            .request(Method::POST, "/api/v1/transfers")
            .header("idempotency-key", new_key())
            .header("x-device-id", DEVICE)
            .json(&body);
        payer.send(request).await.must_be(201)
    };
    let small = pay(1_000).await;
    let large = pay(2_000_000).await;
    assert_eq!(
        (&small["status"], &large["status"]),
        (&json!("posted"), &json!("in_review"))
    );
    let (small, large) = (text_of(&small, "id"), text_of(&large, "id"));
    let waiting = eventually("the transfer in review is told of", async || {
        logged(&sql, &large).await
    })
    .await;
    let posted = logged(&sql, &small).await.unwrap();
    assert!(posted.position < waiting.position);
    assert_eq!(
        (&*posted.kind, &*posted.status, &*waiting.status),
        ("transfer", "posted", "in_review")
    );
    let holders = [Some(user(&payer.user_id)), Some(user(&payee.user_id))];
    assert_eq!((posted.holders, waiting.holders), (holders, holders));
    assert!(posted.origin.iter().all(Option::is_some) && posted.origin == waiting.origin);
    assert_eq!(waiting.decided_by, None);

    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let path = format!("/api/v1/transfers/{large}/reject");
    officer
        .post_with_key(&path, &new_key(), json!(null))
        .await
        .must_be(200);
    let decided = eventually("the decision is told of", async || {
        logged(&sql, &large).await.filter(|it| it.status != "in_review")
    })
    .await;
    assert_eq!(
        (&*decided.status, decided.decided_by),
        ("rejected", Some(user(&officer.user_id)))
    );
    assert!(decided.position > waiting.position);
    assert_eq!(decided.origin, waiting.origin);

    let rows = sql
        .query(
            "SELECT kind, position, transfers::text FROM ml.transfers ORDER BY position",
            &[],
        )
        .await;
    let rows = rows.unwrap();
    let kinds: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(kinds, ["deposit", "transfer", "transfer"]);
    for table in ["ml.transfers", "ml.scores"] {
        let query = format!(
            "SELECT count(*) FROM {table} AS it WHERE it::text LIKE '%{DEVICE}%' OR it::text LIKE '%127.0.0.1%'"
        );
        let found: i64 = sql.query_one(&query, &[]).await.unwrap().get(0);
        assert_eq!(found, 0, "{table}");
    }
    // The previous way of telling is gone, so that an old sender waits instead of being misread.
    let old = platform
        .client_of(Service::Ml)
        .get("/internal/observations")
        .await;
    assert_eq!(old.status, 404, "{old}");
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}
