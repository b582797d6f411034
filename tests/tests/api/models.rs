//! The registry of fraud models: how one comes to decide, who has to agree, and the way back.

use ml_service::feature;
use ml_service::model::{Card, Model};
use ml_service::training::Parameters;
use platform::client::{Answer, eventually, text_of};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;
use tokio::process::Command;

use crate::parties::payer_and_payee;

const MODELS: &str = "/api/v1/fraud/models";

/// The file of a model that looks at nothing but whether an amount is 100 or more.
fn model(below: f64, from: f64) -> Vec<u8> {
    let card = Card {
        data: "made up".to_owned(),
        schema: feature::schema_hash(),
        features: feature::names().iter().map(ToString::to_string).collect(),
        rows: 2,
        positives: 1,
        first_at: None,
        last_at: None,
        labels_until: None,
        parameters: Parameters::default(),
        metrics: [("average_precision".to_owned(), 1.0)].into(),
    };
    let tree = json!([[0, 100.0, 1, 2, 2, 2.0], [below, 1.0], [from, 1.0]]);
    let ensemble = serde_json::from_value(json!({ "base": 0.0, "trees": [tree] })).unwrap();
    Model::save(card, ensemble).unwrap().0
}

async fn register(keeper: &Customer, file: Vec<u8>) -> Answer {
    let request = keeper.request(reqwest::Method::POST, MODELS);
    keeper
        .send(request.header("content-type", "application/json").body(file))
        .await
}

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    to: String,
    keeper: Customer,
    other_keeper: Customer,
}

impl Scene {
    async fn new() -> Self {
        let platform = Platform::start().await;
        let (payer, from, _, to) = payer_and_payee(&platform, 1_000_000_000).await;
        let keeper = platform.register_with_role("keeper", Role::Admin).await;
        let other_keeper = platform
            .register_with_role("other-keeper", Role::Compliance)
            .await;
        Self {
            platform,
            payer,
            from,
            to,
            keeper,
            other_keeper,
        }
    }

    async fn pay(&self, amount: i64) -> Value {
        self.payer
            .transfer(&self.from, &self.to, amount, "USD")
            .await
            .must_be(201)
    }

    /// Waits until transfers of 500 become this.
    async fn until_large_ones_are(&self, status: &str) -> String {
        eventually("another model decides", async || {
            let transfer = self.pay(50_000).await;
            (transfer["status"] == status).then(|| text_of(&transfer, "id"))
        })
        .await
    }

    async fn explain(&self, transfer: &str) -> Value {
        let path = format!("/api/v1/fraud/decisions/{transfer}");
        self.keeper.get(&path).await.must_be(200)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_decides_when_it_is_no_worse_and_two_people_agree_and_goes_again_when_one_says_so() {
    let scene = Scene::new().await;
    let (keeper, other) = (&scene.keeper, &scene.other_keeper);
    for _ in 0..3 {
        scene.pay(9_000).await;
    }
    let fraud = scene.pay(50_000).await;
    assert_eq!(fraud["status"], "posted", "{fraud}");
    let labels = json!({ "labels": [{ "transfer_id": fraud["id"], "fraud": true }] });
    eventually("the transfer is told of", async || {
        let answer = keeper
            .post("/api/v1/fraud/labels", labels.clone())
            .await
            .must_be(200);
        (answer["results"][0]["result"] != "unknown_transfer").then_some(())
    })
    .await;

    let (good, bad) = (model(-7.0, 4.0), model(4.0, -7.0));
    let mut changed = good.clone();
    let place = changed.windows(3).position(|it| it == b"-7.").unwrap();
    changed[place + 1] = b'6';
    for file in [b"{}".to_vec(), good[..good.len() / 2].to_vec(), changed] {
        register(keeper, file).await.must_be_problem(422, "invalid_model");
    }
    let registered = register(keeper, good.clone()).await.must_be(201);
    assert_eq!(registered["status"], "candidate", "{registered}");
    register(other, good).await.must_be(200);
    let id = text_of(&registered, "id");

    let promote = format!("{MODELS}/{id}/promote");
    let proposed = keeper.post_empty(&promote).await.must_be(202);
    assert_eq!(proposed["gate"]["frauds"], 1, "{proposed}");
    keeper
        .post_empty(&promote)
        .await
        .must_be_problem(403, "separation_of_duties");
    let alone = "UPDATE ml.model_promotions SET approved_by = proposed_by, approved_at = now()";
    let sql = scene.platform.sql().await;
    let refused = sql.execute(alone, &[]).await.unwrap_err();
    assert!(
        shared::db::chain(&refused).contains("promotions_need_two_people"),
        "{refused}"
    );
    let approved = other.post_empty(&promote).await.must_be(200);
    assert_eq!(approved["approved_by"], other.user_id.as_str(), "{approved}");
    let stopped = scene.until_large_ones_are("in_review").await;
    let decision = scene.explain(&stopped).await;
    assert_eq!(decision["score"]["model"], registered["sha256"], "{decision}");
    let points: u64 = decision["score"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|reason| reason["points"].as_u64())
        .sum();
    assert!((790..=800).contains(&points), "{decision}");
    assert_eq!(scene.pay(9_000).await["status"], "posted");
    other
        .post_empty(&promote)
        .await
        .must_be_problem(422, "model_decides");
    let retire = format!("{MODELS}/{id}/retire");
    keeper
        .post_empty(&retire)
        .await
        .must_be_problem(422, "model_decides");

    let worse = text_of(&register(keeper, bad).await.must_be(201), "id");
    let refused = keeper.post_empty(&format!("{MODELS}/{worse}/promote")).await;
    refused.must_be_problem(422, "gate_not_passed");
    keeper
        .post_empty(&format!("{MODELS}/{worse}/shadow"))
        .await
        .must_be(200);
    eventually("the shadow has scored", async || {
        let transfer = text_of(&scene.pay(9_000).await, "id");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let shadows = scene.explain(&transfer).await["shadows"].clone();
        (shadows[0]["model_id"] == worse.as_str() && shadows[0]["probability"].as_f64() > Some(0.9))
            .then_some(())
    })
    .await;

    let monitoring = keeper.get("/api/v1/fraud/monitoring").await.must_be(200);
    assert_eq!(monitoring["model"], registered["sha256"], "{monitoring}");
    assert_eq!(monitoring["labelled"]["frauds"], 1, "{monitoring}");
    assert_eq!(monitoring["missing_rate"], 0.0, "{monitoring}");
    let scoring = &monitoring["scoring"];
    assert!(scoring["batches"].as_u64() >= Some(4), "{monitoring}");
    assert!(
        scoring["p50_ms"].as_f64() > Some(0.0) && scoring["p50_ms"].as_f64() <= scoring["p99_ms"].as_f64()
    );
    assert_eq!(monitoring["score_psi"], Value::Null, "{monitoring}");
    assert_eq!(
        monitoring["shadows"][0]["model_id"],
        worse.as_str(),
        "{monitoring}"
    );

    let back = keeper
        .post_empty("/api/v1/fraud/model-rollbacks")
        .await
        .must_be(200);
    assert_eq!(back["model_id"], Value::Null, "{back}");
    scene.until_large_ones_are("posted").await;
    keeper
        .post_empty("/api/v1/fraud/model-rollbacks")
        .await
        .must_be_problem(422, "nothing_to_roll_back");
    let audit = "SELECT action FROM ml.audit_log ORDER BY number";
    let audit: Vec<String> = sql
        .query(audit, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        audit,
        [
            "model.registered",
            "model.promotion_proposed",
            "model.promoted",
            "model.registered",
            "model.status_changed",
            "model.rolled_back"
        ]
    );
    scene.platform.assert_invariants().await;
    scene.platform.stop().await.unwrap();
}

/// A command of ml-service as a process of its own: what it printed, or what it said went wrong.
async fn run(scene: &Scene, token: Option<&str>, words: &[&str]) -> Result<String, String> {
    let (command, rest) = words.split_first().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_dev"))
        .args([command, "ml-service"])
        .args(rest)
        .env_clear()
        .env("FLOWLET_URL", scene.platform.url(Service::Gateway))
        .envs(token.map(|token| ("FLOWLET_TOKEN", token)))
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if ran.status.success() {
        Ok(text(ran.stdout))
    } else {
        Err(text(ran.stderr))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_do_what_the_api_does_and_say_what_it_refuses() {
    let scene = Scene::new().await;
    let token = Some(scene.keeper.access_token.as_str());
    let files = std::env::temp_dir().join(format!("flowlet-models-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let path = |name: &str| files.join(name).display().to_string();
    let (good, cut, payments) = (path("good.json"), path("cut.json"), path("payments.csv"));
    let bytes = model(-7.0, 4.0);
    std::fs::write(&good, &bytes).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();

    let registered: Value =
        serde_json::from_str(&run(&scene, token, &["register", &good]).await.unwrap()).unwrap();
    let id = text_of(&registered, "id");
    let shadow: Value = serde_json::from_str(&run(&scene, token, &["shadow", &id]).await.unwrap()).unwrap();
    assert_eq!(shadow["status"], "shadow", "{shadow}");
    eventually("it is seen to watch", async || {
        let seen: Value = serde_json::from_str(&run(&scene, token, &["drift"]).await.unwrap()).unwrap();
        (seen["shadows"][0]["model_id"] == id.as_str()).then_some(())
    })
    .await;
    let customer = Some(scene.payer.access_token.as_str());
    let nothing = path("nothing.json");
    for (token, words, said) in [
        (token, &["register", &cut][..], "invalid_model"),
        (token, &["register", &nothing], "nothing.json"),
        (token, &["register"], "name the file of a model"),
        (token, &["shadow", "mdl_x"], "mdl_"),
        (token, &["promote", &id], "gate_not_passed"),
        (token, &["rollback"], "nothing_to_roll_back"),
        (customer, &["drift"], "role_required"),
        (customer, &["export", &payments], "role_required"),
        (None, &["drift"], "FLOWLET_TOKEN is not set"),
    ] {
        let error = run(&scene, token, words).await.unwrap_err();
        assert!(error.contains(said), "{words:?}: {error}");
    }

    let fraud = scene.pay(9_000).await;
    let labels = json!({ "labels": [{ "transfer_id": fraud["id"], "fraud": true }] });
    eventually("the transfer is told of", async || {
        let answer = scene.keeper.post("/api/v1/fraud/labels", labels.clone()).await;
        (answer.must_be(200)["results"][0]["result"] != "unknown_transfer").then_some(())
    })
    .await;
    run(&scene, token, &["export", &payments]).await.unwrap();
    let written = ml_service::offline::payments::read(payments.as_ref()).unwrap();
    assert_eq!(written.len(), 1, "the deposit is no payment");
    assert_eq!(
        (
            written[0].event.amount,
            written[0].event.exponent,
            written[0].refused
        ),
        (9_000, 2, false)
    );
    assert!(written[0].event.address.is_some());
    let label = written[0].label.unwrap();
    assert!(label.is_fraud && label.known_at >= written[0].event.at);
    std::fs::remove_dir_all(&files).unwrap();
    scene.platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_champion_that_cannot_be_read_leaves_the_last_good_one_in_use() {
    let scene = Scene::new().await;
    let id = text_of(
        &register(&scene.keeper, model(-7.0, 4.0)).await.must_be(201),
        "id",
    );
    let sql = scene.platform.sql().await;
    let champion = "UPDATE ml.models SET status = 'champion'";
    let alone = sql.execute(champion, &[]).await.unwrap_err();
    assert!(
        shared::db::chain(&alone).contains("a champion has a promotion"),
        "{alone}"
    );
    // What the service's own login cannot do, whoever has it.
    let url = scene
        .platform
        .server
        .runtime_url(Service::Ml, &scene.platform.database)
        .unwrap();
    let (runtime, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for rewritten in [
        "UPDATE ml.models SET artefact = 'x'",
        "UPDATE ml.models SET card = '{}'",
        "UPDATE ml.model_promotions SET proposed_by = gen_random_uuid()",
        "UPDATE ml.model_promotions SET gate = '{}'",
    ] {
        let error = runtime.batch_execute(rewritten).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{rewritten}");
    }
    let promoted = "INSERT INTO ml.model_promotions (model_id, gate, proposed_by, approved_by, approved_at)
        SELECT id, '{}', registered_by, gen_random_uuid(), now() FROM ml.models";
    sql.batch_execute(&format!("{promoted}; {champion}"))
        .await
        .unwrap();
    scene.until_large_ones_are("in_review").await;
    sql.batch_execute(&format!(
        "UPDATE ml.models SET status = 'retired';
         INSERT INTO ml.models (id, sha256, artefact, card, status, registered_by)
         SELECT gen_random_uuid(), repeat('0', 64), substring(artefact FOR 100), card, 'champion', registered_by FROM ml.models;
         {promoted} WHERE status = 'champion'"
    ))
    .await
    .unwrap();
    eventually("it is noticed", async || {
        let metrics = scene.platform.client_of(Service::Ml).get("/metrics").await.text;
        metrics
            .lines()
            .any(|line| line == "fraud_models_unreadable 1")
            .then_some(())
    })
    .await;
    let transfer = scene.pay(50_000).await;
    assert_eq!(transfer["status"], "in_review", "{transfer}");
    let models = scene.keeper.get(MODELS).await.must_be(200);
    assert_eq!(models["data"].as_array().unwrap().len(), 2, "{models}");
    assert!(models.to_string().contains(&id), "{models}");
    scene.platform.stop().await.unwrap();
}
