//! The registry: bringing a model, letting it watch, letting it decide, and going back.

use std::sync::Arc;

use actix_web::{get, post, web};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::audit;
use shared::id::ModelId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::gate::{Gate, Sample};
use super::{ModelStatus, Promotion, RegisteredModel, queries};
use crate::model::Model;
use crate::state::State;

const KEEPERS: [Role; 2] = [Role::Compliance, Role::Admin];
/// Each scores every transfer.
const MAX_SHADOWS: i64 = 5;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListModels {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<ModelId>>,
}

/// The models of the registry, newest first. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    params(ListModels),
    responses(
        (status = 200, description = "A page of models", body = Page<RegisteredModel>),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/models")]
pub async fn list_fraud_models(
    principal: Principal,
    query: web::Query<ListModels>,
    state: web::Data<State>,
) -> Result<web::Json<Page<RegisteredModel>>, ApiError> {
    principal.require_any(&KEEPERS)?;
    let mut conn = state.db.connection().await?;
    let after = query.after.map(|cursor| cursor.0);
    Ok(web::Json(queries::list(&mut conn, after, query.limit).await?))
}

/// Bring a model: the file that `ml-service train` wrote. For `compliance` and `admin`.
///
/// It decides nothing yet. One that is cut short, was changed, or takes other features than are computed here is refused; one
/// that is there already stays as it is.
#[utoipa::path(
    tag = "fraud",
    request_body(content = Object, description = "The file, as it is"),
    responses(
        (status = 200, description = "It was there already", body = RegisteredModel),
        (status = 201, description = "It is a candidate", body = RegisteredModel),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_model`: with what is wrong with it", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/models")]
pub async fn register_fraud_model(
    principal: Principal,
    artefact: web::Bytes,
    state: web::Data<State>,
) -> Result<actix_web::HttpResponse, ApiError> {
    principal.require_any(&KEEPERS)?;
    let file = artefact.clone();
    let slot = state.staff_slots.take().await?;
    let model = slot.compute(move || Model::load(&file)).await?;
    let model = model.map_err(|error| ApiError::unprocessable("invalid_model", error.to_string()))?;
    let (registered, is_new) = state
        .db
        .transaction("register_fraud_model", async |conn| {
            let (id, is_new) = queries::insert(conn, &model, &artefact, principal.user_id).await?;
            if is_new {
                let entry = audit::Entry::by_user(&principal, "model.registered", id);
                audit::append(conn, &entry.change(&(), &model.hash())?).await?;
            }
            Ok((queries::find(conn, id).await?, is_new))
        })
        .await?;
    let mut response = match is_new {
        true => actix_web::HttpResponse::Created(),
        false => actix_web::HttpResponse::Ok(),
    };
    Ok(response.json(registered))
}

/// Let a model watch: it scores every transfer after the answer. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "It watches", body = RegisteredModel),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 409, description = "`too_many_shadows`: five watch already", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`model_decides`: the champion cannot only watch", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/models/{model_id}/shadow")]
pub async fn shadow_fraud_model(
    principal: Principal,
    model_id: web::Path<ModelId>,
    state: web::Data<State>,
) -> Result<web::Json<RegisteredModel>, ApiError> {
    change_status(&principal, *model_id, ModelStatus::Shadow, &state).await
}

/// Use a model no longer. For `compliance` and `admin`.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "It is retired", body = RegisteredModel),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`model_decides`: promote another one, or roll back", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/models/{model_id}/retire")]
pub async fn retire_fraud_model(
    principal: Principal,
    model_id: web::Path<ModelId>,
    state: web::Data<State>,
) -> Result<web::Json<RegisteredModel>, ApiError> {
    change_status(&principal, *model_id, ModelStatus::Retired, &state).await
}

async fn change_status(
    principal: &Principal,
    id: ModelId,
    status: ModelStatus,
    state: &State,
) -> Result<web::Json<RegisteredModel>, ApiError> {
    principal.require_any(&KEEPERS)?;
    let changed = state
        .db
        .transaction("change_model_status", async |conn| {
            let model = queries::lock(conn, id).await?;
            if model.status == ModelStatus::Champion {
                return Err(ApiError::unprocessable(
                    "model_decides",
                    "This model decides. Promote another one, or roll back.",
                ));
            }
            if model.status != status {
                if status == ModelStatus::Shadow && queries::shadows(conn).await? >= MAX_SHADOWS {
                    let detail = "Five models watch. Retire one first.";
                    return Err(ApiError::conflict("too_many_shadows", detail));
                }
                queries::set_status(conn, id, status).await?;
                let entry = audit::Entry::by_user(principal, "model.status_changed", id);
                audit::append(conn, &entry.change(&model.status, &status)?).await?;
            }
            Ok(RegisteredModel { status, ..model })
        })
        .await?;
    Ok(web::Json(changed))
}

/// Let a model decide. For `compliance` and `admin`: one person asks and proposes it, another asks for the same and approves.
///
/// It is compared to the champion on the two weeks up to the newest label, by both, as they are then. It must find frauds no
/// worse, and what it does must cost no more.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "It decides", body = Promotion),
        (status = 202, description = "It is proposed, and waits for a second person", body = Promotion),
        (status = 403, description = "`role_required`, `separation_of_duties`: you proposed it", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 409, description = "`champion_changed`: while it was compared; ask again", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`gate_not_passed`: with how it compares; `model_decides`: it does so already", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/models/{model_id}/promote")]
pub async fn promote_fraud_model(
    principal: Principal,
    model_id: web::Path<ModelId>,
    state: web::Data<State>,
) -> Result<actix_web::HttpResponse, ApiError> {
    principal.require_any(&KEEPERS)?;
    let id = *model_id;
    let (compared_to, gate) = compare(&principal, id, &state).await?;
    if !gate.passed {
        let compared = serde_json::to_string(&gate).map_err(ApiError::internal)?;
        return Err(ApiError::unprocessable(
            "gate_not_passed",
            format!("It does not do as well as the champion: {compared}"),
        ));
    }
    let promotion = state
        .db
        .transaction("promote_fraud_model", async |conn| {
            queries::lock_champion(conn).await?;
            let open = promotable(conn, &principal, id).await?;
            let before = queries::champion(conn).await?;
            if before != compared_to {
                let detail = "Another model decides since a moment ago. Ask again.";
                return Err(ApiError::conflict("champion_changed", detail));
            }
            let Some((number, _)) = open else {
                queries::propose(conn, id, &gate, principal.user_id).await?;
                let entry = audit::Entry::by_user(&principal, "model.promotion_proposed", id);
                audit::append(conn, &entry.change(&(), &gate)?).await?;
                let proposed = queries::open_promotion(conn, id).await?;
                let (_, proposed) =
                    proposed.ok_or_else(|| ApiError::internal(anyhow::anyhow!("a proposal is not there")))?;
                return Ok(proposed);
            };
            if let Some(before) = before {
                queries::set_status(conn, before, ModelStatus::Retired).await?;
            }
            queries::set_status(conn, id, ModelStatus::Champion).await?;
            let approved = queries::approve(conn, number, before, principal.user_id).await?;
            let entry = audit::Entry::by_user(&principal, "model.promoted", id);
            audit::append(conn, &entry.change(&before, &id)?).await?;
            Ok(approved)
        })
        .await?;
    let mut response = match promotion.approved_by {
        Some(_) => actix_web::HttpResponse::Ok(),
        None => actix_web::HttpResponse::Accepted(),
    };
    Ok(response.json(promotion))
}

/// The open promotion of a model that this person may propose or approve, locked.
async fn promotable(
    conn: &mut AsyncPgConnection,
    principal: &Principal,
    id: ModelId,
) -> Result<Option<(i64, Promotion)>, ApiError> {
    let model = queries::lock(conn, id).await?;
    if model.status == ModelStatus::Champion {
        return Err(ApiError::unprocessable(
            "model_decides",
            "This model decides already.",
        ));
    }
    let open = queries::open_promotion(conn, id).await?;
    let is_own = |(_, open): &(i64, Promotion)| open.proposed_by == principal.user_id;
    if open.as_ref().is_some_and(is_own) {
        let detail = "You proposed this model. Somebody else approves it.";
        return Err(ApiError::forbidden("separation_of_duties", detail));
    }
    Ok(open)
}

/// How a model compares to the champion, which is told too, or that it cannot be promoted. No lock is held while that is computed.
async fn compare(
    principal: &Principal,
    id: ModelId,
    state: &State,
) -> Result<(Option<ModelId>, Gate), ApiError> {
    let slot = state.staff_slots.take().await?;
    let in_use = state.models.in_use();
    let check = async |conn: &mut AsyncPgConnection| promotable(conn, principal, id).await;
    state.db.transaction("check_promotion", check).await?;
    let mut conn = state.db.connection().await?;
    let champion_id = queries::champion(&mut conn).await?;
    let champion = match champion_id {
        None => Champion::Known(state.models.shipped()),
        Some(_) if champion_id == in_use.champion_id => Champion::Known(Arc::clone(&in_use.champion)),
        Some(champion) => Champion::Read(queries::artefact(&mut conn, champion).await?),
    };
    let candidate = queries::artefact(&mut conn, id).await?;
    let sample = Sample::read(&mut conn).await?;
    drop(conn);
    let gate = move || {
        let champion = match champion {
            Champion::Known(model) => model,
            Champion::Read(artefact) => Arc::new(Model::load(&artefact)?),
        };
        let candidate = Model::load(&candidate)?;
        Ok::<_, anyhow::Error>(sample.compare(&champion, &candidate, &in_use.costs))
    };
    let gate = slot.compute(gate).await?.map_err(ApiError::internal)?;
    Ok((champion_id, gate))
}

/// The one in memory, or, for it was changed a moment ago, its file.
enum Champion {
    Known(Arc<Model>),
    Read(Vec<u8>),
}

/// Which model decides now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deciding {
    /// `null`: the one that comes with the service.
    #[schema(required)]
    pub model_id: Option<ModelId>,
}

/// Let the model decide that did before the last promotion. For `compliance` and `admin`: one person, at once.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "Which one decides now", body = Deciding),
        (status = 403, description = "`role_required`", body = shared::error::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`nothing_to_roll_back`: the model that comes with the service decides", body = shared::error::Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/fraud/model-rollbacks")]
pub async fn roll_back_fraud_model(
    principal: Principal,
    state: web::Data<State>,
) -> Result<web::Json<Deciding>, ApiError> {
    principal.require_any(&KEEPERS)?;
    let model_id = state
        .db
        .transaction("roll_back_fraud_model", async |conn| {
            queries::lock_champion(conn).await?;
            let champion = queries::champion(conn).await?.ok_or_else(|| {
                ApiError::unprocessable(
                    "nothing_to_roll_back",
                    "The model that comes with the service decides.",
                )
            })?;
            queries::lock(conn, champion).await?;
            let before = queries::take_back(conn, champion).await?;
            queries::set_status(conn, champion, ModelStatus::Retired).await?;
            if let Some(before) = before {
                queries::set_status(conn, before, ModelStatus::Champion).await?;
            }
            let entry = audit::Entry::by_user(&principal, "model.rolled_back", champion);
            audit::append(conn, &entry.change(&champion, &before)?).await?;
            Ok(before)
        })
        .await?;
    Ok(web::Json(Deciding { model_id }))
}
