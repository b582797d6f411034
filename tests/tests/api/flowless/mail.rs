//! Rows 1.3, 1.4 and 1.6 of the contract: what begins with a mail, by all of its names.

use chrono::{DateTime, Duration, Utc};
use platform::client::PASSWORD;
use platform::{Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Program, SECRET, must_fail, register, start, text};

const ADA: &str = "ada@example.com";
const ANOTHER_PASSWORD: &str = "copper-meadow-17-telescope";

/// Asks by this path, and gives the token that comes by mail.
async fn token_of(platform: &Platform, program: &Program, path: &str, body: Value, kind: &str) -> String {
    let before = platform.inbox.of(ADA, kind).len();
    let known = program.post(path, body.clone()).await.must_be(200);
    let mut other = body;
    for name in ["email", "identifier"] {
        if other.get(name).is_some() {
            other[name] = json!("nobody@example.com");
        }
    }
    let mut unknown = program.post(path, other).await.must_be(200);
    let mut known = known;
    for answer in [&mut known, &mut unknown] {
        for member in ["token_id", "expires_at", "expiresAt"] {
            answer.as_object_mut().unwrap().remove(member);
            answer["data"].as_object_mut().unwrap().remove(member);
        }
    }
    assert_eq!(known, unknown, "{path}");
    platform.inbox.wait_for(ADA, kind, before + 1).await.token()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_reset_by_every_name_of_it() {
    let platform = start().await;
    let program = Program::new(&platform);
    register(&program, "ada").await;
    for (request, validate, complete, member) in [
        (
            (
                "/auth/password-reset/request",
                json!({ "email": ADA, "reset_url": null }),
            ),
            "/auth/password-reset/validate",
            "/auth/password-reset/complete",
            "password",
        ),
        (
            ("/auth/password-reset/request", json!({ "email": ADA })),
            "/auth/password-reset/validate",
            "/auth/password-reset/reset",
            "password",
        ),
        (
            ("/auth/password/reset/request", json!({ "email": ADA })),
            "/auth/password/reset/validate",
            "/auth/password/reset/complete",
            "new_password",
        ),
    ] {
        let (path, body) = request;
        let token = token_of(&platform, &program, path, body, "password_reset").await;
        for answer in [
            program.post(validate, json!({ "token": token })).await,
            program.get(&format!("{validate}?token={token}")).await,
            program
                .get(&format!("/auth/password-reset/validate/{token}"))
                .await,
        ] {
            let body = answer.must_be(200);
            assert_eq!(
                (&body["valid"], &body["data"]["valid"]),
                (&json!(true), &json!(true))
            );
            assert_eq!(
                (&body["success"], &body["data"]["success"]),
                (&json!(true), &json!(true))
            );
        }
        let invalid = program
            .post(validate, json!({ "token": "reset_no" }))
            .await
            .must_be(200);
        assert_eq!(
            (&invalid["valid"], &invalid["success"]),
            (&json!(false), &json!(false))
        );
        let weak = program
            .post(complete, json!({ "token": token, member: "password1" }))
            .await;
        assert_eq!(
            (weak.status, &weak.body["success"]),
            (400, &json!(false)),
            "{weak}"
        );
        let set = json!({ "token": token, member: ANOTHER_PASSWORD });
        let done = program.post(complete, set.clone()).await.must_be(200);
        assert_eq!(
            (&done["success"], &done["data"]["success"]),
            (&json!(true), &json!(true))
        );
        assert!(done["message"].is_string());
        assert_eq!(program.post(complete, set).await.status, 400);
    }
    let login = json!({ "email": ADA, "password": ANOTHER_PASSWORD });
    program.post("/auth/login", login).await.must_be(200);
    let elsewhere = json!({ "email": ADA, "resetUrl": "https://evil.example.com" });
    let refused = program.post("/auth/password-reset/request", elsewhere).await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "URL_NOT_ALLOWED"),
        "{refused}"
    );
    must_fail(
        &program
            .post("/auth/password-reset/request", json!({ "email": "ada" }))
            .await,
        400,
        "Invalid email format",
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_email_is_verified_by_every_name_of_it_and_a_login_may_wait_for_it() {
    let platform = Platform::builder()
        .set(Service::Auth, "EMAIL_VERIFICATION", "required")
        .start()
        .await
        .unwrap();
    let program = Program::new(&platform);
    let body = json!({ "email": ADA, "password": PASSWORD, "name": "Ada" });
    let registered = program.post("/auth/register", body).await.must_be(200);
    assert_eq!(registered["requiresVerification"], true, "{registered}");
    assert_eq!(registered["user"]["isVerified"], false);
    assert!(registered.get("session_id").is_none());
    let login = json!({ "email": ADA, "password": PASSWORD });
    let refused = program.post("/auth/login", login.clone()).await;
    assert_eq!(
        (refused.status, refused.code()),
        (403, "EMAIL_NOT_VERIFIED"),
        "{refused}"
    );

    let resend = json!({ "email": ADA });
    for path in ["/auth/resend-verification", "/auth/email/resend"] {
        token_of(&platform, &program, path, resend.clone(), "email_verification").await;
    }
    let mail = platform.inbox.wait_for(ADA, "email_verification", 3).await;
    // The page that the link leads to uses nothing up, and its form does.
    let (_, page) = mail.link().split_once("/auth/").unwrap();
    let path = format!("/auth/{page}");
    for _ in 0..2 {
        let shown = program.get(&path).await;
        assert_eq!(shown.status, 200, "{shown}");
        assert!(shown.text.contains("<form method=\"post\""), "{shown}");
        assert!(
            shown
                .header("content-security-policy")
                .unwrap()
                .contains("default-src 'none'")
        );
    }
    let form = format!("token={}", mail.token());
    let send = async || {
        let request = program.client.request(Method::POST, "/auth/verify-email");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        program.client.send(request.body(form.clone())).await.status
    };
    assert_eq!(send().await, 200);
    assert_eq!(send().await, 422);
    let login = program.post("/auth/login", login).await.must_be(200);
    assert_eq!(login["user"]["is_verified"], true);
    let used = program
        .post("/auth/email/verify", json!({ "token": mail.token() }))
        .await;
    assert_eq!(used.status, 400, "{used}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_logs_in_and_who_asks_for_it_never_sees_the_token() {
    let platform = start().await;
    let program = Program::new(&platform);
    register(&program, "ada").await;
    let backend = program.with("x-bridge-secret", SECRET);
    let (create, login, validate) = ("/auth/token/create", "/auth/token/login", "/auth/token/validate");
    let by_email = json!({ "email": ADA });
    let by_identifier = json!({ "identifier": ADA, "type": "email" });

    must_fail(
        &program.post(login, by_identifier.clone()).await,
        401,
        "Invalid or missing X-Bridge-Secret header",
    );
    let token = token_of(&platform, &backend, login, by_identifier, "login_link").await;
    let asked = platform.clock.now();
    platform.clock.advance(Duration::minutes(1));
    // Looking does not use it up.
    for answer in [
        program.get(&format!("{validate}?token={token}")).await,
        program.post(validate, json!({ "token": token })).await,
    ] {
        let body = answer.must_be(200);
        assert_eq!(
            (&body["valid"], &body["user"]["email"]),
            (&json!(true), &json!(ADA))
        );
        assert!(body["tokenType"].is_string() && body["token_id"].is_string());
        let expires_at: DateTime<Utc> = text(&body["expires_at"]).parse().unwrap();
        assert!(expires_at < asked + Duration::minutes(10), "{body}");
    }
    let answer = program.post(login, json!({ "token": token })).await.must_be(200);
    let me = program
        .in_session(text(&answer["session_id"]))
        .get("/auth/me")
        .await
        .must_be(200);
    assert_eq!(me["user"]["email"], ADA);
    assert_eq!(program.post(login, json!({ "token": token })).await.status, 401);

    let token = token_of(&platform, &program, create, by_email, "login_link").await;
    let answer = backend
        .post(
            validate,
            json!({ "token": token, "ip": "192.0.2.7", "user_agent": "Phone" }),
        )
        .await
        .must_be(200);
    let session = text(&answer["sessionId"]);
    assert!(session.starts_with("ses_"), "{answer}");
    let ours = json!({ "session_id": session, "validation_mode": "ADVANCED", "ip": "192.0.2.7", "user_agent": "Phone" });
    backend
        .post("/auth/bridge/validate", ours.clone())
        .await
        .must_be(200);
    let mut other = ours;
    other["ip"] = json!("192.0.2.8");
    let refused = backend.post("/auth/bridge/validate", other).await;
    must_fail(&refused, 401, "IP address mismatch");
    let used = program.get(&format!("{validate}?token={token}")).await;
    must_fail(&used, 401, "Invalid or expired token");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_uploaded_by_both_names_and_removed() {
    let platform = start().await;
    let program = Program::new(&platform);
    let session = register(&program, "ada").await["session_id"].clone();
    let program = program.in_session(text(&session));
    for (path, name) in [
        ("/auth/upload/picture", "picture"),
        ("/auth/profile/picture", "file"),
    ] {
        let head =
            format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n");
        let body = [head.as_bytes(), crate::pictures::PIXEL, b"\r\n--limit--\r\n"].concat();
        let request = program.client.request(Method::POST, path);
        let request = request
            .header("content-type", "multipart/form-data; boundary=limit")
            .header("x-session-id", text(&session));
        let answer = program.client.send(request.body(body)).await.must_be(200);
        let data = &answer["data"];
        let url = text(&data["picture_url"]);
        assert_eq!((&data["url"], &data["success"]), (&json!(url), &json!(true)));
        assert_eq!(
            (&data["user"]["picture"], &data["picture"]),
            (&json!(url), &json!(url))
        );
        assert!(data["file_size"].is_u64() && data["message"].is_string());
        let shown = program.get(&url[url.find("/api/").unwrap()..]).await;
        assert_eq!(shown.status, 200);
        let me = program.get("/auth/me").await.must_be(200);
        assert_eq!(me["user"]["picture"], *url);
    }
    let removed = program
        .send(Method::DELETE, "/auth/upload/picture", None)
        .await
        .must_be(200);
    assert_eq!(removed["data"]["email"], ADA, "{removed}");
    assert_eq!(removed["data"]["picture"], Value::Null);
    platform.stop().await.unwrap();
}
