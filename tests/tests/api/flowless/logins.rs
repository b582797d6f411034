//! Registering, logging in and out, refreshing, and changing one's password, by every alias.

use platform::Platform;
use platform::client::PASSWORD;
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

use super::shapes::{assert_login, assert_profile};
use super::{Program, SECRET, must_fail, register, start, text};

const ANOTHER_PASSWORD: &str = "copper-meadow-17-telescope";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_registers_in_its_own_words() {
    let platform = start().await;
    let program = Program::new(&platform);
    for (path, body) in [
        (
            "/auth/register",
            json!({ "email": "core@example.com", "name": "C", "lastName": "L", "userType": "admin", "userName": "core" }),
        ),
        (
            "/auth/register",
            json!({ "email": "PY@Example.com", "name": "C", "last_name": "L", "user_name": "python", "phone": "+1 2" }),
        ),
        (
            "/auth/register/public",
            json!({ "email": "crate@example.com", "name": "C", "last_name": "L", "user_name": null, "phone": null, "user_type": null }),
        ),
    ] {
        let mut body = body;
        body["password"] = json!(PASSWORD);
        let answer = program.post(path, body).await;
        let cookie = answer.header("set-cookie").unwrap_or_default().to_owned();
        for part in [
            "session_id=ses_",
            "HttpOnly",
            "Secure",
            "SameSite=Strict",
            "Path=/",
            "Max-Age=604800",
        ] {
            assert!(cookie.contains(part), "{part} is not in {cookie}");
        }
        let answer = answer.must_be(200);
        assert_login(&answer);
        assert_eq!(
            (&answer["user"]["last_name"], &answer["user"]["user_type"]),
            (&json!("L"), &json!("user"))
        );
        let me = program
            .in_session(text(&answer["session_id"]))
            .get("/auth/me")
            .await;
        assert_profile(&me.must_be(200));
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_is_wrong_is_told_in_the_words_that_clients_show() {
    let platform = start().await;
    let program = Program::new(&platform);
    register(&program, "ada").await;
    let with = |member: &str, value: Value| {
        let mut body = json!({ "email": "eve@example.com", "password": PASSWORD, "name": "Eve" });
        body[member] = value;
        body
    };
    for (body, status, error) in [
        (
            with("email", json!("ada@example.com")),
            409,
            "Email already registered",
        ),
        (
            with("email", json!("ADA@example.com")),
            409,
            "Email already registered",
        ),
        (with("email", json!("eve")), 400, "Invalid email format"),
        (with("email", Value::Null), 400, "email is required"),
        (with("email", json!(7)), 400, "email must be a text"),
        (with("name", Value::Null), 400, "name is required"),
        (with("password", Value::Null), 400, "password is required"),
        (with("user_name", json!("1")), 400, "Invalid user_name"),
    ] {
        let answer = program.post("/auth/register", body).await;
        must_fail(&answer, status, error);
    }
    let short = program
        .post("/auth/register", with("password", json!("short")))
        .await;
    assert_eq!(short.status, 400, "{short}");
    assert!(
        text(&short.body["error"]).contains("at least 15 characters"),
        "{short}"
    );
    let no_object = program
        .send(Method::POST, "/auth/register", Some(json!([])))
        .await;
    must_fail(&no_object, 400, "The body must be a JSON object");
    let taken = with("user_name", json!("Eve"));
    program.post("/auth/register", taken.clone()).await.must_be(200);
    let mut other = taken;
    other["email"] = json!("other@example.com");
    let answer = program.post("/auth/register", other).await;
    assert_eq!(
        (answer.status, text(&answer.body["code"])),
        (409, "USER_NAME_TAKEN"),
        "{answer}"
    );
    must_fail(&program.get("/auth/nothing").await, 404, "Not found");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_to_be_logged_out_whose_session_could_not_be_looked_at() {
    let platform = start().await;
    let program = Program::new(&platform).in_session("ses_somebodys");
    program.post("/auth/logout", json!({})).await.must_be(200);
    let sql = platform.sql().await;
    sql.batch_execute("REVOKE SELECT ON auth.sessions FROM auth_runtime")
        .await
        .unwrap();
    let other = Program::new(&platform).in_session("ses_somebody_elses");
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada" });
    for (path, body) in [("/auth/logout", json!({})), ("/auth/register", body)] {
        let answer = other.post(path, body).await;
        assert_eq!(answer.status, 500, "{path}: {answer}");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_one_user_name_at_once_one_gets_it() {
    let platform = start().await;
    let program = Program::new(&platform);
    let registrations = (0..8).map(|number| {
        let email = format!("u{number}@example.com");
        let body = json!({ "email": email, "password": PASSWORD, "name": "U", "user_name": "wanted" });
        program.post("/auth/register", body)
    });
    let answers = futures_util::future::join_all(registrations).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[200].as_slice(), &[409; 7]].concat());
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_may_ask_for_a_bridge_secret_at_registration() {
    let platform = start().await;
    let program = Program::new(&platform);
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let settings = "/api/v1/auth/instance-settings";
    let changed = admin
        .patch(settings, json!({ "secret_for_registration": true }))
        .await
        .must_be(200);
    assert_eq!(changed["secret_for_registration"], true);
    let body =
        |name: &str| json!({ "email": format!("{name}@example.com"), "password": PASSWORD, "name": name });
    let path = "/auth/register/public";
    let refused = "Invalid or missing X-Bridge-Secret header";
    must_fail(&program.post(path, body("eve")).await, 401, refused);
    let wrong = program.with("x-bridge-secret", &SECRET.replace('x', "y"));
    must_fail(&wrong.post(path, body("eve")).await, 401, refused);
    let browser = json!({ "name": "App", "kind": "browser" });
    let made = admin
        .post("/api/v1/auth/bridge-secrets", browser)
        .await
        .must_be(201);
    for (name, secret) in [("ada", SECRET), ("bob", text(&made["secret"]))] {
        let backend = program.with("x-bridge-secret", secret);
        assert_login(&backend.post(path, body(name)).await.must_be(200));
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_app_of_an_allowed_origin_sends_its_cookie_and_headers() {
    let app = "https://app.example.com";
    let builder = Platform::builder().set(platform::Service::Gateway, "CORS_ORIGINS", app);
    let platform = builder.start().await.unwrap();
    let program = Program::new(&platform);
    for (origin, path, allowed) in [
        (app, "/auth/login", true),
        (app, "/bridge/validate", true),
        (app, "/api/v1/auth/login", false),
        ("https://evil.example.com", "/auth/login", false),
    ] {
        let browser = program
            .with("origin", origin)
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", "content-type,x-session-id");
        let answer = browser.send(Method::OPTIONS, path, None).await;
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials, allowed.then_some("true"), "{answer}");
        if allowed {
            assert_eq!(
                answer.header("access-control-allow-origin"),
                Some(app),
                "{answer}"
            );
            let headers = answer
                .header("access-control-allow-headers")
                .unwrap()
                .to_lowercase();
            for header in [
                "content-type",
                "x-session-id",
                "x-bridge-secret",
                "authorization",
                "x-device-id",
            ] {
                assert!(headers.contains(header), "{header} is not in {headers}");
            }
        }
    }
    let browser = program.with("origin", app);
    let answer = browser.get("/auth/validation").await;
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true"),
        "{answer}"
    );
    platform.stop().await.unwrap();
}

async fn platform_with_ada() -> (Platform, Program, String) {
    let platform = start().await;
    let program = Program::new(&platform);
    let body =
        json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada", "userName": "Ada.L" });
    let registered = program.post("/auth/register", body).await.must_be(200);
    let credential = text(&registered["session_id"]).to_owned();
    (platform, program, credential)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_log_in_by_email_or_user_name_whatever_session_comes_along() {
    let (platform, program, credential) = platform_with_ada().await;
    let stale = program.in_session("ses_of_long_ago");
    for name in [
        json!({ "email": "ADA@example.com" }),
        json!({ "user_name": "ada.l" }),
        json!({ "userName": "ADA.L" }),
        json!({ "username": "ada@example.com" }),
        json!({ "email": null, "user_name": "ada.l" }),
    ] {
        let mut body = name;
        body["password"] = json!(PASSWORD);
        let answer = stale.post("/auth/login", body).await.must_be(200);
        assert_login(&answer);
        assert_ne!(answer["session_id"], credential);
    }
    for (body, status, error) in [
        (
            json!({ "email": "ada@example.com", "password": "wrong" }),
            401,
            "Invalid credentials",
        ),
        (
            json!({ "email": "bob@example.com", "password": "wrong" }),
            401,
            "Invalid credentials",
        ),
        (
            json!({ "email": "no address", "password": "wrong" }),
            401,
            "Invalid credentials",
        ),
        (
            json!({ "user_name": "nobody", "password": "wrong" }),
            401,
            "Invalid credentials",
        ),
        (json!({ "password": "wrong" }), 400, "email is required"),
        (json!({ "email": "ada@example.com" }), 400, "password is required"),
    ] {
        must_fail(&program.post("/auth/login", body).await, status, error);
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_ends_the_session_at_once_and_can_be_repeated() {
    let (platform, program, credential) = platform_with_ada().await;
    let ada = program.in_session(&credential);
    ada.get("/auth/validation").await.must_be(200);
    // With an empty body of a content type, as one of the clients sends it.
    let request = platform
        .client()
        .request(Method::POST, "/auth/logout")
        .header("content-type", "application/json")
        .header("x-session-id", &credential)
        .body("");
    let answer = platform.client().send(request).await;
    assert!(
        answer.header("set-cookie").unwrap().contains("Max-Age=0"),
        "{answer}"
    );
    let answer = answer.must_be(200);
    assert_eq!(
        (&answer["success"], &answer["data"]["success"]),
        (&json!(true), &json!(true))
    );
    must_fail(&ada.get("/auth/validation").await, 401, "Invalid session");
    for body in [Some(json!({})), None] {
        ada.send(Method::POST, "/auth/logout", body).await.must_be(200);
    }
    program
        .send(Method::POST, "/auth/logout", None)
        .await
        .must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_keeps_the_session_and_its_id() {
    let (platform, program, credential) = platform_with_ada().await;
    let ada = program.in_session(&credential);
    for method in [Method::GET, Method::POST] {
        let answer = ada.send(method, "/auth/refresh", None).await.must_be(200);
        assert_profile(&answer);
        assert_eq!(answer["session_id"], credential);
        assert_eq!(answer["sessionId"], credential);
        assert!(answer["expires_at"].is_string() && answer["expiresAt"].is_string());
    }
    for days in 0..12 {
        platform.clock.advance(chrono::Duration::days(2));
        let answer = ada.get("/auth/refresh").await;
        assert_eq!(answer.status, 200, "after {days} times two days: {answer}");
    }
    // Used or not, after its lifetime it ends.
    platform.clock.advance(chrono::Duration::days(6));
    must_fail(&ada.get("/auth/refresh").await, 401, "Invalid session");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_is_taken_from_header_query_and_cookie_in_this_order() {
    let (platform, program, credential) = platform_with_ada().await;
    let path = format!("/auth/validation?session_id={credential}");
    program.get(&path).await.must_be(200);
    program
        .with("cookie", &format!("session_id={credential}"))
        .get("/auth/validation")
        .await
        .must_be(200);
    program
        .in_session(&credential)
        .get("/auth/validation?session_id=wrong")
        .await
        .must_be(200);
    let refused = program.in_session("wrong").get(&path).await;
    must_fail(&refused, 401, "Invalid session");
    let refused = program.with("cookie", &format!("session_id={credential}"));
    must_fail(
        &refused.get("/auth/validation?session_id=wrong").await,
        401,
        "Invalid session",
    );
    // An old client sends it in the body.
    program
        .post("/auth/validation", json!({ "sessionId": credential }))
        .await
        .must_be(200);
    for wrong in [
        "",
        "ses_",
        "ses_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        &"x".repeat(4000),
    ] {
        must_fail(
            &program.in_session(wrong).get("/auth/validation").await,
            401,
            "Invalid session",
        );
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_the_password_ends_every_other_session_at_once() {
    let (platform, program, credential) = platform_with_ada().await;
    let login = |password: &str| json!({ "email": "ada@example.com", "password": password });
    let (mut current, mut next) = (PASSWORD, ANOTHER_PASSWORD);
    for path in ["/auth/password-change/self", "/auth/password/change"] {
        let other = program.post("/auth/login", login(current)).await.must_be(200);
        let other = program.in_session(text(&other["session_id"]));
        other.get("/auth/me").await.must_be(200);
        let ada = program.in_session(&credential);
        let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
        must_fail(
            &ada.post(path, change("wrong", next)).await,
            400,
            "Current password is incorrect",
        );
        assert_eq!(ada.post(path, change(current, "short")).await.status, 400);
        must_fail(
            &program.post(path, change(current, next)).await,
            401,
            "Invalid session",
        );
        let answer = ada.post(path, change(current, next)).await.must_be(200);
        assert_eq!(
            (&answer["success"], &answer["message"]),
            (&json!(true), &json!("Password updated successfully"))
        );
        must_fail(&other.get("/auth/me").await, 401, "Invalid session");
        ada.get("/auth/me").await.must_be(200);
        must_fail(
            &program.post("/auth/login", login(current)).await,
            401,
            "Invalid credentials",
        );
        (current, next) = (next, current);
    }
    platform.stop().await.unwrap();
}
