//! The running service against a model of it. Random steps are taken one after another, and after each the answer and the
//! books must be what the model says; then the same steps are taken by several clients at once, and what must always hold
//! has to hold.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use platform::client::{Answer, eventually, text_of};
use platform::programs::tell;
use platform::{Platform, Service};
use serde_json::Value;
use shared::Clock;
use shared::id::{AccountId, HoldId, ScheduleId, TransferId};
use tokio_postgres::Client as Sql;
use uuid::Uuid;

use crate::cases::try_at_random;
use crate::ledger_model::{ACTIVE, Expected, Model, ModelAccount, ModelSchedule};
use crate::steps::{APPROVAL_ABOVE, REVIEWED_ABOVE, Status, Step};
use crate::table::Row;
use crate::world::{Known, Request, World, pick};

const CLIENTS: usize = 4;
pub const ACCOUNTS: [(usize, &str); 6] = [
    (0, "USD"),
    (0, "USD"),
    (1, "USD"),
    (2, "USD"),
    (0, "EUR"),
    (1, "EUR"),
];

/// Two replicas, with so many lanes each, that decide by amount alone.
pub async fn platform(lanes: usize) -> Platform {
    Platform::builder()
        .set(Service::Transactions, "LANES", lanes)
        .without(Service::Ml)
        .set(Service::Transactions, "UNSCORED_POST_LIMIT", REVIEWED_ABOVE)
        .set(
            Service::Transactions,
            "APPROVAL_ABOVE",
            format!("USD={APPROVAL_ABOVE}"),
        )
        .replicas(2)
        .start()
        .await
        .unwrap()
}

/// Something for everybody to begin with.
pub fn funded(accounts: usize, steps: &[Step]) -> Vec<Step> {
    let deposit = |account| Step::Deposit {
        account,
        amount: 1_000,
        stranger: false,
    };
    (0..accounts).map(deposit).chain(steps.iter().cloned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_does_what_the_model_does_whatever_is_asked_in_whatever_order() {
    // In one lane the items of a batch are decided in their order.
    let platform = platform(1).await;
    let case = Cell::new(0);
    let handle = tokio::runtime::Handle::current();
    try_at_random("every operation at random, against a model", 1, |steps| {
        case.set(case.get() + 1);
        let (name, steps) = (format!("case{}", case.get()), funded(ACCOUNTS.len(), steps));
        tokio::task::block_in_place(|| {
            handle.block_on(async {
                let today = Clock::system().now().date_naive();
                let row = match one_after_another(&platform, &name, &steps).await {
                    Err(_) if today != Clock::system().now().date_naive() => {
                        tell("a case went past midnight, when limits begin anew: the model knows one day");
                        Row::default()
                    }
                    row => row?,
                };
                at_once(&platform, &name, &steps).await;
                Ok(row)
            })
        })
    });
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}

/// An error tells where the service and the model went different ways.
async fn one_after_another(platform: &Platform, name: &str, steps: &[Step]) -> Result<Row, String> {
    let world = World::open(platform, name, &ACCOUNTS).await;
    let sql = platform.sql().await;
    let accounts = &world.accounts;
    let (mut model, mut known) = (Model::of(accounts), Known::default());
    let mut sent: Vec<(Request, Answer)> = Vec::new();
    let mut row = Row::default();
    for (number, step) in steps.iter().enumerate() {
        let differs = |what: String| format!("step {number}, {step:?}: {what}");
        match step {
            Step::Repeat { request, altered } => {
                if let Some((request, first)) = pick(&sent, *request) {
                    repeat(request, first, *altered).await.map_err(differs)?;
                }
                continue;
            }
            Step::Expire { hold } => {
                if let Some(hold) = pick(&known.holds, *hold)
                    && expire(&sql, hold).await
                {
                    model.take(step, accounts);
                }
            }
            Step::CaptureByItself { hold } => {
                if let Some(hold) = pick(&known.holds, *hold)
                    && let Some(transfer) = capture_by_itself(&sql, hold).await
                {
                    let expected = model.take(step, accounts);
                    same("captured", expected[0].status < 300, transfer.is_some()).map_err(differs)?;
                    if let (Some(id), Some(payer)) = (transfer, world.holder(&hold["account_id"])) {
                        known.learn(&world.transfer(payer, &id.to_string()).await);
                    }
                }
            }
            Step::Run { schedule } => {
                if let Some(found) = pick(&known.schedules, *schedule) {
                    let schedule = schedule % known.schedules.len();
                    let ModelSchedule {
                        next, status, mover, ..
                    } = model.schedules[schedule];
                    let run = run(&sql, found, next).await;
                    same("is active", status == ACTIVE, run.is_some()).map_err(differs)?;
                    if let Some((answered, transfer)) = run {
                        same("the run", model.run(schedule, accounts), answered).map_err(differs)?;
                        if let Some(id) = transfer {
                            known.learn(&world.transfer(mover, &id.to_string()).await);
                        }
                    }
                }
            }
            _ => {
                let Some(request) = world.request(step, &known) else {
                    continue;
                };
                let expected = model.take(step, accounts);
                let answer = request.send().await;
                let answered = answers(&answer);
                if answered != expected {
                    return Err(differs(format!("expected {expected:?}, got {answer}")));
                }
                row.tried += answered.len();
                let done = answered.iter().filter(|it| it.status < 300).count();
                row.acknowledged += done;
                row.refused += answered.len() - done;
                if answer.status < 300 {
                    known.learn(&answer.body);
                }
                if is_remembered(step, &answer) {
                    sent.push((request, answer));
                }
            }
        }
        compare(&sql, &model, &world, &known).await.map_err(differs)?;
    }
    Ok(row)
}

/// What the request and each item of a batch was answered.
fn answers(answer: &Answer) -> Vec<Expected> {
    let expected = |status: u16, body: &Value| {
        let word = body.get("code").unwrap_or(&body["status"]);
        Expected {
            status,
            word: word.as_str().unwrap_or_default().to_owned(),
        }
    };
    match answer.body["results"].as_array() {
        None => vec![expected(answer.status, &answer.body)],
        Some(results) => results
            .iter()
            .map(|result| {
                let status = result["status"].as_u64().unwrap();
                expected(u16::try_from(status).unwrap(), &result["body"])
            })
            .collect(),
    }
}

/// Whether the answer is kept with the key: a request that is refused before it comes to the lane is looked at anew.
fn is_remembered(step: &Step, answer: &Answer) -> bool {
    let has_no_key = matches!(
        step,
        Step::SetLimits { .. }
            | Step::SetStatus { .. }
            | Step::Schedule { .. }
            | Step::Steer { .. }
            | Step::Batch { .. }
            | Step::Transfer { dry_run: true, .. }
    );
    let before_the_lane = ["not_found", "same_account", "not_refundable", "not_reversible"];
    !has_no_key && answer.status != 200 && !before_the_lane.contains(&answer.code())
}

async fn repeat(request: &Request, first: &Answer, altered: bool) -> Result<(), String> {
    let mut request = request.clone();
    match request.body.get_mut("amount").filter(|_| altered) {
        Some(amount) => {
            *amount = Value::from(amount.as_i64().unwrap() + 1);
            let answer = request.send().await;
            match (answer.status, answer.code()) {
                (422, "idempotency_key_reused") => Ok(()),
                _ => Err(format!("a reused key was answered: {answer}")),
            }
        }
        None => {
            let answer = request.send().await;
            let is_replay = answer.header("idempotent-replayed") == Some("true");
            match (answer.status, &answer.text) == (first.status, &first.text) && is_replay {
                true => Ok(()),
                false => Err(format!("first {first}, then {answer}")),
            }
        }
    }
}

/// Lets the hold's time be up, and waits until it has ended by itself. `false` if nothing is left of it.
async fn expire(sql: &Sql, hold: &Value) -> bool {
    let id = hold_id(hold);
    let due =
        "UPDATE transactions.holds SET expires_at = now() WHERE id = $1 AND captured + released < amount";
    let is_open = sql.execute(due, &[&id]).await.unwrap() > 0;
    if is_open {
        eventually("the hold has expired", async || {
            let query = "SELECT FROM transactions.holds WHERE id = $1 AND expired";
            sql.query_opt(query, &[&id]).await.unwrap()
        })
        .await;
    }
    is_open
}

/// Lets the time come at which the hold captures itself, and waits for that. `None` if nothing is left of it, `Some(None)` if it was
/// refused.
async fn capture_by_itself(sql: &Sql, hold: &Value) -> Option<Option<TransferId>> {
    let id = hold_id(hold);
    let due =
        "UPDATE transactions.holds SET capture_at = now() WHERE id = $1 AND captured + released < amount";
    if sql.execute(due, &[&id]).await.unwrap() == 0 {
        return None;
    }
    let captured = eventually("the hold has captured itself", async || {
        let query = "SELECT captured + released = amount FROM transactions.holds
            WHERE id = $1 AND (captured + released = amount OR capture_at IS NULL)";
        let row = sql.query_opt(query, &[&id]).await.unwrap()?;
        Some(row.get::<_, bool>(0))
    })
    .await;
    if !captured {
        return Some(None);
    }
    let newest = "SELECT id FROM transactions.transfers WHERE captured_hold_id = $1 ORDER BY id DESC LIMIT 1";
    let transfer = sql.query_one(newest, &[&id]).await.unwrap().get(0);
    Some(Some(TransferId::from_uuid(transfer)))
}

/// Lets the run with this number be due, and waits for it: what it was answered, and the transfer that it made. `None` if the
/// schedule does not run.
async fn run(sql: &Sql, schedule: &Value, number: u16) -> Option<(Expected, Option<TransferId>)> {
    let id = text_of(schedule, "id").parse::<ScheduleId>().unwrap().uuid();
    let due = "UPDATE transactions.schedules SET next_run_at = now() WHERE id = $1 AND status = 'active'";
    if sql.execute(due, &[&id]).await.unwrap() == 0 {
        return None;
    }
    let row = eventually("the run is made", async || {
        let query = "SELECT outcome, failure->>'code', transfer_id FROM transactions.schedule_runs
            WHERE schedule_id = $1 AND occurrence = $2";
        sql.query_opt(query, &[&id, &i32::from(number)]).await.unwrap()
    })
    .await;
    let (outcome, code, transfer): (String, Option<String>, Option<Uuid>) =
        (row.get(0), row.get(1), row.get(2));
    let expected = Expected {
        status: if code.is_some() { 422 } else { 201 },
        word: code.unwrap_or(outcome),
    };
    Some((expected, transfer.map(TransferId::from_uuid)))
}

fn hold_id(hold: &Value) -> Uuid {
    text_of(hold, "id").parse::<HoldId>().unwrap().uuid()
}

/// Balances, holds and transfers, each as it is in the books and as the model has it.
async fn compare(sql: &Sql, model: &Model, world: &World, known: &Known) -> Result<(), String> {
    for (account, expected) in world.accounts.all.iter().zip(&model.accounts) {
        let id = account.id.parse::<AccountId>().unwrap().uuid();
        let query = "SELECT posted, held, status, spent_today, spent_this_month
            FROM transactions.ledger_accounts WHERE id = $1";
        let row = sql.query_one(query, &[&id]).await.unwrap();
        let found: (i64, i64, &str, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        let ModelAccount {
            posted,
            held,
            status,
            spent,
            ..
        } = expected;
        let status = match status {
            Status::Open => "open",
            Status::Frozen => "frozen",
            Status::Closed => "closed",
        };
        same(&account.id, (*posted, *held, status, *spent, *spent), found)?;
    }
    for (hold, expected) in known.holds.iter().zip(&model.holds) {
        let query = "SELECT amount, captured, released FROM transactions.holds WHERE id = $1";
        let row = sql.query_one(query, &[&hold_id(hold)]).await.unwrap();
        let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        same(
            &text_of(hold, "id"),
            (expected.amount, expected.captured, expected.released),
            found,
        )?;
    }
    for (transfer, expected) in known.transfers.iter().zip(&model.transfers) {
        let id = text_of(transfer, "id").parse::<TransferId>().unwrap().uuid();
        let query =
            "SELECT status, refunded, reversal_id IS NOT NULL FROM transactions.transfers WHERE id = $1";
        let row = sql.query_one(query, &[&id]).await.unwrap();
        let found: (&str, i64, bool) = (row.get(0), row.get(1), row.get(2));
        same(
            &text_of(transfer, "id"),
            (expected.status, expected.refunded, expected.is_reversed),
            found,
        )?;
    }
    for (schedule, expected) in known.schedules.iter().zip(&model.schedules) {
        let id = text_of(schedule, "id").parse::<ScheduleId>().unwrap().uuid();
        let query = "SELECT status, next_occurrence FROM transactions.schedules WHERE id = $1";
        let row = sql.query_one(query, &[&id]).await.unwrap();
        let found: (&str, i32) = (row.get(0), row.get(1));
        same(
            &text_of(schedule, "id"),
            (expected.status, i32::from(expected.next)),
            found,
        )?;
    }
    same(
        "holds, transfers and schedules",
        (model.holds.len(), model.transfers.len(), model.schedules.len()),
        (known.holds.len(), known.transfers.len(), known.schedules.len()),
    )
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Result<(), String> {
    match expected == found {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, found {found:?}")),
    }
}

/// The same steps by several clients: no order is promised, but nothing is lost, made or spent twice.
async fn at_once(platform: &Platform, name: &str, steps: &[Step]) {
    let world = World::open(platform, &format!("{name}-at-once"), &ACCOUNTS).await;
    take_at_once(&Arc::new(world), steps.to_vec(), CLIENTS, platform).await;
}

/// Each client takes every `clients`-th step. Panics when an answer is no decision, or when the books are not what was answered.
/// Returns how many were done and how many refused.
pub async fn take_at_once(world: &Arc<World>, steps: Vec<Step>, clients: usize, platform: &Platform) -> Row {
    let (known, steps) = (Arc::new(Mutex::new(Known::default())), Arc::new(steps));
    let clients = (0..clients).map(|client| {
        let (world, known, steps) = (Arc::clone(world), Arc::clone(&known), Arc::clone(&steps));
        tokio::spawn(async move {
            let mut row = Row::default();
            for step in steps.iter().skip(client).step_by(clients) {
                let request = world.request(step, &known.lock().unwrap());
                let Some(request) = request else { continue };
                let answer = request.send().await;
                assert!(
                    [200, 201, 404, 422].contains(&answer.status),
                    "{step:?}: {answer}"
                );
                row.tried += 1;
                if answer.status < 300 {
                    row.acknowledged += 1;
                    known.lock().unwrap().learn(&answer.body);
                } else {
                    row.refused += 1;
                }
            }
            row
        })
    });
    let mut row = Row::default();
    for client in join_all(clients).await {
        let client = client.unwrap();
        row.tried += client.tried;
        row.acknowledged += client.acknowledged;
        row.refused += client.refused;
    }
    platform.assert_books().await;
    let ids = world.accounts.all.iter();
    let ids: Vec<Uuid> = ids.map(|it| it.id.parse::<AccountId>().unwrap().uuid()).collect();
    let query = "SELECT sum(posted)::bigint FROM transactions.ledger_accounts WHERE id = ANY($1)";
    let sql = platform.sql().await;
    let total: i64 = sql.query_one(query, &[&ids]).await.unwrap().get(0);
    assert_eq!(
        total,
        known.lock().unwrap().entered(),
        "what is there is what has entered"
    );
    row
}
