//! The documentation that the gateway serves: the merged document and Swagger UI from memory, so that no network is needed.

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, Route};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::edge::Defaults;

const DOCUMENT_PATH: &str = "/openapi.json";

/// Swagger UI writes `style` attributes and `data:` images; all else comes from here.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files change only with the program.
pub const DEFAULTS: Defaults = Defaults {
    csp: CSP,
    cache_control: "public, max-age=3600",
};

/// Whether a page at `path` is documentation, which runs scripts.
pub fn owns(path: &str) -> bool {
    path.starts_with("/docs/")
}

pub async fn redirect() -> HttpResponse {
    HttpResponse::TemporaryRedirect()
        .insert_header((header::LOCATION, "/docs/"))
        .finish()
}

pub fn document(document: &Bytes) -> Route {
    let document = document.clone();
    web::get().to(move || {
        let document = document.clone();
        async move { HttpResponse::Ok().content_type("application/json").body(document) }
    })
}

pub fn swagger_ui() -> SwaggerUi {
    // Without this the page asks validator.swagger.io about the document.
    let config = Config::from(DOCUMENT_PATH)
        .validator_url("none")
        .display_request_duration(true);
    SwaggerUi::new("/docs/{file:.*}").config(config)
}
