//! The OpenAPI 3.1 document of a service, generated from its handlers, and the responses that operations share.

use std::collections::BTreeMap;

use actix_web::dev::ResourceDef;
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, ResponseError};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Response,
    ResponseBuilder,
};
use utoipa::{IntoResponses, PartialSchema};
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::ApiError;
use crate::error::{InvalidField, Outcome, PROBLEM_JSON, Problem};

/// The security scheme that operations name: `security(("access_token" = []))`.
pub const ACCESS_TOKEN: &str = "access_token";

/// The document of the operations that `routes` registers. `/internal` routes are not part of the public API.
pub fn document(title: &str, description: &str, routes: impl FnOnce(&mut ServiceConfig<'_>)) -> OpenApi {
    let (_, mut document) = App::new()
        .into_utoipa_app()
        .openapi(base(title, description))
        .configure(routes)
        .split_for_parts();
    document
        .paths
        .paths
        .retain(|path, _| !path.starts_with("/internal/"));
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations
            .into_iter()
            .flatten()
            .filter(|it| it.security.is_some())
        {
            promise_authentication(&mut operation.responses);
        }
    }
    document
}

/// What the gateway and `Principal` answer on behalf of every operation that needs a token.
const OF_AUTHENTICATION: [(&str, &str); 3] = [
    (
        "401",
        "`session_revoked`, `invalid_session`, `invalid_api_key`: log in again",
    ),
    (
        "403",
        "`insufficient_scope`, `login_required`: not with this API key or client; `address_not_allowed`; `origin_not_allowed`: a cookie \
         from another site; `transfer_not_authorized`: not with a token for one transfer",
    ),
    (
        "503",
        "`authentication_unavailable`: who is asking cannot be told right now",
    ),
];

fn promise_authentication(responses: &mut utoipa::openapi::Responses) {
    for (status, codes) in OF_AUTHENTICATION {
        match responses.responses.get_mut(status) {
            Some(RefOr::T(response)) => response.description = format!("{}; {codes}", response.description),
            _ => drop(responses.responses.insert(status.to_owned(), problem(codes))),
        }
    }
}

/// The checked-in text of a document.
pub fn golden_text(document: &OpenApi) -> anyhow::Result<String> {
    Ok(document.to_pretty_json()? + "\n")
}

/// Compares a document with the `openapi.json` beside a crate's manifest; `UPDATE_EXPECT=1` rewrites it instead.
pub fn check_golden(document: &OpenApi, manifest_dir: &str) -> anyhow::Result<()> {
    let path = format!("{manifest_dir}/openapi.json");
    let generated = golden_text(document)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test, not configuration"
    )]
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    if update {
        std::fs::write(&path, &generated)?;
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    anyhow::ensure!(
        checked_in == generated,
        "{path} is out of date: run UPDATE_EXPECT=1 cargo test openapi"
    );
    Ok(())
}

fn base(title: &str, description: &str) -> OpenApi {
    let access_token = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The `access_token` of a login, valid for five minutes"))
            .build(),
    );
    let mut components = Components::new();
    components.add_security_scheme(ACCESS_TOKEN, access_token);
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components
        .schemas
        .insert("InvalidField".to_owned(), InvalidField::schema());
    components.schemas.insert("Outcome".to_owned(), Outcome::schema());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title(title)
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(description))
                .license(Some(utoipa::openapi::License::new("MIT"))),
        )
        .components(Some(components))
        .build()
}

fn problem(codes: &str) -> RefOr<Response> {
    ResponseBuilder::new()
        .description(codes)
        .content(PROBLEM_JSON, Content::new(Some(Ref::from_schema_name("Problem"))))
        .build()
        .into()
}

fn problems(list: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    list.iter()
        .map(|(status, codes)| ((*status).to_owned(), problem(codes)))
        .collect()
}

/// What any operation can answer besides its own: a malformed request, too many of them, or trouble on our side.
pub struct CommonErrors;

impl IntoResponses for CommonErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (
                "400",
                "`invalid_body`, `malformed_body`, `invalid_query`, `invalid_id`, `missing_idempotency_key`, `invalid_idempotency_key`",
            ),
            (
                "429",
                "`rate_limited`: too many requests; wait as long as `Retry-After` says",
            ),
            ("500", "`internal`: something went wrong on our side"),
            (
                "503",
                "`service_unavailable`, `database_unavailable`, `overloaded`: try again after `Retry-After`. `outcome_unknown`: it may have been done; send it again under the same `Idempotency-Key`",
            ),
        ])
    }
}

/// What an operation with a JSON body can answer besides.
pub struct BodyErrors;

impl IntoResponses for BodyErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (
                "413",
                "`body_too_large`: the body has more than 64 KiB, or 1 MiB for a batch of transfers",
            ),
            (
                "415",
                "`unsupported_media_type`: the body is not `application/json`",
            ),
        ])
    }
}

/// What an operation that needs an access token can answer besides.
pub struct AuthErrors;

impl IntoResponses for AuthErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("401", "`missing_token`, `invalid_token`, `token_expired`")])
    }
}

/// The same, where the operator may ask for more than a token when much money leaves an account.
pub struct StepUpErrors;

impl IntoResponses for StepUpErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (
                "401",
                "`missing_token`, `invalid_token`, `token_expired`; `insufficient_user_authentication`: step up first, as `WWW-Authenticate` says",
            ),
            (
                "403",
                "`transfer_not_authorized`: the token was made for another transfer; `transfer_authorization_required`: name the transfer when you step up",
            ),
        ])
    }
}

/// The paths of a document, to answer what no route takes: 405 with `Allow` on a known path, else 404.
pub struct KnownPaths {
    paths: Vec<(ResourceDef, String)>,
}

impl KnownPaths {
    pub fn new(document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter();
        Self {
            paths: paths
                .map(|(path, item)| (ResourceDef::new(path.as_str()), allowed_methods(item)))
                .collect(),
        }
    }

    pub fn unroutable(&self, request: &HttpRequest) -> HttpResponse {
        match self.paths.iter().find(|(path, _)| path.is_match(request.path())) {
            Some((_, allowed)) => {
                let error = ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    format!("This path takes {allowed}."),
                );
                let mut response = error.error_response();
                if let Ok(value) = header::HeaderValue::from_str(allowed) {
                    response.headers_mut().insert(header::ALLOW, value);
                }
                response
            }
            None => ApiError::not_found("There is nothing at this path. See /docs.").error_response(),
        }
    }
}

fn allowed_methods(item: &PathItem) -> String {
    let operations = [
        (HttpMethod::Get, item.get.is_some()),
        (HttpMethod::Post, item.post.is_some()),
        (HttpMethod::Put, item.put.is_some()),
        (HttpMethod::Patch, item.patch.is_some()),
        (HttpMethod::Delete, item.delete.is_some()),
    ];
    let names = operations
        .iter()
        .filter(|(_, there)| *there)
        .map(|(method, _)| match method {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            _ => "DELETE",
        });
    names.collect::<Vec<_>>().join(", ")
}
