//! What Redis adds to the cache of sessions, and that nothing fails with it.

use std::time::{Duration, Instant};

use platform::client::eventually;
use platform::redis::Redis;
use platform::{Platform, Service};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bridge::{VALIDATE, backend_of, cached};
use super::{SECRET, must_fail};

async fn two_replicas(redis: &Redis) -> Platform {
    let builder = Platform::builder()
        .set(Service::Auth, "BRIDGE_SECRETS", SECRET)
        .set(Service::Auth, "REDIS_URL", redis.url());
    builder.replicas(2).start().await.unwrap()
}

/// What Redis answers, as it is on the wire.
async fn ask(redis: &Redis, command: &str) -> Vec<u8> {
    let mut connection = tokio::net::TcpStream::connect(redis.address).await.unwrap();
    connection
        .write_all(format!("{command}\r\nQUIT\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_finds_in_redis_what_another_one_looked_up_and_nobody_can_read_it_there() {
    let redis = Redis::start().await.unwrap();
    let platform = two_replicas(&redis).await;
    let (one, other) = (backend_of(&platform, 0), backend_of(&platform, 1));
    let ada = platform.register("ada").await;
    cached(&one, &ada.session_id).await;
    let answer = other
        .post(VALIDATE, json!({ "session_id": ada.session_id }))
        .await
        .must_be(200);
    assert_eq!(
        (&answer["cached"], &answer["cacheSource"]),
        (&json!(true), &json!("ultra"))
    );
    assert_eq!(answer["user"]["email"], "ada@example.com");
    let answer = other
        .post(VALIDATE, json!({ "session_id": ada.session_id }))
        .await
        .must_be(200);
    assert_eq!(answer["cacheSource"], "unified");

    let keys = String::from_utf8(ask(&redis, "KEYS *").await).unwrap();
    let keys: Vec<&str> = keys.lines().filter(|line| line.starts_with("flowlet:")).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        assert!(!key.contains(&ada.session_id), "{key}");
        let value = ask(&redis, &format!("GET {key}")).await;
        let value = String::from_utf8_lossy(&value);
        for private in ["ada", "127.0.0.1", &ada.user_id, &ada.session_id] {
            assert!(!value.contains(private), "{key} shows {private}");
        }
        // Somebody who can write there gains nothing: what we did not encrypt is not there.
        ask(&redis, &format!("SET {key} forged")).await;
    }
    platform
        .stop_service(platform::platform::Replica {
            service: Service::Auth,
            number: 1,
        })
        .await
        .unwrap();
    platform
        .start_service(platform::platform::Replica {
            service: Service::Auth,
            number: 1,
        })
        .await
        .unwrap();
    let answer = other
        .post(VALIDATE, json!({ "session_id": ada.session_id }))
        .await
        .must_be(200);
    assert_eq!(answer["cacheSource"], "db");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_while_sessions_are_checked_and_ended_and_nothing_fails() {
    let redis = Redis::start().await.unwrap();
    let address = redis.address;
    let platform = two_replicas(&redis).await;
    let (one, other) = (backend_of(&platform, 0), backend_of(&platform, 1));
    let ada = platform.register("ada").await;
    let mut redis = Some(redis);
    for round in 0..30 {
        match round {
            10 => redis = None,
            // Without anything of what it had, and with what came late.
            20 => redis = Some(Redis::start_at(address).await.unwrap()),
            _ => {}
        }
        let login = ada.log_in_again().await;
        for backend in [&one, &other] {
            backend
                .post(VALIDATE, json!({ "session_id": login.session_id }))
                .await
                .must_be(200);
        }
        let session = one.in_session(&login.session_id);
        session
            .send(Method::POST, "/auth/logout", None)
            .await
            .must_be(200);
        let here = one
            .post(VALIDATE, json!({ "session_id": login.session_id }))
            .await;
        must_fail(&here, 401, "Invalid session");
        let ended = Instant::now();
        eventually("the end of a session at the other replica", async || {
            let answer = other
                .post(VALIDATE, json!({ "session_id": login.session_id }))
                .await;
            assert!([200, 401].contains(&answer.status), "{answer}");
            (answer.status == 401).then_some(())
        })
        .await;
        assert!(
            ended.elapsed() < Duration::from_secs(2),
            "{:?} in round {round}",
            ended.elapsed()
        );
    }
    drop(redis);
    platform.stop().await.unwrap();
}
