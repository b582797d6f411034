//! What the gateway itself promises: what is reachable, how often, and in what form.

use platform::client::{PASSWORD, new_key, transfer_body};
use platform::{Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::ServiceTokens;
use shared::field_key::{Column, FieldKeys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends exactly this request target, which an HTTP client would tidy up, and returns the status and the whole answer.
async fn send_target(platform: &Platform, method: &str, target: &str, token: &str) -> (u16, String) {
    let address = platform.url(Service::Gateway).replace("http://", "");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    );
    send_raw(platform, &request).await
}

async fn send_raw(platform: &Platform, request: &str) -> (u16, String) {
    let address = platform.url(Service::Gateway).replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refusal may close the connection before everything was read, which is as good as an end.
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_routes_cannot_be_reached_however_the_path_is_written() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let secrets = [platform.server.secrets.service_secret.clone().into()];
    let tokens = ServiceTokens::new("accounts-service", &secrets, platform.clock.clone()).unwrap();
    let service_token = tokens.issue("transactions-service").unwrap();
    for target in [
        "/internal/scores",
        "/internal/ledger-accounts/query",
        "/internal",
        "//internal/scores",
        "/./internal/scores",
        "/api/v1/transfers/../../../internal/ledger-accounts/query",
        "/api/v1/transfers/../../internal/ledger-accounts/query",
        "/api/v1/transfers/%2e%2e/%2e%2e/%2e%2e/internal/ledger-accounts/query",
        "/api/v1/transfers/..%2f..%2f..%2finternal%2fledger-accounts%2fquery",
        "/api/v1/transfers/%252e%252e/%252e%252e/internal/ledger-accounts/query",
        "/api/v1/transfers/..;/..;/..;/internal/ledger-accounts/query",
        "/api/v1/transfers\\..\\..\\..\\internal\\ledger-accounts\\query",
        "/api/v1/transfers//../../../internal/ledger-accounts/query",
        "/api/v1/accounts/../../../internal/scores",
        "/%69nternal/ledger-accounts/query",
        "http://localhost/internal/ledger-accounts/query",
        "/api/v1/internal/ledger-accounts/query",
        "/api/v1/../../internal/ledger-accounts/query",
    ] {
        for token in [&service_token, &ada.access_token] {
            for method in ["GET", "POST", "PUT"] {
                let (status, answer) = send_target(&platform, method, target, token).await;
                assert!(
                    [400, 404].contains(&status) && !answer.contains("service_token"),
                    "{method} {target}: {answer}"
                );
            }
        }
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_in_the_table_is_reachable() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    for path in [
        "/nothing",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/accounts",
        "/api/v1/scores",
        "/api/v1/accountsx",
        "/.env",
        "/console",
    ] {
        ada.get(path).await.must_be_problem(404, "not_found");
        platform
            .client()
            .get(path)
            .await
            .must_be_problem(404, "not_found");
    }
    let wrong_method = ada.send(ada.request(Method::DELETE, "/api/v1/transfers")).await;
    wrong_method.must_be_problem(405, "method_not_allowed");
    assert_eq!(wrong_method.header("allow"), Some("GET, POST"));
    for path in ["/livez", "/readyz", "/metrics"] {
        platform.client().get(path).await.must_be(200);
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_two_readers_could_read_differently_is_refused() {
    let platform = Platform::start().await;
    let host = platform.url(Service::Gateway).replace("http://", "");
    let smuggled = "GET /api/v1/accounts HTTP/1.1\r\nhost: x\r\n\r\n";
    for (what, request) in [
        (
            "length and chunks",
            format!(
                "POST /api/v1/auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-length: 4\r\n\
                 transfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST /api/v1/auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\ncontent-length: 45\r\n\
                 connection: close\r\n\r\n{smuggled}"
            ),
        ),
        (
            "two hosts",
            format!(
                "GET /api/v1/accounts HTTP/1.1\r\nhost: {host}\r\nhost: other\r\nconnection: close\r\n\r\n"
            ),
        ),
        (
            "no host",
            "GET /api/v1/accounts HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        (
            "a space in a header's name",
            format!(
                "GET /api/v1/accounts HTTP/1.1\r\nhost: {host}\r\ncontent-length : 5\r\nconnection: close\r\n\r\nhello"
            ),
        ),
    ] {
        let (status, answer) = send_raw(&platform, &request).await;
        assert_eq!(status, 400, "{what}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{what} is answered twice: {answer}"
        );
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_say_where_it_comes_from_or_who_it_is() {
    let platform = Platform::start().await;
    platform.register("ada").await;
    let client = platform.client();
    let login = json!({ "email": "ada@example.com", "password": PASSWORD });
    let mut request = client.request(Method::POST, "/api/v1/auth/login").json(&login);
    for name in ["x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip"] {
        request = request.header(name, "203.0.113.66");
    }
    client.send(request).await.must_be(200);
    let secrets = &platform.server.secrets;
    let keys = FieldKeys::parse(&secrets.field_keys, &secrets.blind_index_keys).unwrap();
    let sessions = platform.sql().await;
    let rows = sessions.query("SELECT id, ip_encrypted FROM auth.sessions", &[]);
    for row in rows.await.unwrap() {
        let (id, ip): (uuid::Uuid, Vec<u8>) = (row.get(0), row.get(1));
        let ip = keys.decrypt(Column("auth.sessions.ip"), id, &ip.try_into().unwrap());
        assert_eq!(ip.unwrap(), "127.0.0.1");
    }
    let mut claims = client.request(Method::GET, "/api/v1/auth/me");
    for name in [
        "x-user-id",
        "x-principal",
        "x-flowlet-user",
        "x-internal-caller",
        "x-roles",
    ] {
        claims = claims.header(name, "usr_01h455vb4pex5vsknk084sn02q");
    }
    client.send(claims).await.must_be_problem(401, "missing_token");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_an_id_and_the_headers_that_keep_browsers_safe() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    for path in [
        "/api/v1/auth/me",
        "/api/v1/accounts",
        "/nothing",
        "/openapi.json",
        "/docs/",
    ] {
        let answer = ada.get(path).await;
        for name in ["x-request-id", "content-security-policy", "referrer-policy"] {
            assert!(
                answer.header(name).is_some(),
                "{name} of {path}: {:?}",
                answer.headers
            );
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("server").is_none(), "{path}");
    }
    let own_id = ada
        .request(Method::GET, "/nothing")
        .header("x-request-id", "my-request.1");
    let answer = ada.send(own_id).await;
    assert_eq!(
        answer.must_be_problem(404, "not_found")["request_id"],
        "my-request.1"
    );
    let forged = ada
        .request(Method::GET, "/nothing")
        .header("x-request-id", "a b\"c");
    let answer = ada.send(forged).await;
    let id = answer.must_be_problem(404, "not_found")["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(id.starts_with("req_"), "{id}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_asks_too_often_is_told_to_wait() {
    let platform = Platform::builder()
        .set(Service::Gateway, "ADDRESS_LIMIT_PER_MINUTE", 10)
        .start()
        .await
        .unwrap();
    let client = platform.client();
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(client.get("/.well-known/jwks.json").await);
    }
    assert_eq!(answers[0].status, 200, "{}", answers[0]);
    assert_eq!(
        answers[0].header("ratelimit-policy"),
        Some("\"address\";q=10;w=60")
    );
    assert!(
        answers[0]
            .header("ratelimit")
            .unwrap()
            .starts_with("\"address\";r=9;"),
        "{:?}",
        answers[0].headers
    );
    let last = answers.last().unwrap();
    last.must_be_problem(429, "rate_limited");
    let wait: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(
        last.header("ratelimit").unwrap().starts_with("\"address\";r=0;"),
        "{:?}",
        last.headers
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_asks_too_often_does_not_slow_others_down() {
    let platform = Platform::builder()
        .set(Service::Gateway, "USER_LIMIT_PER_MINUTE", 8)
        .start()
        .await
        .unwrap();
    let (ada, bob) = (platform.register("ada").await, platform.register("bob").await);
    let elsewhere = ada.log_in_again().await;
    for _ in 0..4 {
        ada.get("/api/v1/auth/me").await.must_be(200);
        elsewhere.get("/api/v1/auth/me").await.must_be(200);
    }
    for session in [&ada, &elsewhere] {
        let refused = session.get("/api/v1/auth/me").await;
        refused.must_be_problem(429, "rate_limited");
        assert!(
            refused.header("ratelimit").unwrap().contains("\"user\";r=0;"),
            "{:?}",
            refused.headers
        );
    }
    bob.get("/api/v1/auth/me").await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_at_credentials_have_a_limit_of_their_own() {
    let platform = Platform::builder()
        .set(Service::Gateway, "LOGIN_LIMIT_PER_MINUTE", 5)
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let login = json!({ "email": format!("user{number}@example.com"), "password": "guess" });
        statuses.push(platform.client().post("/api/v1/auth/login", login).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    ada.get("/api/v1/auth/me").await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_down_is_a_503_that_says_what_became_of_the_money() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    platform.stop_service(Service::Transactions).await.unwrap();
    let transfer = transfer_body(
        "acct_01h455vb4pex5vsknk084sn02q",
        "acct_01h455vb4pex5vsknk084sn02r",
        100,
        "USD",
    );
    // Often enough that the circuit opens, which must not change the answer.
    for _ in 0..12 {
        let answer = ada
            .post_with_key("/api/v1/transfers", &new_key(), transfer.clone())
            .await;
        let problem = answer.must_be_problem(503, "service_unavailable");
        assert_eq!(problem["outcome"], "none", "{answer}");
        assert!(answer.header("retry-after").is_some(), "{answer}");
        let list = ada.get("/api/v1/transfers").await;
        assert_eq!(
            list.must_be_problem(503, "service_unavailable").get("outcome"),
            None
        );
    }
    ada.get("/api/v1/auth/me").await.must_be(200);
    platform.start_service(Service::Transactions).await.unwrap();
    platform::client::eventually("transfers are reachable again", async || {
        (ada.get("/api/v1/transfers").await.status == 200).then_some(())
    })
    .await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_refused_whether_or_not_its_length_is_told() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let large = json!({ "description": "x".repeat(70_000) });
    let answer = ada
        .post_with_key("/api/v1/transfers", &new_key(), large.clone())
        .await;
    answer.must_be_problem(413, "body_too_large");
    let pieces = futures_util::stream::iter([large.to_string()].map(Ok::<_, std::io::Error>));
    let request = ada
        .request(Method::POST, "/api/v1/transfers")
        .header("content-type", "application/json")
        .header("idempotency-key", new_key())
        .body(reqwest::Body::wrap_stream(pieces));
    ada.send(request).await.must_be_problem(413, "body_too_large");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_apps_of_the_configured_origins_may_call() {
    let origin = "https://app.example.com";
    let platform = Platform::builder()
        .set(Service::Gateway, "CORS_ORIGINS", origin)
        .start()
        .await
        .unwrap();
    let client = platform.client();
    let preflight = |origin: &str| {
        client
            .request(Method::OPTIONS, "/api/v1/transfers")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,idempotency-key")
    };
    let allowed = client.send(preflight(origin)).await;
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some(origin),
        "{:?}",
        allowed.headers
    );
    assert!(
        allowed
            .header("access-control-allow-methods")
            .unwrap()
            .contains("POST")
    );
    assert!(allowed.header("access-control-allow-credentials").is_none());
    let refused = client.send(preflight("https://evil.example.com")).await;
    assert!(
        refused.header("access-control-allow-origin").is_none(),
        "{:?}",
        refused.headers
    );
    let get = client
        .request(Method::GET, "/api/v1/accounts")
        .header("origin", origin);
    let answer = client.send(get).await;
    answer.must_be_problem(401, "missing_token");
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_is_complete_and_needs_no_network() {
    let platform = Platform::start().await;
    let client = platform.client();
    let document = client.get("/openapi.json").await.must_be(200);
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        document["openapi"]
    );
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    for path in [
        "/api/v1/auth/login",
        "/api/v1/accounts",
        "/api/v1/transfers",
        "/api/v1/payments/deposits",
    ] {
        assert!(
            paths.iter().any(|known| *known == path),
            "{path} is not in {paths:?}"
        );
    }
    assert!(!paths.iter().any(|path| path.contains("internal")), "{paths:?}");
    assert_references_exist(&document, &document);

    let page = client.get("/docs/").await;
    assert_eq!(page.status, 200, "{page}");
    let mut files = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        files.extend(
            page.text
                .split(attribute)
                .skip(1)
                .filter_map(|rest| rest.split('"').next()),
        );
    }
    assert!(!files.is_empty(), "{page}");
    for file in files {
        assert!(!file.contains("//"), "{file} is fetched from elsewhere");
        let path = format!("/docs/{}", file.trim_start_matches("./"));
        let file = client.get(&path).await;
        assert_eq!(file.status, 200, "{file}");
    }
    platform.stop().await.unwrap();
}

fn assert_references_exist(value: &Value, document: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let found = document.pointer(reference.trim_start_matches('#'));
                assert!(found.is_some(), "{reference} does not exist");
            }
            members
                .values()
                .for_each(|member| assert_references_exist(member, document));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| assert_references_exist(item, document)),
        _ => {}
    }
}
