//! Secrets are replaced by the steps of `infrastructure/secrets.md` while two replicas of each service are used, and no request
//! fails that a client would not repeat. A control replaces a key without the steps, and the customers notice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::client::{Answer, PASSWORD, eventually, text_of};
use platform::platform::Replica;
use platform::secrets::new_signing_key;
use platform::traffic::Traffic;
use platform::{Client, Platform, Service};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use shared::{Clock, Role, ServiceTokens};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use super::installation::{Installation, PROGRAM};

const REPLICAS: usize = 2;
const KEYS_NOT_ASKED_AGAIN_FOR: Duration = Duration::from_secs(6);
/// Each is answered by another service.
const PROTECTED: [&str; 3] = ["/api/v1/auth/me", "/api/v1/accounts", "/api/v1/transfers"];

async fn two_of_each(installation: &Installation) -> Platform {
    let mut builder = installation.platform().replicas(REPLICAS);
    for service in Service::ALL {
        // Longer than the balancer takes to notice.
        builder = builder.set(service, "SHUTDOWN_DELAY_S", 1);
    }
    builder.start().await.unwrap()
}

fn replicas_of(service: Service) -> impl Iterator<Item = Replica> {
    (0..REPLICAS).map(move |number| Replica { service, number })
}

/// A rolling restart: of each service one replica after the other.
async fn restart(platform: &Platform, services: &[Service]) {
    for number in 0..REPLICAS {
        let restarted = services.iter().map(|service| {
            let replica = Replica {
                service: *service,
                number,
            };
            restart_replica(platform, replica)
        });
        join_all(restarted).await;
    }
}

async fn restart_replica(platform: &Platform, replica: Replica) {
    platform.stop_service(replica).await.unwrap();
    platform.start_service(replica).await.unwrap();
}

/// Customers who log in again and again and use each new access token at once, at every service.
struct Newcomers {
    people: Arc<People>,
    tasks: JoinSet<()>,
}

struct People {
    client: Client,
    email: String,
    rounds: AtomicUsize,
    failed: Mutex<Vec<String>>,
    stop: CancellationToken,
}

impl Newcomers {
    async fn start(platform: &Platform, name: &str) -> Self {
        let people = Arc::new(People {
            client: platform.client(),
            email: platform.register(name).await.email,
            rounds: AtomicUsize::new(0),
            failed: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            tasks.spawn(Arc::clone(&people).come());
        }
        Self { people, tasks }
    }

    /// Waits until everybody has logged in again.
    async fn everybody_again(&self) {
        let goal = self.people.rounds.load(Ordering::Relaxed) + 2 * self.tasks.len();
        eventually("newcomers log in", async || {
            (self.people.rounds.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    async fn finish(&mut self) -> Vec<String> {
        self.people.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.people.failed.lock().unwrap())
    }
}

impl People {
    async fn come(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            if let Some(login) = self.ask(|| self.log_in(&self.client)).await {
                let client = self.client.with_token(&text_of(&login.body, "access_token"));
                for path in PROTECTED {
                    self.ask(|| client.request(Method::GET, path)).await;
                }
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log_in(&self, client: &Client) -> RequestBuilder {
        let credentials = json!({ "email": self.email, "password": PASSWORD });
        let request = client.request(Method::POST, "/api/v1/auth/login");
        request.json(&credentials)
    }

    /// Sends a request, and once more when it got no answer or a 502 or 503.
    async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Option<Answer> {
        let mut answer = self.client.try_send(request()).await;
        if answer
            .as_ref()
            .map_or(true, |answer| matches!(answer.status, 502 | 503))
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
            answer = self.client.try_send(request()).await;
        }
        match answer {
            Ok(answer) if answer.status == 200 => Some(answer),
            Ok(answer) => self.note(answer.to_string()),
            Err(error) => self.note(format!("{error:#}")),
        }
    }

    fn note(&self, failure: String) -> Option<Answer> {
        self.failed.lock().unwrap().push(failure);
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_secret_is_replaced_under_load_and_no_request_fails() {
    let installation = Installation::new().await;
    let platform = two_of_each(&installation).await;
    let mut newcomers = Newcomers::start(&platform, "newcomer").await;
    let traffic = Traffic::start(&platform).await;
    traffic.wait_for(10).await;

    replace_the_service_secret(&installation, &platform, &traffic).await;
    replace_the_database_passwords(&installation, &platform, &traffic).await;
    replace_the_field_keys(&installation, &platform, &traffic).await;
    replace_the_checkpoint_key(&installation, &platform, &traffic).await;
    replace_the_webhook_keys(&installation, &platform, &traffic).await;
    for step in ["publish", "retire"] {
        installation.rotate("origin-keys", step).unwrap();
        restart(&platform, &[Service::Ml]).await;
    }
    traffic.wait_for(10).await;
    replace_the_signing_key(&installation, &platform, &newcomers).await;
    println!("{}", traffic.finish(&platform).await);
    retire_the_signing_key(&installation, &platform, &newcomers).await;
    let failed = newcomers.finish().await;
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    replace_a_leaked_signing_key(&installation, &platform, &newcomers).await;
    platform.stop().await.unwrap();
}

async fn replace_the_service_secret(installation: &Installation, platform: &Platform, traffic: &Traffic) {
    let old = installation.secret("service-calls", "SERVICE_SECRETS");
    for step in ["publish", "sign", "retire"] {
        installation.rotate("service-secrets", step).unwrap();
        restart(platform, &Service::ALL).await;
        traffic.wait_for(10).await;
    }
    let new = installation.secret("service-calls", "SERVICE_SECRETS");
    for (secret, status) in [(old, 401), (new, 200)] {
        let tokens = ServiceTokens::new("accounts-service", &[secret.into()], Clock::system()).unwrap();
        let ledger = platform.client_of(Service::Transactions);
        let ledger = ledger.with_token(&tokens.issue("transactions-service").unwrap());
        let query = "/internal/ledger-accounts/query";
        ledger
            .post(query, json!({ "account_ids": [] }))
            .await
            .must_be(status);
    }
}

async fn replace_the_database_passwords(installation: &Installation, platform: &Platform, traffic: &Traffic) {
    let services: Vec<Service> = Installation::services_with_a_database().collect();
    let runtime_url = |service: Service| installation.secret(service.name(), "DATABASE_URL");
    let owner_url = |service: Service| {
        let secret = format!("{}-migration", service.name());
        installation.secret(&secret, "MIGRATION_DATABASE_URL")
    };
    // Twice, because the first login is the role that has the grants, and the next ones are its members.
    for _ in 0..2 {
        let old: Vec<String> = services
            .iter()
            .flat_map(|it| [runtime_url(*it), owner_url(*it)])
            .collect();
        for service in &services {
            installation.rotate("database-login", service.name()).unwrap();
            installation.rotate("migration-password", service.name()).unwrap();
            installation.run("provision", *service).unwrap();
            let too_early = installation.run("retire-logins", *service).unwrap_err();
            assert!(too_early.contains("still connected"), "{too_early}");
        }
        restart(platform, &services).await;
        traffic.wait_for(10).await;
        for service in &services {
            installation.run("retire-logins", *service).unwrap();
            installation.run("migrate", *service).unwrap();
            for url in [runtime_url(*service), owner_url(*service)] {
                tokio_postgres::connect(&url, NoTls).await.map(drop).unwrap();
            }
        }
        for url in old {
            assert!(tokio_postgres::connect(&url, NoTls).await.is_err());
        }
    }
}

/// What becomes of the values themselves is in `field_encryption`.
async fn replace_the_field_keys(installation: &Installation, platform: &Platform, traffic: &Traffic) {
    installation.rotate("field-keys", "publish").unwrap();
    restart(platform, &[Service::Auth]).await;
    installation.run("rotate-field-keys", Service::Auth).unwrap();
    installation.rotate("field-keys", "retire").unwrap();
    restart(platform, &[Service::Auth]).await;
    traffic.wait_for(10).await;
}

/// What the old key signed is verified with what is published then, as what the new one signs.
async fn replace_the_checkpoint_key(installation: &Installation, platform: &Platform, traffic: &Traffic) {
    let auditor = platform
        .register_with_role("checkpoint-auditor", Role::Compliance)
        .await;
    let latest = async || {
        let latest = auditor
            .get("/api/v1/ledger/checkpoints/latest")
            .await
            .must_be(200);
        (latest["number"].as_i64().unwrap(), text_of(&latest, "note"))
    };
    let (number, old) = latest().await;
    installation.rotate("checkpoint-key", "replace").unwrap();
    restart(platform, &[Service::Transactions]).await;
    traffic.wait_for(10).await;
    let new = eventually("the new key has signed", async || {
        let (after, note) = latest().await;
        (after > number + 1).then_some(note)
    })
    .await;
    let published = auditor.get("/api/v1/ledger/keys").await.text;
    let keys = flowlet_verify::Keys::from_json(&published).unwrap();
    for note in [&old, &new] {
        flowlet_verify::note::open(note, &keys).unwrap();
    }
    assert_eq!(published.matches("key_id").count(), 2, "{published}");
}

/// A secret that was encrypted under the first key signs after that key is gone.
async fn replace_the_webhook_keys(installation: &Installation, platform: &Platform, traffic: &Traffic) {
    let owner = platform.register("webhook-owner").await;
    let endpoint = json!({ "url": "http://127.0.0.1:9/" });
    let made = owner
        .post("/api/v1/webhook-endpoints", endpoint)
        .await
        .must_be(201);
    let path = format!("/api/v1/webhook-endpoints/{}", text_of(&made, "id"));
    for step in ["publish", "sign", "retire"] {
        installation.rotate("webhook-keys", step).unwrap();
        restart(platform, &[Service::Transactions]).await;
        traffic.wait_for(10).await;
        if step == "sign" {
            let query = "SELECT FROM transactions.webhook_endpoints WHERE get_byte(secret, 2) <> 2";
            let sql = platform.sql().await;
            eventually("the secret is encrypted anew", async || {
                sql.query(query, &[]).await.unwrap().is_empty().then_some(())
            })
            .await;
        }
    }
    let owner = owner.log_in_again().await;
    owner.post_empty(&format!("{path}/test")).await.must_be(202);
    // Nobody listens there, but it got as far as a signed request.
    eventually("a delivery was tried", async || {
        let log = owner.get(&format!("{path}/deliveries")).await.must_be(200);
        (log["data"][0]["attempts"][0]["error"] == "no connection").then_some(())
    })
    .await;
}

async fn replace_the_signing_key(installation: &Installation, platform: &Platform, newcomers: &Newcomers) {
    let old = signer_of_a_login(platform, newcomers).await;
    assert_eq!(published_keys(platform).await, [old.as_str()]);
    for step in ["publish", "sign"] {
        installation.rotate("signing-key", step).unwrap();
        for replica in replicas_of(Service::Auth) {
            restart_replica(platform, replica).await;
            assert_eq!(refused_logins(platform, newcomers).await, 0, "{step}, {replica}");
        }
        newcomers.everybody_again().await;
        assert_eq!(published_keys(platform).await.len(), 2, "{step}");
        // For so long nobody asks again who has asked just before the last replica published the new key.
        tokio::time::sleep(KEYS_NOT_ASKED_AGAIN_FOR).await;
    }
    assert_ne!(signer_of_a_login(platform, newcomers).await, old);
}

/// Nobody has a token of the old key any more: newcomers have new ones, and the others have left.
async fn retire_the_signing_key(installation: &Installation, platform: &Platform, newcomers: &Newcomers) {
    newcomers.everybody_again().await;
    installation.rotate("signing-key", "retire").unwrap();
    restart(platform, &Service::ALL).await;
    newcomers.everybody_again().await;
    let signer = signer_of_a_login(platform, newcomers).await;
    assert_eq!(published_keys(platform).await, [signer]);
}

/// A key that leaked goes at once. This is the control too: while the replicas do not agree about the key, logins are good for
/// nothing.
async fn replace_a_leaked_signing_key(
    installation: &Installation,
    platform: &Platform,
    newcomers: &Newcomers,
) {
    let before = platform.register("before").await;
    installation.rotate("signing-key", "replace").unwrap();
    restart_replica(platform, Service::Auth.into()).await;
    eventually("somebody's login is good for nothing", async || {
        (refused_logins(platform, newcomers).await > 0).then_some(())
    })
    .await;

    restart(platform, &Service::ALL).await;
    before
        .get("/api/v1/auth/me")
        .await
        .must_be_problem(401, "invalid_token");
    before
        .log_in_again()
        .await
        .get("/api/v1/auth/me")
        .await
        .must_be(200);
}

/// Logs in at each replica of auth-service, and counts the access tokens that the others do not accept.
async fn refused_logins(platform: &Platform, newcomers: &Newcomers) -> usize {
    let mut refused = 0;
    for replica in replicas_of(Service::Auth) {
        let replica = Client::new(platform.http.clone(), platform.url_of(replica));
        let login = newcomers.people.log_in(&replica);
        let token = text_of(&replica.send(login).await.must_be(200), "access_token");
        for path in PROTECTED {
            let answer = platform.client().with_token(&token).get(path).await;
            refused += usize::from(answer.status == 401);
        }
    }
    refused
}

async fn published_keys(platform: &Platform) -> Vec<String> {
    let set = platform.client().get("/.well-known/jwks.json").await.must_be(200);
    let keys = set["keys"].as_array().unwrap();
    keys.iter().map(|key| text_of(key, "kid")).collect()
}

async fn signer_of_a_login(platform: &Platform, newcomers: &Newcomers) -> String {
    let client = platform.client();
    let login = client.send(newcomers.people.log_in(&client)).await.must_be(200);
    let header = jsonwebtoken::decode_header(text_of(&login, "access_token")).unwrap();
    header.kid.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_keys_are_asked_for_at_most_once_in_a_while() {
    let platform = Platform::builder().processes(PROGRAM).start().await.unwrap();
    let ada = platform.register("ada").await;
    ada.get("/api/v1/accounts").await.must_be(200);
    let before = fetches(&platform).await;
    let key = EncodingKey::from_ed_pem(new_signing_key().unwrap().as_bytes()).unwrap();
    let mut asked = JoinSet::new();
    for number in 0..50 {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(format!("made-up-{number}"));
        let token = jsonwebtoken::encode(&header, &json!({}), &key).unwrap();
        let stranger = platform.client().with_token(&token);
        asked.spawn(async move { stranger.get("/api/v1/accounts").await });
    }
    for answer in asked.join_all().await {
        answer.must_be_problem(401, "invalid_token");
    }
    let fetched = fetches(&platform).await - before;
    assert!(fetched <= 2, "{fetched} times");
    ada.get("/api/v1/accounts").await.must_be(200);
    platform.stop().await.unwrap();
}

/// How often the gateway has fetched the keys.
async fn fetches(platform: &Platform) -> usize {
    let page = platform.client().get("/metrics").await;
    assert_eq!(page.status, 200, "{page}");
    let line = page
        .text
        .lines()
        .find(|line| line.starts_with("jwks_fetches_total") && line.contains("fetched"));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}
