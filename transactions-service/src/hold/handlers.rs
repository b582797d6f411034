//! Holds, as clients place and end them.

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Deserializer, Serialize};
use shared::id::{AccountId, HoldId, TransferId};
use shared::idempotency::IdempotencyKey;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors, StepUpErrors};
use shared::page::Limit;
use shared::{Amount, ApiError, Currency, Cursor, Denial, Json, Outcome, Page, Principal};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, HoldRow};
use super::{CaptureOrder, HoldAction, HoldCommand, HoldOrder, HoldRecord};
use crate::idempotency_key::Claim;
use crate::lane::Work;
use crate::leg::Legs;
use crate::state::State;
use crate::transfer::handlers::respond;
use crate::transfer::{Description, Metadata, Note, Reference, TransferRecord};

const MAX_SECONDS: i32 = 31 * 24 * 3600;
const DEFAULT_SECONDS: i32 = 7 * 24 * 3600;

/// Seconds from now by the database's clock: 1 to 2,678,400, which is 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = i32, minimum = 1, maximum = 2678400, example = 604800)]
pub struct Seconds(i32);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = i32::deserialize(deserializer)?;
        (1..=MAX_SECONDS)
            .contains(&seconds)
            .then_some(Self(seconds))
            .ok_or_else(|| serde::de::Error::custom(format!("expected 1 to {MAX_SECONDS} seconds")))
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceHold {
    /// The account in which the money is set aside: one of yours.
    pub account_id: AccountId,
    /// The account that is paid by a capture.
    pub credit_account_id: AccountId,
    pub amount: Amount,
    /// The currency of both accounts.
    pub currency: Currency,
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
    /// When what is left is released by itself; 7 days unless told.
    pub expires_in_seconds: Option<Seconds>,
    /// When what is left is captured by itself; never unless told. Before it expires.
    pub capture_in_seconds: Option<Seconds>,
}

/// Set money aside in one of your accounts in favour of another account.
///
/// What is held is not available any more, and the payee can rely on it until it expires. It is decided at once: what a
/// person would have to look at is refused with `blocked_by_risk`.
#[utoipa::path(
    tag = "holds",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    responses(
        (status = 201, description = "Set aside", body = HoldRecord),
        (status = 422, description = "`same_account`, `account_not_found`, `account_frozen`, `account_closed`, `currency_mismatch`, `insufficient_funds`, `transfer_limit_exceeded`, `daily_limit_exceeded`, `monthly_limit_exceeded`, `approval_required`, `blocked_by_risk`, `captured_after_expiry`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        StepUpErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/holds")]
pub async fn place_hold(
    principal: Principal,
    key: IdempotencyKey,
    request: Json<PlaceHold>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(principal.user_id, key.clone(), "POST /holds", &request.0)?;
    let request = request.into_inner();
    if request.account_id == request.credit_account_id {
        return Err(refused("same_account", "A hold needs two different accounts."));
    }
    let expires_after_s = request.expires_in_seconds.map_or(DEFAULT_SECONDS, |it| it.0);
    let capture_after_s = request.capture_in_seconds.map(|it| it.0);
    if capture_after_s.is_some_and(|capture| capture >= expires_after_s) {
        return Err(refused(
            "captured_after_expiry",
            "`capture_in_seconds` must come before `expires_in_seconds`.",
        ));
    }
    let legs = Legs::pair(
        request.account_id,
        request.credit_account_id,
        request.amount,
        request.currency,
    );
    state.step_up.check(&principal, &[(&key, &legs)])?;
    let order = HoldOrder {
        id: HoldId::new(),
        account_id: request.account_id,
        credit_account_id: request.credit_account_id,
        amount: request.amount,
        currency: request.currency,
        description: request.description,
        metadata: request.metadata,
        expires_after_s,
        capture_after_s,
        initiated_by: principal.user_id,
    };
    let answer = state.lanes.submit(Work::PlaceHold(order), claim).await?;
    Ok(respond(answer))
}

fn refused(code: &'static str, detail: &'static str) -> ApiError {
    ApiError::unprocessable(code, detail).outcome(Outcome::None)
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncrementHold {
    /// What is set aside in addition, in minor units.
    pub amount: Amount,
}

/// Set more money aside. For whoever placed the hold.
///
/// The hold is looked at as a whole, as if it were placed anew.
#[utoipa::path(
    tag = "holds",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 200, description = "Set aside", body = HoldRecord),
        (status = 404, description = "`not_found`: there is none, or you did not place it", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`hold_ended`, `hold_expired`, `account_frozen`, `account_closed`, `insufficient_funds`, `transfer_limit_exceeded`, `daily_limit_exceeded`, `monthly_limit_exceeded`, `approval_required`, `blocked_by_risk`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        StepUpErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/holds/{hold_id}/increment")]
pub async fn increment_hold(
    principal: Principal,
    key: IdempotencyKey,
    hold_id: web::Path<HoldId>,
    request: Json<IncrementHold>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(
        principal.user_id,
        key.clone(),
        "POST /holds/increment",
        &(*hold_id, &request.0),
    )?;
    let row = find_of(&principal, *hold_id, &state).await?;
    if row.debit_holder_id != Some(principal.user_id) {
        return Err(no_such_hold());
    }
    let order = row
        .clone()
        .into_hold()
        .incremented(request.amount, principal.user_id)?;
    // As a whole: it could have been placed small and grow in small steps.
    state
        .step_up
        .check(&principal, &[(&key, &order.scored_as.legs)])?;
    submit(&state, claim, row, HoldAction::Increment(order)).await
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureHold {
    /// Minor units; all that is left unless told.
    pub amount: Option<Amount>,
    pub description: Option<Description>,
    pub metadata: Option<Metadata>,
    pub reference: Option<Reference>,
}

/// Post what was set aside to the payee, or a part of it. For both sides of the hold.
///
/// A hold can be captured in several parts; what is left stays set aside until it is released or expires.
#[utoipa::path(
    tag = "holds",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 201, description = "Posted: the transfer that took the money", body = TransferRecord),
        (status = 404, description = "`not_found`: there is none, or you are no side of it", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`hold_ended`, `hold_expired`, `hold_exceeded`, `account_frozen`, `account_closed`, `balance_limit_exceeded`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/holds/{hold_id}/capture")]
pub async fn capture_hold(
    principal: Principal,
    key: IdempotencyKey,
    hold_id: web::Path<HoldId>,
    request: Json<CaptureHold>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(
        principal.user_id,
        key,
        "POST /holds/capture",
        &(*hold_id, &request.0),
    )?;
    let row = find_of(&principal, *hold_id, &state).await?;
    let request = request.into_inner();
    let capture = CaptureOrder {
        transfer_id: TransferId::new(),
        amount: request.amount,
        note: Note {
            description: request.description,
            metadata: request.metadata,
            reference: request.reference,
            effective_date: None,
        },
        initiated_by: principal.user_id,
    };
    submit(&state, claim, row, HoldAction::Capture(capture)).await
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseHold {
    /// Minor units; all that is left unless told.
    pub amount: Option<Amount>,
}

/// Make what is set aside available again, or a part of it. For the payee, who could rely on it.
#[utoipa::path(
    tag = "holds",
    params(("Idempotency-Key" = String, Header, description = "Your own name for this request")),
    responses(
        (status = 200, description = "Available again", body = HoldRecord),
        (status = 404, description = "`not_found`: there is none, or it is not in favour of you", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`hold_ended`, `hold_exceeded`, `idempotency_key_reused`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/holds/{hold_id}/release")]
pub async fn release_hold(
    principal: Principal,
    key: IdempotencyKey,
    hold_id: web::Path<HoldId>,
    request: Json<ReleaseHold>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let claim = Claim::new(
        principal.user_id,
        key,
        "POST /holds/release",
        &(*hold_id, &request.0),
    )?;
    let row = find_of(&principal, *hold_id, &state).await?;
    if row.credit_holder_id != Some(principal.user_id) {
        return Err(no_such_hold());
    }
    submit(&state, claim, row, HoldAction::Release(request.amount)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListHolds {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<HoldId>>,
    /// Only those of which something is still set aside.
    #[serde(default)]
    open: bool,
}

/// List the holds that you placed, and those in your favour, newest first.
#[utoipa::path(
    tag = "holds",
    params(ListHolds),
    responses((status = 200, description = "A page of holds", body = Page<HoldRecord>), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/holds")]
pub async fn list_holds(
    principal: Principal,
    query: web::Query<ListHolds>,
    state: web::Data<State>,
) -> Result<web::Json<Page<HoldRecord>>, ApiError> {
    let mut conn = state.db.connection().await?;
    let after = query.after.map(|cursor| cursor.0);
    let rows = queries::list_of_holder(&mut conn, principal.user_id, query.open, after, query.limit).await?;
    let records = rows
        .into_iter()
        .map(HoldRow::into_record)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(web::Json(Page::new(records, query.limit, |record| record.id)))
}

/// Look at a hold that you placed, or that is in your favour.
#[utoipa::path(
    tag = "holds",
    responses(
        (status = 200, description = "The hold", body = HoldRecord),
        (status = 404, description = "`not_found`: there is none, or you are no side of it", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/holds/{hold_id}")]
pub async fn get_hold(
    principal: Principal,
    hold_id: web::Path<HoldId>,
    state: web::Data<State>,
) -> Result<web::Json<HoldRecord>, ApiError> {
    let row = find_of(&principal, *hold_id, &state).await?;
    Ok(web::Json(row.into_record()?))
}

/// A hold that the caller is a side of.
pub async fn find_of(principal: &Principal, id: HoldId, state: &State) -> Result<HoldRow, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, id).await?;
    let sides = [row.debit_holder_id, row.credit_holder_id];
    if sides.contains(&Some(principal.user_id)) {
        Ok(row)
    } else {
        Err(no_such_hold())
    }
}

fn no_such_hold() -> ApiError {
    ApiError::not_found("There is no such hold, or it is not yours to do this with.").denied(Denial::NotOwner)
}

async fn submit(
    state: &State,
    claim: Claim,
    row: HoldRow,
    action: HoldAction,
) -> Result<HttpResponse, ApiError> {
    let hold = row.into_hold();
    let terms = hold.terms.ok_or_else(no_such_hold)?;
    let command = HoldCommand {
        hold_id: hold.id,
        account_id: hold.account_id,
        credit_account_id: terms.credit_account_id,
        action,
    };
    let answer = state.lanes.submit(Work::ChangeHold(command), claim).await?;
    Ok(respond(answer))
}
