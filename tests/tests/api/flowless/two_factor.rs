//! Second factors in the words of Flowless.

use chrono::Duration;
use platform::Platform;
use platform::client::{PASSWORD, text_of};
use reqwest::Method;
use serde_json::json;

use super::Program;
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
