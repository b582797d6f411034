//! What staff does with users: roles, bans, looking at what a user sees, erasing; and that the audit log has all of it.

use std::time::{Duration, Instant};

use platform::client::{new_key, text_of, transfer_body};
use platform::{Client, Customer, Platform};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

const USERS: &str = "/api/v1/auth/users";
const AUDIT_LOG: &str = "/api/v1/auth/audit-log";
const TWO_FACTOR: &str = "/api/v1/auth/modules/two-factor";

fn path_of(user: &Customer, rest: &str) -> String {
    format!("{USERS}/{}{rest}", user.user_id)
}

async fn delete(who: &Customer, path: &str) -> platform::client::Answer {
    who.send(who.request(Method::DELETE, path)).await
}

async fn wait_until_refused(client: &Client) {
    let started = Instant::now();
    while client.get("/api/v1/accounts").await.status != 401 {
        assert!(started.elapsed() < Duration::from_secs(2), "still let in");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_given_by_others_and_taken_at_once() {
    let platform = Platform::start().await;
    let root = platform.register_with_role("root", Role::Superadmin).await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let ada = platform.register("ada").await;
    let roles = |names: &[&str]| json!({ "roles": names });
    let set = async |who: &Customer, of: &Customer, names: &[&str]| {
        who.put(&path_of(of, "/roles"), roles(names)).await
    };

    let given = set(&admin, &ada, &["customer", "compliance"]).await.must_be(200);
    assert_eq!(given["roles"], json!(["customer", "compliance"]));
    // With a role of staff comes the login that it needs.
    wait_until_refused(&ada.client).await;
    let officer = ada.log_in_again().await;
    officer.get(AUDIT_LOG).await.must_be(200);

    set(&admin, &ada, &["customer", "admin"])
        .await
        .must_be_problem(403, "role_required");
    set(&admin, &root, &["customer"])
        .await
        .must_be_problem(403, "role_required");
    set(&admin, &admin, &["customer", "superadmin"])
        .await
        .must_be_problem(403, "own_user");
    set(&root, &root, &["customer"])
        .await
        .must_be_problem(403, "own_user");
    set(&officer, &admin, &["customer"])
        .await
        .must_be_problem(403, "role_required");
    let unknown = admin
        .put(&path_of(&ada, "/roles"), json!({ "roles": ["root"] }))
        .await;
    unknown.must_be_problem(400, "invalid_body");

    set(&admin, &ada, &["customer"]).await.must_be(200);
    wait_until_refused(&officer.client).await;
    let ada = ada.log_in_again().await;
    ada.get("/api/v1/integrity")
        .await
        .must_be_problem(403, "role_required");
    set(&admin, &ada, &["customer", "partner"]).await.must_be(200);
    ada.get("/api/v1/auth/me").await.must_be(200);
    set(&root, &ada, &["customer", "partner", "admin"])
        .await
        .must_be(200);
    wait_until_refused(&ada.client).await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staff_finds_users_and_bans_them_everywhere_at_once() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let key = json!({ "name": "Program", "scopes": ["read"] });
    let key = ada.post("/api/v1/auth/api-keys", key).await.must_be(201);
    let program = platform.client().with_token(&text_of(&key, "key"));
    program.get("/api/v1/accounts").await.must_be(200);

    let found = admin
        .get(&format!("{USERS}?email=ADA@example.com"))
        .await
        .must_be(200);
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["data"][0]["id"], ada.user_id.as_str());
    let nobody = admin
        .get(&format!("{USERS}?email=nobody@example.com"))
        .await
        .must_be(200);
    assert_eq!(nobody["data"], json!([]));
    let mut seen = Vec::new();
    let mut page = admin.get(&format!("{USERS}?limit=2")).await.must_be(200);
    loop {
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|user| text_of(user, "name")),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        page = admin
            .get(&format!("{USERS}?limit=2&after={next}"))
            .await
            .must_be(200);
    }
    assert_eq!(seen, ["bob", "ada", "admin"]);
    ada.get(USERS).await.must_be_problem(403, "role_required");
    let renamed = admin
        .patch(&path_of(&bob, ""), json!({ "name": "Bob B." }))
        .await
        .must_be(200);
    assert_eq!(renamed["name"], "Bob B.");
    let sessions = admin.get(&path_of(&ada, "/sessions")).await.must_be(200);
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1, "{sessions}");
    delete(&admin, &path_of(&bob, "/sessions")).await.must_be(204);
    wait_until_refused(&bob.client).await;

    let ban = json!({ "reason": "fraud" });
    let banned = admin.post(&path_of(&ada, "/ban"), ban.clone()).await.must_be(200);
    assert_eq!(banned["status"], "disabled");
    wait_until_refused(&ada.client).await;
    wait_until_refused(&program).await;
    let login = json!({ "email": ada.email, "password": platform::client::PASSWORD });
    let refused = platform.client().post("/api/v1/auth/login", login).await;
    refused.must_be_problem(401, "invalid_credentials");
    admin
        .post(&path_of(&admin, "/ban"), ban)
        .await
        .must_be_problem(403, "own_user");
    admin.post_empty(&path_of(&ada, "/unban")).await.must_be(200);
    ada.log_in_again().await.get("/api/v1/auth/me").await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_acts_for_a_user_sees_what_the_user_sees_and_moves_nothing() {
    let platform = Platform::start().await;
    let clerk = platform.register_with_role("clerk", Role::Support).await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let ada = platform.register("ada").await;
    let account = ada.open_funded_account(1_000, "USD").await;
    let other = ada.open_account("USD").await;
    let ticket = json!({ "ticket": "CASE-1042" });
    let ask = async |who: &Customer, whom: &Customer| {
        who.post(&path_of(whom, "/impersonate"), ticket.clone()).await
    };

    let given = ask(&clerk, &ada).await.must_be(200);
    assert!(
        given.get("refresh_token").is_none() && given["expires_in"] == 300,
        "{given}"
    );
    let acting = platform.client().with_token(&text_of(&given, "access_token"));
    acting
        .get(&format!("/api/v1/accounts/{account}"))
        .await
        .must_be(200);
    let body = transfer_body(&account, &other, 1, "USD");
    let refused = acting
        .post_with_key("/api/v1/transfers", &new_key(), body.clone())
        .await;
    refused.must_be_problem(403, "insufficient_scope");
    let ledger = platform.client_of(platform::Service::Transactions);
    let past = ledger.with_token(&text_of(&given, "access_token"));
    let refused = past.post_with_key("/api/v1/transfers", &new_key(), body).await;
    refused.must_be_problem(403, "insufficient_scope");
    acting
        .get("/api/v1/auth/me")
        .await
        .must_be_problem(403, "login_required");

    ask(&clerk, &admin).await.must_be_problem(403, "staff_user");
    ask(&clerk, &clerk).await.must_be_problem(403, "own_user");
    ask(&ada, &clerk).await.must_be_problem(403, "role_required");
    // It ends with the session of who asked for it.
    clerk.post_empty("/api/v1/auth/logout").await.must_be(204);
    wait_until_refused(&acting).await;
    let auditor = platform.register_with_role("auditor", Role::Compliance).await;
    let log = auditor
        .get(&format!("{AUDIT_LOG}?subject={}", ada.user_id))
        .await
        .must_be(200);
    assert_eq!(log["data"].as_array().unwrap().len(), 1, "{log}");
    let entry = &log["data"][0];
    assert_eq!(
        (&entry["action"], &entry["actor"]),
        (&json!("user.impersonated"), &json!(clerk.user_id))
    );
    assert_eq!(entry["after"], r#"{"ticket":"CASE-1042"}"#);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_told_everything_and_erased_unless_it_is_forbidden() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let ada = platform.register("ada").await;
    admin
        .put(TWO_FACTOR, json!({ "enabled": true }))
        .await
        .must_be(200);
    ada.post("/api/v1/auth/two-factor/methods", json!({ "method": "email" }))
        .await
        .must_be(201);
    let key = json!({ "name": "Program", "scopes": ["read"] });
    let key = ada.post("/api/v1/auth/api-keys", key).await.must_be(201);
    let told = ada.get("/api/v1/auth/me/export").await.must_be(200);
    assert_eq!(told["user"]["email"], "ada@example.com");
    assert_eq!(told["sessions"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["api_keys"][0]["name"], "Program");
    assert_eq!(told["second_factors"][0]["to"], "ada@example.com");
    for member in ["social_accounts", "passkeys"] {
        assert_eq!(told[member], json!([]), "{told}");
    }
    for secret in [&ada.refresh_token, &ada.session_id, &text_of(&key, "key")] {
        assert!(!told.to_string().contains(secret.as_str()), "{told}");
    }

    let path = path_of(&ada, "");
    let hold = path_of(&ada, "/legal-hold");
    delete(&admin, &path).await.must_be_problem(409, "user_active");
    admin
        .post(&path_of(&ada, "/ban"), json!({ "reason": "user_request" }))
        .await
        .must_be(200);
    admin
        .put(&hold, json!({}))
        .await
        .must_be_problem(403, "role_required");
    officer.put(&hold, json!({})).await.must_be(200);
    delete(&admin, &path).await.must_be_problem(409, "legal_hold");
    // Nor by another way.
    let sql = platform.sql().await;
    let by_hand = sql
        .batch_execute("DELETE FROM auth.sessions; DELETE FROM auth.users WHERE legal_hold_at IS NOT NULL");
    assert!(by_hand.await.is_err());
    delete(&officer, &hold).await.must_be(200);
    delete(&admin, &path).await.must_be(204);
    delete(&admin, &path).await.must_be_problem(404, "not_found");
    let id: uuid::Uuid = ada.user_id.parse::<shared::id::UserId>().unwrap().uuid();
    for table in [
        "sessions",
        "api_keys",
        "email_indexes",
        "one_time_tokens",
        "social_accounts",
        "pictures",
        "passkeys",
        "two_factor_methods",
    ] {
        let count = format!("SELECT count(*) FROM auth.{table} WHERE user_id = $1");
        let left: i64 = sql.query_one(&count, &[&id]).await.unwrap().get(0);
        assert_eq!(left, 0, "{table}");
    }
    platform.register("ada").await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_shows_when_it_was_altered() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let auditor = platform.register_with_role("auditor", Role::Compliance).await;
    let ada = platform.register("ada").await;
    for action in ["/ban", "/unban", "/ban", "/unban"] {
        admin
            .post(&path_of(&ada, action), json!({ "reason": "other" }))
            .await
            .must_be(200);
    }
    let verification = async || -> Value {
        auditor
            .get(&format!("{AUDIT_LOG}/verification"))
            .await
            .must_be(200)
    };
    assert_eq!(
        verification().await,
        json!({ "entries": 4, "first_broken": null })
    );
    admin.get(AUDIT_LOG).await.must_be_problem(403, "role_required");
    let sql = platform.sql().await;
    let alter = "UPDATE auth.audit_log SET actor = 'usr_nobody' WHERE number = 3";
    assert!(
        sql.batch_execute(alter).await.is_err(),
        "the log was written over"
    );
    sql.batch_execute(&format!(
        "ALTER TABLE auth.audit_log DISABLE TRIGGER ALL; {alter}"
    ))
    .await
    .unwrap();
    assert_eq!(verification().await, json!({ "entries": 4, "first_broken": 3 }));
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_administrators_switch_and_set_is_in_the_audit_log() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let auditor = platform.register_with_role("auditor", Role::Compliance).await;
    admin
        .put(TWO_FACTOR, json!({ "enabled": true }))
        .await
        .must_be(200);
    admin
        .put(
            "/api/v1/auth/two-factor/required-roles",
            json!({ "roles": ["compliance"] }),
        )
        .await
        .must_be(200);
    admin
        .patch(
            "/api/v1/auth/instance-settings",
            json!({ "validation_mode": "advanced" }),
        )
        .await
        .must_be(200);
    let secrets = "/api/v1/auth/bridge-secrets";
    let secret = json!({ "name": "Backend", "kind": "server" });
    let secret = admin.post(secrets, secret).await.must_be(201);
    let one = format!("{secrets}/{}", text_of(&secret, "id"));
    delete(&admin, &one).await.must_be(204);
    delete(&admin, &one).await.must_be_problem(404, "not_found");

    let log = auditor.get(AUDIT_LOG).await.must_be(200);
    let entries = log["data"].as_array().unwrap();
    let told: Vec<[&Value; 3]> = entries
        .iter()
        .map(|entry| [&entry["action"], &entry["before"], &entry["after"]])
        .collect();
    let actions: Vec<&Value> = told.iter().map(|[action, ..]| *action).collect();
    assert_eq!(
        actions,
        [
            "bridge_secret.revoked",
            "bridge_secret.made",
            "instance_settings.changed",
            "required_roles.changed",
            "module.switched",
        ]
    );
    assert!(entries.iter().all(|entry| entry["actor"] == admin.user_id));
    assert_eq!(told[3][1..], [r#"{"roles":[]}"#, r#"{"roles":["compliance"]}"#]);
    assert!(!log.to_string().contains(&text_of(&secret, "secret")), "{log}");
    platform.stop().await.unwrap();
}
