//! Second factors in the words of Flowless.

use chrono::Duration;
use platform::Platform;
use platform::client::{PASSWORD, text_of};
use reqwest::Method;
use serde_json::json;

use super::bridge::cached;
use super::{Program, SECRET, register, start, text};
use crate::two_factor::{enrol, switch_module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_waits_is_no_success_and_goes_on_under_the_same_id() {
    let platform = Platform::start().await;
    let program = Program::new(&platform);
    let system = program.get("/auth/two_factor/system").await.must_be(200);
    assert_eq!(system["global_two_factor_enabled"], false);
    switch_module(&platform, true).await;
    let system = program.get("/auth/two_factor/system").await.must_be(200);
    assert_eq!(system["global_two_factor_enabled"], true);
    let ada = platform.register("ada").await;
    let (app, _) = enrol(&ada, &platform.clock).await;

    let credentials = json!({ "email": ada.email, "password": PASSWORD });
    let waiting = program.post("/auth/login", credentials).await.must_be(200);
    assert_eq!(
        (&waiting["success"], &waiting["requires_2fa"]),
        (&json!(false), &json!(true))
    );
    assert!(waiting.get("data").is_none(), "{waiting}");
    assert_eq!(waiting["session_id"], waiting["sessionId"]);
    let methods = json!([{ "id": "totp", "method": "totp", "status": "active" }]);
    assert_eq!(waiting["available_methods"], methods);
    let credential = text_of(&waiting, "session_id");
    let waiting = program.in_session(&credential);
    for path in ["/auth/validation", "/auth/me", "/auth/session/current"] {
        let refused = waiting.get(path).await;
        assert_eq!(refused.status, 401, "{refused}");
        assert_eq!(refused.body["requires_2fa"], true, "{refused}");
        assert_eq!(refused.body["error"], "Two-factor authentication required");
    }
    let listed = waiting.get("/auth/two_factor/methods").await.must_be(200);
    assert_eq!(listed["methods"][0]["method"], "totp");

    platform.clock.advance(Duration::seconds(30));
    let verify = |code: &str| json!({ "method_id": "otp", "code": code, "action": "login" });
    let wrong = waiting.post("/auth/two_factor/verify", verify("000000")).await;
    assert_eq!(
        (wrong.status, &wrong.body["verified"]),
        (400, &json!(false)),
        "{wrong}"
    );
    let code = app.code(&platform.clock);
    let verified = waiting
        .post("/auth/two_factor/verify", verify(&code))
        .await
        .must_be(200);
    assert_eq!(
        (&verified["verified"], &verified["session_activated"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(verified["session_id"], json!(credential));
    let valid = waiting.get("/auth/validation").await.must_be(200);
    assert_eq!(valid["session"]["two_factor_verified"], 1);

    // A method is given up by a code of it.
    platform.clock.advance(Duration::seconds(30));
    let code = json!({ "verification_code": app.code(&platform.clock), "verification_method_id": "totp" });
    let removed = waiting
        .send(Method::DELETE, "/auth/two_factor/totp", Some(code))
        .await;
    removed.must_be(200);
    let credentials = json!({ "email": ada.email, "password": PASSWORD });
    let login = program.post("/auth/login", credentials).await.must_be(200);
    assert_eq!(login["success"], true);
    platform.stop().await.unwrap();
}

/// In the words of the documentation and of the client that has screens for it, which differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_is_set_up_used_and_given_up_and_everybody_sees_whether_there_is_one() {
    let platform = start().await;
    let program = Program::new(&platform);
    switch_module(&platform, true).await;
    let registered = register(&program, "ada").await;
    let credential = text(&registered["session_id"]);
    let ada = program.in_session(credential);
    let backend = program.with("x-bridge-secret", SECRET);
    let code = async |number| {
        let mail = platform.inbox.wait_for("ada@example.com", "code", number).await;
        mail.code()
    };
    // Where it is cached, too.
    let has_second_factor = async || {
        let me = ada.get("/auth/me").await.must_be(200);
        let asked = cached(&backend, credential).await;
        assert_eq!(me["user"]["two_factor"], asked["user"]["two_factor"]);
        assert_eq!(me["user"]["twoFactor"], me["user"]["two_factor"]);
        me["user"]["two_factor"].clone()
    };
    assert_eq!(has_second_factor().await, false);
    for body in [
        json!({ "identifier": "ada@example.com" }),
        json!({ "email": "ada@example.com" }),
    ] {
        platform.clock.advance(Duration::seconds(30));
        let begun = ada.post("/auth/two_factor/email/setup", body).await.must_be(200);
        for (member, value) in [
            ("method_id", json!("email")),
            ("method", json!("email")),
            ("status", json!("pending_setup")),
            ("verification_sent", json!(true)),
            ("expires_in", json!(600)),
        ] {
            assert_eq!(begun[member], value, "{member} of {begun}");
        }
    }
    assert_eq!(has_second_factor().await, false, "it does not count yet");
    let verify = async |body| ada.post("/auth/two_factor/verify", body).await;
    let set_up = json!({ "code": code(2).await, "method": "email", "action": "setup" });
    let verified = verify(set_up).await.must_be(200);
    assert_eq!(
        (&verified["verified"], &verified["user"]["two_factor"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        verified["backup_codes"].as_array().unwrap().len(),
        10,
        "{verified}"
    );
    assert_eq!(has_second_factor().await, true);
    let listed = ada.get("/auth/two_factor/methods").await.must_be(200);
    assert_eq!(listed["methods"][0]["status"], "active", "{listed}");
    let toggle = "/auth/two_factor/toggle";
    let on = ada.post(toggle, json!({ "enabled": true })).await.must_be(200);
    assert_eq!(
        (&on["two_factor"], &on["active_methods"]),
        (&json!(true), &json!(["email"]))
    );

    let start = async || {
        platform.clock.advance(Duration::seconds(30));
        let body = json!({ "method_id": "email", "action": "login" });
        ada.post("/auth/two_factor/email/start", body).await.must_be(200)
    };
    assert_eq!(start().await["expires_in"], 600);
    let proof = json!({ "code": code(3).await, "method_id": "email", "action": "login" });
    assert_eq!(verify(proof.clone()).await.must_be(200)["verified"], true);
    let used = verify(proof).await;
    assert_eq!(
        (used.status, &used.body["verified"]),
        (400, &json!(false)),
        "{used}"
    );

    start().await;
    let off = |code: &str| json!({ "two_factor_enabled": false, "verification_code": code, "verification_method_id": "email" });
    let wrong = ada.post(toggle, off("00000000")).await;
    assert_eq!(
        (wrong.status, text(&wrong.body["code"])),
        (400, "WRONG_CODE"),
        "{wrong}"
    );
    assert_eq!(has_second_factor().await, true);
    let off = ada.post(toggle, off(&code(4).await)).await.must_be(200);
    assert_eq!(
        (&off["two_factor_enabled"], &off["active_methods"]),
        (&json!(false), &json!([]))
    );
    assert_eq!(has_second_factor().await, false);
    platform.stop().await.unwrap();
}
