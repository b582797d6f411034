//! Logging in with accounts at other providers: a browser is sent on, a program gets the same as JSON.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Duration;
use serde_json::{Value, json};
use shared::ApiError;

use super::failure::Failure;
use super::input::Input;
use super::reply;
use crate::sessions::login::Login;
use crate::social::handlers::{
    CallbackForm, CallbackQuery, accounts_of, finish, identify, log_in, provider_of,
};
use crate::social::{CallbackMode, ProviderName, identity, visit};
use crate::state::AppState;

/// A new way in is for whoever has just logged in, as another e-mail is. These programs know no challenge to answer.
const LINK_AFTER_LOGIN: Duration = Duration::hours(1);

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/social/providers", web::get().to(list_providers))
        .route("/social/accounts", web::get().to(list_accounts))
        .route("/social/link", web::post().to(link))
        .route("/social/login", web::post().to(log_in_by_token))
        .route("/social/accounts/{provider}", web::delete().to(unlink))
        .route("/social/unlink/{provider}", web::delete().to(unlink))
        .route("/social/{provider}", web::get().to(begin))
        .route("/social/{provider}/login", web::get().to(begin))
        .route(
            "/social/{provider}/login-api",
            web::post().to(log_in_by_token_in_path),
        )
        .route("/social/{provider}/callback", web::get().to(come_back))
        .route("/social/{provider}/callback", web::post().to(come_back_by_form));
}

fn callback_of(provider: ProviderName) -> String {
    format!("/auth/social/{}/callback", provider.name())
}

async fn list_providers(state: web::Data<AppState>) -> HttpResponse {
    let url = |provider: ProviderName, what: &str| {
        let path = format!("/auth/social/{}/{what}", provider.name());
        state.social.redirect_uri(&path)
    };
    let providers = state.social.enabled().map(|provider| {
        json!({
            "provider": provider, "name": provider, "enabled": true,
            "loginUrl": url(provider, "login"), "login_url": url(provider, "login"),
            "apiLoginUrl": url(provider, "login-api"), "api_login_url": url(provider, "login-api"),
            "client_id": state.social.client_id(provider),
            "redirect_uri": url(provider, "callback"),
        })
    });
    let providers: Vec<Value> = providers.collect();
    reply::twice(json!({ "providers": providers, "allProviders": ProviderName::ALL }))
}

fn is_browser(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT);
    let is_html = accepted
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("text/html"));
    is_html && !request.query_string().contains("format=json")
}

async fn begin(
    state: web::Data<AppState>,
    request: HttpRequest,
    provider: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let provider = provider_of(&provider)?;
    let departure = visit::begin(&state, provider, &callback_of(provider), None).await?;
    let url = departure.url;
    let mut answer = match is_browser(&request) {
        true => redirect(&url),
        false => reply::twice(json!({ "url": url, "login_url": url, "loginUrl": url, "provider": provider })),
    };
    // It is made of characters that a cookie may have.
    drop(answer.add_cookie(&departure.cookie));
    Ok(answer)
}

fn redirect(url: &str) -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, url))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

async fn come_back(
    state: web::Data<AppState>,
    request: HttpRequest,
    provider: web::Path<String>,
    query: web::Query<CallbackQuery>,
) -> Result<HttpResponse, Failure> {
    end(&state, &request, provider_of(&provider)?, &query).await
}

async fn come_back_by_form(
    state: web::Data<AppState>,
    request: HttpRequest,
    provider: web::Path<String>,
    form: web::Form<CallbackForm>,
) -> Result<HttpResponse, Failure> {
    let CallbackForm {
        code,
        state: returned,
    } = form.into_inner();
    let query = CallbackQuery {
        code,
        state: returned,
    };
    end(&state, &request, provider_of(&provider)?, &query).await
}

async fn end(
    state: &AppState,
    request: &HttpRequest,
    provider: ProviderName,
    query: &CallbackQuery,
) -> Result<HttpResponse, Failure> {
    let finished = finish(state, request, provider, query).await;
    if !is_browser(request) {
        return Ok(match finished? {
            Some(login) => answer(&login, provider, "social_auth"),
            None => reply::done("Account linked successfully"),
        });
    }
    let page = |outcome: &str| {
        let name = provider.name();
        state
            .links
            .page(&format!("/login?social_login={outcome}&provider={name}"))
    };
    Ok(match finished {
        Ok(Some(Login::Pending(pending))) => redirect(&format!(
            "{}&requires_2fa=true&session_id={}",
            page("success"),
            pending.secret.reveal()
        )),
        Ok(Some(Login::Session(begun))) => match state.social.callback_mode {
            CallbackMode::Params => redirect(&format!(
                "{}&session_id={}",
                page("success"),
                begun.secret.reveal()
            )),
            CallbackMode::Cookie => with_cookie(redirect(&page("success")), &Login::Session(begun)),
        },
        Ok(None) => redirect(&page("linked")),
        // The code of the refusal is one of ours; the browser gets no words of the provider's.
        Err(error) => redirect(&format!("{}&error={}", page("error"), error.code())),
    })
}

fn with_cookie(mut answer: HttpResponse, login: &Login) -> HttpResponse {
    reply::session_cookie(&mut answer, login);
    answer
}

fn answer(login: &Login, provider: ProviderName, kind: &str) -> HttpResponse {
    let more = json!({ "loginType": kind, "login_type": kind, "provider": provider });
    reply::login_with(login, "Login successful", more)
}

async fn log_in_by_token(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let provider = provider_of(input.required(&["provider"])?)?;
    exchange(&state, &input, provider).await
}

async fn log_in_by_token_in_path(
    state: web::Data<AppState>,
    provider: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    exchange(&state, &input, provider_of(&provider)?).await
}

async fn exchange(state: &AppState, input: &Input, provider: ProviderName) -> Result<HttpResponse, Failure> {
    let identity = identified(state, input, provider).await?;
    let login = log_in(state, input.client.clone(), &identity).await?;
    Ok(answer(&login, provider, "social_auth_api"))
}

async fn identified(
    state: &AppState,
    input: &Input,
    provider: ProviderName,
) -> Result<crate::social::Identity, Failure> {
    let text = |names: &[&str]| Ok::<_, Failure>(input.text(names)?.map(str::to_owned));
    let id_token = text(&["id_token", "idToken"])?;
    let access_token = text(&["access_token", "accessToken"])?;
    let nonce = text(&["nonce"])?;
    Ok(identify(state, provider, [&id_token, &access_token, &nonce]).await?)
}

/// An object, never a bare list.
async fn list_accounts(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let accounts = accounts_of(&state, valid.user.id).await?;
    let accounts: Vec<Value> = accounts
        .into_iter()
        .map(|account| {
            json!({
                "id": account.id, "user_id": valid.user.id, "provider": account.provider,
                "provider_user_id": account.provider_user_id, "email": account.email,
                "linked_at": account.linked_at, "created_at": account.linked_at,
            })
        })
        .collect();
    Ok(reply::twice(json!({ "accounts": accounts })))
}

async fn link(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    if state.clock.now() - valid.session.created_at > LINK_AFTER_LOGIN {
        let detail = "An account can be linked within an hour after logging in. Log in again.";
        return Err(ApiError::forbidden("recent_login_required", detail).into());
    }
    let provider = provider_of(input.required(&["provider"])?)?;
    let identity = identified(&state, &input, provider).await?;
    identity::link(&state, valid.session.id, &identity).await?;
    Ok(reply::done("Account linked successfully"))
}

async fn unlink(
    state: web::Data<AppState>,
    provider: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    identity::unlink(&state, valid.user.id, provider_of(&provider)?).await?;
    Ok(reply::done("Account unlinked successfully"))
}
