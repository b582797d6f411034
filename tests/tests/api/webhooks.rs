//! Webhooks, to a receiver that listens on this machine: signed, in order, at least once, and only to where they may go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use platform::client::{eventually, text_of};
use platform::{Customer, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ENDPOINTS: &str = "/api/v1/webhook-endpoints";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Answered by never answering.
const SILENCE: &str = "";

/// What arrived.
#[derive(Clone, Debug)]
struct Arrival {
    id: String,
    timestamp: String,
    signature: String,
    text: String,
    body: Value,
}

/// A receiver that remembers what arrives and answers as it is told, then with 200.
struct Receiver {
    url: String,
    arrived: Arc<Mutex<Vec<Arrival>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let (arrived, answers) = (Arc::<Mutex<Vec<Arrival>>>::default(), Arc::default());
        let receiver = Self {
            url,
            arrived: Arc::clone(&arrived),
            answers: Arc::clone(&answers),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&arrived), Arc::clone(&answers)));
            }
        });
        receiver
    }

    fn will_answer(&self, answers: &[&str]) {
        let answers = answers.iter().map(ToString::to_string);
        self.answers.lock().unwrap().extend(answers);
    }

    fn arrived(&self) -> Vec<Arrival> {
        self.arrived.lock().unwrap().clone()
    }

    async fn has(&self, count: usize) -> Vec<Arrival> {
        eventually("webhooks arrive", async || {
            let arrived = self.arrived();
            (arrived.len() >= count).then_some(arrived)
        })
        .await
    }
}

/// One request for each connection.
async fn answer(
    mut stream: TcpStream,
    arrived: Arc<Mutex<Vec<Arrival>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
) {
    let mut bytes = Vec::new();
    let arrival = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
            return;
        }
        if let Some(arrival) = parse(&String::from_utf8_lossy(&bytes)) {
            break arrival;
        }
    };
    arrived.lock().unwrap().push(arrival);
    let answer = answers
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or_else(|| OK.to_owned());
    if answer == SILENCE {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let answer = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    drop(stream.write_all(answer.as_bytes()).await);
}

fn parse(text: &str) -> Option<Arrival> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length")?.parse().ok()?;
    (body.len() >= length).then(|| Arrival {
        id: header("webhook-id").unwrap_or_default(),
        timestamp: header("webhook-timestamp").unwrap_or_default(),
        signature: header("webhook-signature").unwrap_or_default(),
        text: body.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

/// As a receiver verifies it.
fn is_signed_with(arrival: &Arrival, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let content = format!("{}.{}.{}", arrival.id, arrival.timestamp, arrival.text);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content.as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(tag));
    arrival
        .signature
        .split(' ')
        .any(|signature| signature == expected)
}

async fn endpoint(customer: &Customer, more: Value) -> Value {
    customer.post(ENDPOINTS, more).await.must_be(201)
}

async fn log(customer: &Customer, endpoint: &Value) -> Vec<Value> {
    let page = customer
        .get(&format!("{}/deliveries?limit=100", path(endpoint)))
        .await
        .must_be(200);
    page["data"].as_array().unwrap().clone()
}

fn path(endpoint: &Value) -> String {
    format!("{ENDPOINTS}/{}", text_of(endpoint, "id"))
}

/// What would be due in days is due now.
async fn let_time_pass(platform: &Platform) {
    let moves = "UPDATE transactions.webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending';
        UPDATE transactions.webhook_endpoints SET due_at = now()";
    platform.sql().await.batch_execute(moves).await.unwrap();
}

async fn delivery_with(customer: &Customer, endpoint: &Value, attempts: usize) -> Value {
    eventually("the log tells of the attempt", async || {
        let newest = log(customer, endpoint).await.first()?.clone();
        (newest["attempts"].as_array()?.len() == attempts).then_some(newest)
    })
    .await
}

/// Sent by two replicas, each event once, because nothing goes wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_signed_in_order_and_as_they_can_be_read() {
    let platform = Platform::builder().replicas(2).start().await.unwrap();
    let (ada, ben) = (platform.register("ada").await, platform.register("ben").await);
    let from = ada.open_funded_account(10_000, "USD").await;
    let to = ben.open_account("USD").await;
    let (receiver, only_holds) = (Receiver::start().await, Receiver::start().await);
    let made = endpoint(&ben, json!({ "url": receiver.url, "description": "All of it" })).await;
    let secret = text_of(&made, "secret");
    endpoint(&ben, json!({ "url": only_holds.url, "types": ["hold.placed"] })).await;

    for amount in 1..=20 {
        ada.transfer(&from, &to, amount, "USD").await.must_be(201);
    }
    ada.place_hold(&from, &to, 100, "USD").await.must_be(201);
    let arrived = receiver.has(21).await;
    let read = ben.get("/api/v1/events?limit=100").await.must_be(200);
    let read = read["data"].as_array().unwrap();
    let bodies: Vec<&Value> = arrived.iter().map(|arrival| &arrival.body).collect();
    assert_eq!(bodies, read.iter().collect::<Vec<_>>());
    for arrival in &arrived {
        assert_eq!(json!(arrival.id), arrival.body["id"]);
        assert!(is_signed_with(arrival, &secret), "{arrival:?}");
        let age = platform.clock.now().timestamp() - arrival.timestamp.parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{age}");
    }
    let holds = only_holds.has(1).await;
    assert_eq!((holds.len(), &holds[0].body), (1, &arrived[20].body));

    let delivered = delivery_with(&ben, &made, 1).await;
    assert_eq!(delivered["status"], "delivered");
    assert_eq!(delivered["event_id"], json!(arrived[20].id));
    let attempt = &delivered["attempts"][0];
    assert_eq!(
        (&attempt["status"], &attempt["response"]),
        (&json!(200), &json!("ok"))
    );
    // The secret was shown once.
    let shown = ben.get(&path(&made)).await;
    assert!(!shown.text.contains("whsec_"), "{shown}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_sent_again_until_no_attempt_is_left() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let receiver = Receiver::start().await;
    let made = endpoint(&ada, json!({ "url": receiver.url })).await;
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n";
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n";
    let broken = "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops";
    receiver.will_answer(&[redirect, busy, broken, "no HTTP at all"]);
    ada.open_funded_account(10_000, "USD").await;
    for (attempts, status, error) in [
        (1, json!(302), "redirects are not followed"),
        (2, json!(503), "not a 2xx"),
        (3, json!(500), "not a 2xx"),
        (4, Value::Null, "the connection broke off"),
    ] {
        let delivery = delivery_with(&ada, &made, attempts).await;
        let attempt = &delivery["attempts"][attempts - 1];
        assert_eq!(
            (&attempt["status"], text_of(attempt, "error").as_str()),
            (&status, error)
        );
        assert_eq!(delivery["status"], "pending");
        if status == 503 {
            let at: chrono::DateTime<chrono::Utc> = text_of(&delivery, "next_attempt_at").parse().unwrap();
            let wait = (at - platform.clock.now()).num_seconds();
            assert!((3_500..3_600 * 11 / 10).contains(&wait), "{wait}");
        }
        assert!(!ada.get(&path(&made)).await.must_be(200)["failing_since"].is_null());
        let_time_pass(&platform).await;
    }
    let delivered = delivery_with(&ada, &made, 5).await;
    assert_eq!(delivered["status"], "delivered");
    assert!(ada.get(&path(&made)).await.must_be(200)["failing_since"].is_null());
    let arrived = receiver.arrived();
    assert!(
        arrived
            .iter()
            .all(|arrival| arrival.id == arrived[0].id && arrival.text == arrived[0].text)
    );

    // Ten times in vain, and it is given up.
    receiver.will_answer(&[broken; 10]);
    ada.post_empty(&format!("{}/test", path(&made)))
        .await
        .must_be(202);
    for attempts in 1..=9 {
        assert_eq!(delivery_with(&ada, &made, attempts).await["status"], "pending");
        let_time_pass(&platform).await;
    }
    assert_eq!(delivery_with(&ada, &made, 10).await["status"], "failed");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_gone_or_fails_for_days_is_disabled_until_its_owner_enables_it() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let receiver = Receiver::start().await;
    let made = endpoint(&ada, json!({ "url": receiver.url })).await;
    let disabled = async |because: &str| {
        eventually("it is disabled", async || {
            let now = ada.get(&path(&made)).await.must_be(200);
            (now["disabled_because"] == because).then_some(())
        })
        .await;
    };
    receiver.will_answer(&["HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"]);
    let account = ada.open_funded_account(10_000, "USD").await;
    disabled("gone").await;
    ada.post_empty(&format!("{}/test", path(&made)))
        .await
        .must_be_problem(422, "endpoint_disabled");
    // What happens meanwhile is not sent, and can be replayed.
    ada.deposit(&account, 1, "USD").await.must_be(201);
    eventually("it is an event", async || {
        let events = ada.get("/api/v1/events").await.must_be(200);
        (events["data"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let enable = format!("{}/enable", path(&made));
    let enabled = ada.post_empty(&enable).await.must_be(200);
    assert_eq!(
        (&enabled["status"], &enabled["disabled_because"]),
        (&json!("enabled"), &Value::Null)
    );

    receiver.will_answer(&["HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"; 2]);
    ada.post_empty(&format!("{}/test", path(&made)))
        .await
        .must_be(202);
    delivery_with(&ada, &made, 1).await;
    let failing =
        "UPDATE transactions.webhook_endpoints SET failing_since = failing_since - interval '5 days'";
    platform.sql().await.batch_execute(failing).await.unwrap();
    let_time_pass(&platform).await;
    disabled("failing").await;
    let before = receiver.arrived().len();
    let_time_pass(&platform).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.arrived().len(), before);
    // What waited is sent once it is enabled.
    ada.post_empty(&enable).await.must_be(200);
    assert_eq!(delivery_with(&ada, &made, 3).await["status"], "delivered");

    ada.post_empty(&format!("{}/disable", path(&made)))
        .await
        .must_be(200);
    disabled("owner").await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_replaced_without_a_delivery_that_cannot_be_verified() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let receiver = Receiver::start().await;
    let made = endpoint(&ada, json!({ "url": receiver.url })).await;
    let old = text_of(&made, "secret");
    let rotate = format!("{}/rotate-secret", path(&made));
    let test = format!("{}/test", path(&made));
    let new = text_of(&ada.post(&rotate, json!({})).await.must_be(200), "secret");
    assert_ne!(old, new);
    ada.post_empty(&test).await.must_be(202);
    let both = receiver.has(1).await[0].clone();
    assert!(
        is_signed_with(&both, &old) && is_signed_with(&both, &new),
        "{both:?}"
    );

    let ended = "UPDATE transactions.webhook_endpoints SET previous_secret_until = now()";
    platform.sql().await.batch_execute(ended).await.unwrap();
    ada.post_empty(&test).await.must_be(202);
    let one = receiver.has(2).await[1].clone();
    assert!(
        !is_signed_with(&one, &old) && is_signed_with(&one, &new),
        "{one:?}"
    );

    // One that has leaked signs nothing any more.
    let at_once = json!({ "previous_valid_for_seconds": 0 });
    let newest = text_of(&ada.post(&rotate, at_once).await.must_be(200), "secret");
    ada.post_empty(&test).await.must_be(202);
    let last = receiver.has(3).await[2].clone();
    assert!(
        !is_signed_with(&last, &new) && is_signed_with(&last, &newest),
        "{last:?}"
    );
    let too_long = json!({ "previous_valid_for_seconds": 604_801 });
    ada.post(&rotate, too_long)
        .await
        .must_be_problem(422, "invalid_duration");

    // The database does not have them as they are.
    let query = "SELECT encode(secret, 'escape') FROM transactions.webhook_endpoints";
    let stored: String = platform.sql().await.query_one(query, &[]).await.unwrap().get(0);
    assert!(
        !stored.contains("whsec_") && !stored.contains(&newest[6..]),
        "{stored}"
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_replayed_one_by_one_or_as_a_range() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let account = ada.open_funded_account(1, "USD").await;
    for amount in 2..=5 {
        ada.deposit(&account, amount, "USD").await.must_be(201);
    }
    let ids: Vec<String> = eventually("all events are there", async || {
        let page = ada.get("/api/v1/events").await.must_be(200);
        let ids: Vec<String> = page["data"]
            .as_array()?
            .iter()
            .map(|event| text_of(event, "id"))
            .collect();
        (ids.len() == 5).then_some(ids)
    })
    .await;
    let receiver = Receiver::start().await;
    let made = endpoint(&ada, json!({ "url": receiver.url })).await;
    let replay = format!("{}/replay", path(&made));
    let one = ada
        .post(&replay, json!({ "event_id": ids[2] }))
        .await
        .must_be(202);
    assert_eq!(one["deliveries"], 1);
    assert_eq!(receiver.has(1).await[0].id, ids[2]);
    let range = ada
        .post(&replay, json!({ "from": ids[1], "to": ids[3] }))
        .await
        .must_be(202);
    assert_eq!(range["deliveries"], 3);
    let arrived: Vec<String> = receiver
        .has(4)
        .await
        .into_iter()
        .skip(1)
        .map(|it| it.id)
        .collect();
    assert_eq!(arrived, ids[1..=3]);

    ada.patch(&path(&made), json!({ "types": ["hold.placed"] }))
        .await
        .must_be(200);
    let none = ada
        .post(&replay, json!({ "from": ids[0], "to": ids[4] }))
        .await
        .must_be(202);
    assert_eq!(none["deliveries"], 0);
    for wrong in [
        json!({}),
        json!({ "from": ids[0] }),
        json!({ "event_id": ids[0], "to": ids[0] }),
    ] {
        ada.post(&replay, wrong)
            .await
            .must_be_problem(400, "invalid_body");
    }
    // Somebody else's event is as one that is not there.
    let ben = platform.register("ben").await;
    let of_ben = endpoint(&ben, json!({ "url": receiver.url })).await;
    ben.post(
        &format!("{}/replay", path(&of_ben)),
        json!({ "event_id": ids[0] }),
    )
    .await
    .must_be_problem(422, "event_not_found");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_public_targets_are_sent_to_unless_configured_otherwise() {
    let platform = Platform::builder()
        .set(Service::Transactions, "WEBHOOK_ALLOW_PRIVATE_TARGETS", "false")
        .set(Service::Transactions, "SANDBOX_FAULTS", "false")
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://0x7f000001/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://ada:secret@1.1.1.1/",
        "https://1.1.1.1:22/",
        "gopher://1.1.1.1/",
        "",
    ] {
        let answer = ada.post(ENDPOINTS, json!({ "url": url })).await;
        answer.must_be_problem(422, "invalid_target");
    }
    let made = endpoint(&ada, json!({ "url": "https://1.1.1.1/hooks" })).await;
    let moved = ada
        .patch(&path(&made), json!({ "url": "https://10.0.0.1/" }))
        .await;
    moved.must_be_problem(422, "invalid_target");
    let faulty = json!({ "url": "https://1.1.1.1/", "faults": ["duplicate"] });
    ada.post(ENDPOINTS, faulty)
        .await
        .must_be_problem(422, "sandbox_only");

    // One that was let in before is refused when something is sent.
    let receiver = Receiver::start().await;
    let private = "UPDATE transactions.webhook_endpoints SET url = $1";
    let sql = platform.sql().await;
    sql.execute(private, &[&receiver.url]).await.unwrap();
    ada.post_empty(&format!("{}/test", path(&made)))
        .await
        .must_be(202);
    let refused = delivery_with(&ada, &made, 1).await;
    let reason = "the URL does not lead to a public address";
    assert_eq!(refused["attempts"][0]["error"], reason);
    // The same behind a name.
    sql.execute(private, &[&"https://localhost/"]).await.unwrap();
    let_time_pass(&platform).await;
    assert_eq!(
        delivery_with(&ada, &made, 2).await["attempts"][1]["error"],
        reason
    );
    assert!(receiver.arrived().is_empty());
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_few_endpoints_and_nobody_elses() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let make = || ada.post(ENDPOINTS, json!({ "url": "http://127.0.0.1:9/" }));
    let made = futures_util::future::join_all((0..20).map(|_| make())).await;
    assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 16);
    make().await.must_be_problem(422, "too_many_endpoints");
    let all = ada.get(ENDPOINTS).await.must_be(200);
    let first = path(&all["data"][0]);
    let delete = || ada.send(ada.request(Method::DELETE, &first));
    assert_eq!(delete().await.status, 204);
    delete().await.must_be_problem(404, "not_found");
    make().await.must_be(201);
    for wrong in [
        json!({ "url": "http://127.0.0.1:9/", "types": ["transfer.imagined"] }),
        json!({ "url": "http://127.0.0.1:9/", "secret": "mine" }),
        json!({}),
    ] {
        ada.post(ENDPOINTS, wrong)
            .await
            .must_be_problem(400, "invalid_body");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_sends_twice_and_out_of_order_when_asked_to() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    let (twice, shuffled) = (Receiver::start().await, Receiver::start().await);
    let made = endpoint(&ada, json!({ "url": twice.url, "faults": ["duplicate"] })).await;
    assert_eq!(made["faults"], json!(["duplicate"]));
    endpoint(&ada, json!({ "url": shuffled.url, "faults": ["reorder"] })).await;
    let account = ada.open_funded_account(1, "USD").await;
    ada.deposit(&account, 2, "USD").await.must_be(201);
    let arrived = twice.has(4).await;
    assert_eq!(arrived[0].id, arrived[1].id);
    assert_eq!(arrived[2].id, arrived[3].id);
    let sequences: Vec<Value> = shuffled
        .has(2)
        .await
        .iter()
        .map(|arrival| arrival.body["account_sequence"].clone())
        .collect();
    assert_eq!(sequences, [json!(2), json!(1)]);
    platform.stop().await.unwrap();
}

/// Services are killed while a receiver that is slow and often fails takes what two replicas send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_at_least_once_however_often_the_sender_dies() {
    const TRANSFERS: usize = 60;
    let platform = Platform::builder()
        .processes(env!("CARGO_BIN_EXE_dev"))
        .start()
        .await
        .unwrap();
    let ada = platform.register("ada").await;
    let (receiver, hanging) = (Receiver::start().await, Receiver::start().await);
    endpoint(&ada, json!({ "url": receiver.url })).await;
    // It never answers, and must not keep the others from being told.
    hanging.will_answer(&[SILENCE; 1_000]);
    endpoint(&ada, json!({ "url": hanging.url })).await;
    let from = ada.open_funded_account(10_000, "USD").await;
    let to = ada.open_account("USD").await;
    let mut sent = 0;
    while sent < TRANSFERS {
        for _ in 0..TRANSFERS / 3 {
            ada.transfer(&from, &to, 1, "USD").await.must_be(201);
            sent += 1;
        }
        platform.kill_9(Service::Transactions).await.unwrap();
        platform.start_service(Service::Transactions).await.unwrap();
    }
    // A dead process keeps its lease; time passes.
    let ended = "UPDATE transactions.webhook_endpoints SET leased_until = NULL";
    platform.sql().await.batch_execute(ended).await.unwrap();
    let arrived = eventually("all events have arrived", async || {
        let mut ids: Vec<String> = receiver.arrived().into_iter().map(|arrival| arrival.id).collect();
        ids.sort();
        ids.dedup();
        (ids.len() > 2 * TRANSFERS).then_some(ids)
    })
    .await;
    // Both sides of each, and the deposit.
    assert_eq!(arrived.len(), 2 * TRANSFERS + 1);
    let silent =
        "SELECT FROM transactions.webhook_deliveries WHERE attempts::text LIKE '%no answer in time%'";
    let sql = platform.sql().await;
    eventually("the silence is noted", async || {
        (!sql.query(silent, &[]).await.unwrap().is_empty()).then_some(())
    })
    .await;
    platform.assert_books().await;
    platform.stop().await.unwrap();
}
