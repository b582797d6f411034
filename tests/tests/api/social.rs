//! Logging in with accounts at other providers, which are played by a server that holds us to the rules: exact redirect URI,
//! secret, PKCE, codes that work once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::client::{Answer, Customer, PASSWORD, new_key, text_of};
use platform::secrets::new_signing_key;
use platform::{Client, Platform, Service};
use reqwest::{Method, Url};
use serde_json::{Value, json};

const ME: &str = "/api/v1/auth/me";
const ACCOUNTS: &str = "/api/v1/auth/social/accounts";
const CLIENT_ID: &str = "client-of-ours";
const CLIENT_SECRET: &str = "secret-of-ours";
const ISSUER: &str = "https://accounts.google.com";
const ADA: &str = "ada@example.com";

/// A user of the provider.
#[derive(Clone, Debug)]
struct Person {
    subject: &'static str,
    email: &'static str,
    email_verified: bool,
}

const PERSON: Person = Person {
    subject: "1077",
    email: ADA,
    email_verified: true,
};

/// A visit whose code has not been used.
struct Visit {
    person: Person,
    query: HashMap<String, String>,
}

#[derive(Clone)]
struct Provider {
    base_url: String,
    pem: Arc<String>,
    visits: Arc<Mutex<HashMap<String, Visit>>>,
    /// Who lent which access token, and to whom.
    lent: Arc<Mutex<HashMap<String, (Person, String)>>>,
}

type Form = web::Form<HashMap<String, String>>;

impl Provider {
    async fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = Self {
            base_url: format!("http://{}", listener.local_addr().unwrap()),
            pem: Arc::new(new_signing_key().unwrap()),
            visits: Arc::default(),
            lent: Arc::default(),
        };
        let data = web::Data::new(provider.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/.well-known/openid-configuration", web::get().to(discovery))
                .route("/jwks", web::get().to(jwks))
                .route("/token", web::post().to(token))
                .route("/login/oauth/access_token", web::post().to(token))
                .route("/user", web::get().to(github_user))
                .route("/user/emails", web::get().to(github_emails))
                .route("/applications/{client_id}/token", web::post().to(github_audience))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
        tokio::spawn(server);
        provider
    }

    /// What the person agrees to: a code for whoever sent the browser here.
    fn agree(&self, authorization_url: &str, person: &Person) -> String {
        let url = Url::parse(authorization_url).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], CLIENT_ID);
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        let code = new_key();
        let visit = Visit {
            person: person.clone(),
            query,
        };
        self.visits.lock().unwrap().insert(code.clone(), visit);
        code
    }

    fn id_token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("key-1".to_owned());
        let key = EncodingKey::from_ed_pem(self.pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }

    /// The access token that a person lends to a client.
    fn lend(&self, person: &Person, client_id: &str) -> String {
        let token = new_key();
        let lent = (person.clone(), client_id.to_owned());
        self.lent.lock().unwrap().insert(token.clone(), lent);
        token
    }

    fn person(&self, request: &HttpRequest) -> Option<Person> {
        let header = request.headers().get("authorization")?.to_str().ok()?;
        let token = header.strip_prefix("Bearer ")?;
        Some(self.lent.lock().unwrap().get(token)?.0.clone())
    }
}

fn claims(person: &Person, nonce: Option<&str>, now: i64) -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT_ID, "sub": person.subject, "iat": now, "exp": now + 600, "nonce": nonce,
        "email": person.email, "email_verified": person.email_verified, "name": "Ada Lovelace",
    })
}

async fn discovery(provider: web::Data<Provider>) -> HttpResponse {
    let base = &provider.base_url;
    HttpResponse::Ok().json(json!({
        "issuer": ISSUER, "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"), "jwks_uri": format!("{base}/jwks"),
    }))
}

async fn jwks(provider: web::Data<Provider>) -> HttpResponse {
    let key = EncodingKey::from_ed_pem(provider.pem.as_bytes()).unwrap();
    let mut key = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap();
    key.common.key_id = Some("key-1".to_owned());
    HttpResponse::Ok().json(json!({ "keys": [key] }))
}

async fn token(provider: web::Data<Provider>, form: Form) -> HttpResponse {
    let Some(visit) = provider.visits.lock().unwrap().remove(&form["code"]) else {
        return HttpResponse::BadRequest().json(json!({ "error": "invalid_grant" }));
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, form["code_verifier"].as_bytes());
    let is_right = form["grant_type"] == "authorization_code"
        && form["client_id"] == CLIENT_ID
        && form["client_secret"] == CLIENT_SECRET
        && form["redirect_uri"] == visit.query["redirect_uri"]
        && URL_SAFE_NO_PAD.encode(digest) == visit.query["code_challenge"];
    if !is_right {
        return HttpResponse::BadRequest().json(json!({ "error": "invalid_grant" }));
    }
    let now = shared::Clock::system().now().timestamp();
    let nonce = visit.query.get("nonce").map(String::as_str);
    HttpResponse::Ok().json(json!({
        "id_token": provider.id_token(&claims(&visit.person, nonce, now)),
        "access_token": provider.lend(&visit.person, CLIENT_ID),
        "token_type": "Bearer",
    }))
}

async fn github_user(provider: web::Data<Provider>, request: HttpRequest) -> HttpResponse {
    match provider.person(&request) {
        Some(person) => {
            let id: u64 = person.subject.parse().unwrap();
            HttpResponse::Ok().json(json!({ "id": id, "login": "ada", "name": null, "email": null }))
        }
        None => HttpResponse::Unauthorized().finish(),
    }
}

async fn github_emails(provider: web::Data<Provider>, request: HttpRequest) -> HttpResponse {
    match provider.person(&request) {
        Some(person) => HttpResponse::Ok().json(json!([
            { "email": "other@example.com", "primary": false, "verified": true },
            { "email": person.email, "primary": true, "verified": person.email_verified },
        ])),
        None => HttpResponse::Unauthorized().finish(),
    }
}

async fn github_audience(
    provider: web::Data<Provider>,
    body: web::Json<HashMap<String, String>>,
) -> HttpResponse {
    match provider.lent.lock().unwrap().get(&body["access_token"]) {
        Some((_, client_id)) => HttpResponse::Ok().json(json!({ "app": { "client_id": client_id } })),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn start(settings: &[(&str, &str)]) -> (Platform, Provider) {
    let provider = Provider::start().await;
    let ours = json!({
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "base_url": provider.base_url,
    });
    let social_auth = json!({ "google": ours, "github": ours, "microsoft": ours }).to_string();
    let builder = Platform::builder()
        .set(Service::Auth, "SOCIAL_AUTH", social_auth)
        .set(Service::Auth, "API_BASE_URL", "http://localhost:8080");
    let builder = settings.iter().fold(builder, |builder, (name, value)| {
        builder.set(Service::Auth, name, value)
    });
    (builder.start().await.unwrap(), provider)
}

/// A browser that has left for a provider.
struct Browser {
    client: Client,
    provider: &'static str,
    cookie: String,
    url: String,
}

impl Browser {
    async fn leave(client: &Client, provider: &'static str, what: &str) -> Self {
        let path = format!("/api/v1/auth/social/{provider}/{what}");
        let answer = client.post_empty(&path).await;
        let cookie = answer.header("set-cookie").unwrap_or_default().to_owned();
        let body = answer.must_be(200);
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
            "{cookie}"
        );
        Self {
            client: client.clone(),
            provider,
            cookie: cookie.split(';').next().unwrap().to_owned(),
            url: text_of(&body, "authorization_url"),
        }
    }

    fn state(&self) -> String {
        let url = Url::parse(&self.url).unwrap();
        let state = url.query_pairs().find(|(name, _)| name == "state");
        state.unwrap().1.into_owned()
    }

    async fn come_back(&self, code: &str) -> Answer {
        self.come_back_with(code, &self.state(), &self.cookie).await
    }

    async fn come_back_with(&self, code: &str, state: &str, cookie: &str) -> Answer {
        let path = format!(
            "/api/v1/auth/social/{}/callback?code={code}&state={state}",
            self.provider
        );
        // A browser has no access token here.
        let client = Client::new(self.client.http.clone(), self.client.base_url.clone());
        client
            .send(client.request(Method::GET, &path).header("cookie", cookie))
            .await
    }
}

async fn log_in(platform: &Platform, provider: &Provider, name: &'static str, person: &Person) -> Answer {
    let browser = Browser::leave(&platform.client(), name, "login").await;
    let code = provider.agree(&browser.url, person);
    browser.come_back(&code).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_user_comes_by_a_provider_and_is_the_same_the_next_time() {
    let (platform, provider) = start(&[("EMAIL_VERIFICATION", "required")]).await;
    let client = platform.client();
    let providers = client.get("/api/v1/auth/social/providers").await.must_be(200);
    assert_eq!(providers["providers"], json!(["google", "github", "microsoft"]));
    let first = log_in(&platform, &provider, "google", &PERSON).await.must_be(200);
    let ada = Customer::from_login(&client, ADA, &first);
    let user = ada.get(ME).await.must_be(200)["user"].clone();
    assert_eq!(
        (&user["email"], &user["name"]),
        (&json!(ADA), &json!("Ada Lovelace"))
    );

    // Known by the subject: the e-mail at the provider is another one by now.
    let moved = Person {
        email: "ada.l@example.com",
        ..PERSON
    };
    let again = log_in(&platform, &provider, "google", &moved).await.must_be(200);
    assert_eq!(again["user"], user);
    let accounts = ada.get(ACCOUNTS).await.must_be(200);
    let account = &accounts["accounts"][0];
    assert_eq!(account["provider_user_id"], "1077");
    assert_eq!(
        (&account["provider"], &account["email"]),
        (&json!("google"), &json!(ADA))
    );
    // Nobody knows a password.
    let guess = json!({ "email": ADA, "password": PASSWORD });
    let refused = client.post("/api/v1/auth/login", guess).await;
    refused.must_be_problem(401, "invalid_credentials");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_that_is_not_of_this_browsers_visit_is_refused() {
    let (platform, provider) = start(&[]).await;
    let client = platform.client();
    let (mine, theirs) = (
        Browser::leave(&client, "google", "login").await,
        Browser::leave(&client, "google", "login").await,
    );
    let failed = |answer: &Answer| drop(answer.must_be_problem(401, "social_login_failed").clone());
    let code = || provider.agree(&mine.url, &PERSON);
    // Without a cookie, with that of another browser, with the state of another, with none, at another provider.
    failed(&mine.come_back_with(&code(), &mine.state(), "").await);
    failed(&mine.come_back_with(&code(), &mine.state(), &theirs.cookie).await);
    failed(&mine.come_back_with(&code(), &theirs.state(), &mine.cookie).await);
    failed(&mine.come_back_with(&code(), "", &mine.cookie).await);
    let elsewhere = Browser {
        client: client.clone(),
        provider: "github",
        cookie: mine.cookie.clone(),
        url: mine.url.clone(),
    };
    failed(&elsewhere.come_back(&code()).await);

    // A code that was given to another browser: the verifier does not fit, so it is not injected here.
    failed(&theirs.come_back(&code()).await);
    mine.come_back(&code()).await.must_be(200);
    failed(&mine.come_back(&code()).await);

    let late = Browser::leave(&client, "google", "login").await;
    let code = provider.agree(&late.url, &PERSON);
    platform.clock.advance(Duration::minutes(10));
    failed(&late.come_back(&code).await);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_token_is_the_providers_for_us_for_this_visit_and_not_expired() {
    let (platform, provider) = start(&[]).await;
    let client = platform.client();
    let now = platform.clock.now().timestamp();
    let log_in = async |token: &str| {
        let body = json!({ "id_token": token, "nonce": "n-1" });
        client.post("/api/v1/auth/social/google/token", body).await
    };
    let good = claims(&PERSON, Some("n-1"), now);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        provider.id_token(&claims)
    };
    let forger = Provider {
        pem: Arc::new(new_signing_key().unwrap()),
        ..provider.clone()
    };
    let unsigned = {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.",
            part(json!({ "alg": "none", "kid": "key-1" })),
            part(good.clone())
        )
    };
    let symmetric = {
        // Signed with what everybody has: the public key in place of a secret.
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("key-1".to_owned());
        jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(b"key-1")).unwrap()
    };
    for (what, token) in [
        ("another issuer", with("iss", json!("https://evil.example.com"))),
        ("another audience", with("aud", json!("another-client"))),
        ("another party", with("azp", json!("another-client"))),
        ("another visit", with("nonce", json!("n-2"))),
        ("no visit", with("nonce", Value::Null)),
        ("expired", with("exp", json!(now - 61))),
        ("no subject", with("sub", json!(""))),
        ("forged", forger.id_token(&good)),
        ("unsigned", unsigned),
        ("another algorithm", symmetric),
        ("nonsense", "a.b.c".to_owned()),
    ] {
        let answer = log_in(&token).await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "social_login_failed"),
            "{what}"
        );
    }
    let answer = client.post("/api/v1/auth/social/google/token", json!({})).await;
    answer.must_be_problem(400, "invalid_body");
    let body = json!({ "access_token": provider.lend(&PERSON, CLIENT_ID) });
    let answer = client.post("/api/v1/auth/social/google/token", body).await;
    answer.must_be_problem(422, "id_token_required");
    log_in(&provider.id_token(&good)).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_that_was_lent_to_somebody_else_logs_nobody_in() {
    let (platform, provider) = start(&[]).await;
    let client = platform.client();
    let log_in = async |token: String| {
        let body = json!({ "access_token": token });
        client.post("/api/v1/auth/social/github/token", body).await
    };
    let theirs = provider.lend(&PERSON, "client-of-others");
    log_in(theirs).await.must_be_problem(401, "social_login_failed");
    log_in("unknown".to_owned())
        .await
        .must_be_problem(401, "social_login_failed");
    let login = log_in(provider.lend(&PERSON, CLIENT_ID)).await.must_be(200);
    assert_eq!(login["user"]["name"], "ada");
    // By a browser too, to the same user.
    let browser = Browser::leave(&client, "github", "login").await;
    let code = provider.agree(&browser.url, &PERSON);
    let again = browser.come_back(&code).await.must_be(200);
    assert_eq!(again["user"]["id"], login["user"]["id"]);
    for path in ["apple", "facebook"] {
        let disabled = client
            .post_empty(&format!("/api/v1/auth/social/{path}/login"))
            .await;
        disabled.must_be_problem(422, "provider_disabled");
    }
    let unknown = client.post_empty("/api/v1/auth/social/myspace/login").await;
    unknown.must_be_problem(404, "not_found");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_email_leads_to_an_existing_user_only_where_it_is_vouched_for() {
    let (platform, provider) = start(&[]).await;
    let client = platform.client();
    let ada = platform.register("ada").await;
    let unverified = Person {
        email_verified: false,
        ..PERSON
    };
    for name in ["google", "github"] {
        let answer = log_in(&platform, &provider, name, &unverified).await;
        answer.must_be_problem(409, "email_taken");
    }
    ada.get(ME).await.must_be(200);
    assert_eq!(ada.get(ACCOUNTS).await.must_be(200)["accounts"], json!([]));

    // The provider vouches for it, and the user had never proved it: whoever registered is shut out.
    let owner = log_in(&platform, &provider, "google", &PERSON).await.must_be(200);
    assert_eq!(owner["user"]["id"], json!(ada.user_id));
    ada.get(ME).await.must_be_problem(401, "session_revoked");
    let guess = json!({ "email": ADA, "password": PASSWORD });
    let refused = client.post("/api/v1/auth/login", guess).await;
    refused.must_be_problem(401, "invalid_credentials");
    platform.inbox.wait_for(ADA, "login_added", 1).await;

    // The user has proved it since: nothing is taken away by another provider.
    let owner = Customer::from_login(&client, ADA, &owner);
    log_in(&platform, &provider, "github", &PERSON).await.must_be(200);
    owner.get(ME).await.must_be(200);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_linked_to_one_user_and_given_up_unless_it_is_the_last_way_in() {
    let (platform, provider) = start(&[]).await;
    let client = platform.client();
    let (ada, eve) = (platform.register("ada").await, platform.register("eve").await);
    let person = Person {
        subject: "5",
        email: "someone.else@example.com",
        email_verified: true,
    };
    let browser = Browser::leave(&ada.client, "google", "link").await;
    let code = provider.agree(&browser.url, &person);
    assert_eq!(browser.come_back(&code).await.status, 204);
    let now = platform.clock.now().timestamp();
    let body = json!({ "provider": "google", "id_token": provider.id_token(&claims(&person, None, now)) });
    ada.post(ACCOUNTS, body.clone()).await.must_be(204);
    eve.post(ACCOUNTS, body)
        .await
        .must_be_problem(409, "already_linked");
    let another = Person {
        subject: "6",
        ..person.clone()
    };
    let token = provider.id_token(&claims(&another, None, now));
    let body = json!({ "provider": "google", "id_token": token });
    ada.post(ACCOUNTS, body)
        .await
        .must_be_problem(409, "already_linked");
    let login = log_in(&platform, &provider, "google", &person).await.must_be(200);
    assert_eq!(login["user"]["id"], json!(ada.user_id));

    let give_up = async |who: &Customer, name: &str| {
        let path = format!("{ACCOUNTS}/{name}");
        who.send(who.request(Method::DELETE, &path)).await
    };
    give_up(&eve, "google").await.must_be_problem(404, "not_found");
    give_up(&ada, "google").await.must_be(204);
    assert_eq!(ada.get(ACCOUNTS).await.must_be(200)["accounts"], json!([]));

    // Who has no password keeps one of two, also when both are given up at once.
    let bob = Person {
        subject: "7",
        email: "bob@example.com",
        email_verified: true,
    };
    let login = log_in(&platform, &provider, "google", &bob).await.must_be(200);
    log_in(&platform, &provider, "github", &bob).await.must_be(200);
    let bob = Customer::from_login(&client, bob.email, &login);
    let (one, other) = tokio::join!(give_up(&bob, "google"), give_up(&bob, "github"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{one} {other}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_linked_only_while_the_session_goes_on_that_began_it() {
    let (platform, provider) = start(&[]).await;
    let mallory = platform.register("mallory").await;
    let browser = Browser::leave(&mallory.client, "google", "link").await;
    mallory.post_empty("/api/v1/auth/logout").await.must_be(204);
    let code = provider.agree(&browser.url, &PERSON);
    browser
        .come_back(&code)
        .await
        .must_be_problem(401, "session_revoked");

    // A token that was stolen some time ago is not enough, though it still works.
    let ada = platform.register("ada").await;
    platform.clock.advance(Duration::minutes(11));
    let refreshed = json!({ "refresh_token": ada.refresh_token });
    let refreshed = ada.post("/api/v1/auth/refresh", refreshed).await.must_be(200);
    let ada = Customer::from_login(&platform.client(), &ada.email, &refreshed);
    ada.get(ACCOUNTS).await.must_be(200);
    ada.post_empty("/api/v1/auth/social/google/link")
        .await
        .must_be_problem(401, "insufficient_user_authentication");
    platform.stop().await.unwrap();
}

/// Row 1.7 of the contract with programs for Flowless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_for_flowless_log_in_by_a_provider() {
    let (platform, provider) = start(&[]).await;
    let client = platform.client();
    let providers = client.get("/auth/social/providers").await.must_be(200);
    let google = &providers["providers"][0];
    assert_eq!(
        google["loginUrl"],
        "http://localhost:8080/auth/social/google/login"
    );
    assert_eq!(
        google["redirect_uri"],
        "http://localhost:8080/auth/social/google/callback"
    );
    assert_eq!(providers["data"]["providers"], providers["providers"]);
    assert_eq!(providers["allProviders"].as_array().unwrap().len(), 6);

    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>| {
        let request = headers
            .iter()
            .fold(client.request(method, path), |request, (name, value)| {
                request.header(*name, *value)
            });
        client
            .send(match body {
                Some(body) => request.json(&body),
                None => request,
            })
            .await
    };
    let begin = async |path: &str, accept: &str| {
        let answer = send(Method::GET, path, &[("accept", accept)], None).await;
        let cookie = answer
            .header("set-cookie")
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let location = answer.header("location").map(str::to_owned);
        let url = location.unwrap_or_else(|| text_of(&answer.body, "url"));
        let state = Url::parse(&url).unwrap();
        let state = state
            .query_pairs()
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned();
        (answer, url, state, cookie)
    };
    let (begun, url, state, cookie) = begin("/auth/social/google/login", "application/json").await;
    assert_eq!(begun.must_be(200)["login_url"], json!(url));
    let path = format!(
        "/auth/social/google/callback?code={}&state={state}",
        provider.agree(&url, &PERSON)
    );
    let refused = send(Method::GET, &path, &[], None).await;
    assert_eq!(
        (refused.status, &refused.body["success"]),
        (401, &json!(false)),
        "{refused}"
    );
    let login = send(Method::GET, &path, &[("cookie", &cookie)], None)
        .await
        .must_be(200);
    assert_eq!(login["loginType"], "social_auth");
    assert_eq!(
        (&login["provider"], &login["data"]["success"]),
        (&json!("google"), &json!(true))
    );
    let session = text_of(&login, "session_id");

    let (begun, url, state, cookie) = begin("/auth/social/google?redirect=x", "text/html").await;
    assert_eq!(begun.status, 302);
    let path = format!(
        "/auth/social/google/callback?code={}&state={state}",
        provider.agree(&url, &PERSON)
    );
    let headers = [("cookie", cookie.as_str()), ("accept", "text/html")];
    let back = send(Method::GET, &path, &headers, None).await;
    assert_eq!(back.status, 302, "{back}");
    let page = back.header("location").unwrap();
    assert!(
        page.ends_with("/auth/login?social_login=success&provider=google"),
        "{page}"
    );
    let cookie = back.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("session_id=ses_") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    let again = send(Method::GET, &path, &headers, None).await;
    let page = again.header("location").unwrap();
    assert!(
        page.ends_with("social_login=error&provider=google&error=social_login_failed"),
        "{page}"
    );

    let now = platform.clock.now().timestamp();
    let id_token = provider.id_token(&claims(&PERSON, None, now));
    for (path, body) in [
        ("/auth/social/google/login-api", json!({ "idToken": id_token })),
        (
            "/auth/social/login",
            json!({ "provider": "google", "id_token": id_token, "access_token": null }),
        ),
        (
            "/auth/social/github/login-api",
            json!({ "access_token": provider.lend(&PERSON, CLIENT_ID) }),
        ),
    ] {
        let login = send(Method::POST, path, &[], Some(body)).await.must_be(200);
        assert_eq!(login["loginType"], "social_auth_api", "{path}");
        assert_eq!(login["data"]["user"]["email"], ADA);
    }

    let own = [("x-session-id", session.as_str())];
    let accounts = send(Method::GET, "/auth/social/accounts", &own, None)
        .await
        .must_be(200);
    let listed = accounts["accounts"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{accounts}");
    for member in [
        "id",
        "user_id",
        "provider",
        "provider_user_id",
        "email",
        "linked_at",
        "created_at",
    ] {
        assert!(listed[0][member].is_string(), "{member} of {accounts}");
    }
    let unlink = "/auth/social/unlink/github";
    send(Method::DELETE, unlink, &own, None).await.must_be(200);
    let last = send(Method::DELETE, "/auth/social/accounts/google", &own, None).await;
    assert_eq!((last.status, last.code()), (409, "LAST_LOGIN_METHOD"), "{last}");
    let body =
        json!({ "provider": "github", "access_token": provider.lend(&PERSON, CLIENT_ID), "id_token": null });
    send(Method::POST, "/auth/social/link", &own, Some(body))
        .await
        .must_be(200);
    send(Method::DELETE, "/auth/social/accounts/google", &own, None)
        .await
        .must_be(200);
    platform.stop().await.unwrap();
}
