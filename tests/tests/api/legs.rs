//! Transfers with several legs, conditions, dry runs, and batches.

use futures_util::future::join_all;
use platform::client::{Answer, new_key, text_of, transfer_body};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};

const TRANSFERS: &str = "/api/v1/transfers";
const BATCHES: &str = "/api/v1/transfer-batches";

struct Scene {
    platform: Platform,
    payer: Customer,
    /// 100.00 in dollars, and 50.00 in euros.
    dollars: String,
    euros: String,
    payees: Vec<(Customer, String)>,
}

async fn scene() -> Scene {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    let payer = platform.register("payer").await;
    let dollars = payer.open_funded_account(10_000, "USD").await;
    let euros = payer.open_funded_account(5_000, "EUR").await;
    let mut payees = Vec::new();
    for (name, currency) in [("ann", "USD"), ("ben", "USD"), ("eve", "EUR")] {
        let payee = platform.register(name).await;
        let account = payee.open_account(currency).await;
        payees.push((payee, account));
    }
    Scene {
        platform,
        payer,
        dollars,
        euros,
        payees,
    }
}

impl Scene {
    async fn send(&self, body: Value) -> Answer {
        self.payer.post_with_key(TRANSFERS, &new_key(), body).await
    }

    /// 30.00 from the dollars to ann and ben, 7.00 from the euros to eve.
    fn legs(&self) -> Vec<Value> {
        vec![
            leg(&self.dollars, "debit", 3_000, "USD"),
            leg(&self.payees[0].1, "credit", 1_000, "USD"),
            leg(&self.payees[1].1, "credit", 2_000, "USD"),
            leg(&self.euros, "debit", 700, "EUR"),
            leg(&self.payees[2].1, "credit", 700, "EUR"),
        ]
    }

    async fn balances(&self) -> Vec<i64> {
        let mut balances = vec![
            self.payer.balance(&self.dollars).await.0,
            self.payer.balance(&self.euros).await.0,
        ];
        for (payee, account) in &self.payees {
            balances.push(payee.balance(account).await.0);
        }
        balances
    }

    fn item(&self, amount: i64) -> Value {
        let transfer = transfer_body(&self.dollars, &self.payees[0].1, amount, "USD");
        json!({ "key": new_key(), "transfer": transfer })
    }

    async fn batch(&self, mode: &str, items: &[Value]) -> Answer {
        self.payer
            .post(BATCHES, json!({ "mode": mode, "items": items }))
            .await
    }
}

fn leg(account: &str, direction: &str, amount: i64, currency: &str) -> Value {
    json!({ "account_id": account, "direction": direction, "amount": amount, "currency": currency })
}

/// Of each result; empty where it succeeded.
fn codes(batch: &Value) -> Vec<String> {
    let results = batch["results"].as_array().unwrap().iter();
    let code = |result: &Value| result["body"]["code"].as_str().unwrap_or_default().to_owned();
    results.map(code).collect()
}

fn statuses(batch: &Value) -> Vec<i64> {
    let results = batch["results"].as_array().unwrap();
    results
        .iter()
        .map(|result| result["status"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_legs_in_two_currencies_post_together_and_every_party_sees_them() {
    let scene = scene().await;
    let today = scene.platform.clock.now().date_naive().to_string();
    let transfer = json!({ "legs": scene.legs(), "reference": "invoice-7", "effective_date": today });
    let transfer = scene.send(transfer).await.must_be(201);
    assert_eq!(transfer["effective_date"], json!(today));
    assert_eq!(transfer["status"], "posted");
    assert_eq!(transfer["legs"], json!(scene.legs()));
    assert_eq!(
        (&transfer["amount"], &transfer["reference"]),
        (&json!(null), &json!("invoice-7"))
    );
    assert_eq!(scene.balances().await, [7_000, 4_300, 1_000, 2_000, 700]);
    let id = text_of(&transfer, "id");
    let path = format!("{TRANSFERS}/{id}");
    for customer in [&scene.payer, &scene.payees[0].0, &scene.payees[2].0] {
        assert_eq!(customer.get(&path).await.must_be(200), transfer);
        let list = customer.get(TRANSFERS).await.must_be(200);
        assert_eq!(list["data"][0]["id"], json!(id), "{list}");
    }
    let stranger = scene.platform.register("stranger").await;
    stranger.get(&path).await.must_be_problem(404, "not_found");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legs_that_are_wrong_are_refused_and_move_nothing() {
    let scene = scene().await;
    let before = scene.balances().await;
    let with = |index: usize, member: &str, value: Value| {
        let mut legs = scene.legs();
        legs[index][member] = value;
        json!({ "legs": legs })
    };
    let ann = &scene.payees[0].1;
    let ben_pays = vec![
        leg(ann, "debit", 5, "USD"),
        leg(&scene.dollars, "credit", 5, "USD"),
    ];
    for (body, code) in [
        (with(0, "amount", json!(2_999)), "unbalanced_legs"),
        (with(4, "currency", json!("USD")), "unbalanced_legs"),
        (with(1, "account_id", json!(scene.dollars)), "same_account"),
        (json!({ "legs": [leg(ann, "credit", 5, "USD")] }), "invalid_legs"),
        (json!({ "legs": [] }), "invalid_legs"),
        (json!({ "legs": ben_pays }), "account_not_found"),
        (
            json!({ "legs": [leg(&scene.dollars, "debit", 10_001, "USD"), leg(ann, "credit", 10_001, "USD")] }),
            "insufficient_funds",
        ),
        (
            json!({ "legs": scene.legs(), "effective_date": "2001-01-01" }),
            "effective_date_too_far",
        ),
    ] {
        scene.send(body).await.must_be_problem(422, code);
    }
    let both = {
        let mut body = transfer_body(&scene.dollars, ann, 1, "USD");
        body["legs"] = json!(scene.legs());
        body
    };
    for (body, pointer) in [
        (both, ""),
        (with(2, "amount", json!(0)), "/legs/2/amount"),
        (with(2, "direction", json!("up")), "/legs/2/direction"),
        (with(2, "colour", json!(1)), "/legs/2/colour"),
        (json!({ "legs": null }), "/legs"),
    ] {
        let answer = scene.send(body.clone()).await;
        answer.must_be_problem(400, "invalid_body");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    assert_eq!(scene.balances().await, before);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_does_not_hold_afterwards_undoes_every_leg() {
    let scene = scene().await;
    let with_condition = |index: usize, condition: Value| {
        let mut legs = scene.legs();
        legs[index]["available_balance"] = condition;
        json!({ "legs": legs })
    };
    let before = scene.balances().await;
    let failed = scene.send(with_condition(0, json!({ "gte": 7_001 }))).await;
    failed.must_be_problem(422, "condition_failed");
    scene
        .send(with_condition(3, json!({ "lte": 4_299 })))
        .await
        .must_be_problem(422, "condition_failed");
    // A condition on another's account would tell its balance.
    scene
        .send(with_condition(1, json!({ "gte": 0 })))
        .await
        .must_be_problem(422, "account_not_found");
    assert_eq!(scene.balances().await, before);
    let held = scene
        .send(with_condition(0, json!({ "gte": 7_000, "lte": 7_000 })))
        .await;
    assert_eq!(held.must_be(201)["status"], "posted");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_answers_what_would_happen_and_keeps_nothing() {
    let scene = scene().await;
    let before = scene.balances().await;
    let key = new_key();
    let mut body = transfer_body(&scene.dollars, &scene.payees[0].1, 400, "USD");
    body["dry_run"] = json!(true);
    let tried = scene
        .payer
        .post_with_key(TRANSFERS, &key, body.clone())
        .await
        .must_be(200);
    assert_eq!(
        (&tried["status"], &tried["dry_run"]),
        (&json!("posted"), &json!(true))
    );
    let path = format!("{TRANSFERS}/{}", text_of(&tried, "id"));
    scene.payer.get(&path).await.must_be_problem(404, "not_found");
    body["amount"] = json!(10_001);
    let refused = scene.payer.post_with_key(TRANSFERS, &key, body).await;
    refused.must_be_problem(422, "insufficient_funds");
    assert_eq!(scene.balances().await, before);
    // The key is still free.
    let real = transfer_body(&scene.dollars, &scene.payees[0].1, 400, "USD");
    let real = scene
        .payer
        .post_with_key(TRANSFERS, &key, real)
        .await
        .must_be(201);
    assert_eq!(real["dry_run"], json!(null));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_batch_happens_as_a_whole_or_not_at_all() {
    let scene = scene().await;
    let items: Vec<Value> = (1..=40).map(|amount| scene.item(amount)).collect();
    let batch = scene.batch("atomic", &items).await.must_be(200);
    assert_eq!((&batch["ok"], statuses(&batch)), (&json!(true), vec![201; 40]));
    let again = scene.batch("atomic", &items).await.must_be(200);
    assert!(
        again["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|result| result["replayed"] == true)
    );
    assert_eq!(again["results"][3]["body"], batch["results"][3]["body"]);
    assert_eq!(scene.balances().await[..1], [10_000 - 820]);

    // Each on its own is affordable, all together are not.
    let items = [scene.item(5_000), scene.item(4_000), scene.item(1_000)];
    let refused = scene.batch("atomic", &items).await.must_be(200);
    assert_eq!(
        (&refused["ok"], statuses(&refused)),
        (&json!(false), vec![422; 3])
    );
    assert_eq!(
        codes(&refused),
        ["batch_refused", "batch_refused", "insufficient_funds"]
    );
    assert_eq!(scene.balances().await[..1], [10_000 - 820]);
    // The refusal is remembered with each key.
    let item = &items[0];
    let alone = scene
        .payer
        .post_with_key(TRANSFERS, item["key"].as_str().unwrap(), item["transfer"].clone())
        .await;
    assert_eq!((alone.status, alone.code()), (422, "batch_refused"));
    // A key that was used before cannot be in a new batch.
    let mixed = [items[0].clone(), scene.item(1)];
    let refused = scene.batch("atomic", &mixed).await.must_be(200);
    assert_eq!(
        text_of(&refused["results"][1]["body"], "code"),
        "batch_partly_done"
    );
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_batch_decides_each_item_on_its_own() {
    let scene = scene().await;
    let mut items = vec![scene.item(6_000), scene.item(6_000), scene.item(1_000)];
    let mut stranger = scene.item(1);
    stranger["transfer"]["debit_account_id"] = json!(scene.payees[1].1);
    items.push(stranger);
    let batch = scene.batch("independent", &items).await.must_be(200);
    assert_eq!(
        (&batch["ok"], statuses(&batch)),
        (&json!(false), vec![201, 422, 201, 422])
    );
    assert_eq!(scene.balances().await[..1], [3_000]);
    let again = scene.batch("independent", &items).await.must_be(200);
    assert_eq!(statuses(&again), [201, 422, 201, 422]);
    assert_eq!(scene.balances().await[..1], [3_000]);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_of_a_batch_answers_what_the_batch_would() {
    let scene = scene().await;
    let items = [scene.item(6_000), scene.item(6_000), scene.item(1_000)];
    let tried = |mode: &str| json!({ "mode": mode, "items": items, "dry_run": true });
    let tried = async |mode| scene.payer.post(BATCHES, tried(mode)).await.must_be(200);
    let independent = tried("independent").await;
    assert_eq!(
        (statuses(&independent), codes(&independent)),
        (
            vec![200, 422, 200],
            ["", "insufficient_funds", ""].map(str::to_owned).to_vec()
        )
    );
    assert_eq!(
        codes(&tried("atomic").await),
        ["batch_refused", "insufficient_funds", "batch_refused"]
    );
    assert_eq!(scene.balances().await[..1], [10_000]);
    // Nothing was kept, the keys included.
    let batch = scene.batch("independent", &items).await.must_be(200);
    assert_eq!(statuses(&batch), [201, 422, 201]);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_wrong_in_itself_is_named_in_every_kind_of_batch() {
    let scene = scene().await;
    let mut wrong = scene.item(1);
    wrong["transfer"]["credit_account_id"] = json!(scene.dollars);
    for (mode, dry_run, others) in [
        ("atomic", false, "batch_refused"),
        ("atomic", true, "batch_refused"),
        ("independent", true, ""),
        ("independent", false, ""),
    ] {
        let items = json!([scene.item(1), wrong, scene.item(2)]);
        let batch = json!({ "mode": mode, "items": items, "dry_run": dry_run });
        let batch = scene.payer.post(BATCHES, batch).await.must_be(200);
        assert_eq!(
            codes(&batch),
            [others, "same_account", others],
            "{mode} {dry_run}"
        );
    }
    assert_eq!(scene.balances().await[..1], [10_000 - 3]);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_items_go_in_one_batch_and_one_more_does_not() {
    let scene = scene().await;
    let items: Vec<Value> = (0..1_000).map(|_| scene.item(2)).collect();
    for mode in ["atomic", "independent"] {
        let batch = scene.batch(mode, &items).await.must_be(200);
        assert_eq!(
            (&batch["ok"], statuses(&batch).len()),
            (&json!(true), 1_000),
            "{mode}"
        );
    }
    assert_eq!(scene.balances().await[..1], [8_000]);
    let mut more = items;
    more.push(scene.item(1));
    scene
        .batch("atomic", &more)
        .await
        .must_be_problem(422, "invalid_batch");
    scene
        .batch("atomic", &[])
        .await
        .must_be_problem(422, "invalid_batch");
    let item = scene.item(1);
    let twice = [item.clone(), item];
    scene
        .batch("independent", &twice)
        .await
        .must_be_problem(422, "duplicate_key");
    let mut tried = scene.item(1);
    tried["transfer"]["dry_run"] = json!(true);
    scene
        .batch("atomic", &[tried])
        .await
        .must_be_problem(422, "invalid_batch");
    let dry = json!({ "mode": "atomic", "items": [scene.item(5)], "dry_run": true });
    let dry = scene.payer.post(BATCHES, dry).await.must_be(200);
    assert_eq!(dry["results"][0]["body"]["dry_run"], true);
    assert_eq!(scene.balances().await[..1], [8_000]);
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_race_for_the_same_money_never_spend_it_twice() {
    let scene = scene().await;
    let batches = (0..12).map(|_| {
        let items = [scene.item(600), scene.item(600)];
        let body = json!({ "mode": "atomic", "items": items });
        let payer = scene.payer.clone();
        tokio::spawn(async move { payer.post(BATCHES, body).await.must_be(200) })
    });
    let batches: Vec<Value> = join_all(batches).await.into_iter().map(Result::unwrap).collect();
    let done = batches.iter().filter(|batch| batch["ok"] == true).count();
    assert_eq!(done, 8, "10,000 pays for eight batches of 1,200");
    assert_eq!(scene.balances().await[..1], [400]);
    scene.platform.assert_invariants().await;
}
