//! Payments: money that enters or leaves the platform over a rail.
//!
//! It does so only through the rail's clearing account, so the sum of all postings stays zero. The one rail here is the
//! sandbox, which settles at once and is off unless an operator switches it on.

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use shared::id::AccountId;
use shared::idempotency::IdempotencyKey;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors, StepUpErrors};
use shared::{Amount, ApiError, Currency, Json, Outcome, Principal};
use utoipa::ToSchema;

use crate::idempotency_key::Claim;
use crate::lane::Work;
use crate::ledger_account::queries::clearing_account;
use crate::leg::Legs;
use crate::state::State;
use crate::transfer::handlers::respond;
use crate::transfer::{Description, Metadata, Note, TransferKind, TransferOrder, TransferRecord};

const SANDBOX: &str = "sandbox";

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePayment {
    /// One of your accounts: paid by a deposit, paying for a withdrawal.
    pub account_id: AccountId,
    pub amount: Amount,
    /// The account's currency.
    pub currency: Currency,
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
}

/// Bring money into one of your accounts over the sandbox rail.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    responses(
        (status = 201, description = "Posted", body = TransferRecord),
        (status = 422, description = "`rail_unavailable`, `account_not_found`, `account_frozen`, `account_closed`, `currency_mismatch`, `balance_limit_exceeded`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/payments/deposits")]
pub async fn create_deposit(
    principal: Principal,
    key: IdempotencyKey,
    request: Json<CreatePayment>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(
        principal.user_id,
        key.clone(),
        "POST /payments/deposits",
        &request.0,
    )?;
    pay(
        &principal,
        &key,
        claim,
        TransferKind::Deposit,
        request.into_inner(),
        &state,
    )
    .await
}

/// Send money from one of your accounts out over the sandbox rail.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    responses(
        (status = 201, description = "Posted, or in review", body = TransferRecord),
        (status = 422, description = "`rail_unavailable`, `account_not_found`, `account_frozen`, `account_closed`, `currency_mismatch`, `insufficient_funds`, `transfer_limit_exceeded`, `daily_limit_exceeded`, `monthly_limit_exceeded`, `blocked_by_risk`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        StepUpErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/payments/withdrawals")]
pub async fn create_withdrawal(
    principal: Principal,
    key: IdempotencyKey,
    request: Json<CreatePayment>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(
        principal.user_id,
        key.clone(),
        "POST /payments/withdrawals",
        &request.0,
    )?;
    pay(
        &principal,
        &key,
        claim,
        TransferKind::Withdrawal,
        request.into_inner(),
        &state,
    )
    .await
}

async fn pay(
    principal: &Principal,
    key: &IdempotencyKey,
    claim: Claim,
    kind: TransferKind,
    request: CreatePayment,
    state: &State,
) -> Result<HttpResponse, ApiError> {
    if !state.sandbox_rail {
        return Err(
            ApiError::unprocessable("rail_unavailable", "No payment rail is connected for this.")
                .outcome(Outcome::None),
        );
    }
    let clearing = clearing_account_of(state, request.currency).await?;
    let (debit_account_id, credit_account_id) = match kind {
        TransferKind::Deposit => (clearing, request.account_id),
        _ => (request.account_id, clearing),
    };
    let legs = Legs::pair(
        debit_account_id,
        credit_account_id,
        request.amount,
        request.currency,
    );
    if kind == TransferKind::Withdrawal {
        state.step_up.check(principal, &[(key, &legs)])?;
    }
    let note = Note {
        description: request.description,
        metadata: request.metadata,
        ..Note::default()
    };
    let order = TransferOrder::new(kind, legs, note, principal.user_id);
    let answer = state.lanes.submit(Work::Post(order), claim).await?;
    Ok(respond(answer))
}

async fn clearing_account_of(state: &State, currency: Currency) -> Result<AccountId, ApiError> {
    if let Some(id) = state.known_clearing_account(currency) {
        return Ok(id);
    }
    let mut conn = state.db.connection().await?;
    let id = clearing_account(&mut conn, SANDBOX, currency).await?;
    state.remember_clearing_account(currency, id);
    Ok(id)
}
