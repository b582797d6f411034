//! API keys and OAuth clients: what they may do, and that they can be replaced and revoked.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use platform::client::{Answer, new_key, text_of, transfer_body};
use platform::{Client, Customer, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

const KEYS: &str = "/api/v1/auth/api-keys";
const CLIENTS: &str = "/api/v1/auth/clients";
const READ: &str = "/api/v1/accounts";

async fn make_key(owner: &Customer, scopes: &[&str]) -> Value {
    let body = json!({ "name": "Payouts", "scopes": scopes });
    owner.post(KEYS, body).await.must_be(201)
}

fn with_key(owner: &Customer, key: &Value) -> Client {
    owner.client.with_token(&text_of(key, "key"))
}

async fn transfer(client: &Client, from: &str, to: &str) -> Answer {
    let body = transfer_body(from, to, 1, "USD");
    client.post_with_key("/api/v1/transfers", &new_key(), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_does_what_its_scopes_allow_and_nothing_else() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let from = ada.open_funded_account(1_000, "USD").await;
    let to = ada.open_account("USD").await;
    let account = json!({ "kind": "savings", "currency": "EUR" });
    for (scopes, read, write, money) in [
        (&["read"][..], 200, 403, 403),
        (&["write"], 403, 201, 403),
        (&["money"], 403, 403, 201),
        (&["read", "write", "money"], 200, 201, 201),
    ] {
        let key = make_key(&ada, scopes).await;
        assert!(text_of(&key, "key").starts_with("flk_"), "{key}");
        let program = with_key(&ada, &key);
        let answers = [
            (program.get(READ).await, read),
            (
                program.post_with_key(READ, &new_key(), account.clone()).await,
                write,
            ),
            (transfer(&program, &from, &to).await, money),
        ];
        for (answer, expected) in answers {
            match expected {
                403 => drop(answer.must_be_problem(403, "insufficient_scope").clone()),
                status => drop(answer.must_be(status)),
            }
        }
        // Whatever it may do, it neither makes keys nor touches the login.
        for refused in [
            program.get("/api/v1/auth/me").await,
            program
                .post(KEYS, json!({ "name": "More", "scopes": ["read"] }))
                .await,
        ] {
            refused.must_be_problem(403, "login_required");
        }
        // No service takes it without the gateway.
        let past = platform
            .client_of(Service::Accounts)
            .with_token(&text_of(&key, "key"));
        past.get(READ).await.must_be_problem(401, "invalid_token");
    }
    for wrong in ["flk_", "flk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let nobody = platform.client().with_token(wrong);
        nobody.get(READ).await.must_be_problem(401, "invalid_api_key");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_no_role_of_staff_and_comes_from_where_it_is_allowed() {
    let platform = Platform::start().await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let key = make_key(&officer, &["read", "write", "money"]).await;
    officer.get("/api/v1/integrity").await.must_be(200);
    let refused = with_key(&officer, &key).get("/api/v1/integrity").await;
    refused.must_be_problem(403, "role_required");

    for (networks, allowed) in [
        (json!(["203.0.113.0/24"]), false),
        (json!(["203.0.113.0/24", "127.0.0.0/8"]), true),
    ] {
        let body = json!({ "name": "From home", "scopes": ["read"], "allowed_networks": networks });
        let key = officer.post(KEYS, body).await.must_be(201);
        let answer = with_key(&officer, &key).get(READ).await;
        match allowed {
            true => drop(answer.must_be(200)),
            false => drop(answer.must_be_problem(403, "address_not_allowed").clone()),
        }
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_without_an_interruption() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let old = make_key(&ada, &["read"]).await;
    let path = |key: &Value| format!("{KEYS}/{}/replace", text_of(key, "id"));
    for wrong in [json!({ "overlap_s": 299 }), json!({ "overlap_s": 604_801 })] {
        ada.post(&path(&old), wrong)
            .await
            .must_be_problem(400, "invalid_body");
    }
    let new = ada
        .post(&path(&old), json!({ "overlap_s": 3600 }))
        .await
        .must_be(201);
    assert_eq!((&new["name"], &new["scopes"]), (&old["name"], &old["scopes"]));
    for key in [&old, &new] {
        with_key(&ada, key).get(READ).await.must_be(200);
    }
    let again = ada.post(&path(&old), json!({})).await;
    again.must_be_problem(409, "already_replaced");
    // A third one: the first has to go.
    let newest = ada.post(&path(&new), json!({})).await.must_be(201);
    wait_until_refused(&with_key(&ada, &old), "session_revoked").await;
    for key in [&new, &newest] {
        with_key(&ada, key).get(READ).await.must_be(200);
    }
    platform.clock.advance(chrono::Duration::days(1));
    let ada = ada.log_in_again().await;
    let ended = with_key(&ada, &new).get(READ).await;
    ended.must_be_problem(401, "invalid_api_key");
    with_key(&ada, &newest).get(READ).await.must_be(200);
    let last = ada
        .post(&path(&newest), json!({ "overlap_s": 0 }))
        .await
        .must_be(201);
    wait_until_refused(&with_key(&ada, &newest), "session_revoked").await;
    with_key(&ada, &last).get(READ).await.must_be(200);
    platform.stop().await.unwrap();
}

async fn wait_until_refused(client: &Client, code: &str) -> Duration {
    let started = Instant::now();
    loop {
        let answer = client.get(READ).await;
        if answer.status == 401 {
            answer.must_be_problem(401, code);
            return started.elapsed();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "still let in");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_refused_at_once_and_an_expired_one_too() {
    let platform = Platform::start().await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let key = make_key(&ada, &["read"]).await;
    let program = with_key(&ada, &key);
    program.get(READ).await.must_be(200);
    let listed = ada.get(KEYS).await.must_be(200);
    assert!(listed["data"][0]["last_used_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(&text_of(&key, "key")), "{listed}");
    let path = format!("{KEYS}/{}", text_of(&key, "id"));
    let delete = async |who: &Customer| who.send(who.request(Method::DELETE, &path)).await;
    delete(&bob).await.must_be_problem(404, "not_found");
    delete(&ada).await.must_be(204);
    let took = wait_until_refused(&program, "session_revoked").await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    delete(&ada).await.must_be_problem(404, "not_found");

    let key = make_key(&ada, &["read"]).await;
    with_key(&ada, &key).get(READ).await.must_be(200);
    platform.clock.advance(chrono::Duration::days(91));
    let expired = with_key(&ada, &key).get(READ).await;
    expired.must_be_problem(401, "invalid_api_key");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_keys_made_at_once_there_are_never_too_many_and_none_is_stored_as_it_is() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let make = || ada.post(KEYS, json!({ "name": "Ada's program", "scopes": ["read"] }));
    let answers = join_all((0..24).map(|_| make())).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 20);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.must_be_problem(422, "too_many_keys");
    }
    let sql = platform.sql().await;
    let rows = sql
        .query("SELECT t::text FROM auth.api_keys t", &[])
        .await
        .unwrap();
    for row in rows {
        let row: String = row.get(0);
        assert!(!row.contains("flk_") && !row.contains("Ada"), "{row}");
        for answer in &made {
            let key = text_of(&answer.body, "key");
            let hexadecimal: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!row.contains(&hexadecimal), "{row}");
        }
    }
    platform.stop().await.unwrap();
}

/// A partner's program with its client.
struct Program {
    client: Client,
    id: String,
    secret: String,
}

impl Program {
    async fn register(platform: &Platform, admin: &Customer, user_id: &str) -> Self {
        let body = json!({ "user_id": user_id, "name": "Shop", "scopes": ["read", "money"] });
        let made = admin.post(CLIENTS, body).await.must_be(201);
        Self {
            client: platform.client(),
            id: text_of(&made, "id"),
            secret: text_of(&made, "client_secret"),
        }
    }

    /// A form with the client's credentials in it.
    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let own = [("client_id", self.id.as_str()), ("client_secret", &self.secret)];
        self.send(path, &[&own, fields].concat()).await
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let text: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self
            .client
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded");
        self.client.send(request.body(text.join("&"))).await
    }

    async fn token(&self) -> Client {
        let token = self
            .form("/oauth/token", &[("grant_type", "client_credentials")])
            .await;
        self.client
            .with_token(&text_of(&token.must_be(200), "access_token"))
    }
}

fn must_be_oauth_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(
        (answer.status, answer.body["error"].as_str()),
        (status, Some(error)),
        "{answer}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_tokens_by_its_credentials_and_for_no_more_than_it_may() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let ada = platform.register("ada").await;
    let from = ada.open_funded_account(1_000, "USD").await;
    let to = ada.open_account("USD").await;
    let program = Program::register(&platform, &admin, &ada.user_id).await;
    let grant = ("grant_type", "client_credentials");
    let token = program.form("/oauth/token", &[grant]).await.must_be(200);
    assert_eq!(
        (&token["token_type"], &token["expires_in"]),
        (&json!("Bearer"), &json!(300))
    );
    assert_eq!(token["scope"], "read money");
    let client = program.client.with_token(&text_of(&token, "access_token"));
    client.get(READ).await.must_be(200);
    transfer(&client, &from, &to).await.must_be(201);
    let less = program
        .form("/oauth/token", &[grant, ("scope", "read")])
        .await
        .must_be(200);
    let reader = program.client.with_token(&text_of(&less, "access_token"));
    transfer(&reader, &from, &to)
        .await
        .must_be_problem(403, "insufficient_scope");

    let basic = program.client.request(Method::POST, "/oauth/token");
    let basic = basic
        .basic_auth(&program.id, Some(&program.secret))
        .header("content-type", "application/x-www-form-urlencoded");
    program
        .client
        .send(basic.body("grant_type=client_credentials"))
        .await
        .must_be(200);
    let more = program.form("/oauth/token", &[grant, ("scope", "write")]).await;
    must_be_oauth_error(&more, 400, "invalid_scope");
    let other = program.form("/oauth/token", &[("grant_type", "password")]).await;
    must_be_oauth_error(&other, 400, "unsupported_grant_type");
    must_be_oauth_error(&program.form("/oauth/token", &[]).await, 400, "invalid_request");
    for (id, secret) in [
        (program.id.as_str(), "fls_wrong"),
        (&ada.user_id, &program.secret),
        ("key_01h455vb4pex5vsknk084sn02q", &program.secret),
    ] {
        let fields = [grant, ("client_id", id), ("client_secret", secret)];
        must_be_oauth_error(
            &program.send("/oauth/token", &fields).await,
            401,
            "invalid_client",
        );
    }
    // Its secret is no API key.
    let as_key = program.client.with_token(&program.secret).get(READ).await;
    as_key.must_be_problem(401, "invalid_token");
    let metadata = program
        .client
        .get("/.well-known/oauth-authorization-server")
        .await
        .must_be(200);
    assert_eq!(
        metadata["token_endpoint"],
        format!("{}/oauth/token", text_of(&metadata, "issuer"))
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_introspected_and_revoked_by_their_client() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let program = Program::register(&platform, &admin, &ada.user_id).await;
    let foreign = Program::register(&platform, &admin, &bob.user_id).await;
    let (one, other) = (program.token().await, program.token().await);
    let token = one.access_token.clone().unwrap();
    let active = async |who: &Program, token: &str| -> Value {
        let told = who
            .form("/oauth/introspect", &[("token", token)])
            .await
            .must_be(200);
        told["active"].clone()
    };
    assert_eq!(active(&program, &token).await, true);
    for (who, token) in [
        (&foreign, token.as_str()),
        (&program, &bob.access_token),
        (&program, "hunter2"),
    ] {
        assert_eq!(active(who, token).await, false);
    }
    foreign
        .form("/oauth/revoke", &[("token", &token)])
        .await
        .must_be(200);
    assert_eq!(active(&program, &token).await, true, "revoked by another client");
    program
        .form("/oauth/revoke", &[("token", &token)])
        .await
        .must_be(200);
    assert_eq!(active(&program, &token).await, false);
    wait_until_refused(&one, "session_revoked").await;
    other.get(READ).await.must_be(200);

    // A refresh token is its own proof, and ends its session.
    let fields = [("token", bob.refresh_token.as_str())];
    foreign.send("/oauth/revoke", &fields).await.must_be(200);
    wait_until_refused(&bob.client, "session_revoked").await;

    let path = format!("{CLIENTS}/{}", program.id);
    admin
        .send(admin.request(Method::DELETE, &path))
        .await
        .must_be(204);
    wait_until_refused(&other, "session_revoked").await;
    let refused = program
        .form("/oauth/token", &[("grant_type", "client_credentials")])
        .await;
    must_be_oauth_error(&refused, 401, "invalid_client");
    let listed = admin
        .get(&format!("{CLIENTS}?user_id={}", ada.user_id))
        .await
        .must_be(200);
    assert_eq!(listed["data"], json!([]));
    let auditor = platform.register_with_role("auditor", Role::Compliance).await;
    let log = auditor.get("/api/v1/auth/audit-log").await.must_be(200);
    let actions = log["data"].as_array().unwrap().iter();
    let actions: Vec<String> = actions.map(|entry| text_of(entry, "action")).collect();
    assert_eq!(actions, ["client.removed", "client.created", "client.created"]);
    platform.stop().await.unwrap();
}
