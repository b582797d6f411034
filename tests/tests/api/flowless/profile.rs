//! Who one is, and changing it, in the words of each client.

use chrono::Duration;
use reqwest::Method;
use serde_json::json;

use super::shapes::assert_profile;
use super::{Program, SECRET, must_fail, register, start, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_changes_a_profile_in_its_own_words_and_sees_it_everywhere_at_once() {
    let platform = start().await;
    let program = Program::new(&platform);
    let registered = register(&program, "ada").await;
    let credential = text(&registered["session_id"]).to_owned();
    let ada = program.in_session(&credential);
    let backend = program.with("x-bridge-secret", SECRET);
    for (method, path, body, member, expected) in [
        (
            Method::PUT,
            "/auth/user/me",
            json!({ "name": "Ada", "last_name": "Lovelace", "phone": null, "user_type": null }),
            "last_name",
            json!("Lovelace"),
        ),
        (
            Method::PUT,
            "/auth/profile",
            json!({ "userName": "Ada.L", "userType": "superadmin" }),
            "user_name",
            json!("ada.l"),
        ),
        (
            Method::PATCH,
            "/auth/profile",
            json!({ "bio": "Notes\nG", "two_factor": true, "is_verified": true }),
            "bio",
            json!("Notes\nG"),
        ),
        (
            Method::PUT,
            "/auth/user/me",
            json!({ "dob": "1815-12-10", "gender": "f", "tmz": "Europe/London", "reference_id": "r-1" }),
            "dob",
            json!("1815-12-10"),
        ),
        (
            Method::PUT,
            "/auth/user/me",
            json!({ "metadata": { "a": [1] }, "mobile": "+44 1", "lang": "en", "displayName": "Countess" }),
            "metadata",
            json!({ "a": [1] }),
        ),
        (
            Method::PUT,
            "/auth/user/me",
            json!({ "metadata": null }),
            "metadata",
            json!(null),
        ),
        (
            Method::PUT,
            "/auth/user/me",
            json!({ "bio": "" }),
            "bio",
            json!(null),
        ),
        (
            Method::PUT,
            "/auth/user/me",
            json!({}),
            "last_name",
            json!("Lovelace"),
        ),
    ] {
        // In the cache before.
        ada.get("/auth/me").await.must_be(200);
        let answer = ada.send(method, path, Some(body)).await.must_be(200);
        assert_profile(&answer);
        assert_eq!(answer["user"][member], expected, "{member} of {answer}");
        let me = ada.get("/auth/user/me").await.must_be(200);
        assert_eq!(me["user"], answer["user"]);
        let validated = backend
            .post("/auth/bridge/validate", json!({ "sessionId": credential }))
            .await;
        assert_eq!(validated.must_be(200)["user"], answer["user"]);
        for (unchanged, value) in [
            ("user_type", json!("user")),
            ("two_factor", json!(false)),
            ("is_verified", json!(false)),
        ] {
            assert_eq!(me["user"][unchanged], value);
        }
    }
    let bad = ada
        .send(Method::PUT, "/auth/user/me", Some(json!({ "gender": "q" })))
        .await;
    assert_eq!(bad.status, 400, "{bad}");
    assert_eq!(bad.body["success"], false, "{bad}");
    must_fail(&program.get("/auth/user/me").await, 401, "Invalid session");
    let secret = ada.with("x-bridge-secret", SECRET);
    secret.get("/auth/user/me").await.must_be(200);
    let wrong = ada.with("x-bridge-secret", "x");
    must_fail(
        &wrong.get("/auth/user/me").await,
        401,
        "Invalid or missing X-Bridge-Secret header",
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_email_has_to_be_free_verified_anew_and_changed_soon_after_a_login() {
    let platform = start().await;
    let program = Program::new(&platform);
    register(&program, "bob").await;
    let registered = register(&program, "ada").await;
    let credential = text(&registered["session_id"]).to_owned();
    let ada = program.in_session(&credential);
    let email = |email: &str| Some(json!({ "email": email, "last_name": "Changed" }));
    let taken = ada
        .send(Method::PUT, "/auth/profile", email("bob@example.com"))
        .await;
    must_fail(&taken, 409, "Email already registered");
    // All of it or nothing.
    let me = ada.get("/auth/me").await.must_be(200);
    assert_eq!(
        (&me["user"]["email"], &me["user"]["last_name"]),
        (&json!("ada@example.com"), &json!(null))
    );
    let sql = platform.sql().await;
    sql.batch_execute("UPDATE auth.users SET email_verified_at = now()")
        .await
        .unwrap();
    let changed = ada
        .send(Method::PUT, "/auth/profile", email("New@example.com"))
        .await
        .must_be(200);
    assert_eq!(
        (&changed["user"]["email"], &changed["user"]["is_verified"]),
        (&json!("new@example.com"), &json!(false))
    );
    let login = |email: &str| json!({ "email": email, "password": platform::client::PASSWORD });
    must_fail(
        &program.post("/auth/login", login("ada@example.com")).await,
        401,
        "Invalid credentials",
    );
    program
        .post("/auth/login", login("new@example.com"))
        .await
        .must_be(200);
    // Whoever had the old one can have it again.
    register(&program, "ada").await;
    platform.clock.advance(Duration::minutes(61));
    let late = ada
        .send(Method::PUT, "/auth/profile", email("later@example.com"))
        .await;
    assert_eq!(
        (late.status, text(&late.body["code"])),
        (403, "RECENT_LOGIN_REQUIRED"),
        "{late}"
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_profile_at_once_all_take_effect() {
    let platform = start().await;
    let program = Program::new(&platform);
    let registered = register(&program, "ada").await;
    let ada = program.in_session(text(&registered["session_id"]));
    let members = [
        "last_name",
        "bio",
        "phone",
        "mobile",
        "tmz",
        "lang",
        "display_name",
        "reference_id",
    ];
    let changes =
        members.map(|member| ada.send(Method::PATCH, "/auth/profile", Some(json!({ member: member }))));
    for answer in futures_util::future::join_all(changes).await {
        answer.must_be(200);
    }
    let me = ada.get("/auth/me").await.must_be(200);
    for member in members {
        assert_eq!(me["user"][member], member);
    }
    platform.stop().await.unwrap();
}
