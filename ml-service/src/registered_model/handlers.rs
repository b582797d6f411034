//! The registry: bringing a model, letting it watch, letting it decide, and going back.

use actix_web::{get, post, web};
use serde::{Deserialize, Serialize};
use shared::audit;
use shared::id::ModelId;
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Page, Principal, Role};
use utoipa::{IntoParams, ToSchema};

use super::{ModelStatus, Promotion, RegisteredModel, gate, queries};
use crate::model::Model;
use crate::state::State;

const KEEPERS: [Role; 2] = [Role::Compliance, Role::Admin];

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
    let model = Model::load(&artefact)
        .map_err(|error| ApiError::unprocessable("invalid_model", error.to_string()))?;
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
    let in_use = state.models.in_use();
    let promotion = state
        .db
        .transaction("promote_fraud_model", async |conn| {
            let model = queries::lock(conn, id).await?;
            if model.status == ModelStatus::Champion {
                return Err(ApiError::unprocessable(
                    "model_decides",
                    "This model decides already.",
                ));
            }
            let open = queries::open_promotion(conn, id).await?;
            if open
                .as_ref()
                .is_some_and(|(_, open)| open.proposed_by == principal.user_id)
            {
                return Err(ApiError::forbidden(
                    "separation_of_duties",
                    "You proposed this model. Somebody else approves it.",
                ));
            }
            let candidate = queries::load(conn, id).await?;
            let gate = gate::compare(conn, &in_use.champion, &candidate, &in_use.costs).await?;
            if !gate.passed {
                let compared = serde_json::to_string(&gate).map_err(ApiError::internal)?;
                return Err(ApiError::unprocessable(
                    "gate_not_passed",
                    format!("It does not do as well as the champion: {compared}"),
                ));
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
            let before = queries::champion(conn).await?;
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
