//! Transfers between accounts, and the reviews of those that looked suspicious.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, get, post, web};
use chrono::NaiveDate;
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use shared::error::PROBLEM_JSON;
use shared::id::{AccountId, TransferId, UserId};
use shared::idempotency::{IdempotencyKey, REPLAYED_HEADER};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors, StepUpErrors};
use shared::{Amount, ApiError, Currency, Denial, Json, Outcome, Principal, Role};
use utoipa::ToSchema;

use super::queries::{self, TransferRow};
use super::{
    Description, Metadata, Note, Reference, ReviewDecision, TransferKind, TransferOrder, TransferRecord,
    TransferStatus,
};
use crate::audit;
use crate::idempotency_key::Claim;
use crate::lane::{Answer, Mode, Work};
use crate::leg::{InvalidLegs, LegOrder, Legs};
use crate::state::State;

/// How far an effective date may be from today, either way.
const EFFECTIVE_WITHIN_DAYS: i64 = 366;

/// Who sees every transfer with its risk, and decides those in review.
pub(super) const REVIEWERS: [Role; 2] = [Role::Compliance, Role::Admin];

/// A debit and a credit: `debit_account_id`, `credit_account_id`, `amount` and `currency`. Or `legs`: several debits and
/// credits, which balance in every currency.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateTransfer)]
pub struct TransferFields {
    /// The account that pays: one of yours.
    #[serde(default, deserialize_with = "present")]
    debit_account_id: Option<AccountId>,
    /// The account that is paid.
    #[serde(default, deserialize_with = "present")]
    credit_account_id: Option<AccountId>,
    #[serde(default, deserialize_with = "present")]
    amount: Option<Amount>,
    /// The currency of both accounts.
    #[serde(default, deserialize_with = "present")]
    currency: Option<Currency>,
    description: Option<Description>,
    metadata: Option<Metadata>,
    /// 2 to 100; each account is in one of them, and those that are debited are yours.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    legs: Option<Vec<LegOrder>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<Reference>,
    /// The day it counts for, if not that of its booking; at most a year away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    effective_date: Option<NaiveDate>,
    /// Only try it: the answer is 200 and what would have happened, and nothing of it is kept, the key included.
    #[serde(default, skip_serializing)]
    dry_run: bool,
}

/// Absent or a value, but not `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What is asked for, with legs that balance. It is serialized as it was sent, for the fingerprint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "TransferFields", into = "TransferFields")]
pub struct CreateTransfer {
    fields: TransferFields,
    legs: Result<Legs, InvalidLegs>,
}

impl From<CreateTransfer> for TransferFields {
    fn from(request: CreateTransfer) -> Self {
        request.fields
    }
}

impl TryFrom<TransferFields> for CreateTransfer {
    type Error = &'static str;

    fn try_from(fields: TransferFields) -> Result<Self, &'static str> {
        let pair = (
            fields.debit_account_id,
            fields.credit_account_id,
            fields.amount,
            fields.currency,
        );
        let legs = match (pair, &fields.legs) {
            ((None, None, None, None), Some(legs)) => Legs::parse(legs.clone()),
            (_, Some(_)) => return Err("`legs` stands alone: each leg has its account, amount and currency"),
            ((Some(debit), Some(credit), Some(amount), Some(currency)), None) if debit != credit => {
                Ok(Legs::pair(debit, credit, amount, currency))
            }
            ((Some(_), Some(_), Some(_), Some(_)), None) => Err(InvalidLegs::SameAccount),
            ((None, ..), None) => return Err("missing field `debit_account_id`"),
            ((_, None, ..), None) => return Err("missing field `credit_account_id`"),
            ((_, _, None, _), None) => return Err("missing field `amount`"),
            ((_, _, _, None), None) => return Err("missing field `currency`"),
        };
        Ok(Self { fields, legs })
    }
}

impl CreateTransfer {
    pub fn is_dry_run(&self) -> bool {
        self.fields.dry_run
    }

    pub fn effective_date(&self) -> Option<NaiveDate> {
        self.fields.effective_date
    }

    /// The order, if it can be one at all.
    pub fn into_order(self, initiated_by: UserId, today: NaiveDate) -> Result<TransferOrder, ApiError> {
        let legs = self.legs.map_err(|error| {
            let code = match error {
                InvalidLegs::Count => "invalid_legs",
                InvalidLegs::SameAccount => "same_account",
                InvalidLegs::Unbalanced(_) => "unbalanced_legs",
            };
            ApiError::unprocessable(code, error.to_string()).outcome(Outcome::None)
        })?;
        let date = self.fields.effective_date;
        if date.is_some_and(|date| (date - today).num_days().abs() > EFFECTIVE_WITHIN_DAYS) {
            return Err(ApiError::unprocessable(
                "effective_date_too_far",
                "`effective_date` is at most a year away from today.",
            )
            .outcome(Outcome::None));
        }
        let note = Note {
            description: self.fields.description,
            metadata: self.fields.metadata,
            reference: self.fields.reference,
            effective_date: date,
        };
        Ok(TransferOrder::new(
            TransferKind::Transfer,
            legs,
            note,
            initiated_by,
        ))
    }
}

/// Move money from your accounts to other accounts.
///
/// The answer is durable: `posted` means that the money moved. A transfer that looks suspicious is `in_review`: what it
/// debits is held until a person decides. The same `Idempotency-Key` with the same body gets the same answer again.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    request_body = TransferFields,
    responses(
        (status = 200, description = "Of a dry run: what would have happened", body = TransferRecord),
        (status = 201, description = "Posted, or in review", body = TransferRecord),
        (status = 422, description = "`same_account`, `invalid_legs`, `unbalanced_legs`, `effective_date_too_far`, `account_not_found`, `account_frozen`, `account_closed`, `currency_mismatch`, `insufficient_funds`, `transfer_limit_exceeded`, `daily_limit_exceeded`, `monthly_limit_exceeded`, `condition_failed`, `balance_limit_exceeded`, `blocked_by_risk`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        StepUpErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers")]
pub async fn create_transfer(
    principal: Principal,
    key: IdempotencyKey,
    request: Json<CreateTransfer>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(principal.user_id, key.clone(), "POST /transfers", &request.0)?;
    let mode = match request.is_dry_run() {
        true => Mode::DryRun { atomic: true },
        false => Mode::Atomic,
    };
    let order = request
        .into_inner()
        .into_order(principal.user_id, state.clock.now().date_naive())?;
    if mode == Mode::Atomic {
        state.step_up.check(&principal, &[(&key, &order.legs)])?;
    }
    let answer = state.lanes.decide(Work::Post(order), claim, mode).await?;
    Ok(respond(answer))
}

/// An answer of the lane, as it is on the wire.
pub fn respond(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = if status.is_success() {
        "application/json"
    } else {
        PROBLEM_JSON
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, content_type));
    if answer.replayed {
        metrics::counter!("idempotent_replays_total").increment(1);
        response.insert_header((REPLAYED_HEADER, "true"));
    }
    response.body(answer.body)
}

/// Look at one of your transfers. `compliance` can look at any, with its risk.
#[utoipa::path(
    tag = "transfers",
    responses(
        (status = 200, description = "The transfer", body = TransferRecord),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/transfers/{transfer_id}")]
pub async fn get_transfer(
    principal: Principal,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<web::Json<TransferRecord>, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = find_visible(&mut conn, &principal, *transfer_id).await?;
    Ok(web::Json(row.into_record(principal.has_any(&REVIEWERS))?))
}

/// A transfer that `principal` may see; to anybody else it does not exist.
pub async fn find_visible(
    conn: &mut AsyncPgConnection,
    principal: &Principal,
    transfer_id: TransferId,
) -> Result<TransferRow, ApiError> {
    let row = queries::find(conn, transfer_id).await?;
    let visible = principal.has_any(&REVIEWERS)
        || row.visible_to(principal.user_id)
        || (row.status == TransferStatus::Posted.word()
            && queries::is_party(conn, transfer_id, principal.user_id).await?);
    if !visible {
        let refusal = ApiError::not_found("There is no such transfer, or it is not yours.");
        return Err(refusal.denied(Denial::NotOwner));
    }
    Ok(row)
}

/// Post a transfer that is in review. For `compliance`, and never for whoever made it or pays or is paid by it.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 200, description = "Posted", body = TransferRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_in_review`, `account_frozen`, `account_closed`, `balance_limit_exceeded`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers/{transfer_id}/approve")]
pub async fn approve_transfer(
    principal: Principal,
    key: IdempotencyKey,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    decide_review(&principal, key, *transfer_id, true, &state).await
}

/// Reject a transfer that is in review: what was held is available again. For `compliance`, like approving.
#[utoipa::path(
    tag = "transfers",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 200, description = "Rejected", body = TransferRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_in_review`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/transfers/{transfer_id}/reject")]
pub async fn reject_transfer(
    principal: Principal,
    key: IdempotencyKey,
    transfer_id: web::Path<TransferId>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    decide_review(&principal, key, *transfer_id, false, &state).await
}

async fn decide_review(
    principal: &Principal,
    key: IdempotencyKey,
    transfer_id: TransferId,
    approve: bool,
    state: &State,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&REVIEWERS)?;
    let operation = if approve {
        "POST /transfers/approve"
    } else {
        "POST /transfers/reject"
    };
    let claim = Claim::new(principal.user_id, key, operation, &transfer_id)?;
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, transfer_id).await?;
    let hold_ids = queries::review_holds(&mut conn, transfer_id).await?;
    let is_party = queries::is_party(&mut conn, transfer_id, principal.user_id).await?;
    drop(conn);
    if is_party || row.involves(principal.user_id) {
        return Err(separation_of_duties(
            "Whoever made a transfer, pays or is paid by it cannot decide it.",
        ));
    }
    let decision = ReviewDecision {
        created_at: row.created_at,
        review_reason: row.review_reason()?,
        order: row.into_order()?,
        hold_ids,
        approve,
        decided_by: principal.user_id,
    };
    let (action, after) = if approve {
        ("transfer.approved", TransferStatus::Posted)
    } else {
        ("transfer.rejected", TransferStatus::Rejected)
    };
    let entry = audit::Entry::by_user(principal, action, transfer_id).change(
        &json!({ "status": TransferStatus::InReview }),
        &json!({ "status": after }),
    )?;
    let work = Work::Decide(decision);
    let answer = state.lanes.submit_audited(work, claim, entry).await?;
    Ok(respond(answer))
}

pub fn separation_of_duties(detail: &'static str) -> ApiError {
    ApiError::forbidden("separation_of_duties", detail)
        .denied(Denial::Forbidden)
        .outcome(Outcome::None)
}
