//! A user's own sessions, listed and ended; and a known device, which has logged in by either name.

use platform::client::{Answer, PASSWORD};
use platform::{Client, Platform};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Program, must_fail, register, start, text};

async fn delete(program: &Program, path: &str) -> Answer {
    program.send(Method::DELETE, path, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_see_where_they_are_logged_in_and_end_it() {
    let platform = start().await;
    let program = Program::new(&platform);
    program.get("/health").await.must_be(200);
    let ada = register(&program, "ada").await;
    let bob = program.in_session(text(&register(&program, "bob").await["session_id"]));
    let here = program.in_session(text(&ada["session_id"]));
    let log_in = async || {
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let login = program.post("/auth/login", body).await.must_be(200);
        program.in_session(text(&login["session_id"]))
    };
    let there = [log_in().await, log_in().await, log_in().await];
    let listed = here.get("/auth/sessions").await.must_be(200);
    let sessions = listed["data"]["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 4, "{listed}");
    assert!(!listed.to_string().contains(text(&ada["session_id"])), "{listed}");
    let others: Vec<&Value> = sessions
        .iter()
        .filter(|session| session["current"] == false)
        .collect();
    assert_eq!(others.len(), 3, "{listed}");
    for member in ["id", "ip_address", "userAgent", "lastUsedAt", "expires_at"] {
        assert!(others[0][member].is_string(), "no {member} in {}", others[0]);
    }
    let newest = format!("/auth/sessions/{}", text(&others[0]["id"]));
    let unknown = "You have no session with this id, or it has ended.";
    must_fail(&delete(&bob, &newest).await, 404, unknown);
    delete(&here, &newest).await.must_be(200);
    must_fail(&delete(&here, &newest).await, 404, unknown);
    must_fail(&delete(&here, "/auth/sessions/x").await, 404, unknown);
    must_fail(&delete(&program, &newest).await, 401, "Invalid session");
    let ended = delete(&here, "/auth/sessions").await.must_be(200);
    assert_eq!(ended["revoked"], 2);
    for session in &there {
        must_fail(&session.get("/auth/me").await, 401, "Invalid session");
    }
    here.get("/auth/me").await.must_be(200);
    bob.get("/auth/me").await.must_be(200);
    platform.stop().await.unwrap();
}

fn device_of(answer: &Answer) -> String {
    let cookies = answer.headers.get_all("set-cookie").iter();
    let mut cookies = cookies.filter_map(|cookie| cookie.to_str().ok());
    let device = cookies.find(|cookie| cookie.starts_with("device_token=dev_"));
    let device = device.unwrap_or_else(|| panic!("no device token: {answer}"));
    for part in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(device.contains(part), "{device}");
    }
    device.split(';').next().unwrap().to_owned()
}

async fn log_in(program: &Program, name: Value, password: &str) -> Answer {
    let mut body = name;
    body["password"] = json!(password);
    program.post("/auth/login", body).await
}

async fn with_two_names() -> (Platform, Program) {
    let platform = start().await;
    let program = Program::new(&platform);
    let body =
        json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada", "userName": "ada.l" });
    program.post("/auth/register", body).await.must_be(200);
    (platform, program)
}

/// Whoever guesses at both names is as slow as who guesses at one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guesser_has_one_budget_for_both_names_and_the_owner_has_another() {
    let (platform, program) = with_two_names().await;
    let (by_name, by_email) = (
        || json!({ "user_name": "ada.l" }),
        || json!({ "email": "ada@example.com" }),
    );
    let device = device_of(&log_in(&program, by_name(), PASSWORD).await);
    let mut wrong = 0;
    for name in [by_name(), by_email()].iter().cycle().take(5) {
        let guess = log_in(&program, name.clone(), "guess").await;
        must_fail(&guess, 401, "Invalid credentials");
        wrong += 1;
    }
    assert_eq!(wrong, 5);
    for name in [by_name(), by_email()] {
        let right = log_in(&program, name, PASSWORD).await;
        assert_eq!(
            (right.status, right.header("retry-after")),
            (429, Some("1")),
            "{right}"
        );
    }
    // By either name, and by the API of our own, from where they have logged in before.
    let owner = program.with("cookie", &device);
    for name in [by_name(), by_email()] {
        let answer = log_in(&owner, name, PASSWORD).await;
        device_of(&answer);
        answer.must_be(200);
    }
    let client: &Client = &program.client;
    let request = client
        .request(Method::POST, "/api/v1/auth/login")
        .header("cookie", &device);
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    client.send(request.json(&body)).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_has_are_slowed_down_like_those_of_users() {
    let (platform, program) = with_two_names().await;
    let mut seen = Vec::new();
    for name in [
        json!({ "user_name": "ada.l" }),
        json!({ "user_name": "nobody" }),
        json!({ "email": "nobody@example.com" }),
    ] {
        platform.clock.advance(chrono::Duration::minutes(16));
        let mut answers = Vec::new();
        for _ in 0..9 {
            let answer = log_in(&program, name.clone(), "guess").await;
            let wait = answer.header("retry-after").map(str::to_owned);
            answers.push((
                answer.status,
                text(&answer.body["error"]).to_owned(),
                wait.clone(),
            ));
            let wait_s = wait.and_then(|wait| wait.parse().ok()).unwrap_or_default();
            platform.clock.advance(chrono::Duration::seconds(wait_s));
        }
        seen.push(answers);
    }
    assert!(seen[0].iter().any(|(status, ..)| *status == 429), "{seen:?}");
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    platform.stop().await.unwrap();
}
