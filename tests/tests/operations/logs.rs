//! What the services log, down to `debug`: enough to follow a request through all of them, and nothing that is secret, about
//! a person, or an amount of money.

use std::collections::BTreeSet;
use std::path::PathBuf;

use platform::client::{Answer, eventually, new_key, text_of, transfer_body};
use platform::{Client, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};

const TRANSFERS: &str = "/api/v1/transfers";
const LOGIN: &str = "/api/v1/auth/login";
const PASSWORD: &str = "ochre-gondola-77-parsnip";
const WRONG_PASSWORD: &str = "russet-gondola-78-parsnip";
const NEW_PASSWORD: &str = "indigo-trellis-31-walrus";
const NAME: &str = "Theodora Quillfeather";
const DESCRIPTION: &str = "Rent for Quillfeather Lane";

/// Each amount is used once, in a request of its own.
const DEPOSIT: i64 = 91_827_364;
const POSTED: i64 = 618_033;
const IN_REVIEW: i64 = 31_415_926;
const REFUSED: i64 = 987_654_321;
const REFUSED_BY_POSTGRESQL: i64 = 271_828;
const AMOUNTS: [i64; 5] = [DEPOSIT, POSTED, IN_REVIEW, REFUSED, REFUSED_BY_POSTGRESQL];

/// The files that the services log into.
struct Logs(PathBuf);

impl Logs {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("flowlet-logs-{}", new_key()));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn lines_of(&self, service: Service) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.join(service.name())).unwrap();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        // The last line may be being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(parse).collect()
    }

    /// The lines of `service` whose `member` is `value`.
    fn find(&self, service: Service, member: &str, value: &str) -> Vec<Value> {
        let mut lines = self.lines_of(service);
        lines.retain(|line| line[member] == value);
        lines
    }

    fn all(&self) -> Vec<String> {
        let lines = Service::ALL
            .into_iter()
            .flat_map(|service| self.lines_of(service));
        lines.map(|line| line.to_string()).collect()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What must not be found in any log.
#[derive(Default)]
struct Private(BTreeSet<String>);

impl Private {
    fn add(&mut self, text: &str) {
        assert!(text.len() > 5, "{text:?} would be found by accident");
        self.0.insert(text.to_owned());
    }

    /// What an answer gave to its client and nobody else.
    fn add_tokens(&mut self, login: &Value) {
        let access_token = text_of(login, "access_token");
        let signature = access_token.rsplit('.').next().unwrap();
        for secret in [
            signature,
            &access_token,
            &text_of(login, "session_id"),
            &text_of(login, "refresh_token"),
            login["device_token"].as_str().unwrap_or_default(),
        ] {
            if !secret.is_empty() {
                self.add(secret);
            }
        }
    }

    fn found_in<'a>(&self, lines: &'a [String]) -> Vec<(String, &'a String)> {
        let texts = self.0.iter().flat_map(|text| {
            let found = lines.iter().filter(move |line| line.contains(text.as_str()));
            found.map(move |line| (text.clone(), line))
        });
        let amounts = AMOUNTS.into_iter().flat_map(|amount| {
            let found = lines.iter().filter(move |line| holds_number(line, amount));
            found.map(move |line| (amount.to_string(), line))
        });
        texts.chain(amounts).collect()
    }
}

/// Whether `amount` stands in `line` as a number of its own: not as a part of another or of a time.
fn holds_number(line: &str, amount: i64) -> bool {
    let digits = amount.to_string();
    line.match_indices(&digits).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + digits.len()..]);
        !before.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '.')
            && !after.starts_with(|first: char| first.is_ascii_alphanumeric())
    })
}

#[test]
fn an_amount_is_found_among_other_digits() {
    for (line, found) in [
        (r#"{"amount":618033}"#, true),
        ("(618033, USD)", true),
        (r#"{"time":"10:00:00.618033Z"}"#, false),
        ("1618033", false),
        ("req_618033", true),
        ("a618033b", false),
    ] {
        assert_eq!(holds_number(line, POSTED), found, "{line}");
    }
}

/// Somebody whose requests are written down.
struct Visitor {
    client: Client,
    answers: Vec<Answer>,
    private: Private,
}

impl Visitor {
    async fn send(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let answer = self.client.send(request).await;
        self.answers.push(answer.clone());
        answer
    }

    async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let key = format!("theodora.quillfeather-{}", new_key());
        self.private.add(&key);
        let request = self.client.request(Method::POST, path).json(body);
        self.send(request.header("idempotency-key", key)).await
    }

    async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        let answer = self
            .post(LOGIN, &json!({ "email": email, "password": password }))
            .await;
        if answer.status == 200 {
            self.private.add_tokens(&answer.body);
            self.client = self.client.with_token(&text_of(&answer.body, "access_token"));
        }
        answer
    }

    /// Registers, logs in with a wrong and the right password, uses a refresh token from two clients, and changes the password.
    async fn be_somebody(&mut self, email: &str) {
        let registration = json!({ "email": email, "password": PASSWORD, "name": NAME });
        let register = "/api/v1/auth/register";
        self.post(register, &registration).await.must_be(201);
        self.post(register, &registration).await.must_be(409);
        self.log_in(email, WRONG_PASSWORD).await.must_be(401);
        let login = self.log_in(email, PASSWORD).await.must_be(200);
        let refresh = json!({ "refresh_token": login["refresh_token"] });
        let refreshed = self.post("/api/v1/auth/refresh", &refresh).await.must_be(200);
        self.private.add_tokens(&refreshed);
        let elsewhere = self
            .client
            .request(Method::POST, "/api/v1/auth/refresh")
            .json(&refresh);
        self.send(elsewhere.header("user-agent", "somebody else's"))
            .await
            .must_be(401);
        self.log_in(email, PASSWORD).await.must_be(200);
        let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        self.post("/api/v1/auth/password/change", &change)
            .await
            .must_be(204);
    }

    async fn open_account(&mut self) -> String {
        let account = json!({ "kind": "checking", "currency": "USD", "nickname": DESCRIPTION });
        text_of(&self.post("/api/v1/accounts", &account).await.must_be(201), "id")
    }

    /// Nobody listens there.
    async fn make_webhook_endpoint(&mut self) {
        let url = "http://127.0.0.1:9/of-quillfeather?token=of-quillfeather";
        let body = json!({ "url": url });
        let made = self.post("/api/v1/webhook-endpoints", &body).await.must_be(201);
        self.private.add("of-quillfeather");
        self.private.add(made["secret"].as_str().unwrap());
    }

    async fn transfer(&mut self, from: &str, to: &str, amount: i64) -> Answer {
        let mut transfer = transfer_body(from, to, amount, "USD");
        transfer["description"] = DESCRIPTION.into();
        self.post(TRANSFERS, &transfer).await
    }

    /// Bodies, paths, tokens and methods that are refused, with something private in each.
    async fn make_mistakes(&mut self, email: &str) {
        let wrong = [
            format!(r#"{{"email":"{email}","password":"{WRONG_PASSWORD}""#),
            format!(r#"{{"email":"{email}","password":"{WRONG_PASSWORD}","{NAME}":1}}"#),
            format!(r#"{{"email":"{NAME}","password":["{WRONG_PASSWORD}"]}}"#),
        ];
        for body in wrong {
            let request = self.client.request(Method::POST, LOGIN).body(body);
            self.send(request.header("content-type", "application/json"))
                .await
                .must_be(400);
        }
        let name = NAME.replace(' ', "-");
        self.private.add(&name);
        for path in [
            format!("/{name}"),
            format!("{TRANSFERS}/{name}"),
            format!("{TRANSFERS}?after={name}"),
            format!("/api/v1/idempotency-keys/{name}"),
        ] {
            let status = self.send(self.client.request(Method::GET, &path)).await.status;
            assert!((400..500).contains(&status), "{path}: {status}");
        }
        let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0aGVvZG9yYSJ9.forged";
        self.private.add(forged);
        let request = self.client.with_token(forged).request(Method::GET, TRANSFERS);
        self.send(request).await.must_be(401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_private_is_logged_and_every_request_can_be_followed() {
    let logs = Logs::new();
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .logs_in(&logs.0)
        .start()
        .await
        .unwrap();
    let mut visitor = Visitor {
        client: platform.client(),
        answers: Vec::new(),
        private: Private::default(),
    };
    let email = "theodora.quillfeather@example.com";
    visitor.be_somebody(email).await;
    visitor.make_mistakes(email).await;
    let (from, to) = (visitor.open_account().await, visitor.open_account().await);
    visitor.make_webhook_endpoint().await;
    let deposit = json!({ "account_id": from, "amount": DEPOSIT, "currency": "USD" });
    visitor
        .post("/api/v1/payments/deposits", &deposit)
        .await
        .must_be(201);
    let in_review = visitor.transfer(&from, &to, IN_REVIEW).await.must_be(201);
    assert_eq!(in_review["status"], "in_review");
    visitor
        .transfer(&from, &to, REFUSED)
        .await
        .must_be_problem(422, "insufficient_funds");
    // So that PostgreSQL reports a whole row.
    let constraint = format!(
        "ALTER TABLE transactions.transfers ADD CHECK (amount <> {REFUSED_BY_POSTGRESQL}) NOT VALID;
         ALTER TABLE auth.users ADD CHECK (created_at < '2000-01-01') NOT VALID"
    );
    platform.sql().await.batch_execute(&constraint).await.unwrap();
    let refused = visitor.transfer(&from, &to, REFUSED_BY_POSTGRESQL).await;
    assert_eq!(refused.status, 500, "{refused}");
    let registration = json!({ "email": format!("2.{email}"), "password": PASSWORD, "name": NAME });
    let refused = visitor.post("/api/v1/auth/register", &registration).await;
    assert_eq!(refused.status, 500, "{refused}");
    let posted = visitor.transfer(&from, &to, POSTED).await;
    assert_eq!(posted.body["status"], "posted", "{posted}");

    let Visitor {
        answers, mut private, ..
    } = visitor;
    add_secrets_of(&platform, &mut private);
    for text in [
        PASSWORD,
        WRONG_PASSWORD,
        NEW_PASSWORD,
        NAME,
        "Quillfeather",
        email,
        DESCRIPTION,
    ] {
        private.add(text);
    }
    for answer in &answers {
        let line = access_line(&logs, answer).await;
        assert_eq!(line["status"], answer.status, "{line}");
        assert_eq!(line["level"], if answer.status < 500 { "INFO" } else { "WARN" });
    }
    follow(&logs, &posted).await;
    platform.stop().await.unwrap();
    let lines = logs.all();
    assert!(lines.len() > 100, "{} lines", lines.len());
    let mut control = Private::default();
    control.add(posted.header("x-request-id").unwrap());
    assert!(
        !control.found_in(&lines).is_empty(),
        "what is in the logs is not found"
    );
    let found = private.found_in(&lines);
    assert!(found.is_empty(), "{found:#?}");
}

fn add_secrets_of(platform: &Platform, private: &mut Private) {
    let secrets = &platform.server.secrets;
    private.add(&secrets.service_secret);
    private.add(&secrets.webhook_keys);
    private.add(secrets.signing_key.lines().nth(1).unwrap());
    private.add(secrets.checkpoint_signing_key.lines().nth(1).unwrap());
    for schema in Service::ALL.into_iter().filter_map(Service::schema) {
        for role in ["owner", "runtime"] {
            private.add(secrets.password(&format!("{schema}_{role}")).unwrap());
        }
    }
}

/// The gateway's one line about a request.
async fn access_line(logs: &Logs, answer: &Answer) -> Value {
    let request_id = answer.header("x-request-id").unwrap();
    let lines = eventually("the request is in the gateway's log", async || {
        let mut lines = logs.find(Service::Gateway, "request_id", request_id);
        lines.retain(|line| line["message"] == "answered");
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    let [line] = lines.as_slice() else {
        panic!("{lines:#?}")
    };
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(line["duration_s"].is_f64(), "{line}");
    assert_eq!(line["service"], "gateway", "{line}");
    for member in ["route", "method", "trace_id", "target"] {
        assert!(line[member].is_string(), "{member} of {line}");
    }
    line.clone()
}

/// A posted transfer is in the logs of all services that had to do with it, under one request id and one trace id.
async fn follow(logs: &Logs, posted: &Answer) {
    let trace_id = access_line(logs, posted).await["trace_id"].clone();
    let request_id = posted.header("x-request-id").unwrap();
    for (service, route) in [
        (Service::Gateway, TRANSFERS),
        (Service::Transactions, TRANSFERS),
        (Service::Ml, "/internal/scores"),
    ] {
        let lines = eventually("the request is in the logs", async || {
            let lines = logs.find(service, "request_id", request_id);
            lines.iter().any(|line| line["route"] == route).then_some(lines)
        })
        .await;
        assert!(
            lines.iter().all(|line| line["trace_id"] == trace_id),
            "{lines:#?}"
        );
    }
}
