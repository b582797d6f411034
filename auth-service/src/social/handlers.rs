//! Logging in with an account at a provider: by a browser that goes there and comes back, or by a program that has been there.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::UserId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, FieldKeys, Json, Principal};
use utoipa::{IntoParams, ToSchema};

use super::visit::{self, Return};
use super::{Identity, Proof, ProviderName, identity, queries};
use crate::sessions::Client;
use crate::sessions::handlers::LoginResponse;
use crate::sessions::handlers::must_be_live;
use crate::sessions::login::Login;
use crate::state::AppState;
use crate::telemetry::login_attempted;
use crate::two_factor::handlers::recent_user;
use crate::two_factor::login_handlers::PendingLoginResponse;

/// The providers whose accounts log in.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProvidersResponse {
    pub providers: Vec<ProviderName>,
}

/// Where to send the browser. The cookie of this answer has to come back with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DepartureResponse {
    #[schema(example = "https://accounts.google.com/o/oauth2/v2/auth?client_id=…")]
    pub authorization_url: String,
    /// Seconds within which it has to come back.
    #[schema(example = 600)]
    pub expires_in: i64,
}

/// What the provider sends a browser back with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackQuery {
    /// Missing when the user changed their mind.
    pub code: Option<String>,
    pub state: Option<String>,
}

/// What a program has got from the provider: `id_token` of Google, Apple and Microsoft, `access_token` of the others.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    id_token: Option<String>,
    access_token: Option<String>,
    /// The nonce that the ID token was asked for with, if any.
    nonce: Option<String>,
}

/// An account to link, by what a program has got from its provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRequest {
    provider: ProviderName,
    id_token: Option<String>,
    access_token: Option<String>,
    nonce: Option<String>,
}

/// An account at a provider that logs the user in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SocialAccount {
    pub id: shared::id::SocialAccountId,
    pub provider: String,
    /// What the provider knows the account by.
    pub provider_user_id: String,
    /// As the provider said when it was linked.
    pub email: Option<String>,
    pub linked_at: DateTime<Utc>,
}

impl SocialAccount {
    pub async fn list(
        connection: &mut AsyncPgConnection,
        keys: &FieldKeys,
        user_id: UserId,
    ) -> Result<Vec<Self>, ApiError> {
        let stored = queries::list(connection, user_id).await?;
        let accounts = stored.into_iter().map(|account| {
            let (provider_user_id, email) = account.decrypt(keys)?;
            Ok(Self {
                id: account.id(),
                provider_user_id,
                email,
                linked_at: account.created_at,
                provider: account.provider,
            })
        });
        accounts.collect()
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SocialAccountsResponse {
    pub accounts: Vec<SocialAccount>,
}

/// Where a browser that began here comes back to.
fn callback_of(provider: ProviderName) -> String {
    format!("/api/v1/auth/social/{}/callback", provider.name())
}

pub fn provider_of(text: &str) -> Result<ProviderName, ApiError> {
    ProviderName::parse(text).ok_or_else(|| ApiError::not_found("There is no such provider."))
}

/// The providers whose accounts log in.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "Those that are switched on", body = ProvidersResponse), CommonErrors)
)]
#[get("/api/v1/auth/social/providers")]
pub async fn list_social_providers(state: web::Data<AppState>) -> web::Json<ProvidersResponse> {
    web::Json(ProvidersResponse {
        providers: state.social.enabled().collect(),
    })
}

/// Begins a login at a provider: send the browser to `authorization_url`.
#[utoipa::path(
    tag = "auth",
    params(("provider" = ProviderName, Path)),
    responses(
        (status = 200, description = "Where to go, and a cookie", body = DepartureResponse),
        (status = 404, description = "`not_found`: no such provider", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`provider_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    )
)]
#[post("/api/v1/auth/social/{provider}/login")]
pub async fn begin_social_login(
    state: web::Data<AppState>,
    provider: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let provider = provider_of(&provider)?;
    let departure = visit::begin(&state, provider, &callback_of(provider), None).await?;
    Ok(departure_answer(departure))
}

/// Begins linking an account: send the browser to `authorization_url`.
#[utoipa::path(
    tag = "auth",
    params(("provider" = ProviderName, Path)),
    responses(
        (status = 200, description = "Where to go, and a cookie", body = DepartureResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`, `insufficient_user_authentication`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such provider", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`provider_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/social/{provider}/link")]
pub async fn begin_social_link(
    state: web::Data<AppState>,
    provider: web::Path<String>,
    principal: Principal,
) -> Result<HttpResponse, ApiError> {
    let provider = provider_of(&provider)?;
    must_be_recent(&state, &principal).await?;
    let session = Some(principal.session_id);
    let departure = visit::begin(&state, provider, &callback_of(provider), session).await?;
    Ok(departure_answer(departure))
}

/// A stolen access token must not be enough for a new way in, nor to take the owner's away.
async fn must_be_recent(state: &AppState, principal: &Principal) -> Result<(), ApiError> {
    let mut connection = state.db.connection().await?;
    recent_user(state, &mut connection, principal).await?;
    Ok(())
}

fn departure_answer(departure: visit::Departure) -> HttpResponse {
    HttpResponse::Ok()
        .cookie(departure.cookie)
        .insert_header(("cache-control", "no-store"))
        .json(DepartureResponse {
            authorization_url: departure.url,
            expires_in: visit::LIFETIME.num_seconds(),
        })
}

/// Where the provider sends the browser back to: logs in, or links the account when that was begun.
#[utoipa::path(
    tag = "auth",
    params(("provider" = ProviderName, Path), CallbackQuery),
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 202, description = "A second factor is needed: go on at POST /api/v1/auth/two-factor/login", body = PendingLoginResponse),
        (status = 204, description = "The account is linked"),
        (status = 401, description = "`social_login_failed`: not what this browser left with, or not what the provider has to say; `session_revoked`: the one that linking was begun in", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`email_not_verified`: the operator wants it to be", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such provider", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`: by a user who has to log in and link the account; `already_linked`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`provider_disabled`, `email_required`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    )
)]
#[get("/api/v1/auth/social/{provider}/callback")]
pub async fn finish_social_login(
    state: web::Data<AppState>,
    request: HttpRequest,
    provider: web::Path<String>,
    query: web::Query<CallbackQuery>,
) -> Result<HttpResponse, ApiError> {
    answer_return(&state, &request, &provider, &query).await
}

/// The same for Apple, which sends the browser back with a form.
#[utoipa::path(
    tag = "auth",
    params(("provider" = ProviderName, Path)),
    request_body(content = CallbackForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 202, description = "A second factor is needed: go on at POST /api/v1/auth/two-factor/login", body = PendingLoginResponse),
        (status = 204, description = "The account is linked"),
        (status = 401, description = "`social_login_failed`: not what this browser left with, or not what the provider has to say; `session_revoked`: the one that linking was begun in", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`email_not_verified`: the operator wants it to be", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such provider", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`: by a user who has to log in and link the account; `already_linked`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`provider_disabled`, `email_required`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/social/{provider}/callback")]
pub async fn finish_social_login_by_form(
    state: web::Data<AppState>,
    request: HttpRequest,
    provider: web::Path<String>,
    form: web::Form<CallbackForm>,
) -> Result<HttpResponse, ApiError> {
    let CallbackForm {
        code,
        state: returned,
    } = form.into_inner();
    let query = CallbackQuery {
        code,
        state: returned,
    };
    answer_return(&state, &request, &provider, &query).await
}

/// What Apple sends a browser back with.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CallbackForm {
    pub code: Option<String>,
    pub state: Option<String>,
}

async fn answer_return(
    state: &AppState,
    request: &HttpRequest,
    provider: &str,
    query: &CallbackQuery,
) -> Result<HttpResponse, ApiError> {
    match finish(state, request, provider_of(provider)?, query).await? {
        Some(login) => login.answer(state),
        None => Ok(HttpResponse::NoContent().finish()),
    }
}

/// Logs in whoever came back; `None` when an account was linked instead.
pub async fn finish(
    state: &AppState,
    request: &HttpRequest,
    provider: ProviderName,
    query: &CallbackQuery,
) -> Result<Option<Login>, ApiError> {
    let cookie = request.cookie(visit::COOKIE);
    let returned = Return {
        code: query.code.as_deref().unwrap_or_default(),
        state: query.state.as_deref().unwrap_or_default(),
        browser: cookie.as_ref().map(|cookie| cookie.value()),
    };
    let (identity, session) = visit::end(state, provider, &returned).await?;
    match session {
        Some(session) => identity::link(state, session, &identity).await.map(|()| None),
        None => log_in(state, Client::of(request), &identity).await.map(Some),
    }
}

/// Logs in whoever this is.
pub async fn log_in(state: &AppState, client: Client, identity: &Identity) -> Result<Login, ApiError> {
    let login = identity::log_in(state, client, identity).await;
    login_attempted(&login);
    login
}

/// Logs a user in by what a program has got from the provider itself.
#[utoipa::path(
    tag = "auth",
    params(("provider" = ProviderName, Path)),
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 202, description = "A second factor is needed: go on at POST /api/v1/auth/two-factor/login", body = PendingLoginResponse),
        (status = 401, description = "`social_login_failed`: not the provider's word, or not for us", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`email_not_verified`: the operator wants it to be", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such provider", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`: by a user who has to log in and link the account; `already_linked`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`provider_disabled`, `email_required`, `id_token_required`, `access_token_required`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/social/{provider}/token")]
pub async fn log_in_by_provider_token(
    state: web::Data<AppState>,
    request: HttpRequest,
    provider: web::Path<String>,
    body: Json<ProofRequest>,
) -> Result<HttpResponse, ApiError> {
    let provider = provider_of(&provider)?;
    let ProofRequest {
        id_token,
        access_token,
        nonce,
    } = &*body;
    let identity = identify(&state, provider, [id_token, access_token, nonce]).await?;
    log_in(&state, Client::of(&request), &identity)
        .await?
        .answer(&state)
}

/// Who an ID token, or else an access token, is about; in this order, and a nonce.
pub async fn identify(
    state: &AppState,
    provider: ProviderName,
    [id_token, access_token, nonce]: [&Option<String>; 3],
) -> Result<Identity, ApiError> {
    let proof = match (id_token, access_token) {
        (Some(token), _) => Proof::IdToken {
            token,
            nonce: nonce.as_deref(),
        },
        (None, Some(token)) => Proof::AccessToken(token),
        (None, None) => {
            return Err(ApiError::invalid(
                "invalid_body",
                "",
                "expected `id_token` or `access_token`",
            ));
        }
    };
    state
        .social
        .verify(provider, proof, state.clock.now().timestamp())
        .await
}

/// The accounts that log the user in.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The accounts, in the order they were linked", body = SocialAccountsResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/social/accounts")]
pub async fn list_social_accounts(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<SocialAccountsResponse>, ApiError> {
    must_be_live(&state, &principal).await?;
    let accounts = accounts_of(&state, principal.user_id).await?;
    Ok(web::Json(SocialAccountsResponse { accounts }))
}

pub async fn accounts_of(state: &AppState, user: UserId) -> Result<Vec<SocialAccount>, ApiError> {
    let mut connection = state.db.connection().await?;
    SocialAccount::list(&mut connection, &state.field_keys, user).await
}

/// Links an account by what a program has got from its provider. It logs the user in from now on.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Linked"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`, `insufficient_user_authentication`; `social_login_failed`: not the provider's word, or not for us", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already_linked`: to somebody else, or the user has another account of this provider", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`provider_disabled`, `id_token_required`, `access_token_required`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/social/accounts")]
pub async fn link_social_account(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<LinkRequest>,
) -> Result<HttpResponse, ApiError> {
    must_be_recent(&state, &principal).await?;
    let LinkRequest {
        provider,
        id_token,
        access_token,
        nonce,
    } = &*body;
    let identity = identify(&state, *provider, [id_token, access_token, nonce]).await?;
    identity::link(&state, principal.session_id, &identity).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives an account up. The last way to log in stays.
#[utoipa::path(
    tag = "auth",
    params(("provider" = ProviderName, Path)),
    responses(
        (status = 204, description = "It logs nobody in any more"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`, `insufficient_user_authentication`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no account of this provider is linked", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`last_login_method`: set a password first", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/social/accounts/{provider}")]
pub async fn unlink_social_account(
    state: web::Data<AppState>,
    principal: Principal,
    provider: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    must_be_recent(&state, &principal).await?;
    identity::unlink(&state, principal.user_id, provider_of(&provider)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
