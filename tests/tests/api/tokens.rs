//! What is accepted as an access token: by the gateway, and by each service itself, which trusts no network.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::client::{PASSWORD, text_of};
use platform::secrets::new_signing_key;
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::ServiceTokens;

use super::two_factor;

const BRIDGE_SECRET: &str = "brs_xk2nQ7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5";
/// A path of each service that anybody who is logged in may ask for.
const PROTECTED: [(Service, &str); 3] = [
    (Service::Auth, "/api/v1/auth/me"),
    (Service::Accounts, "/api/v1/accounts"),
    (Service::Transactions, "/api/v1/transfers"),
];

async fn assert_refused(platform: &Platform, what: &str, token: &str, code: &str) {
    for (service, path) in PROTECTED {
        for client in [platform.client(), platform.client_of(service)] {
            let answer = client.with_token(token).get(path).await;
            assert_eq!((answer.status, answer.code()), (401, code), "{what}: {answer}");
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer"),
                "{what}: {answer}"
            );
        }
    }
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// A token of our own making: the customer's real one, with changes.
struct Forgery {
    header: Header,
    claims: Value,
    key: EncodingKey,
}

impl Forgery {
    fn of(platform: &Platform, customer: &Customer) -> Self {
        let token = &customer.access_token;
        Self {
            header: jsonwebtoken::decode_header(token).unwrap(),
            claims: part(token, 1),
            key: EncodingKey::from_ed_pem(platform.server.secrets.signing_key.as_bytes()).unwrap(),
        }
    }

    fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims[name] = value;
        self
    }

    fn token(&self) -> String {
        jsonwebtoken::encode(&self.header, &self.claims, &self.key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_token_is_accepted_by_every_service_and_only_until_it_expires() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    // The control: what this file forges is accepted when nothing is changed.
    let copied = Forgery::of(&platform, &ada).token();
    for (service, path) in PROTECTED {
        for client in [platform.client(), platform.client_of(service)] {
            client.with_token(&ada.access_token).get(path).await.must_be(200);
            client.with_token(&copied).get(path).await.must_be(200);
        }
    }
    platform.clock.advance(Duration::minutes(5));
    assert_refused(&platform, "expired", &ada.access_token, "token_expired").await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_tampered_with_is_refused() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let [header, claims, signature] = ada.access_token.split('.').collect::<Vec<_>>()[..] else {
        panic!("not a JWT: {}", ada.access_token);
    };
    let with_claim = |name: &str, value: Value| {
        let mut claims = part(&ada.access_token, 1);
        claims[name] = value;
        format!(
            "{header}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(claims.to_string())
        )
    };
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let bob = platform.register("bob").await;
    for (what, token) in [
        ("another role", with_claim("roles", json!(["admin"]))),
        ("a longer life", with_claim("exp", json!(4_000_000_000_i64))),
        ("another user", with_claim("sub", json!(bob.user_id))),
        (
            "another signature",
            format!("{header}.{claims}.{flipped}{}", &signature[1..]),
        ),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        (
            "the signature of another token",
            format!(
                "{header}.{claims}.{}",
                bob.access_token.rsplit('.').next().unwrap()
            ),
        ),
        ("not a token", "hunter2".to_owned()),
        (
            "a long one",
            format!("{header}.{}.{signature}", "A".repeat(5_000)),
        ),
    ] {
        assert_refused(&platform, what, &token, "invalid_token").await;
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_key_algorithm_type_issuer_or_audience_is_refused() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let forge = || Forgery::of(&platform, &ada);
    let headed = |change: fn(&mut Header)| {
        let mut forgery = forge();
        change(&mut forgery.header);
        forgery.token()
    };
    let jwks = platform.client().get("/.well-known/jwks.json").await.must_be(200);
    let public_key = URL_SAFE_NO_PAD
        .decode(jwks["keys"][0]["x"].as_str().unwrap())
        .unwrap();

    let foreign = Forgery {
        key: EncodingKey::from_ed_pem(new_signing_key().unwrap().as_bytes()).unwrap(),
        ..forge()
    };
    let mut confused = Forgery {
        key: EncodingKey::from_secret(&public_key),
        ..forge()
    };
    confused.header.alg = Algorithm::HS256;
    let none = json!({ "alg": "none", "typ": "at+jwt", "kid": part(&ada.access_token, 0)["kid"] });
    let unsigned =
        URL_SAFE_NO_PAD.encode(none.to_string()) + "." + ada.access_token.split('.').nth(1).unwrap() + ".";
    for (what, token) in [
        ("signed by a foreign key", foreign.token()),
        ("HS256 with the public key", confused.token()),
        ("alg none", unsigned),
        ("no key id", headed(|header| header.kid = None)),
        (
            "an unknown key id",
            headed(|header| header.kid = Some("unknown".to_owned())),
        ),
        ("no type", headed(|header| header.typ = None)),
        (
            "a refresh token's type",
            headed(|header| header.typ = Some("rt+jwt".to_owned())),
        ),
        (
            "a service token's type",
            headed(|header| header.typ = Some("service+jwt".to_owned())),
        ),
        ("any JWT", headed(|header| header.typ = Some("JWT".to_owned()))),
        (
            "another issuer",
            forge().claim("iss", json!("someone-else")).token(),
        ),
        (
            "another audience",
            forge().claim("aud", json!("someone-else")).token(),
        ),
        ("no subject", forge().claim("sub", Value::Null).token()),
        (
            "a subject of another kind",
            forge()
                .claim("sub", json!("acct_01h455vb4pex5vsknk084sn02q"))
                .token(),
        ),
        ("an unknown role", forge().claim("roles", json!(["root"])).token()),
        ("no expiry", forge().claim("exp", Value::Null).token()),
    ] {
        assert_refused(&platform, what, &token, "invalid_token").await;
    }
    let expired = forge().claim("exp", json!(1_000_000_000)).token();
    assert_refused(&platform, "long expired", &expired, "token_expired").await;
    platform.stop().await.unwrap();
}

/// Everything else that somebody is given, before its use and where it has none after.
async fn other_secrets(platform: &Platform) -> (Customer, Vec<(&'static str, String)>) {
    let client = platform.client();
    two_factor::switch_module(platform, true).await;
    let ada = platform.register("ada").await;
    let email = ada.email.as_str();
    let login = json!({ "email": email, "password": PASSWORD });
    let login = client.post("/api/v1/auth/login", login).await.must_be(200);
    let backend = client.request(reqwest::Method::POST, "/auth/bridge/validate");
    let backend = backend.header("x-bridge-secret", BRIDGE_SECRET);
    let validate = json!({ "session_id": ada.session_id, "trust_token": true });
    let validated = client.send(backend.json(&validate)).await;
    let asked = json!({ "email": email });
    for path in ["email/verification", "password/reset/request", "login/links"] {
        let asked = client.post(&format!("/api/v1/auth/{path}"), asked.clone()).await;
        asked.must_be(202);
    }
    let code = client.post("/api/v1/auth/login/codes", asked).await.must_be(202);
    let mail = async |kind| platform.inbox.wait_for(email, kind, 1).await;
    let (_, recovery_codes) = two_factor::enrol(&ada, &platform.clock).await;
    let secrets = [platform.server.secrets.service_secret.clone().into()];
    let accounts = ServiceTokens::new("accounts-service", &secrets, platform.clock.clone()).unwrap();
    let secrets = vec![
        ("a refresh token", ada.refresh_token.clone()),
        ("a session", ada.session_id.clone()),
        ("a pending login", two_factor::pending(&client, email).await),
        ("a verification token", mail("email_verification").await.token()),
        ("a reset token", mail("password_reset").await.token()),
        ("a login link's token", mail("login_link").await.token()),
        ("a login code", mail("login_code").await.code()),
        ("a login code's request", text_of(&code, "request")),
        ("a recovery code", recovery_codes[0].clone()),
        ("a device's token", text_of(&login, "device_token")),
        ("a trust token", text_of(&validated.must_be(200), "trust_token")),
        ("a bridge secret", BRIDGE_SECRET.to_owned()),
        ("a service token", accounts.issue("transactions-service").unwrap()),
    ];
    (ada, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_secret_passes_as_an_access_token() {
    let builder = Platform::builder().set(Service::Auth, "BRIDGE_SECRETS", BRIDGE_SECRET);
    let platform = builder.start().await.unwrap();
    let (ada, secrets) = other_secrets(&platform).await;
    let client = platform.client();
    for (what, secret) in &secrets {
        assert!(!secret.is_empty(), "no {what}");
        assert_refused(&platform, what, secret, "invalid_token").await;
        // Nor as a session at the gateway, but for a session.
        for (_, path) in PROTECTED {
            let request = client.request(reqwest::Method::GET, path);
            let answer = client.send(request.header("x-session-id", secret)).await;
            let expected = match *what {
                "a session" => (200, ""),
                _ => (401, "invalid_session"),
            };
            assert_eq!((answer.status, answer.code()), expected, "{what}: {answer}");
        }
    }
    for scheme in ["Basic", "bearerx", "Token"] {
        for (service, path) in PROTECTED {
            for client in [platform.client(), platform.client_of(service)] {
                let request = client.request(reqwest::Method::GET, path);
                let request = request.header("authorization", format!("{scheme} {}", ada.access_token));
                client.send(request).await.must_be_problem(401, "missing_token");
            }
        }
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_routes_take_service_tokens_made_for_them_and_nothing_else() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let ledger = platform.client_of(Service::Transactions);
    let query = "/internal/ledger-accounts/query";
    let ask = async |token: &str| {
        let client = ledger.with_token(token);
        client.post(query, json!({ "account_ids": [] })).await
    };
    let issue = |caller: &'static str, callee: &'static str, secret: &str| {
        let tokens = ServiceTokens::new(caller, &[secret.into()], platform.clock.clone());
        tokens.unwrap().issue(callee).unwrap()
    };
    let secret = &platform.server.secrets.service_secret;
    let genuine = issue("accounts-service", "transactions-service", secret);
    ask(&genuine).await.must_be(200);

    let for_another = issue("accounts-service", "ml-service", secret);
    let foreign = issue("accounts-service", "transactions-service", &"x".repeat(64));
    for token in [&ada.access_token, &for_another, &foreign, "hunter2"] {
        ask(token).await.must_be_problem(401, "invalid_service_token");
    }
    let not_its_job = issue("auth-service", "transactions-service", secret);
    ask(&not_its_job).await.must_be_problem(403, "caller_not_allowed");
    platform.clock.advance(Duration::seconds(61));
    ask(&genuine).await.must_be_problem(401, "invalid_service_token");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_go_on_working_while_auth_service_is_down_and_logins_are_503() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let accounts = "/api/v1/accounts";
    ada.get(accounts).await.must_be(200);
    platform.stop_service(Service::Auth).await.unwrap();
    ada.get(accounts).await.must_be(200);
    let credentials = json!({ "email": ada.email, "password": PASSWORD });
    let login = platform.client().post("/api/v1/auth/login", credentials).await;
    login.must_be_problem(503, "service_unavailable");
    assert!(login.header("retry-after").is_some(), "{login}");
    platform.start_service(Service::Auth).await.unwrap();
    platform::client::eventually("logins work again", async || {
        let credentials = json!({ "email": ada.email, "password": PASSWORD });
        let login = platform.client().post("/api/v1/auth/login", credentials).await;
        (login.status == 200).then_some(())
    })
    .await;
    platform.stop().await.unwrap();
}
