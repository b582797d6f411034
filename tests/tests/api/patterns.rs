//! Patterns of laundering in what was posted become alerts, once, whatever the replicas; and what names a person is erased.

use platform::client::eventually;
use platform::{Platform, Service};
use serde_json::{Value, json};
use shared::clients::ml::ErasePerson;
use shared::{Role, ServiceTokens};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_just_under_the_threshold_are_one_alert() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let analyst = platform.register_with_role("analyst", Role::Compliance).await;
    let holder = platform.register("holder").await;
    let account = holder.open_account("USD").await;
    let sql = platform.sql().await;
    let id: shared::id::AccountId = account.parse().unwrap();
    let user: shared::id::UserId = holder.user_id.parse().unwrap();
    for amount in [990_000, 980_000, 970_000, 960_000] {
        holder.deposit(&account, amount, "USD").await.must_be(201);
        // Cents in between hide nothing.
        let cents = format!(
            "BEGIN; SELECT FROM ml.observation_position FOR UPDATE;
             INSERT INTO ml.transfers (transfer_id, kind, status, debit_account_id, credit_account_id, credit_holder_id, amount, currency, occurred_at)
             SELECT gen_random_uuid(), 'transfer', 'posted', gen_random_uuid(), '{}', '{}', 1, 'USD', now() FROM generate_series(1, 250);
             COMMIT",
            id.uuid(),
            user.uuid()
        );
        sql.batch_execute(&cents).await.unwrap();
    }
    let alert = eventually("the alert is open", async || {
        let page = analyst.get("/api/v1/fraud/alerts").await.must_be(200);
        page["data"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&alert["kind"], &alert["holder_id"]),
        (&json!("structuring"), &json!(holder.user_id)),
        "{alert}"
    );
    holder.deposit(&account, 950_000, "USD").await.must_be(201);
    eventually("all is looked at", async || {
        let behind =
            "SELECT count(*) FROM ml.transfers WHERE position > (SELECT min(position) FROM ml.job_positions)";
        let behind: i64 = sql.query_one(behind, &[]).await.unwrap().get(0);
        let told: i64 = sql
            .query_one("SELECT count(*) FROM ml.transfers", &[])
            .await
            .unwrap()
            .get(0);
        (behind == 0 && told == 1_005).then_some(())
    })
    .await;
    let page = analyst.get("/api/v1/fraud/alerts").await.must_be(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 1, "{page}");

    let mut watched = json!({ "list": "watch", "subject_kind": "holder", "subject": holder.user_id });
    watched["reason"] = json!("Mr Holder again");
    analyst
        .post("/api/v1/fraud/lists", watched.clone())
        .await
        .must_be(201);
    (watched["subject_kind"], watched["subject"]) = (json!("counterparty"), json!(account));
    analyst.post("/api/v1/fraud/lists", watched).await.must_be(201);
    holder.deposit(&account, 1_000, "USD").await.must_be(201);
    let watch = eventually("who is watched is an alert", async || {
        let page = analyst.get("/api/v1/fraud/alerts").await.must_be(200);
        let alerts = page["data"].as_array().unwrap();
        alerts.iter().find(|it| it["kind"] == "watch").cloned()
    })
    .await;
    assert!(
        watch["sentence"].as_str().unwrap().contains("Mr Holder again"),
        "{watch}"
    );

    // What is investigated is not erased; afterwards nothing names the holder.
    let erase = async || {
        let secrets = [platform.server.secrets.service_secret.clone().into()];
        let tokens = ServiceTokens::new("auth-service", &secrets, platform.clock.clone()).unwrap();
        let person = ErasePerson {
            user_id: holder.user_id.parse().unwrap(),
        };
        let client = platform
            .client_of(Service::Ml)
            .with_token(&tokens.issue("ml-service").unwrap());
        client.post("/internal/erasures", json!(person)).await.status
    };
    assert_eq!(erase().await, 409);
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let user = format!("/api/v1/auth/users/{}", holder.user_id);
    let why = json!({ "reason": "user_request" });
    admin.post(&format!("{user}/ban"), why).await.must_be(200);
    admin
        .send(admin.request(reqwest::Method::DELETE, &user))
        .await
        .must_be(204);
    let waiting = async || -> Vec<Option<String>> {
        let rows = sql.query("SELECT problem FROM auth.erasures", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    eventually("auth-service hears of the case", async || {
        (waiting().await == [Some("open_case".to_owned())]).then_some(())
    })
    .await;
    let path = format!("/api/v1/fraud/alerts/{}", alert["id"].as_str().unwrap());
    analyst
        .post(
            &format!("{path}/notes"),
            json!({ "text": "Mr Holder says it is his pension." }),
        )
        .await
        .must_be(204);
    let of_watch = format!("/api/v1/fraud/alerts/{}", watch["id"].as_str().unwrap());
    for path in [&path, &of_watch] {
        analyst.post_empty(&format!("{path}/claim")).await.must_be(200);
        let innocent = json!({ "fraud": false, "reason": "Pension of Mr Holder" });
        analyst
            .post(&format!("{path}/decide"), innocent)
            .await
            .must_be(200);
    }
    // auth-service asks again by itself, and once more changes nothing.
    eventually("it is erased here too", async || {
        waiting().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(erase().await, 204);
    let alert = analyst.get(&path).await.must_be(200);
    assert_eq!(alert["holder_id"], Value::Null, "{alert}");
    let watch = analyst.get(&of_watch).await.must_be(200);
    for shown in [&alert, &watch] {
        assert!(!shown.to_string().contains("Holder"), "{shown}");
    }
    let texts = "SELECT (SELECT count(*) FROM ml.list_entries), count(*) FROM ml.case_history WHERE text LIKE '%Holder%'";
    let texts = sql.query_one(texts, &[]).await.unwrap();
    assert_eq!((texts.get::<_, i64>(0), texts.get::<_, i64>(1)), (0, 0));
    let named =
        "SELECT count(*) FROM ml.transfers WHERE credit_holder_id IS NOT NULL OR debit_holder_id IS NOT NULL";
    let named: i64 = sql.query_one(named, &[]).await.unwrap().get(0);
    assert_eq!(named, 0);
    platform.stop().await.unwrap();
}
