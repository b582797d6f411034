//! Validating sessions for backends: where the credential may be, who may ask, what the modes mind, and what caches may not do.

use std::time::{Duration, Instant};

use platform::client::eventually;
use platform::platform::Replica;
use platform::{Client, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

use super::{Program, SECRET, must_fail, register, start, text};

pub const VALIDATE: &str = "/auth/bridge/validate";
const NO_SECRET: &str = "Invalid or missing X-Bridge-Secret header";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_backend_asks_in_its_own_way() {
    let platform = start().await;
    let program = Program::new(&platform);
    let ada = text(&register(&program, "ada").await["session_id"]).to_owned();
    let bob = text(&register(&program, "bob").await["session_id"]).to_owned();
    let backend = program.with("x-bridge-secret", SECRET);
    let in_query = format!("{VALIDATE}?session_id={ada}");
    for (from, path, body) in [
        (&backend, VALIDATE, Some(json!({ "sessionId": ada }))),
        (
            &backend,
            VALIDATE,
            Some(json!({ "session_id": ada, "ip": null, "user_agent": null })),
        ),
        (
            &backend,
            &in_query,
            Some(json!({ "timestamp": 1, "source": "node" })),
        ),
        (&backend.with("content-type", "application/json"), &in_query, None),
        (&backend.in_session(&ada), VALIDATE, None),
        // What is asked about comes before who asks.
        (
            &backend.in_session(&bob),
            VALIDATE,
            Some(json!({ "session_id": ada })),
        ),
        (&backend.in_session(&bob), &in_query, None),
        (
            &program,
            VALIDATE,
            Some(json!({ "session_id": ada, "bridge_secret": SECRET })),
        ),
        (&backend, "/bridge/validate", Some(json!({ "session_id": ada }))),
        (
            &backend,
            "/api/bridge/validate",
            Some(json!({ "session_id": ada })),
        ),
    ] {
        let answer = from.send(Method::POST, path, body.clone()).await.must_be(200);
        assert_eq!(answer["user"]["email"], "ada@example.com", "{path} {body:?}");
    }
    for (from, body, status, error) in [
        (program.clone(), json!({ "session_id": ada }), 401, NO_SECRET),
        (
            program.with("x-bridge-secret", "x"),
            json!({ "session_id": ada }),
            401,
            NO_SECRET,
        ),
        (backend.clone(), json!({}), 400, "Missing session_id"),
        (
            backend.clone(),
            json!({ "user_id": "usr_1" }),
            400,
            "Missing session_id",
        ),
        (
            backend.with("cookie", &format!("session_id={ada}")),
            json!({}),
            400,
            "Missing session_id",
        ),
        (
            backend.clone(),
            json!({ "session_id": "ses_unknown" }),
            401,
            "Invalid session",
        ),
        (
            backend.clone(),
            json!({ "session_id": 7 }),
            400,
            "session_id must be a text",
        ),
        (
            backend.clone(),
            json!({ "session_id": ada, "ip": "<script>" }),
            400,
            "ip is not an address",
        ),
    ] {
        must_fail(&from.post(VALIDATE, body).await, status, error);
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_from_the_login_is_refused_as_the_mode_says_and_callers_only_tighten() {
    let platform = start().await;
    let program = Program::new(&platform)
        .with("user-agent", "one")
        .with("x-device-id", "phone");
    let registered = register(&program, "ada").await;
    let credential = text(&registered["session_id"]).to_owned();
    let ip = text(&registered["session"]["ip_address"]).to_owned();
    let backend = Program::new(&platform).with("x-bridge-secret", SECRET);
    let ask = async |mode: Option<&str>, ip: Option<&str>, agent: Option<&str>, device: Option<&str>| {
        let body = json!({
            "session_id": credential, "ip": ip, "user_agent": agent, "device_id": device, "validation_mode": mode,
        });
        backend.post(VALIDATE, body).await
    };
    let right = Some(ip.as_str());
    let chain = format!("{ip}, 10.0.0.1, 10.0.0.2");
    // The instance's mode is STANDARD.
    ask(None, right, Some("two"), Some("tablet")).await.must_be(200);
    ask(None, Some(&chain), None, None).await.must_be(200);
    ask(None, None, None, None).await.must_be(200);
    must_fail(
        &ask(None, Some("192.0.2.9"), None, None).await,
        401,
        "IP address mismatch",
    );
    must_fail(
        &ask(Some("DISABLED"), Some("192.0.2.9"), None, None).await,
        401,
        "IP address mismatch",
    );
    ask(Some("ADVANCED"), right, Some("one"), None).await.must_be(200);
    must_fail(
        &ask(Some("ADVANCED"), right, Some("two"), None).await,
        401,
        "User agent mismatch",
    );
    ask(Some("STRICT"), right, Some("one"), Some("phone"))
        .await
        .must_be(200);
    must_fail(
        &ask(Some("STRICT"), right, Some("one"), Some("tablet")).await,
        401,
        "Device ID mismatch",
    );
    must_fail(
        &ask(Some("STRICT"), right, Some("one"), None).await,
        401,
        "Device ID mismatch",
    );
    must_fail(
        &ask(Some("STRICT"), None, Some("one"), Some("phone")).await,
        401,
        "IP address mismatch",
    );
    assert_eq!(ask(Some("LAX"), right, None, None).await.status, 400);

    let admin = platform.register_with_role("admin", Role::Admin).await;
    let settings = "/api/v1/auth/instance-settings";
    admin
        .patch(settings, json!({ "validation_mode": "advanced" }))
        .await
        .must_be(200);
    must_fail(
        &ask(Some("STANDARD"), right, Some("two"), None).await,
        401,
        "User agent mismatch",
    );
    admin
        .patch(settings, json!({ "validation_mode": "disabled" }))
        .await
        .must_be(200);
    ask(None, Some("192.0.2.9"), None, None).await.must_be(200);
    admin
        .patch(settings, json!({ "validation_mode": "lax" }))
        .await
        .must_be_problem(400, "invalid_body");
    let short = json!({ "session_lifetime_s": 60 });
    admin
        .patch(settings, short)
        .await
        .must_be_problem(400, "invalid_body");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_secrets_of_a_kind_replace_each_other_and_browsers_validate_nothing() {
    let platform = start().await;
    let program = Program::new(&platform);
    let credential = text(&register(&program, "ada").await["session_id"]).to_owned();
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let secrets = "/api/v1/auth/bridge-secrets";
    let make = |kind: &str| json!({ "name": "Shop", "kind": kind });
    let validate = async |secret: &str| {
        let body = json!({ "session_id": credential });
        program.with("x-bridge-secret", secret).post(VALIDATE, body).await
    };
    let made = futures_util::future::join_all((0..6).map(|_| admin.post(secrets, make("server")))).await;
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (2, 4));
    for answer in refused {
        answer.must_be_problem(409, "two_bridge_secrets");
    }
    for answer in &made {
        let secret = text(&answer.body["secret"]);
        assert!(secret.len() >= 32, "{secret}");
        validate(secret).await.must_be(200);
    }
    let listed = admin.get(secrets).await;
    assert!(!listed.text.contains(text(&made[0].body["secret"])), "{listed}");
    assert_eq!(listed.must_be(200)["bridge_secrets"].as_array().unwrap().len(), 2);
    let path = format!("{secrets}/{}", text(&made[0].body["id"]));
    let revoke = || admin.send(admin.request(Method::DELETE, &path));
    revoke().await.must_be(204);
    revoke().await.must_be_problem(404, "not_found");
    must_fail(&validate(text(&made[0].body["secret"])).await, 401, NO_SECRET);
    validate(text(&made[1].body["secret"])).await.must_be(200);
    admin.post(secrets, make("server")).await.must_be(201);
    let browser = admin.post(secrets, make("browser")).await.must_be(201);
    must_fail(&validate(text(&browser["secret"])).await, 401, NO_SECRET);
    platform.stop().await.unwrap();
}

/// Asks until the answer comes from the cache.
pub async fn cached(backend: &Program, credential: &str) -> Value {
    eventually("a session from the cache", async || {
        let answer = backend
            .post(VALIDATE, json!({ "session_id": credential }))
            .await
            .must_be(200);
        (answer["cached"] == true).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cached_is_never_shown_after_it_has_changed_or_ended() {
    let platform = start().await;
    let program = Program::new(&platform);
    let ada = platform.register("ada").await;
    let backend = program.with("x-bridge-secret", SECRET);
    for round in 0..20 {
        let elsewhere = ada.log_in_again().await;
        cached(&backend, &elsewhere.session_id).await;
        let name = format!("Ada {round}");
        ada.patch("/api/v1/auth/me", json!({ "name": name }))
            .await
            .must_be(200);
        let validated = backend
            .post(VALIDATE, json!({ "session_id": elsewhere.session_id }))
            .await;
        assert_eq!(validated.must_be(200)["user"]["name"], name);
        cached(&backend, &elsewhere.session_id).await;
        elsewhere.post_empty("/api/v1/auth/logout").await.must_be(204);
        let validated = backend
            .post(VALIDATE, json!({ "session_id": elsewhere.session_id }))
            .await;
        must_fail(&validated, 401, "Invalid session");
    }
    // Whatever changes a row, even somebody with psql.
    cached(&backend, &ada.session_id).await;
    let sql = platform.sql().await;
    sql.batch_execute("UPDATE auth.users SET status = 'disabled'")
        .await
        .unwrap();
    let changed = Instant::now();
    eventually("the end of a disabled user's session", async || {
        let answer = backend
            .post(VALIDATE, json!({ "session_id": ada.session_id }))
            .await;
        (answer.status == 401).then_some(())
    })
    .await;
    assert!(
        changed.elapsed() < Duration::from_secs(3),
        "{:?}",
        changed.elapsed()
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn cached_sessions_come_to_their_end_by_time() {
    let platform = start().await;
    let program = Program::new(&platform);
    let ada = platform.register("ada").await;
    let backend = program.with("x-bridge-secret", SECRET);
    cached(&backend, &ada.session_id).await;
    platform.clock.advance(chrono::Duration::minutes(6));
    let answer = backend
        .post(VALIDATE, json!({ "session_id": ada.session_id }))
        .await
        .must_be(200);
    assert_eq!(
        (&answer["cached"], &answer["cacheSource"]),
        (&json!(false), &json!("db"))
    );
    cached(&backend, &ada.session_id).await;
    platform.clock.advance(chrono::Duration::days(8));
    let ended = backend
        .post(VALIDATE, json!({ "session_id": ada.session_id }))
        .await;
    must_fail(&ended, 401, "Invalid session");
    platform.stop().await.unwrap();
}

/// A backend that asks one of the replicas.
pub fn backend_of(platform: &Platform, number: usize) -> Program {
    let replica = Replica {
        service: Service::Auth,
        number,
    };
    Program {
        client: Client::new(platform.http.clone(), platform.url_of(replica)),
        headers: vec![("x-bridge-secret", SECRET.to_owned())],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_hears_within_seconds_what_another_one_ended() {
    let builder = Platform::builder().set(Service::Auth, "BRIDGE_SECRETS", SECRET);
    let platform = builder.replicas(2).start().await.unwrap();
    let (one, other) = (backend_of(&platform, 0), backend_of(&platform, 1));
    let ada = platform.register("ada").await;
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let login = ada.log_in_again().await;
        cached(&one, &login.session_id).await;
        cached(&other, &login.session_id).await;
        let session = one.in_session(&login.session_id);
        session
            .send(Method::POST, "/auth/logout", None)
            .await
            .must_be(200);
        let ended = Instant::now();
        eventually("the end of a session at the other replica", async || {
            let answer = other
                .post(VALIDATE, json!({ "session_id": login.session_id }))
                .await;
            (answer.status == 401).then_some(())
        })
        .await;
        slowest = slowest.max(ended.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_the_cache_of_their_own_emptied_now_and_then() {
    let platform = start().await;
    let program = Program::new(&platform);
    let credential = text(&register(&program, "ada").await["session_id"]).to_owned();
    let backend = program.with("x-bridge-secret", SECRET);
    let ada = program.in_session(&credential);
    cached(&backend, &credential).await;
    ada.send(Method::POST, "/auth/invalidate/me", None)
        .await
        .must_be(200);
    let answer = backend
        .post(VALIDATE, json!({ "session_id": credential }))
        .await
        .must_be(200);
    assert_eq!(answer["cacheSource"], "db");
    let more = (0..15).map(|_| ada.send(Method::POST, "/auth/invalidate/me", None));
    let answers = futures_util::future::join_all(more).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 9);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.status, 429, "{answer}");
        let wait_s: i64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=300).contains(&wait_s), "{wait_s}");
    }
    must_fail(
        &program.send(Method::POST, "/auth/invalidate/me", None).await,
        401,
        "Invalid session",
    );
    platform.stop().await.unwrap();
}
