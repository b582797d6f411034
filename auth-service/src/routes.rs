//! The endpoints of this service.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{access_tokens, passwords, revocations, sessions, token_exchange, users};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(users::handlers::register_user)
        .service(sessions::handlers::log_in)
        .service(sessions::handlers::refresh_tokens)
        .service(sessions::handlers::log_out)
        .service(passwords::handlers::change_password)
        .service(users::handlers::get_me)
        .service(access_tokens::get_jwks)
        .service(token_exchange::exchange_credential)
        .service(revocations::list_revocations);
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Flowlet auth-service",
        "Users, logins, sessions and the keys of access tokens.",
        configure,
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_checked_in() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = shared::openapi::golden_text(&super::document()).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a switch of the test, not configuration"
        )]
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            checked_in == text,
            "openapi.json is not what the handlers say. If the change is meant: UPDATE_EXPECT=1 cargo test -p auth-service"
        );
    }
}
