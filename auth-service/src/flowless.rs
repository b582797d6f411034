//! `/auth/*` as programs for Flowless know it: one adapter, which translates names and shapes and calls what serves
//! `/api/v1/auth/*`. No rule of ours lives here, and no rule of these paths lives elsewhere.
//!
//! Its clients disagree about names, so every name is taken and every name is answered: `session_id` and `sessionId`, what is wanted at the
//! top and once more below `data`. `auth-service/flowless.md` has the table of paths and what each of them answers.
//!
//! Deliberately absent from the OpenAPI document: nobody is to write a new program against these.

mod administration;
mod bridge;
mod failure;
mod input;
mod logins;
mod mail;
mod pages;
mod passwords;
mod pictures;
mod profile;
mod reply;
mod sessions;
mod social;
mod tokens;
mod two_factor;
mod validation;

use actix_web::web::{self, ServiceConfig};

/// What backends ask with every request of theirs.
pub fn configure_bridge(config: &mut ServiceConfig) -> &mut ServiceConfig {
    for path in [
        "/auth/bridge/validate",
        "/bridge/validate",
        "/api/bridge/validate",
    ] {
        config.route(path, web::post().to(bridge::validate));
    }
    config
}

pub fn configure(config: &mut ServiceConfig) -> &mut ServiceConfig {
    config
        .service(
            web::scope("/auth")
                .app_data(web::FormConfig::default().error_handler(failure::unreadable))
                .app_data(web::QueryConfig::default().error_handler(failure::unreadable))
                .configure(logins::configure)
                .configure(profile::configure)
                .configure(passwords::configure)
                .configure(administration::configure)
                .configure(validation::configure)
                .configure(sessions::configure)
                .configure(mail::configure)
                .configure(pages::configure)
                .configure(pictures::configure)
                .configure(social::configure)
                .configure(tokens::configure)
                .configure(two_factor::configure)
                .default_service(web::to(failure::not_found)),
        )
        .route("/health", web::get().to(bridge::health))
}
