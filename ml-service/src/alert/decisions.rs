//! Deciding an alert. Of a review the decision is first written down (`deciding`), then the ledger is asked to carry it out with
//! the analyst's own token, and what it answers closes the alert or takes the decision back. Whoever is killed in between leaves an
//! alert that is `deciding`: the same request again finds the ledger's first answer, for it has the same key, and the fact that the
//! ledger tells of closes the alert without anybody. Whoever is a party to what an alert shows decides nothing about it.

use actix_web::{HttpRequest, post, web};
use chrono::{DateTime, Duration, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::audit::{self, Entry};
use shared::error::Problem;
use shared::http_client::CallError;
use shared::id::{AlertId, UserId};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::service_token::bearer_token;
use shared::{ApiError, Denial, Json, Principal};
use utoipa::ToSchema;

use super::history::{self, Line};
use super::queries::{self, AlertRow};
use super::{Action, AlertKind, AlertRecord, AlertStatus, ReviewOutcome, handlers};
use crate::analyst::{Reason, STAFF};
use crate::label::{self, LabelSource, NewLabel};
use crate::state::State;
use crate::transfer_log;

/// A decision that the ledger has not carried out by then is an admin's to take back.
const STUCK_AFTER: Duration = Duration::minutes(10);

/// Why the ledger may forbid it.
const REFUSALS: [&str; 3] = [
    "separation_of_duties",
    "insufficient_scope",
    "transfer_not_authorized",
];

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideAlert {
    /// What becomes of the held money. Required of a review; no other alert holds any.
    outcome: Option<ReviewOutcome>,
    /// Whether it is fraud, or laundering. The model learns this from reviews and watched transfers.
    fraud: bool,
    reason: Reason,
}

/// Decide an alert that you have claimed and are no party to. Of a review the ledger releases or refuses the held money; repeating
/// the request is safe. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Decided and closed", body = AlertRecord),
        (status = 403, description = "`role_required`, `separation_of_duties`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not_claimed`, `claimed_by_another`, `already_decided`, `alert_closed`, `decided_at_the_ledger`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`outcome_required`, `nothing_held`; or why the ledger cannot, such as `account_frozen`: the alert is still yours", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/alerts/{alert_id}/decide")]
pub async fn decide_alert(
    principal: Principal,
    id: web::Path<AlertId>,
    body: Json<DecideAlert>,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<AlertRecord>, ApiError> {
    principal.require_any(&STAFF)?;
    let (id, body) = (*id, body.into_inner());
    let alert = state
        .db
        .transaction("decide_alert", async |conn| {
            write_down(conn, &principal, id, &body).await
        })
        .await?;
    let (Some(outcome), Some(transfer_id)) = (body.outcome, alert.transfer_id) else {
        return Ok(web::Json(alert.into_record(state.clock.now())?));
    };
    if alert.status()? == AlertStatus::Deciding {
        let token = bearer_token(&request).unwrap_or_default();
        let key = key_of(&alert, outcome)?;
        let release = outcome == ReviewOutcome::Release;
        let answer = state.ledger.decide_review(transfer_id, release, token, key).await;
        if let Err(error) = answer {
            return Err(refused(&state, id, error).await);
        }
        carry_out(&state, id, outcome).await?;
    }
    let mut conn = state.db.connection().await?;
    Ok(web::Json(handlers::record(&mut conn, &state, id).await?))
}

/// Names the decision at the ledger, which answers a key that it knows as it did before, refusals too. So the same decision has the
/// same key, and one that is made anew after a refusal another.
fn key_of(alert: &AlertRow, outcome: ReviewOutcome) -> Result<String, ApiError> {
    let decision = alert.required_decision()?;
    let decided_at = decision.decided_at.timestamp_micros();
    Ok(format!(
        "alert-{}-{}-{decided_at}",
        alert.id.uuid(),
        outcome.name()
    ))
}

/// Refuses whoever the alert is about, or is a party to what it shows.
pub async fn require_no_party(
    conn: &mut AsyncPgConnection,
    alert: &AlertRow,
    user: UserId,
) -> Result<(), ApiError> {
    let is_party = alert.holder_id == Some(user)
        || transfer_log::queries::is_party(conn, user, &alert.shown_transfers()).await?;
    if is_party {
        let detail = "You are a party to what it is about. Somebody else decides it.";
        return Err(ApiError::forbidden("separation_of_duties", detail).denied(Denial::Forbidden));
    }
    Ok(())
}

/// Writes the decision down, or finds it written. What holds no money is closed by that.
async fn write_down(
    conn: &mut AsyncPgConnection,
    principal: &Principal,
    id: AlertId,
    body: &DecideAlert,
) -> Result<AlertRow, ApiError> {
    let user = principal.user_id;
    let alert = queries::lock(conn, id).await?;
    let is_review = alert.kind()? == AlertKind::Review;
    match (is_review, body.outcome) {
        (true, None) => {
            let detail = "`outcome`: say whether the held money is released or refused.";
            return Err(ApiError::unprocessable("outcome_required", detail));
        }
        (false, Some(_)) => {
            let detail = "`outcome`: this alert holds no money. Leave it out.";
            return Err(ApiError::unprocessable("nothing_held", detail));
        }
        _ => {}
    }
    if is_same(&alert, body, user) {
        return Ok(alert);
    }
    handlers::require_claimed(&alert, user)?;
    require_no_party(conn, &alert, user).await?;
    let reason = body.reason.as_str();
    let decided = queries::decide(conn, &alert, body.outcome, body.fraud, reason, user).await?;
    let line = Line::of(alert.case_id, Action::Deciding).alert(id).by(user);
    history::write(conn, &line.text(reason)).await?;
    let decided = match is_review {
        true => decided,
        false => close(conn, &decided).await?,
    };
    let after = json!({ "outcome": body.outcome, "fraud": body.fraud });
    let entry = Entry::by_user(principal, "alert.decided", id).change(&json!(null), &after)?;
    audit::append(conn, &entry).await?;
    Ok(decided)
}

/// Whether this was asked before, by the same person in the same words.
fn is_same(alert: &AlertRow, body: &DecideAlert, user: UserId) -> bool {
    alert.decision().is_some_and(|decision| {
        decision.decided_by == user
            && decision.outcome == body.outcome
            && decision.fraud == body.fraud
            && decision.reason == body.reason.as_str()
    })
}

/// After the ledger has done it.
async fn carry_out(state: &State, id: AlertId, outcome: ReviewOutcome) -> Result<(), ApiError> {
    state
        .db
        .transaction("close_alert", async |conn| {
            let alert = queries::lock(conn, id).await?;
            // The job may have heard of it first.
            if alert.status()? == AlertStatus::Deciding {
                done_at_the_ledger(conn, &alert, outcome).await?;
            }
            Ok(())
        })
        .await
}

/// Closes a locked alert of which the ledger tells what became of the money. A decision that says something else was not what the
/// ledger carried out, so it counts for nothing.
pub async fn done_at_the_ledger(
    conn: &mut AsyncPgConnection,
    alert: &AlertRow,
    outcome: ReviewOutcome,
) -> Result<(), ApiError> {
    if alert.status()? == AlertStatus::Deciding && alert.outcome() == Some(outcome) {
        close(conn, alert).await?;
        return Ok(());
    }
    queries::withdraw_decision(conn, alert.id).await?;
    let text = match outcome {
        ReviewOutcome::Release => "released at the ledger",
        ReviewOutcome::Refuse => "refused at the ledger",
    };
    queries::close(conn, alert, None, text).await?;
    Ok(())
}

/// Closes a decided alert. What was decided of one transfer is a label, in the same transaction.
async fn close(conn: &mut AsyncPgConnection, alert: &AlertRow) -> Result<AlertRow, ApiError> {
    let decision = alert.required_decision()?;
    if let Some(transfer_id) = alert.transfer_id {
        let label = NewLabel {
            transfer_id,
            fraud: decision.fraud,
        };
        let source = match decision.outcome {
            Some(_) => LabelSource::Decision,
            None => LabelSource::Analyst,
        };
        label::queries::add(conn, &[label], source, decision.decided_by).await?;
    }
    let text = match decision.outcome {
        Some(ReviewOutcome::Release) => "released",
        Some(ReviewOutcome::Refuse) => "refused",
        None if decision.fraud => "confirmed",
        None => "dismissed",
    };
    Ok(queries::close(conn, alert, Some(decision.decided_by), text).await?)
}

/// Takes a decision back that the ledger has not carried out for long, since whoever made it may never repeat it, and refuses an alert
/// that is decided otherwise. Should the ledger have done it after all, its fact closes the alert.
pub async fn take_stuck_one_back(
    conn: &mut AsyncPgConnection,
    alert: &AlertRow,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let is_stuck = match alert.decision() {
        Some(decision) => {
            alert.status()? == AlertStatus::Deciding && decision.decided_at + STUCK_AFTER <= now
        }
        None => false,
    };
    if !is_stuck {
        return handlers::require_undecided(alert);
    }
    queries::withdraw_decision(conn, alert.id).await?;
    let line = Line::of(alert.case_id, Action::DecisionWithdrawn).alert(alert.id);
    history::write(conn, &line.text("the ledger did not carry it out in time")).await?;
    Ok(())
}

/// What the analyst hears when the ledger did not carry it out. A definite refusal gives the alert back; without an answer the
/// decision stands, and the same request is tried again.
async fn refused(state: &State, id: AlertId, error: CallError) -> ApiError {
    let CallError::Refused { problem, .. } = &error else {
        return error.into();
    };
    let (code, status) = (problem.code.clone(), problem.status);
    let detail = problem.detail.clone().unwrap_or_else(|| problem.title.clone());
    let withdrawn = state
        .db
        .transaction("withdraw_decision", async |conn| {
            let alert = queries::lock(conn, id).await?;
            if queries::withdraw_decision(conn, id).await? == 1 {
                let line = Line::of(alert.case_id, Action::DecisionWithdrawn).alert(id);
                history::write(conn, &line.text(&format!("the ledger refused: {code}"))).await?;
            }
            Ok(())
        })
        .await;
    match (withdrawn, status) {
        (Err(error), _) => error,
        (Ok(()), _) if code == "not_in_review" => ApiError::conflict(
            "decided_at_the_ledger",
            "Somebody has decided the transfer at the ledger. The alert closes as soon as the ledger tells how.",
        ),
        (Ok(()), 401) => ApiError::unauthorized("token_expired", detail),
        (Ok(()), 403) => {
            let known = REFUSALS.into_iter().find(|known| *known == code);
            ApiError::forbidden(known.unwrap_or("role_required"), detail).denied(Denial::Forbidden)
        }
        (Ok(()), _) => error.into(),
    }
}
