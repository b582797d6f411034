//! What a test starts: stand-ins for the services, a signer of tokens, and a gateway in front of them.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway::Config;
use gateway::config::LimitsConfig;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use shared::Clock;
use shared::access_token::{AUDIENCE, ISSUER, TOKEN_TYPE};
use shared::id::{Id, SessionId, UserId};
use shared::principal::{AccessTokenClaims, Assurance, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A gateway with its services, which stop when this is dropped.
pub struct Stack {
    pub address: SocketAddr,
    pub signer: Signer,
    pub clock: Clock,
    client: reqwest::Client,
    _stop: DropGuard,
}

/// What a test wants to be different.
pub struct Settings {
    pub limits: LimitsConfig,
    pub trusted_proxies: Vec<String>,
    pub cors_origins: Vec<String>,
    pub accounts_url: Option<String>,
    pub auth_url: Option<String>,
    pub revocation_max_staleness: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = LimitsConfig {
            address_per_minute: 1000,
            user_per_minute: 1000,
            login_per_minute: 1000,
        };
        Self {
            limits,
            trusted_proxies: vec![],
            cors_origins: vec![],
            accounts_url: None,
            auth_url: None,
            revocation_max_staleness: Duration::from_secs(10),
        }
    }
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let has_auth = settings.auth_url.is_none();
        let signer = Signer::generate();
        let stop = CancellationToken::new();
        let service = start_service("service", signer.jwks(), &stop);
        let accounts = start_service("accounts", json!({}), &stop);
        let config = Config {
            auth_url: settings.auth_url.unwrap_or_else(|| service.clone()),
            accounts_url: settings.accounts_url.unwrap_or(accounts),
            transactions_url: service.clone(),
            ml_url: service,
            service_secrets: vec!["secret".into()],
            revocation_max_staleness: settings.revocation_max_staleness,
            limits: settings.limits,
            trusted_proxies: settings.trusted_proxies,
            cors_origins: settings.cors_origins,
            workers: 1,
            shutdown_delay: Duration::ZERO,
            clock: Clock::system(),
        };
        let clock = config.clock.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(gateway::run(config, listener, stop.clone()));
        let client = shared::http_client::connection_pool(Duration::from_secs(20)).unwrap();
        let stack = Self {
            address,
            signer,
            clock,
            client,
            _stop: stop.drop_guard(),
        };
        // Before it knows what was revoked, it moves no money.
        while has_auth && stack.request("GET", "/readyz").send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stack
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    /// A request with a valid token.
    pub fn authorised(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.request(method, path).bearer_auth(self.signer.token())
    }

    /// What comes back for `head`, written to the socket byte for byte, until the gateway closes.
    pub async fn raw(&self, head: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("the gateway closes")
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// The status of a request for `target`, which is sent as it is, with a valid token.
    pub async fn raw_get(&self, target: &str) -> (u16, String) {
        let token = self.signer.token();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let answer = self.raw(&head).await;
        (
            answer
                .get(9..12)
                .and_then(|status| status.parse().ok())
                .unwrap_or_default(),
            answer,
        )
    }
}

/// The problem of an answer.
pub async fn problem(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    (status, answer.json().await.unwrap())
}

/// A service that answers with what it was sent, and its keys.
fn start_service(name: &'static str, jwks: Value, stop: &CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = HttpServer::new(move || {
        let jwks = jwks.clone();
        App::new()
            .app_data(web::PayloadConfig::new(1 << 20))
            .route(
                "/.well-known/jwks.json",
                web::get().to(move || answer_keys(jwks.clone())),
            )
            .route(
                "/internal/revocations",
                web::get().to(async || HttpResponse::Ok().json(json!({ "revocations": [], "last": 0 }))),
            )
            .route("/api/v1/transfers/large", web::get().to(answer_large))
            .route("/api/v1/transfers/stream", web::get().to(answer_stream))
            .route("/api/v1/transfers/teapot", web::post().to(answer_teapot))
            .route(
                "/api/v1/transfers/nothing",
                web::delete().to(async || HttpResponse::NoContent().finish()),
            )
            .default_service(web::to(move |request, body| echo(name, request, body)))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)
    .unwrap()
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        handle.stop(false).await;
    });
    url
}

async fn answer_keys(jwks: Value) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .json(jwks)
}

async fn answer_large() -> HttpResponse {
    HttpResponse::Ok().body("x".repeat(300_000))
}

async fn answer_stream() -> HttpResponse {
    let chunks = (0..3).map(|index| Ok::<_, actix_web::Error>(Bytes::from(format!("chunk{index};"))));
    HttpResponse::Ok().streaming(futures_util::stream::iter(chunks))
}

async fn answer_teapot() -> HttpResponse {
    HttpResponse::ImATeapot()
        .insert_header(("Server", "teapot/1"))
        .insert_header(("Idempotent-Replayed", "true"))
        .append_header(("Set-Cookie", "a=1"))
        .append_header(("Set-Cookie", "b=2"))
        .body("short and stout")
}

async fn echo(name: &'static str, request: HttpRequest, body: Bytes) -> HttpResponse {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    HttpResponse::Ok().json(json!({
        "service": name,
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}

/// Signs access tokens as auth-service does.
pub struct Signer {
    key: EncodingKey,
    public_key: Vec<u8>,
}

impl Signer {
    pub fn generate() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self {
            key,
            public_key: pair.public_key().as_ref().to_vec(),
        }
    }

    pub fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(&self.public_key);
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": x }] })
    }

    /// A token of a new user, valid for five minutes.
    pub fn token(&self) -> String {
        self.sign(TOKEN_TYPE, "k1", 300)
    }

    pub fn sign(&self, kind: &str, kid: &str, lifetime_s: i64) -> String {
        let now = Clock::system().now().timestamp();
        let claims = AccessTokenClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: UserId::new(),
            sid: SessionId::new(),
            roles: vec![Role::Customer],
            jti: Id::new(),
            iat: now,
            exp: now + lifetime_s,
            amr: vec!["pwd".to_owned()],
            acr: Assurance::Aal1,
            auth_time: None,
            authorization_details: Vec::new(),
            client_id: None,
            scope: None,
            act: None,
        };
        let header = Header {
            typ: Some(kind.to_owned()),
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}
