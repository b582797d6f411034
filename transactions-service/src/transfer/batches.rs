//! Many transfers in one request, each under its own key.

use std::collections::BTreeSet;

use actix_web::{post, web};
use serde::{Deserialize, Serialize};
use shared::id::UserId;
use shared::idempotency::IdempotencyKey;
use shared::openapi::{BodyErrors, CommonErrors, StepUpErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use super::handlers::{CreateTransfer, TransferFields};
use crate::idempotency_key::Claim;
use crate::lane::{Answer, Item, Mode, Work, batch_refused};
use crate::state::State;
use crate::step_up::Order;

const MAX_ITEMS: usize = 1000;
const MAX_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchMode {
    /// All items happen, or none.
    Atomic,
    /// Each item is decided on its own.
    Independent,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTransferBatch {
    pub mode: BatchMode,
    /// 1 to 1,000.
    pub items: Vec<BatchItem>,
    /// Only try it: nothing of it is kept, the keys included.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchItem {
    /// The item's `Idempotency-Key`.
    #[schema(value_type = String, example = "payroll-2026-11-alice")]
    pub key: IdempotencyKey,
    #[schema(value_type = TransferFields)]
    pub transfer: CreateTransfer,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TransferBatch {
    /// Whether every item succeeded.
    pub ok: bool,
    /// In the order of the items.
    pub results: Vec<BatchResult>,
}

/// What the item would have been answered on its own.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    pub key: String,
    /// The HTTP status.
    #[schema(example = 201)]
    pub status: u16,
    /// Whether an earlier request with the same key got the answer first.
    pub replayed: bool,
    /// A transfer, or a problem.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
}

/// Move money many times in one request.
///
/// The answer is 200 with a result for each item. A batch can be sent again: items are recognised by their own keys, and
/// the request needs no `Idempotency-Key`.
#[utoipa::path(
    tag = "transfers",
    responses(
        (status = 200, description = "A result for each item", body = TransferBatch),
        (status = 422, description = "`invalid_batch`, `duplicate_key`", body = shared::error::Problem, content_type = "application/problem+json"),
        StepUpErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfer-batches")]
pub async fn create_transfer_batch(
    principal: Principal,
    request: Json<CreateTransferBatch, MAX_BYTES>,
    state: web::Data<State>,
) -> Result<web::Json<TransferBatch>, ApiError> {
    let request = request.into_inner();
    check(&request)?;
    let keys: Vec<IdempotencyKey> = request.items.iter().map(|item| item.key.clone()).collect();
    let today = state.clock.now().date_naive();
    let items = request.items.into_iter();
    let items: Vec<Result<Item, ApiError>> = items.map(|item| item.of(principal.user_id, today)).collect();
    if !request.dry_run {
        let orders = keys.iter().zip(&items);
        let orders: Vec<Order<'_>> = orders
            .filter_map(|(key, item)| match &item.as_ref().ok()?.work {
                Work::Post(order) => Some((key, &order.legs)),
                _ => None,
            })
            .collect();
        state.step_up.check(&principal, &orders)?;
    }
    let answers = match (request.mode, request.dry_run) {
        (BatchMode::Atomic, false) => decide_together(&state, items, Mode::Atomic).await?,
        (BatchMode::Atomic, true) => decide_together(&state, items, Mode::DryRun { atomic: true }).await?,
        (BatchMode::Independent, false) => decide_each(&state, items).await?,
        (BatchMode::Independent, true) => try_in_turn(&state, items).await?,
    };
    let results = keys
        .into_iter()
        .zip(answers)
        .map(|(key, answer)| result_of(&key, answer));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(TransferBatch {
        ok: results.iter().all(|result| result.status < 300),
        results,
    }))
}

fn check(request: &CreateTransferBatch) -> Result<(), ApiError> {
    if !(1..=MAX_ITEMS).contains(&request.items.len()) {
        return Err(ApiError::unprocessable(
            "invalid_batch",
            format!("A batch has 1 to {MAX_ITEMS} items."),
        ));
    }
    if request.items.iter().any(|item| item.transfer.is_dry_run()) {
        return Err(ApiError::unprocessable(
            "invalid_batch",
            "`dry_run` stands on the batch, not on an item.",
        ));
    }
    let keys: BTreeSet<&str> = request.items.iter().map(|item| item.key.as_str()).collect();
    if keys.len() < request.items.len() {
        return Err(ApiError::unprocessable(
            "duplicate_key",
            "Each item of a batch has a key of its own.",
        ));
    }
    Ok(())
}

impl BatchItem {
    fn of(self, user: UserId, today: chrono::NaiveDate) -> Result<Item, ApiError> {
        // As if it had been sent on its own, so that it is recognised either way.
        let claim = Claim::new(user, self.key, "POST /transfers", &self.transfer)?;
        Ok(Item {
            work: Work::Post(self.transfer.into_order(user, today)?),
            claim,
            audit: None,
        })
    }
}

async fn decide_together(
    state: &State,
    items: Vec<Result<Item, ApiError>>,
    mode: Mode,
) -> Result<Vec<Answer>, ApiError> {
    let Some(culprit) = items.iter().position(Result::is_err) else {
        let items = items.into_iter().filter_map(Result::ok).collect();
        return state.lanes.submit_all(items, mode).await;
    };
    let refused = Answer::of_problem(&batch_refused(culprit))?;
    let answer = |item: Result<Item, ApiError>| match item {
        Ok(_) => Ok(refused.clone()),
        Err(error) => Answer::of_problem(&error),
    };
    items.into_iter().map(answer).collect()
}

/// Each sees what those before it would have done.
async fn try_in_turn(state: &State, items: Vec<Result<Item, ApiError>>) -> Result<Vec<Answer>, ApiError> {
    let mut valid = Vec::with_capacity(items.len());
    let mut problems = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Ok(item) => {
                valid.push(item);
                problems.push(None);
            }
            Err(error) => problems.push(Some(Answer::of_problem(&error)?)),
        }
    }
    let tried = match valid.is_empty() {
        true => Vec::new(),
        false => {
            state
                .lanes
                .submit_all(valid, Mode::DryRun { atomic: false })
                .await?
        }
    };
    let mut tried = tried.into_iter();
    Ok(problems
        .into_iter()
        .filter_map(|problem| problem.or_else(|| tried.next()))
        .collect())
}

async fn decide_each(state: &State, items: Vec<Result<Item, ApiError>>) -> Result<Vec<Answer>, ApiError> {
    let decided = items.into_iter().map(async |item| {
        let answer = match item {
            Ok(Item { work, claim, .. }) => state.lanes.submit(work, claim).await,
            Err(error) => Err(error),
        };
        // One item that failed leaves the others as they are; each problem says what became of its own money.
        answer.or_else(|error| Answer::of_problem(&error))
    });
    futures_util::future::try_join_all(decided).await
}

fn result_of(key: &IdempotencyKey, answer: Answer) -> Result<BatchResult, ApiError> {
    Ok(BatchResult {
        key: key.as_str().to_owned(),
        status: answer.status,
        replayed: answer.replayed,
        body: serde_json::from_str(&answer.body).map_err(ApiError::internal)?,
    })
}
