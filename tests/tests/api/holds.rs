//! Holds: money set aside, captured in parts, released, and gone back when its time is up.

use futures_util::future::join_all;
use platform::client::{Answer, eventually, new_key, text_of};
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};

use crate::parties::payer_and_payee;

const HOLDS: &str = "/api/v1/holds";

struct Scene {
    platform: Platform,
    payer: Customer,
    from: String,
    payee: Customer,
    to: String,
}

/// 100.00 in the payer's account, decided by two lanes.
async fn scene() -> Scene {
    let platform = Platform::builder()
        .set(Service::Transactions, "LANES", 2)
        .start()
        .await
        .unwrap();
    scene_on(platform).await
}

async fn scene_on(platform: Platform) -> Scene {
    let (payer, from, payee, to) = payer_and_payee(&platform, 10_000).await;
    Scene {
        platform,
        payer,
        from,
        payee,
        to,
    }
}

impl Scene {
    async fn hold(&self, amount: i64) -> String {
        let hold = self.payer.place_hold(&self.from, &self.to, amount, "USD").await;
        text_of(&hold.must_be(201), "id")
    }

    async fn hold_with(&self, more: Value) -> Answer {
        let mut hold = json!({ "account_id": self.from, "credit_account_id": self.to, "amount": 6_000, "currency": "USD" });
        let members = hold.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        self.payer.post_with_key(HOLDS, &new_key(), hold).await
    }

    async fn balances(&self) -> ((i64, i64, i64), i64) {
        let (posted, ..) = self.payee.balance(&self.to).await;
        (self.payer.balance(&self.from).await, posted)
    }
}

async fn act(customer: &Customer, hold: &str, action: &str, body: Value) -> Answer {
    let path = format!("{HOLDS}/{hold}/{action}");
    customer.post_with_key(&path, &new_key(), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_captured_in_parts_and_the_rest_released() {
    let scene = scene().await;
    let hold = scene.hold(6_000).await;
    assert_eq!(scene.balances().await, ((10_000, 6_000, 4_000), 0));
    let more = act(&scene.payer, &hold, "increment", json!({ "amount": 1_000 })).await;
    assert_eq!(more.must_be(200)["remaining"], 7_000);

    let capture = act(&scene.payee, &hold, "capture", json!({ "amount": 2_500 }))
        .await
        .must_be(201);
    assert_eq!(
        (&capture["kind"], &capture["status"]),
        (&json!("capture"), &json!("posted"))
    );
    assert_eq!(
        (&capture["hold_id"], &capture["amount"]),
        (&json!(hold), &json!(2_500))
    );
    assert_eq!(scene.balances().await, ((7_500, 4_500, 3_000), 2_500));
    act(&scene.payer, &hold, "capture", json!({ "amount": 500 }))
        .await
        .must_be(201);

    let released = act(&scene.payee, &hold, "release", json!({})).await.must_be(200);
    assert_eq!(released["status"], "captured");
    assert_eq!(
        (
            &released["captured"],
            &released["released"],
            &released["remaining"]
        ),
        (&json!(3_000), &json!(4_000), &json!(0))
    );
    assert_eq!(scene.balances().await, ((7_000, 0, 7_000), 3_000));
    let path = format!("/api/v1/transfers/{}", text_of(&capture, "id"));
    assert_eq!(scene.payer.get(&path).await.must_be(200)["hold_id"], json!(hold));
    assert_eq!(
        scene.payee.get(&format!("{HOLDS}/{hold}")).await.must_be(200),
        released
    );
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_use_of_a_hold_is_refused_and_changes_nothing() {
    let scene = scene().await;
    let hold = scene.hold(6_000).await;
    let before = scene.balances().await;
    for (answer, code) in [
        (
            scene.payer.place_hold(&scene.from, &scene.to, 4_001, "USD").await,
            "insufficient_funds",
        ),
        (
            scene.payer.place_hold(&scene.from, &scene.from, 1, "USD").await,
            "same_account",
        ),
        (
            scene.payer.place_hold(&scene.from, &scene.to, 1, "EUR").await,
            "currency_mismatch",
        ),
        (
            scene.payee.place_hold(&scene.from, &scene.to, 1, "USD").await,
            "account_not_found",
        ),
        (
            scene
                .hold_with(json!({ "expires_in_seconds": 60, "capture_in_seconds": 60 }))
                .await,
            "captured_after_expiry",
        ),
        (
            act(&scene.payer, &hold, "increment", json!({ "amount": 4_001 })).await,
            "insufficient_funds",
        ),
        (
            act(&scene.payee, &hold, "capture", json!({ "amount": 6_001 })).await,
            "hold_exceeded",
        ),
        (
            act(&scene.payee, &hold, "release", json!({ "amount": 6_001 })).await,
            "hold_exceeded",
        ),
    ] {
        answer.must_be_problem(422, code);
    }
    // The payer promised it, so the payer cannot take it back; the payee cannot ask for more; nobody else sees it.
    let stranger = scene.platform.register("stranger").await;
    for answer in [
        act(&scene.payer, &hold, "release", json!({})).await,
        act(&scene.payee, &hold, "increment", json!({ "amount": 1 })).await,
        act(&stranger, &hold, "capture", json!({})).await,
        stranger.get(&format!("{HOLDS}/{hold}")).await,
    ] {
        answer.must_be_problem(404, "not_found");
    }
    for wrong in [
        json!({ "amount": 0 }),
        json!({ "amount": 1.5 }),
        json!({ "expires_in_seconds": 0 }),
        json!({ "expires_in_seconds": 2_678_401 }),
        json!({ "expires_at": "2030-01-01T00:00:00Z" }),
    ] {
        assert_eq!(scene.hold_with(wrong.clone()).await.status, 400, "{wrong}");
    }
    assert_eq!(scene.balances().await, before);
    scene.platform.assert_invariants().await;
}

/// Blnk #181: what is held was spent all the same.
/// Otherwise a hold of one cent could grow to any amount, and be captured, unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_looked_at_as_a_whole_when_it_grows() {
    let platform = Platform::builder()
        .without(Service::Ml)
        .set(Service::Transactions, "UNSCORED_POST_LIMIT", 1_000)
        .start()
        .await
        .unwrap();
    let scene = scene_on(platform).await;
    let too_much = scene.payer.place_hold(&scene.from, &scene.to, 1_001, "USD").await;
    too_much.must_be_problem(422, "blocked_by_risk");
    let hold = scene.hold(400).await;
    let grow = async |by: i64| act(&scene.payer, &hold, "increment", json!({ "amount": by })).await;
    grow(600).await.must_be(200);
    grow(1).await.must_be_problem(422, "blocked_by_risk");
    assert_eq!(scene.balances().await, ((10_000, 1_000, 9_000), 0));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blnk_181_what_is_held_cannot_be_spent_held_again_or_withdrawn() {
    let scene = scene().await;
    scene.hold(9_000).await;
    for answer in [
        scene.payer.transfer(&scene.from, &scene.to, 1_001, "USD").await,
        scene.payer.place_hold(&scene.from, &scene.to, 1_001, "USD").await,
        scene.payer.withdraw(&scene.from, 1_001, "USD").await,
    ] {
        answer.must_be_problem(422, "insufficient_funds");
    }
    let close = format!("/api/v1/accounts/{}/close", scene.from);
    scene
        .payer
        .post_empty(&close)
        .await
        .must_be_problem(422, "account_not_empty");
    scene.platform.assert_invariants().await;
}

/// Midaz #1519: two commits of one hold both succeeded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn midaz_1519_one_hold_is_never_taken_twice_whoever_tries_at_once() {
    let scene = scene().await;
    for _ in 0..5 {
        let hold = scene.hold(1_000).await;
        let actions = (0..16).map(|number| {
            let (customer, hold) = (scene.payee.clone(), hold.clone());
            let action = if number % 2 == 0 { "capture" } else { "release" };
            tokio::spawn(async move { act(&customer, &hold, action, json!({})).await })
        });
        let answers: Vec<Answer> = join_all(actions).await.into_iter().map(Result::unwrap).collect();
        let done = answers.iter().filter(|answer| answer.status < 300).count();
        assert_eq!(done, 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status >= 300) {
            answer.must_be_problem(422, "hold_ended");
        }
    }
    let ((posted, held, _), received) = scene.balances().await;
    assert_eq!((posted + received, held), (10_000, 0));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_released_or_captured_by_itself_when_its_time_has_come() {
    let scene = scene().await;
    let expiring = scene
        .hold_with(json!({ "expires_in_seconds": 1 }))
        .await
        .must_be(201);
    let capturing = json!({ "amount": 3_000, "expires_in_seconds": 60, "capture_in_seconds": 1 });
    let capturing = scene.hold_with(capturing).await.must_be(201);
    let status_of = async |hold: &Value, status: &str| {
        let path = format!("{HOLDS}/{}", text_of(hold, "id"));
        eventually(&format!("the hold is {status}"), async || {
            let hold = scene.payer.get(&path).await.must_be(200);
            (hold["status"] == status).then_some(hold)
        })
        .await
    };
    let expired = status_of(&expiring, "expired").await;
    assert_eq!(expired["released"], 6_000);
    let captured = status_of(&capturing, "captured").await;
    assert_eq!(captured["captured"], 3_000);
    assert_eq!(scene.balances().await, ((7_000, 0, 7_000), 3_000));
    act(&scene.payee, &text_of(&expiring, "id"), "capture", json!({}))
        .await
        .must_be_problem(422, "hold_ended");
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_automatic_capture_that_is_refused_leaves_the_hold_until_it_expires() {
    let scene = scene().await;
    let hold = json!({ "expires_in_seconds": 4, "capture_in_seconds": 1 });
    let hold = text_of(&scene.hold_with(hold).await.must_be(201), "id");
    let freeze = format!("/api/v1/accounts/{}/freeze", scene.to);
    scene.payee.post_empty(&freeze).await.must_be(200);
    let expired = eventually("the hold has expired", async || {
        let hold = scene.payer.get(&format!("{HOLDS}/{hold}")).await.must_be(200);
        (hold["status"] == "expired").then_some(hold)
    })
    .await;
    assert_eq!(
        (&expired["captured"], &expired["capture_at"]),
        (&json!(0), &json!(null))
    );
    assert_eq!(scene.balances().await, ((10_000, 0, 10_000), 0));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_of_a_hold_can_be_repeated_under_its_key() {
    let scene = scene().await;
    let placed = json!({ "account_id": scene.from, "credit_account_id": scene.to, "amount": 5_000, "currency": "USD" });
    let mut hold = String::new();
    for (customer, action, body, status) in [
        (&scene.payer, "", placed, 201),
        (&scene.payer, "/increment", json!({ "amount": 500 }), 200),
        (&scene.payee, "/capture", json!({ "amount": 1_000 }), 201),
        (&scene.payee, "/release", json!({}), 200),
    ] {
        let path = match action {
            "" => HOLDS.to_owned(),
            _ => format!("{HOLDS}/{hold}{action}"),
        };
        let key = new_key();
        let first = customer.post_with_key(&path, &key, body.clone()).await;
        assert_eq!(first.status, status, "{first}");
        let again = customer.post_with_key(&path, &key, body).await;
        assert_eq!((again.status, &again.text), (status, &first.text));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        let reused = customer
            .post_with_key(&path, &key, json!({ "amount": 7, "account_id": scene.from, "credit_account_id": scene.to, "currency": "USD" }))
            .await;
        assert!([400, 422].contains(&reused.status), "{reused}");
        if action.is_empty() {
            hold = text_of(&first.body, "id");
        }
        let known = customer
            .get(&format!("/api/v1/idempotency-keys/{key}"))
            .await
            .must_be(200);
        assert_eq!(known["body"], first.body);
    }
    assert_eq!(scene.balances().await, ((9_000, 0, 9_000), 1_000));
    scene.platform.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_list_their_holds_newest_first() {
    let scene = scene().await;
    let mut holds = Vec::new();
    for amount in [100, 200, 300] {
        holds.push(scene.hold(amount).await);
    }
    act(&scene.payee, &holds[1], "release", json!({}))
        .await
        .must_be(200);
    holds.reverse();
    for customer in [&scene.payer, &scene.payee] {
        let first = customer.get(&format!("{HOLDS}?limit=2")).await.must_be(200);
        let rest = customer
            .get(&format!(
                "{HOLDS}?limit=2&after={}",
                text_of(&first, "next_cursor")
            ))
            .await
            .must_be(200);
        let ids = |page: &Value| -> Vec<String> {
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hold| text_of(hold, "id"))
                .collect()
        };
        assert_eq!([ids(&first), ids(&rest)].concat(), holds);
        let open = customer.get(&format!("{HOLDS}?open=true")).await.must_be(200);
        assert_eq!(ids(&open), [holds[0].clone(), holds[2].clone()]);
        customer
            .get(&format!("{HOLDS}?status=open"))
            .await
            .must_be_problem(400, "invalid_query");
    }
}
