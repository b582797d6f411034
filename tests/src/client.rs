//! Somebody who uses the platform over HTTP. A [`Client`] tells what was answered; a [`Customer`] is for tests: what a test
//! takes for granted is checked here, and a failure shows the request and the whole answer.

use std::ops::Deref;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use crate::contract::assert_promised;
use crate::secrets::random_text;

/// Long enough for any rule about passwords, and on no list of common ones.
pub const PASSWORD: &str = "violet-harbour-42-lantern";

#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    /// Where it sends requests, without a slash at its end.
    pub base_url: String,
    pub access_token: Option<String>,
}

/// What a request was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The method and path that were asked for.
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    /// Null where the answer is not JSON.
    pub body: Value,
    pub text: String,
}

impl Client {
    pub fn new(http: reqwest::Client, base_url: String) -> Self {
        Self {
            http,
            base_url,
            access_token: None,
        }
    }

    pub fn with_token(&self, access_token: &str) -> Self {
        Self {
            access_token: Some(access_token.to_owned()),
            ..self.clone()
        }
    }

    /// A request to `path` with this client's token, for whatever the functions below do not cover.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        match &self.access_token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; an error means that no answer came.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let request = request.build()?;
        let asked = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await.with_context(|| asked.clone())?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.with_context(|| asked.clone())?;
        Ok(Answer {
            request: asked,
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = self.try_send(request).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error:#}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// A POST without a body.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    /// A POST under an idempotency key.
    pub async fn post_with_key(&self, path: &str, key: &str, body: Value) -> Answer {
        let answer = self.try_post_with_key(path, key, &body).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error:#}"))
    }

    /// The same where the answer may be lost.
    pub async fn try_post_with_key(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let request = self.request(Method::POST, path).header("idempotency-key", key);
        self.try_send(request.json(body)).await
    }
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn must_be(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.body
    }

    /// The same, as an error instead of a panic.
    pub fn success(self) -> anyhow::Result<Value> {
        ensure!((200..300).contains(&self.status), "{self}");
        Ok(self.body)
    }

    /// Checks that this is a problem in the form that every error has, and returns it.
    #[track_caller]
    pub fn must_be_problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!((self.status, self.code()), (status, code), "{self}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self}"
        );
        let (method, path) = self.request.split_once(' ').unwrap_or_default();
        assert_promised(method, path, status, code);
        let expected = [
            ("type", json!(format!("urn:flowlet:problem:{code}"))),
            ("status", json!(status)),
            ("instance", json!(path)),
            ("request_id", json!(self.header("x-request-id"))),
        ];
        for (member, value) in expected {
            assert_eq!(self.body.get(member), Some(&value), "{member} of {self}");
        }
        let title = self.body.get("title").and_then(Value::as_str);
        assert!(title.is_some_and(|title| !title.is_empty()), "title of {self}");
        &self.body
    }

    /// The code of a problem; empty when it is none.
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The JSON pointers of a problem's `errors`.
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body.get("errors").and_then(Value::as_array);
        let errors = errors.into_iter().flatten();
        errors
            .filter_map(|error| error.get("pointer")?.as_str())
            .collect()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.headers.get(CONTENT_TYPE);
        write!(
            f,
            "{} answered {} {kind:?}\n{}",
            self.request, self.status, self.text
        )
    }
}

/// A text member of a JSON object; empty when it is missing.
pub fn text_of(value: &Value, member: &str) -> String {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// An idempotency key that nobody has used.
pub fn new_key() -> String {
    random_text().unwrap_or_else(|error| panic!("no random numbers: {error:#}"))
}

/// Asks until `condition` is something, for what is only eventually true.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "after 30 s still not: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A user who has registered with [`PASSWORD`] and logged in.
#[derive(Clone)]
pub struct Customer {
    pub client: Client,
    pub email: String,
    pub user_id: String,
    pub session_id: String,
    pub access_token: String,
    pub refresh_token: String,
}

impl Deref for Customer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Customer {
    pub async fn register(client: &Client, name: &str) -> Self {
        let email = format!("{name}@example.com");
        let registration = json!({ "email": email, "password": PASSWORD, "name": name });
        client
            .post("/api/v1/auth/register", registration)
            .await
            .must_be(201);
        Self::log_in(client, &email).await
    }

    pub async fn log_in(client: &Client, email: &str) -> Self {
        let credentials = json!({ "email": email, "password": PASSWORD });
        let login = client.post("/api/v1/auth/login", credentials).await.must_be(200);
        Self::from_login(client, email, &login)
    }

    /// A customer with what a login or a refresh answered.
    pub fn from_login(client: &Client, email: &str, login: &Value) -> Self {
        let access_token = text_of(login, "access_token");
        Self {
            client: client.with_token(&access_token),
            email: email.to_owned(),
            user_id: login
                .get("user")
                .map(|user| text_of(user, "id"))
                .unwrap_or_default(),
            session_id: text_of(login, "session_id"),
            access_token,
            refresh_token: text_of(login, "refresh_token"),
        }
    }

    /// The same user in a new session.
    pub async fn log_in_again(&self) -> Self {
        Self::log_in(&self.client, &self.email).await
    }

    /// Opens a checking account and returns its id.
    pub async fn open_account(&self, currency: &str) -> String {
        let account = json!({ "kind": "checking", "currency": currency });
        let opened = self.post_with_key("/api/v1/accounts", &new_key(), account).await;
        text_of(&opened.must_be(201), "id")
    }

    /// Opens a checking account with money in it and returns its id.
    pub async fn open_funded_account(&self, amount: i64, currency: &str) -> String {
        let account = self.open_account(currency).await;
        self.deposit(&account, amount, currency).await.must_be(201);
        account
    }

    pub async fn deposit(&self, account_id: &str, amount: i64, currency: &str) -> Answer {
        let deposit = json!({ "account_id": account_id, "amount": amount, "currency": currency });
        self.post_with_key("/api/v1/payments/deposits", &new_key(), deposit)
            .await
    }

    pub async fn withdraw(&self, account_id: &str, amount: i64, currency: &str) -> Answer {
        let withdrawal = json!({ "account_id": account_id, "amount": amount, "currency": currency });
        self.post_with_key("/api/v1/payments/withdrawals", &new_key(), withdrawal)
            .await
    }

    pub async fn transfer(&self, from: &str, to: &str, amount: i64, currency: &str) -> Answer {
        let transfer = transfer_body(from, to, amount, currency);
        self.post_with_key("/api/v1/transfers", &new_key(), transfer)
            .await
    }

    pub async fn place_hold(&self, from: &str, to: &str, amount: i64, currency: &str) -> Answer {
        let hold =
            json!({ "account_id": from, "credit_account_id": to, "amount": amount, "currency": currency });
        self.post_with_key("/api/v1/holds", &new_key(), hold).await
    }

    /// The posted, held and available balance of an account.
    pub async fn balance(&self, account_id: &str) -> (i64, i64, i64) {
        let account = self
            .get(&format!("/api/v1/accounts/{account_id}"))
            .await
            .must_be(200);
        let part = |name: &str| {
            let value = account
                .get("balance")
                .and_then(|balance| balance.get(name)?.as_i64());
            value.unwrap_or_else(|| panic!("no balance.{name} in {account}"))
        };
        (part("posted"), part("held"), part("available"))
    }
}

/// The body of `POST /api/v1/transfers`.
pub fn transfer_body(from: &str, to: &str, amount: i64, currency: &str) -> Value {
    json!({ "debit_account_id": from, "credit_account_id": to, "amount": amount, "currency": currency })
}
