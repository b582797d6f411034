//! The contract of Flowless: programs written for it by others run unchanged. What their clients break at is asserted by name.

mod administration;
mod bridge;
mod contract;
mod logins;
mod mail;
mod profile;
mod published_client;
mod redis;
mod sessions;
mod shapes;
mod trust_tokens;
mod two_factor;

use platform::client::{Answer, PASSWORD};
use platform::{Client, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};

/// What a backend validates sessions with.
const SECRET: &str = "brs_xk2nQ7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5";

/// A program for Flowless.
#[derive(Clone)]
struct Program {
    client: Client,
    headers: Vec<(&'static str, String)>,
}

impl Program {
    fn new(platform: &Platform) -> Self {
        Self {
            client: platform.client(),
            headers: Vec::new(),
        }
    }

    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut program = self.clone();
        program.headers.push((name, value.to_owned()));
        program
    }

    fn in_session(&self, credential: &str) -> Self {
        self.with("x-session-id", credential)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.client.send(request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }
}

async fn start() -> Platform {
    let builder = Platform::builder().set(Service::Auth, "BRIDGE_SECRETS", SECRET);
    builder.start().await.unwrap()
}

/// Registers a user and returns what that answered.
async fn register(program: &Program, name: &str) -> Value {
    let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD, "name": name });
    program.post("/auth/register", body).await.must_be(200)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Every refusal: no success, and an `error` that is a text.
#[track_caller]
fn must_fail(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer}");
    assert_eq!(answer.body["success"], false, "{answer}");
    assert_eq!(answer.body["error"], error, "{answer}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{answer}"
    );
}
